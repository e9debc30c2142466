//! Values of any size over sled's small ones, and changes gathered into one atomic batch.
//!
//! sled does not notice every lost page: some keys are then gone, or stand as they were before. So what
//! belongs together carries the sum of its values' [`print`]s, and is compared with it before it is used.
//!
//! Invariant: no sled value is above [`CHUNK`] bytes (larger ones become blob files, which sled never
//! syncs), and a value that was damaged, or stands under another key than the one it was written
//! for, is never returned: each ends with a checksum over key and value. Knows no meaning of either.

use std::collections::{HashMap, HashSet};

use ::sled::{Batch, IVec, Tree};
use bytes::Bytes;
use parking_lot::Mutex;

use super::fault::{Fault, Outcome};
use super::keys;
use crate::codec::Codec;
use crate::error::Error;

/// The largest value given to sled; a value ends with the first chunk that is shorter.
pub(super) const CHUNK: usize = 4096;

/// Bytes of checksum at a value's end.
const SEAL: usize = 4;

pub(super) fn chunk_key(key: &[u8], chunk: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 2);
    out.extend_from_slice(key);
    out.extend_from_slice(&chunk.to_be_bytes());
    out
}

/// The value under `key`.
pub(super) fn read(tree: &Tree, key: &[u8]) -> Outcome<Option<Bytes>> {
    Ok(load(tree, key)?.map(|(value, _)| value))
}

/// A value and its number of chunks.
fn load(tree: &Tree, key: &[u8]) -> Outcome<Option<(Bytes, u16)>> {
    let mut whole = Vec::new();
    for chunk in 0..u16::MAX {
        match tree.get(chunk_key(key, chunk))? {
            Some(part) if part.len() > CHUNK => return Err(Fault::damage("a chunk is too long")),
            Some(part) => {
                whole.extend_from_slice(&part);
                if part.len() < CHUNK {
                    return Ok(Some((unseal(key, whole)?, chunk + 1)));
                }
            }
            None if chunk == 0 => return Ok(None),
            None => return Err(Fault::damage("a part of it is missing")),
        }
    }
    Err(Fault::damage("it has no end"))
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; SEAL] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(value);
    crc.finalize().to_be_bytes()
}

/// 64 bits that stand for a value under its key; sums of them stand for many. Part of the stored format.
pub(super) fn print(key: &[u8], value: &[u8]) -> u64 {
    // The finalizer of splitmix64 (Steele, Lea, Flood 2014), so that sums of checksums do not cancel out.
    let mut z = u64::from(u32::from_be_bytes(checksum(key, value)));
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// How many chunks a value has.
pub(super) fn chunks(value: &[u8]) -> u16 {
    u16::try_from((value.len() + SEAL) / CHUNK + 1).unwrap_or(u16::MAX)
}

/// The bytes of a key and its value as sled gets them, which is what a store's live size counts.
pub(super) fn size(key: &[u8], value: &[u8]) -> u64 {
    let whole = value.len() + SEAL;
    // Every chunk has its own key, and the last one is shorter than a full one.
    (whole + (whole / CHUNK + 1) * (key.len() + 2)) as u64
}

/// The sum of the prints of all that starts with one of the prefixes.
pub(super) fn sum_under(tree: &Tree, prefixes: &[Vec<u8>]) -> Outcome<u64> {
    let mut sum = 0_u64;
    for prefix in prefixes {
        for item in under(tree, prefix) {
            let (key, value) = item?;
            sum = sum.wrapping_add(print(&key, &value));
        }
    }
    Ok(sum)
}

fn unseal(key: &[u8], mut whole: Vec<u8>) -> Outcome<Bytes> {
    let len = whole.len().checked_sub(SEAL);
    let sound = len
        .and_then(|len| whole.split_at_checked(len))
        .is_some_and(|(value, seal)| seal == checksum(key, value));
    if !sound {
        return Err(Fault::damage("its checksum is wrong"));
    }
    whole.truncate(len.unwrap_or_default());
    Ok(whole.into())
}

/// Every key and value from `from` (inclusive) to `to` (exclusive); either way round.
pub(super) fn scan<'t>(
    tree: &'t Tree,
    from: &[u8],
    to: &[u8],
) -> impl DoubleEndedIterator<Item = Outcome<(Vec<u8>, Bytes)>> + use<'t> {
    tree.range(from.to_vec()..to.to_vec())
        .filter_map(move |item| whole(tree, item).transpose())
}

/// Every key and value that starts with `prefix`; either way round.
pub(super) fn under<'t>(
    tree: &'t Tree,
    prefix: &[u8],
) -> impl DoubleEndedIterator<Item = Outcome<(Vec<u8>, Bytes)>> + use<'t> {
    scan(tree, prefix, &keys::after(prefix))
}

/// The value whose first chunk this is; `None` for any other chunk.
fn whole(tree: &Tree, item: ::sled::Result<(IVec, IVec)>) -> Outcome<Option<(Vec<u8>, Bytes)>> {
    let (raw, first) = item?;
    let Some((key, chunk)) = raw.split_last_chunk::<2>() else {
        return Err(Fault::damage("a key is too short"));
    };
    if *chunk != [0, 0] {
        return Ok(None);
    }
    let value = if first.len() < CHUNK {
        unseal(key, first.to_vec())?
    } else {
        read(tree, key)?.ok_or_else(|| Fault::damage("it is gone"))?
    };
    Ok(Some((key.to_vec(), value)))
}

/// What was read and what is to be written, in one atomic step. Scans do not see what it is to write.
#[derive(Debug)]
pub(super) struct Txn<'t> {
    pub(super) tree: &'t Tree,
    /// Sessions (by number) whose sum was compared since sled was opened.
    pub(super) verified: &'t Verified,
    pub(super) codec: &'t Codec,
    cells: HashMap<Vec<u8>, Cell>,
    bytes: usize,
}

/// Sessions by number.
pub(super) type Verified = Mutex<HashSet<u64>>;

#[derive(Debug, Default)]
struct Cell {
    value: Option<Bytes>,
    chunks: u16,
    dirty: bool,
    /// The print of what is stored; 0 for nothing.
    was: u64,
    /// The bytes of key and value that are stored.
    was_bytes: u64,
}

impl<'t> Txn<'t> {
    pub(super) fn new(tree: &'t Tree, verified: &'t Verified, codec: &'t Codec) -> Self {
        Self {
            tree,
            verified,
            codec,
            cells: HashMap::new(),
            bytes: 0,
        }
    }

    fn cell(&mut self, key: Vec<u8>) -> Outcome<&mut Cell> {
        use std::collections::hash_map::Entry;
        match self.cells.entry(key) {
            Entry::Occupied(cell) => Ok(cell.into_mut()),
            Entry::Vacant(place) => {
                let loaded = load(self.tree, place.key())?;
                let chunks = loaded.as_ref().map_or(0, |(_, chunks)| *chunks);
                let was = loaded.as_ref().map(|(value, _)| print(place.key(), value));
                let bytes = loaded.as_ref().map(|(value, _)| size(place.key(), value));
                Ok(place.insert(Cell {
                    was: was.unwrap_or_default(),
                    was_bytes: bytes.unwrap_or_default(),
                    value: loaded.map(|(value, _)| value),
                    chunks,
                    dirty: false,
                }))
            }
        }
    }

    /// The value as of this step.
    pub(super) fn get(&mut self, key: Vec<u8>) -> Outcome<Option<Bytes>> {
        Ok(self.cell(key)?.value.clone())
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Bytes) -> Outcome<()> {
        if value.len() / CHUNK >= usize::from(u16::MAX) - 1 {
            return Err(Fault::Caller(Error::TooLarge {
                what: "a stored value",
                size: value.len(),
                limit: CHUNK * usize::from(u16::MAX),
            }));
        }
        self.set(key, Some(value))
    }

    pub(super) fn remove(&mut self, key: Vec<u8>) -> Outcome<()> {
        self.set(key, None)
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Bytes>) -> Outcome<()> {
        let len = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        let bytes = key.len() + len(&value);
        let cell = self.cell(key)?;
        if cell.value == value {
            return Ok(());
        }
        // What goes is work for sled, too: it writes its page anew.
        let bytes = bytes + len(&cell.value);
        cell.value = value;
        cell.dirty = true;
        self.bytes += bytes;
        Ok(())
    }

    /// About how many bytes it gives to sled and takes away there, at most; 0 when there is nothing to do.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// By how much the sum over the keys of which `counts` is true changes.
    pub(super) fn change(&self, counts: impl Fn(&[u8]) -> bool) -> u64 {
        let dirty = self.cells.iter().filter(|(k, c)| c.dirty && counts(k));
        dirty.fold(0, |sum: u64, (key, cell)| {
            let is = cell.value.as_ref().map(|value| print(key, value));
            sum.wrapping_add(is.unwrap_or_default())
                .wrapping_sub(cell.was)
        })
    }

    /// What is to be written (`None`: removed), by key.
    pub(super) fn dirty(&self) -> impl Iterator<Item = (&[u8], Option<&Bytes>)> {
        let dirty = self.cells.iter().filter(|(_, cell)| cell.dirty);
        dirty.map(|(key, cell)| (key.as_slice(), cell.value.as_ref()))
    }

    /// What `bytes` of keys and values become with the changes.
    pub(super) fn resized(&self, bytes: u64) -> u64 {
        let dirty = self.cells.iter().filter(|(_, cell)| cell.dirty);
        dirty.fold(bytes, |bytes, (key, cell)| {
            let is = cell.value.as_ref().map(|value| size(key, value));
            (bytes + is.unwrap_or_default()).saturating_sub(cell.was_bytes)
        })
    }

    /// The changes; `None` when there are none.
    pub(super) fn into_batch(self) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut any = false;
        for (key, cell) in self.cells.into_iter().filter(|(_, cell)| cell.dirty) {
            any = true;
            let written = cell
                .value
                .map_or(0, |value| write_chunks(&mut batch, &key, &value));
            for stale in written..cell.chunks {
                batch.remove(chunk_key(&key, stale));
            }
        }
        any.then_some(batch)
    }
}

/// Writes the chunks of a value and returns how many there are.
pub(super) fn write_chunks(batch: &mut Batch, key: &[u8], value: &[u8]) -> u16 {
    let mut sealed = value.to_vec();
    sealed.extend_from_slice(&checksum(key, value));
    let mut next = 0;
    for part in sealed.chunks(CHUNK) {
        batch.insert(chunk_key(key, next), part);
        next += 1;
    }
    if sealed.len().is_multiple_of(CHUNK) {
        batch.insert(chunk_key(key, next), &[] as &[u8]);
        next += 1;
    }
    next
}
