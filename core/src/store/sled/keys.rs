//! Where things stand in the tree: one kind byte, then fixed-width numbers, so that order is meaning.
//!
//! Invariant: two different things never have the same key. Part of the stored format. Knows no value.

use sha2::{Digest, Sha256};

use crate::message::EntryId;

/// The store's own facts, by name.
pub(super) const META: u8 = b'm';
/// Printed session key → row.
pub(super) const ROW: u8 = b's';
/// Session number → printed session key.
pub(super) const NAME: u8 = b'n';
/// Session number, entry number → encoded entry.
pub(super) const LOG: u8 = b'l';
/// Session number, number of the first of some entries → all of them, packed.
pub(super) const PACKED: u8 = b'z';
/// Session number, entry id → entry number.
pub(super) const ID: u8 = b'i';
/// Session number, hash of a platform id → what is known of it.
pub(super) const PLATFORM: u8 = b'p';
/// Author hash, session number → nothing.
pub(super) const AUTHOR: u8 = b'a';
/// Session number, author hash → nothing.
pub(super) const SPOKE: u8 = b'b';

/// Session number, first of some gone platform ids' short hashes → all of them, in order.
pub(super) const GONE: u8 = b'g';
/// Session number, first of some entry ids → these and their numbers, in order.
pub(super) const KNOWN: u8 = b'k';

/// The kinds that a session's own sum covers.
pub(super) const OWN: [u8; 7] = [LOG, PACKED, ID, PLATFORM, SPOKE, GONE, KNOWN];

/// A printed key up to this long stands as it is; sled keeps keys whole, so they must stay small.
const PLAIN: usize = 1024;
const SHORTENED: usize = 900;

pub(super) fn meta(name: &str) -> Vec<u8> {
    join(META, &[name.as_bytes()])
}

/// Where what a policy has learned is kept.
pub(super) fn learned(name: &str) -> Vec<u8> {
    join(META, &[b"learned/", name.as_bytes()])
}

/// The key of a session's row. A long or unprintable text is cut and completed with its hash, which
/// no printable text can look like.
pub(super) fn row(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    if bytes.len() <= PLAIN && bytes.iter().all(u8::is_ascii_graphic) {
        return join(ROW, &[bytes]);
    }
    let head: Vec<u8> = bytes
        .iter()
        .take(SHORTENED)
        .map(|b| if b.is_ascii_graphic() { *b } else { b'!' })
        .collect();
    join(ROW, &[&head, &[0x7f], &Sha256::digest(bytes)])
}

pub(super) fn name(sid: u64) -> Vec<u8> {
    join(NAME, &[&sid.to_be_bytes()])
}

pub(super) fn log(sid: u64, number: u64) -> Vec<u8> {
    join(LOG, &[&sid.to_be_bytes(), &number.to_be_bytes()])
}

/// The key of a block of entries that starts with `first`; also where to look for it.
pub(super) fn packed(sid: u64, first: u64) -> Vec<u8> {
    join(PACKED, &[&sid.to_be_bytes(), &first.to_be_bytes()])
}

pub(super) fn id(sid: u64, id: EntryId) -> Vec<u8> {
    join(ID, &[&sid.to_be_bytes(), &id.0.to_be_bytes()])
}

pub(super) fn platform(sid: u64, id: &str) -> Vec<u8> {
    join(PLATFORM, &[&sid.to_be_bytes(), &Sha256::digest(id)])
}

pub(super) fn author(hash: u128, sid: u64) -> Vec<u8> {
    join(AUTHOR, &[&hash.to_be_bytes(), &sid.to_be_bytes()])
}

pub(super) fn spoke(sid: u64, hash: u128) -> Vec<u8> {
    join(SPOKE, &[&sid.to_be_bytes(), &hash.to_be_bytes()])
}

/// The key of a block of [`GONE`] or [`KNOWN`] that starts with `first`; also where to look for it.
pub(super) fn block(kind: u8, sid: u64, first: u128) -> Vec<u8> {
    join(kind, &[&sid.to_be_bytes(), &first.to_be_bytes()])
}

/// The first half of a platform id's hash, which is enough to tell a session's ids apart: a collision
/// takes 2^64 attempts, and costs whoever made it one message of their own.
pub(super) fn short_hash(id: &str) -> u128 {
    wide_at(&Sha256::digest(id), 0).unwrap_or_default()
}

/// The kinds of which the store keeps one sum over all sessions.
pub(super) const COMMON: [u8; 4] = [META, ROW, NAME, AUTHOR];

/// The key that holds step and sum, which the sum cannot cover.
pub(super) const STEP: &str = "step";

/// True for what the common sum covers.
pub(super) fn is_common(key: &[u8]) -> bool {
    key.first().is_some_and(|kind| COMMON.contains(kind)) && key != meta(STEP)
}

/// All keys of a kind and session.
pub(super) fn of_session(kind: u8, sid: u64) -> Vec<u8> {
    join(kind, &[&sid.to_be_bytes()])
}

/// All sessions of an author.
pub(super) fn of_author(hash: u128) -> Vec<u8> {
    join(AUTHOR, &[&hash.to_be_bytes()])
}

/// The eight bytes at `at`, as a number.
pub(super) fn number_at(key: &[u8], at: usize) -> Option<u64> {
    let bytes = key.get(at..at.checked_add(8)?)?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// The sixteen bytes at `at`, as a number.
pub(super) fn wide_at(key: &[u8], at: usize) -> Option<u128> {
    let bytes = key.get(at..at.checked_add(16)?)?;
    Some(u128::from_be_bytes(bytes.try_into().ok()?))
}

/// The first key after all that start with `prefix`.
pub(super) fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end
}

fn join(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![kind];
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}
