//! The journal's frames: `magic "SBJ1" · length u32 · crc32 u32 · payload`, integers big-endian.
//!
//! The magic lets a reader find the next frame after a damaged one; the checksum covers the payload. The
//! magic's last byte is the version. Every later version keeps this head, so that a newer frame can be told
//! from a damaged one; whatever a newer program wrote is refused, since to skip it would be to lose it.
//!
//! Invariant: what stands inside a frame is never taken for one: texts can quote frames. A damaged or torn
//! frame is therefore skipped as a whole when its length is told twice, by it and by its record.

use std::cell::Cell;
use std::collections::HashMap;

use bytes::Bytes;

use crate::codec;
use crate::error::{Error, Result};
use crate::key::Address;
use crate::message::EntryId;

const MAGIC: [u8; 4] = *b"SBJ1";
const HEAD: usize = 12;

/// Bytes of an entry's frame before its session key.
const ENTRY_HEAD: usize = HEAD + 1 + 16 + 8 + 4;

/// What is written.
pub(crate) enum Frame<'a> {
    /// An entry accepted for a session.
    Append {
        session: &'a Address,
        id: EntryId,
        epoch: u64,
        record: &'a Bytes,
    },
    /// An entry stands in another epoch now.
    Placed { id: EntryId, epoch: u64 },
    /// An entry was refused.
    Abort { id: EntryId },
}

thread_local! {
    /// Where frames are encoded, one for each append.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Above this the room for encoding is given back.
const SCRATCH_KEPT: usize = 64 << 10;

/// Encodes a frame and hands it out.
pub(super) fn with_frame<T>(what: &Frame<'_>, then: impl FnOnce(&[u8]) -> T) -> T {
    let mut out = SCRATCH.take();
    out.clear();
    write_frame(&mut out, what);
    let done = then(&out);
    if out.capacity() <= SCRATCH_KEPT {
        SCRATCH.set(out);
    }
    done
}

/// Encodes a frame.
pub(crate) fn frame(what: &Frame<'_>) -> Vec<u8> {
    with_frame(what, <[u8]>::to_vec)
}

fn write_frame(out: &mut Vec<u8>, frame: &Frame<'_>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 8]);
    match frame {
        Frame::Append {
            session,
            id,
            epoch,
            record,
        } => {
            head(out, b'A', *id, *epoch);
            let key = session.as_str().as_bytes();
            out.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(key);
            out.extend_from_slice(record);
        }
        Frame::Placed { id, epoch } => head(out, b'P', *id, *epoch),
        Frame::Abort { id } => head(out, b'X', *id, 0),
    }
    let (front, payload) = out.split_at_mut(HEAD);
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let crc = crc32fast::hash(payload).to_be_bytes();
    if let Some(place) = front.get_mut(4..) {
        place
            .iter_mut()
            .zip(length.iter().chain(&crc))
            .for_each(|(to, from)| *to = *from);
    }
}

fn head(out: &mut Vec<u8>, kind: u8, id: EntryId, epoch: u64) {
    out.push(kind);
    out.extend_from_slice(&id.0.to_be_bytes());
    out.extend_from_slice(&epoch.to_be_bytes());
}

/// An entry found in a journal that an earlier process left.
#[derive(Debug, Clone)]
pub(crate) struct Replayed {
    /// In which segment it stands.
    pub(super) segment: u64,
    /// The session.
    pub(crate) session: Address,
    /// The entry's identity.
    pub(crate) id: EntryId,
    /// The last epoch in which it is known to have been placed, or the one it was written in.
    pub(crate) epoch: u64,
    /// The encoded entry.
    pub(crate) record: Bytes,
}

/// Reads segments in order.
#[derive(Default)]
pub(crate) struct Replay {
    entries: Vec<Option<Replayed>>,
    index: HashMap<EntryId, usize>,
}

impl Replay {
    /// Takes in a segment's bytes; returns how many could not be read (a torn end is not counted).
    ///
    /// # Errors
    /// [`Error::Decode`] when a newer program wrote it.
    pub(crate) fn read(&mut self, segment: u64, mut bytes: &[u8]) -> Result<usize> {
        let (mut damaged, mut skipped) = (0, 0);
        // A segment is of one version throughout: further on, another last byte is damage.
        if let Some(version) = newer(bytes) {
            return Err(unknown(format_args!("its frames are of version {version}")));
        }
        while !bytes.is_empty() {
            if let Some((payload, rest)) = next(bytes) {
                self.take(segment, payload)?;
                damaged += std::mem::take(&mut skipped);
                bytes = rest;
            } else {
                let over = told(bytes).unwrap_or(1).min(bytes.len());
                let rest = bytes.get(over..).unwrap_or_default();
                let jump = rest
                    .windows(MAGIC.len())
                    .position(|w| w == MAGIC)
                    .unwrap_or(rest.len());
                skipped += over + jump;
                bytes = rest.get(jump..).unwrap_or_default();
            }
        }
        Ok(damaged)
    }

    fn take(&mut self, segment: u64, payload: &[u8]) -> Result<()> {
        let mut rest = payload;
        let (Some(kind), Some(id), Some(epoch)) =
            (u8_of(&mut rest), u128_of(&mut rest), u64_of(&mut rest))
        else {
            return Err(unknown("a sound frame of it cannot be read"));
        };
        let id = EntryId(id);
        match kind {
            b'A' => {
                let split = u32_of(&mut rest).and_then(|len| rest.split_at_checked(len as usize));
                let Some((key, record)) = split else {
                    return Err(unknown("a sound frame of it cannot be read"));
                };
                if let Some(version) = record.first().filter(|v| **v > codec::SEALED) {
                    return Err(unknown(format_args!(
                        "it holds a record of format version {version}"
                    )));
                }
                let session = Address::from_text(&String::from_utf8_lossy(key));
                let record = Bytes::copy_from_slice(record);
                let replayed = Replayed {
                    segment,
                    session,
                    id,
                    epoch,
                    record,
                };
                // Written again after a failed fsync: the later copy counts, in the earlier's place.
                match self.index.get(&id).and_then(|i| self.entries.get_mut(*i)) {
                    Some(place) => *place = Some(replayed),
                    None => {
                        self.index.insert(id, self.entries.len());
                        self.entries.push(Some(replayed));
                    }
                }
            }
            b'P' => {
                if let Some(Some(e)) = self.index.get(&id).and_then(|i| self.entries.get_mut(*i)) {
                    e.epoch = epoch;
                }
            }
            b'X' => {
                if let Some(place) = self.index.get(&id).and_then(|i| self.entries.get_mut(*i)) {
                    *place = None;
                }
            }
            _ => return Err(unknown(format_args!("it holds a frame of kind {kind}"))),
        }
        Ok(())
    }

    /// The entries in the order in which they were accepted, without those refused.
    pub(crate) fn finish(self) -> Vec<Replayed> {
        self.entries.into_iter().flatten().collect()
    }
}

fn unknown(why: impl std::fmt::Display) -> Error {
    Error::decode("a journal's segment", why)
}

/// The version of a sound frame that stands here, when it is a newer one.
fn newer(bytes: &[u8]) -> Option<char> {
    let (&version, _) = bytes.strip_prefix(b"SBJ")?.split_first()?;
    (version > b'1' && framed(bytes).is_some()).then(|| char::from(version))
}

/// The length of an entry's frame, when it says the same as the record in it.
fn told(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes.strip_prefix(&MAGIC)?;
    let length = u32_of(&mut rest)? as usize;
    let _crc = u32_of(&mut rest)?;
    let kind = u8_of(&mut rest)?;
    let (_id, _epoch) = (u128_of(&mut rest)?, u64_of(&mut rest)?);
    let key = u32_of(&mut rest)? as usize;
    let record = codec::length(rest.get(key..)?)?;
    let whole = HEAD.checked_add(length)?;
    let parts = ENTRY_HEAD.checked_add(key)?.checked_add(record)?;
    (kind == b'A' && whole == parts).then_some(whole)
}

/// The first frame's payload and what follows it, when a whole, undamaged frame stands here.
fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    bytes.starts_with(&MAGIC).then(|| framed(bytes)).flatten()
}

fn framed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes.get(MAGIC.len()..)?;
    let (length, crc) = (u32_of(&mut rest)?, u32_of(&mut rest)?);
    let (payload, rest) = rest.split_at_checked(length as usize)?;
    // Nothing sums up to 0, as what a power cut left unwritten reads: no frame is empty.
    (!payload.is_empty() && crc32fast::hash(payload) == crc).then_some((payload, rest))
}

fn u8_of(bytes: &mut &[u8]) -> Option<u8> {
    bytes.split_off_first().copied()
}

fn u32_of(bytes: &mut &[u8]) -> Option<u32> {
    bytes
        .split_off(..4)?
        .try_into()
        .ok()
        .map(u32::from_be_bytes)
}

fn u64_of(bytes: &mut &[u8]) -> Option<u64> {
    bytes
        .split_off(..8)?
        .try_into()
        .ok()
        .map(u64::from_be_bytes)
}

fn u128_of(bytes: &mut &[u8]) -> Option<u128> {
    bytes
        .split_off(..16)?
        .try_into()
        .ok()
        .map(u128::from_be_bytes)
}
