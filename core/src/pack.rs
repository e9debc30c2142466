//! Idle contexts packed as a whole: messages of one conversation resemble each other far more than one of them does itself.
//!
//! zstd at its first level: contexts of 50 real messages become 2.7 to 3.1 times smaller, in 37 to 58 µs, and are back in
//! 15 to 20 µs; lz4 makes them 1.9 to 2.3 times smaller, in 17 to 33 and 4 to 6 µs
//! (`examples/packing_cost.rs`, on IRC and model chats).
//! Time is spent once for each time a conversation falls asleep, memory and disk all the while it sleeps.
//!
//! Invariant: what is unpacked is, byte for byte, what was packed. Knows no record.

use crate::error::{Error, Result};

/// Less than this is left as it is: it would hardly save more than keeping it otherwise costs.
pub(crate) const LEAST: usize = 1024;

/// Level 3 saves 0 to 4 % more on such short texts, and takes longer.
const LEVEL: i32 = 1;

/// Appends one part of what is to be packed: its length, then itself.
pub(crate) fn put(raw: &mut Vec<u8>, part: &[u8]) {
    // A part is a record, and no record is over 4 GiB.
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    raw.extend_from_slice(&length.to_be_bytes());
    raw.extend_from_slice(part);
}

/// The next part; `None` at the end, and where what is left is cut short.
pub(crate) fn take<'a>(raw: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = raw.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *raw = rest;
    Some(part)
}

/// Packs `raw`; `None` when that is not worth it: it is small, or it hardly gets smaller, as what is encrypted.
pub(crate) fn pack(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.len() < LEAST {
        return None;
    }
    squeeze(raw).filter(|packed| packed.len() < raw.len() / 8 * 7)
}

/// The same, whether it is worth it or not.
pub(crate) fn squeeze(raw: &[u8]) -> Option<Vec<u8>> {
    zstd::bulk::compress(raw, LEVEL).ok()
}

/// What was packed, if it is at most `most` bytes.
///
/// # Errors
/// [`Error::Decode`] when it is damaged or larger.
pub(crate) fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>> {
    zstd::bulk::decompress(packed, most).map_err(|e| Error::decode("a packed context", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Vec<u8>> {
        (0..50_u32)
            .map(|n| format!("{n}: and then somebody said something {}", n * 7919).into_bytes())
            .chain([vec![], vec![0; 3]])
            .collect()
    }

    #[test]
    fn what_is_packed_comes_back_part_by_part() {
        let mut raw = Vec::new();
        parts().iter().for_each(|part| put(&mut raw, part));
        let packed = pack(&raw).unwrap();
        assert!(
            packed.len() * 2 < raw.len(),
            "{} of {}",
            packed.len(),
            raw.len()
        );
        let back = unpack(&packed, raw.len()).unwrap();
        let mut rest = back.as_slice();
        let taken: Vec<_> = std::iter::from_fn(|| take(&mut rest)).collect();
        assert_eq!(taken, parts());
        assert!(rest.is_empty());
    }

    #[test]
    fn what_is_small_or_does_not_get_smaller_is_left() {
        assert!(pack(&[b'a'; LEAST - 1]).is_none());
        assert!(pack(&[b'a'; LEAST]).is_some());
        let mut n = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            n = n
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            n.to_be_bytes()[0]
        })
        .take(8192)
        .collect();
        assert!(pack(&noise).is_none());
    }

    #[test]
    fn what_is_damaged_cut_short_or_too_large_is_an_error() {
        let raw = parts().concat();
        let packed = pack(&raw).unwrap();
        assert!(unpack(&packed, raw.len() - 1).is_err());
        assert!(unpack(&packed[..packed.len() - 1], raw.len()).is_err());
        assert!(unpack(b"nothing of the kind", raw.len()).is_err());
        let mut cut: &[u8] = &[0, 0, 0, 9, 1];
        assert!(take(&mut cut).is_none());
    }
}
