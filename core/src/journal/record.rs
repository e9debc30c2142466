//! The journal's frames: `magic "SBJ1" · length u32 · crc32 u32 · payload`, integers big-endian.
//!
//! The magic lets a reader find the next frame after a damaged one; the checksum covers the payload.

use std::collections::HashMap;

use bytes::Bytes;

use crate::key::Address;
use crate::message::EntryId;

const MAGIC: [u8; 4] = *b"SBJ1";
const HEAD: usize = 12;

/// What is written.
pub(super) enum Frame<'a> {
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

/// Encodes a frame.
pub(super) fn frame(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + 64);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 8]);
    match frame {
        Frame::Append {
            session,
            id,
            epoch,
            record,
        } => {
            head(&mut out, b'A', *id, *epoch);
            let key = session.as_str().as_bytes();
            out.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(key);
            out.extend_from_slice(record);
        }
        Frame::Placed { id, epoch } => head(&mut out, b'P', *id, *epoch),
        Frame::Abort { id } => head(&mut out, b'X', *id, 0),
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
    out
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
pub(super) struct Replay {
    entries: Vec<Option<Replayed>>,
    index: HashMap<EntryId, usize>,
}

impl Replay {
    /// Takes in a segment's bytes; returns how many could not be read (a torn end is not counted).
    pub(super) fn read(&mut self, segment: u64, mut bytes: &[u8]) -> usize {
        let (mut damaged, mut skipped) = (0, 0);
        while !bytes.is_empty() {
            if let Some((payload, rest)) = next(bytes) {
                self.take(segment, payload);
                damaged += std::mem::take(&mut skipped);
                bytes = rest;
            } else {
                let rest = bytes.get(1..).unwrap_or_default();
                let jump = rest
                    .windows(MAGIC.len())
                    .position(|w| w == MAGIC)
                    .unwrap_or(rest.len());
                skipped += 1 + jump;
                bytes = rest.get(jump..).unwrap_or_default();
            }
        }
        damaged
    }

    fn take(&mut self, segment: u64, payload: &[u8]) {
        let mut rest = payload;
        let (Some(kind), Some(id), Some(epoch)) =
            (u8_of(&mut rest), u128_of(&mut rest), u64_of(&mut rest))
        else {
            return;
        };
        let id = EntryId(id);
        match kind {
            b'A' => {
                let Some(length) = u32_of(&mut rest) else {
                    return;
                };
                let Some((key, record)) = rest.split_at_checked(length as usize) else {
                    return;
                };
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
            _ => {}
        }
    }

    /// The entries in the order in which they were accepted, without those refused.
    pub(super) fn finish(self) -> Vec<Replayed> {
        self.entries.into_iter().flatten().collect()
    }
}

/// The first frame's payload and what follows it, when a whole, undamaged frame stands here.
fn next(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes.strip_prefix(&MAGIC)?;
    let (length, crc) = (u32_of(&mut rest)?, u32_of(&mut rest)?);
    let (payload, rest) = rest.split_at_checked(length as usize)?;
    (crc32fast::hash(payload) == crc).then_some((payload, rest))
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
