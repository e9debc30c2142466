//! Many small facts in few values: of entry ids and of gone platform ids, which are only ever added to,
//! compaction makes blocks. A row of its own costs a fact 40 to 70 bytes, and sled three times that.
//!
//! ```text
//! g · session · first hash → hashes, 16 bytes each, rising
//! k · session · first id   → last id u128 · for each: id − the one before, number − the one before (zigzag),
//!                            as LEB128
//! ```
//! Invariant: blocks of a session do not overlap, each fits into one chunk, and only compaction writes them.
//! Part of the stored format.

use ::sled::Tree;
use bytes::Bytes;

use super::fault::{Fault, Outcome};
use super::keys;
use super::table;
use crate::message::EntryId;

/// The most bytes of a block: with its checksum it stays below one chunk.
const BLOCK: usize = 4000;

/// The most bytes of one entry id and its number.
const LONGEST: usize = 19 + 10;

/// Blocks of gone platform ids, given by rising [`short_hash`](keys::short_hash)es.
pub(super) fn gone(sid: u64, hashes: &[u128]) -> Vec<(Vec<u8>, Bytes)> {
    let block = |part: &[u128]| {
        let first = part.first().copied().unwrap_or_default();
        let value: Vec<u8> = part.iter().flat_map(|hash| hash.to_be_bytes()).collect();
        (keys::block(keys::GONE, sid, first), value.into())
    };
    hashes.chunks(BLOCK / 16).map(block).collect()
}

/// The hashes of a block.
pub(super) fn read_gone(value: &[u8]) -> Outcome<Vec<u128>> {
    if !value.len().is_multiple_of(16) {
        return Err(Fault::damage("a block is cut short"));
    }
    let hash = |at| keys::wide_at(value, at).ok_or_else(|| Fault::damage("a block is cut short"));
    (0..value.len()).step_by(16).map(hash).collect()
}

/// True when a block holds this hash.
pub(super) fn is_gone(tree: &Tree, sid: u64, hash: u128) -> Outcome<bool> {
    match holding(tree, keys::GONE, sid, hash)? {
        Some((_, value)) => Ok(read_gone(&value)?.binary_search(&hash).is_ok()),
        None => Ok(false),
    }
}

/// Blocks of entry ids with their numbers, given by rising ids.
pub(super) fn known(sid: u64, ids: &[(u128, u64)]) -> Vec<(Vec<u8>, Bytes)> {
    let mut blocks = Vec::new();
    let mut open: Option<(u128, Vec<u8>)> = None;
    let (mut id_before, mut number_before) = (0, 0);
    let close = |first, mut value: Vec<u8>, last: u128| {
        value.splice(..0, last.to_be_bytes());
        (keys::block(keys::KNOWN, sid, first), value.into())
    };
    for (id, number) in ids {
        if let Some((first, value)) = open.take_if(|(_, v)| v.len() + LONGEST + 16 > BLOCK) {
            blocks.push(close(first, value, id_before));
        }
        let (_, value) = open.get_or_insert_with(|| {
            (id_before, number_before) = (*id, 0);
            (*id, Vec::new())
        });
        write(value, id - id_before);
        write(value, u128::from(zigzag(*number, number_before)));
        (id_before, number_before) = (*id, *number);
    }
    blocks.extend(open.map(|(first, value)| close(first, value, id_before)));
    blocks
}

/// The ids of a block with their numbers.
pub(super) fn read_known(key: &[u8], value: &[u8]) -> Outcome<Vec<(u128, u64)>> {
    let cut = || Fault::damage("a block is cut short");
    let mut id = keys::wide_at(key, 9).ok_or_else(cut)?;
    let mut rest = value.get(16..).ok_or_else(cut)?;
    let (mut number, mut ids) = (0_u64, Vec::new());
    while !rest.is_empty() {
        id = id.wrapping_add(read(&mut rest).ok_or_else(cut)?);
        let step = u64::try_from(read(&mut rest).ok_or_else(cut)?).map_err(|_| cut())?;
        number = number.wrapping_add((step >> 1) ^ (step & 1).wrapping_neg());
        ids.push((id, number));
    }
    Ok(ids)
}

/// The number of the entry with this id, if a block holds it.
pub(super) fn number_of(tree: &Tree, sid: u64, id: EntryId) -> Outcome<Option<u64>> {
    let Some((key, value)) = holding(tree, keys::KNOWN, sid, id.0)? else {
        return Ok(None);
    };
    if keys::wide_at(&value, 0).is_some_and(|last| id.0 > last) {
        return Ok(None);
    }
    let ids = read_known(&key, &value)?;
    let at = ids.binary_search_by_key(&id.0, |(id, _)| *id);
    Ok(at
        .ok()
        .and_then(|at| ids.get(at))
        .map(|(_, number)| *number))
}

/// The last block that does not start after `item`.
fn holding(tree: &Tree, kind: u8, sid: u64, item: u128) -> Outcome<Option<(Vec<u8>, Bytes)>> {
    let to = match item.checked_add(1) {
        Some(next) => keys::block(kind, sid, next),
        None => keys::after(&keys::of_session(kind, sid)),
    };
    let from = keys::of_session(kind, sid);
    table::scan(tree, &from, &to).next_back().transpose()
}

/// The difference, small for small steps either way.
const fn zigzag(number: u64, before: u64) -> u64 {
    let step = number.wrapping_sub(before);
    (step << 1) ^ (step >> 63).wrapping_neg()
}

fn write(out: &mut Vec<u8>, mut n: u128) {
    loop {
        let [low, ..] = n.to_le_bytes();
        n >>= 7;
        if n == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

fn read(from: &mut &[u8]) -> Option<u128> {
    let mut n = 0_u128;
    for shift in (0..128).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        n |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_as_it_was() {
        let mut ids: Vec<(u128, u64)> = (0..5000)
            .map(|n| ((u128::from(n % 3) << 64) | (u128::from(n) * 977), 5000 - n))
            .collect();
        ids.extend([(0, u64::MAX), (u128::MAX, 1), (u128::MAX - 1, u64::MAX / 2)]);
        ids.sort_unstable();
        ids.dedup_by_key(|(id, _)| *id);
        let blocks = known(7, &ids);
        assert!(blocks.len() > 3 && blocks.iter().all(|(_, v)| v.len() <= BLOCK));
        let back = blocks.iter().flat_map(|(k, v)| read_known(k, v).unwrap());
        assert_eq!(back.collect::<Vec<_>>(), ids);
        let hashes: Vec<u128> = (1..1000).map(|n| n * 3).collect();
        let blocks = gone(7, &hashes);
        assert!(blocks.len() > 3 && blocks.iter().all(|(_, v)| v.len() <= BLOCK));
        let back = blocks.iter().flat_map(|(_, v)| read_gone(v).unwrap());
        assert_eq!(back.collect::<Vec<_>>(), hashes);
    }

    #[test]
    fn what_is_not_packed_is_not_found() {
        let dir = tempfile::TempDir::new().unwrap();
        let db = ::sled::open(dir.path()).unwrap();
        let ids: Vec<(u128, u64)> = (1..3000).map(|n| (u128::from(n) << 60, n)).collect();
        let hashes: Vec<u128> = ids.iter().map(|(id, _)| *id).collect();
        let mut batch = ::sled::Batch::default();
        for (key, value) in known(1, &ids).into_iter().chain(gone(1, &hashes)) {
            assert_eq!(table::write_chunks(&mut batch, &key, &value), 1);
        }
        db.apply_batch(batch).unwrap();
        for (id, number) in &ids {
            for (id, number) in [(*id, Some(*number)), (id + 1, None), (id - 1, None)] {
                assert_eq!(number_of(&db, 1, EntryId(id)).unwrap(), number);
                assert_eq!(is_gone(&db, 1, id).unwrap(), number.is_some());
            }
        }
        for id in [0, u128::MAX] {
            assert_eq!(number_of(&db, 1, EntryId(id)).unwrap(), None);
        }
        assert_eq!(number_of(&db, 2, EntryId(1 << 60)).unwrap(), None);
        assert!(!is_gone(&db, 0, 1 << 60).unwrap());
    }
}
