//! A session's log, entry by entry, wherever one stands: in a row of its own, or in a block with others.
//!
//! ```text
//! l · session · number       → record
//! z · session · first number → last number u64 · unpacked length u32 · packed (see `pack`), for each: number u64 · record
//! ```
//! Only compaction makes blocks, of sessions that nobody has touched for a while (`compact/copy.rs`). Whoever changes an
//! entry of one makes rows of all of it again, in the same step ([`Session::put_record`](super::session::Session::put_record)).
//!
//! Invariants: all who read entries read them here, and none can tell where one stands; blocks of a session do not overlap,
//! and no row lies between the ends of one; its record is the same, byte for byte. Part of the stored format.

use std::cmp::Ordering;

use ::sled::Tree;
use bytes::Bytes;

use super::fault::{Fault, Outcome};
use super::session::Row;
use super::{keys, table};
use crate::pack;

/// Bytes of records, about, that make a block full: a context of 50 messages. It is written anew as a whole when one of its
/// entries changes, and must be well below what a step may give to sled ([`Engine::unsynced`](super::disk::Engine::unsynced)).
const FULL: usize = 16 << 10;

/// No block is longer than this when it is unpacked. A record too long to share a block has one for itself up to here.
const MOST: usize = 1 << 20;

/// Bytes in a block beside each record.
const EACH: usize = 4 + 8;

/// Bytes before what is packed.
const HEAD: usize = 8 + 4;

/// An entry's number and its record.
pub(super) type Numbered = (u64, Bytes);

/// A key and its value, as stored.
type Stored = (Vec<u8>, Bytes);

/// Every entry from the number `from` on, oldest first.
pub(super) fn range<'t>(
    tree: &'t Tree,
    row: &Row,
    from: u64,
) -> Outcome<impl Iterator<Item = Outcome<Numbered>> + use<'t>> {
    let first = match around(tree, row, from)? {
        Some(block) => block,
        None => keys::packed(row.sid, from),
    };
    let to = keys::after(&keys::of_session(keys::PACKED, row.sid));
    let blocks = (from <= row.packed_to).then(|| table::scan(tree, &first, &to));
    let to = keys::after(&keys::of_session(keys::LOG, row.sid));
    let rows = table::scan(tree, &keys::log(row.sid, from), &to);
    let stored = merged(rows, blocks.into_iter().flatten(), Ordering::Less);
    let entries = stored.flat_map(|item| unpacked(item, false));
    Ok(entries.filter(move |e| e.as_ref().map_or(true, |(number, _)| *number >= from)))
}

/// Every entry up to the number `to`, newest first.
pub(super) fn newest_first<'t>(
    tree: &'t Tree,
    row: &Row,
    to: u64,
) -> impl Iterator<Item = Outcome<Numbered>> + use<'t> {
    let end = |kind| up_to(kind, row.sid, to);
    let all = |kind| keys::of_session(kind, row.sid);
    let blocks = (row.packed_to > 0)
        .then(|| table::scan(tree, &all(keys::PACKED), &end(keys::PACKED)).rev());
    let rows = table::scan(tree, &all(keys::LOG), &end(keys::LOG)).rev();
    let stored = merged(rows, blocks.into_iter().flatten(), Ordering::Greater);
    let entries = stored.flat_map(|item| unpacked(item, true));
    entries.filter(move |e| e.as_ref().map_or(true, |(number, _)| *number <= to))
}

/// The blocks that begin with the number `from` or a later one: this number, and what is in them.
pub(super) fn blocks<'t>(
    tree: &'t Tree,
    row: &Row,
    from: u64,
) -> impl Iterator<Item = Outcome<(u64, Vec<Numbered>)>> + use<'t> {
    let to = keys::after(&keys::of_session(keys::PACKED, row.sid));
    let first = keys::packed(row.sid, from);
    let blocks = (from <= row.packed_to).then(|| table::scan(tree, &first, &to));
    blocks.into_iter().flatten().map(|item| {
        let (key, value) = item?;
        let number = keys::number_at(&key, 9).ok_or_else(damaged)?;
        Ok((number, opened(&key, &value)?))
    })
}

/// All rows and blocks as they are stored, in order, also those that the session's row does not tell of.
pub(super) fn stored(tree: &Tree, sid: u64) -> impl Iterator<Item = Outcome<Stored>> {
    let all = |kind| table::under(tree, &keys::of_session(kind, sid));
    merged(all(keys::LOG), all(keys::PACKED), Ordering::Less)
}

/// The first key after those of a kind and session up to a number.
fn up_to(kind: u8, sid: u64, number: u64) -> Vec<u8> {
    let all = keys::of_session(kind, sid);
    let Some(next) = number.checked_add(1) else {
        return keys::after(&all);
    };
    [all.as_slice(), &next.to_be_bytes()].concat()
}

/// The key of the block between whose ends a number lies.
pub(super) fn around(tree: &Tree, row: &Row, number: u64) -> Outcome<Option<Vec<u8>>> {
    if number > row.packed_to {
        return Ok(None);
    }
    let from = keys::of_session(keys::PACKED, row.sid);
    let to = up_to(keys::PACKED, row.sid, number);
    let Some((key, value)) = table::scan(tree, &from, &to).next_back().transpose()? else {
        return Ok(None);
    };
    let last = keys::number_at(&value, 0).ok_or_else(damaged)?;
    Ok((number <= last).then_some(key))
}

/// Rows and blocks in the order of their first numbers, each of which `first` compares so with the next.
fn merged(
    rows: impl Iterator<Item = Outcome<Stored>>,
    blocks: impl Iterator<Item = Outcome<Stored>>,
    first: Ordering,
) -> impl Iterator<Item = Outcome<Stored>> {
    let number = |item: &Outcome<Stored>| {
        let key = item.as_ref().ok().map(|(key, _)| key);
        key.and_then(|key| keys::number_at(key, 9))
    };
    let (mut rows, mut blocks) = (rows.peekable(), blocks.peekable());
    std::iter::from_fn(move || {
        let is_block = match (rows.peek(), blocks.peek()) {
            (Some(row), Some(block)) => number(block).cmp(&number(row)) == first,
            (row, _) => row.is_none(),
        };
        if is_block { blocks.next() } else { rows.next() }
    })
}

/// The entries of a row or a block.
fn unpacked(item: Outcome<Stored>, newest_first: bool) -> Vec<Outcome<Numbered>> {
    match item.and_then(|(key, value)| opened(&key, &value)) {
        Ok(mut entries) => {
            if newest_first {
                entries.reverse();
            }
            entries.into_iter().map(Ok).collect()
        }
        Err(fault) => vec![Err(fault)],
    }
}

/// The same, oldest first: one of a row, those of a block as they were packed.
pub(super) fn opened(key: &[u8], value: &Bytes) -> Outcome<Vec<Numbered>> {
    let first = keys::number_at(key, 9).ok_or_else(damaged)?;
    if key.first() != Some(&keys::PACKED) {
        return Ok(vec![(first, value.clone())]);
    }
    let (head, packed) = value.split_at_checked(HEAD).ok_or_else(damaged)?;
    let last = keys::number_at(head, 0).ok_or_else(damaged)?;
    let length = head.last_chunk().copied().map(u32::from_be_bytes);
    let length = length.map_or(usize::MAX, |length| length as usize);
    // No room is made for what a damaged length says.
    if length > MOST {
        return Err(damaged());
    }
    let raw = pack::unpack(packed, length).map_err(Fault::Damage)?;
    let (mut rest, mut entries) = (raw.as_slice(), Vec::new());
    while let Some(part) = pack::take(&mut rest) {
        let number = keys::number_at(part, 0).ok_or_else(damaged)?;
        // Not a part of the whole: who keeps one would keep all.
        let record = Bytes::copy_from_slice(part.get(8..).unwrap_or_default());
        entries.push((number, record));
    }
    let ends = entries.first().zip(entries.last());
    let ends = ends.map(|((first, _), (last, _))| (*first, *last));
    let rise = entries.windows(2).all(|pair| match pair {
        [(one, _), (next, _)] => one < next,
        _ => true,
    });
    if raw.len() != length || !rest.is_empty() || ends != Some((first, last)) || !rise {
        return Err(damaged());
    }
    Ok(entries)
}

fn damaged() -> Fault {
    Fault::damage("a block of entries is damaged")
}

/// Entries to be packed, gathered in order.
#[derive(Debug)]
pub(super) struct Gathered {
    sid: u64,
    /// Packs all, also what hardly gets smaller: so that tests with short texts have blocks.
    everything: bool,
    entries: Vec<Numbered>,
    bytes: usize,
    /// The last number that stands in a block.
    pub(super) packed_to: u64,
}

impl Gathered {
    pub(super) const fn new(sid: u64, everything: bool) -> Self {
        Self {
            sid,
            everything,
            entries: Vec::new(),
            bytes: 0,
            packed_to: 0,
        }
    }

    /// Takes the next entry; what is to be stored of those before it.
    pub(super) fn add(&mut self, number: u64, record: Bytes) -> Vec<Stored> {
        let bytes = record.len() + EACH;
        let is_full = self.bytes > 0 && self.bytes + bytes > FULL;
        let done = if is_full { self.close() } else { Vec::new() };
        self.bytes += bytes;
        self.entries.push((number, record));
        done
    }

    /// What is to be stored of those gathered: a block, or rows where that is not worth it.
    pub(super) fn close(&mut self) -> Vec<Stored> {
        self.bytes = 0;
        let entries = std::mem::take(&mut self.entries);
        if let Some((last, block)) = self.block(&entries) {
            self.packed_to = self.packed_to.max(last);
            return vec![block];
        }
        let row = |(number, record)| (keys::log(self.sid, number), record);
        entries.into_iter().map(row).collect()
    }

    /// The block of these entries, and its last number.
    fn block(&self, entries: &[Numbered]) -> Option<(u64, Stored)> {
        let ((first, _), (last, _)) = entries.first().zip(entries.last())?;
        let mut raw = Vec::new();
        for (number, record) in entries {
            pack::put(
                &mut raw,
                &[number.to_be_bytes().as_slice(), record].concat(),
            );
        }
        if raw.len() > MOST {
            return None;
        }
        let packed = match self.everything {
            true => pack::squeeze(&raw)?,
            false => pack::pack(&raw)?,
        };
        let length = u32::try_from(raw.len()).ok()?;
        let value = [
            &last.to_be_bytes(),
            length.to_be_bytes().as_slice(),
            &packed,
        ]
        .concat();
        Some((*last, (keys::packed(self.sid, *first), value.into())))
    }
}

#[cfg(test)]
mod tests;
