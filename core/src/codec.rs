//! How records are written: a framed, checksummed, versioned MessagePack with named fields.
//!
//! ```text
//! version u8 · kind u8 · payload length u32 · crc32 u32 · session hash u64 · payload
//! ```
//! (integers big-endian; the checksum covers everything after it and the first six bytes.) Named
//! fields can be added and left out in later versions, both ways. The session hash makes a record
//! that turns up under another session's key an error instead of a leak. Knows no tier.

use std::cell::Cell;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

mod sealing;

pub use sealing::Codec;

/// The format's version; a record with one above [`SEALED`] is refused, untouched.
pub const VERSION: u8 = 1;

/// The version of a record whose texts are sealed; see [`Codec`].
pub const SEALED: u8 = 2;

/// Bytes before the payload.
pub const HEADER: usize = 18;

/// What a record is, so that one kind is never read as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An [`Entry`](crate::message::Entry).
    Entry,
    /// A [`Snapshot`](crate::summary::Snapshot).
    Snapshot,
    /// A [`Summary`](crate::summary::Summary).
    Summary,
    /// A store's own row.
    Row,
    /// A journal's own record.
    Journal,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Entry => b'E',
            Self::Snapshot => b'S',
            Self::Summary => b'C',
            Self::Row => b'R',
            Self::Journal => b'J',
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Entry => "an entry",
            Self::Snapshot => "a snapshot",
            Self::Summary => "a summary",
            Self::Row => "a store's row",
            Self::Journal => "a journal record",
        }
    }
}

thread_local! {
    /// Where records are encoded. Each is then copied into room of just its size: it may stay in memory for long.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Above this the room for encoding is given back.
const SCRATCH_KEPT: usize = 64 << 10;

/// Encodes `value` as a record of the session whose [`hash64`](crate::key::Address::hash64) is `session`.
///
/// # Errors
/// [`Error::Invalid`] when `value` cannot be serialised or is over 4 GiB.
pub fn encode<T: Serialize + ?Sized>(kind: Kind, session: u64, value: &T) -> Result<Bytes> {
    encode_as(VERSION, kind, session, value)
}

fn encode_as<T: Serialize + ?Sized>(
    version: u8,
    kind: Kind,
    session: u64,
    value: &T,
) -> Result<Bytes> {
    let mut out = SCRATCH.take();
    out.clear();
    let record = encode_in(&mut out, version, kind, session, value);
    if out.capacity() <= SCRATCH_KEPT {
        SCRATCH.set(out);
    }
    record
}

fn encode_in<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    version: u8,
    kind: Kind,
    session: u64,
    value: &T,
) -> Result<Bytes> {
    out.resize(HEADER, 0);
    rmp_serde::encode::write_named(out, value)
        .map_err(|e| Error::Invalid(format!("cannot encode {}: {e}", kind.name())))?;
    let length = u32::try_from(out.len() - HEADER)
        .map_err(|_| Error::Invalid(format!("{} is over 4 GiB", kind.name())))?;
    let mut head = [0u8; HEADER];
    head[0] = version;
    head[1] = kind.byte();
    head[2..6].copy_from_slice(&length.to_be_bytes());
    head[10..18].copy_from_slice(&session.to_be_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(head.get(..6).unwrap_or_default());
    crc.update(head.get(10..).unwrap_or_default());
    crc.update(out.get(HEADER..).unwrap_or_default());
    head[6..10].copy_from_slice(&crc.finalize().to_be_bytes());
    if let Some(place) = out.get_mut(..HEADER) {
        place.copy_from_slice(&head);
    }
    Ok(Bytes::copy_from_slice(out))
}

/// The length of the record that starts here, as its head tells it.
pub(crate) fn length(start: &[u8]) -> Option<usize> {
    let payload = start.get(2..6)?.try_into().ok().map(u32::from_be_bytes)?;
    HEADER.checked_add(payload as usize)
}

/// Decodes a record, checking version, kind, length, checksum and session.
///
/// # Errors
/// [`Error::Decode`] with what is wrong.
pub fn decode<T: DeserializeOwned>(kind: Kind, session: u64, record: &[u8]) -> Result<T> {
    decode_as(VERSION, kind, session, record)
}

/// The format version that a record says it has.
fn version(record: &[u8]) -> Option<u8> {
    record.first().copied()
}

fn decode_as<T: DeserializeOwned>(
    version: u8,
    kind: Kind,
    session: u64,
    record: &[u8],
) -> Result<T> {
    let bad = |why: &str| Error::decode(kind.name(), why);
    let (head, payload) = record
        .split_at_checked(HEADER)
        .ok_or_else(|| bad("it is cut short"))?;
    let field = |from: usize, to: usize| head.get(from..to).unwrap_or_default();
    match head.first() {
        Some(v) if *v == version => {}
        Some(&SEALED) => return Err(bad("it is encrypted, and no master key was given")),
        Some(v) if *v > SEALED => {
            return Err(Error::decode(
                kind.name(),
                format_args!(
                    "it has format version {v}, this program knows up to {SEALED}; use a newer one"
                ),
            ));
        }
        _ => return Err(bad("it is no record")),
    }
    if u32::from_be_bytes(field(2, 6).try_into().unwrap_or_default()) as usize != payload.len() {
        return Err(bad("its length is wrong"));
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(field(0, 6));
    crc.update(field(10, 18));
    crc.update(payload);
    if crc.finalize().to_be_bytes() != field(6, 10) {
        return Err(bad("its checksum is wrong"));
    }
    if head.get(1) != Some(&kind.byte()) {
        return Err(bad("it is of another kind"));
    }
    if session.to_be_bytes() != field(10, 18) {
        return Err(bad("it belongs to another session"));
    }
    unpack(kind.name(), payload)
}

/// Decodes what `what` names. What is wrong with it is told without any of it: serde quotes the value that it did not
/// expect, and that may be what somebody wrote.
pub(crate) fn unpack<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    use rmp_serde::decode::Error as Bad;
    rmp_serde::from_slice(bytes).map_err(|e| match e {
        Bad::Syntax(_) | Bad::Uncategorized(_) => Error::decode(what, "it is of another type"),
        other => Error::decode(what, other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Author, Body, Entry, EntryId, Message, State};

    fn entry() -> Entry {
        let message = Message::user(Author::new("x", "1"), "hi\0\r\n")
            .id("7")
            .at_ms(5);
        Entry {
            id: EntryId(u128::MAX - 3),
            at_ms: 9,
            body: Body::Messages(vec![Some(message.into()), None]),
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let state = Entry {
            body: Body::State(State {
                version: 3,
                value: Bytes::from_static(b"\0\xff"),
            }),
            ..entry()
        };
        for e in [
            entry(),
            state,
            Entry {
                body: Body::Void,
                ..entry()
            },
        ] {
            let bytes = encode(Kind::Entry, 42, &e).unwrap();
            assert_eq!(decode::<Entry>(Kind::Entry, 42, &bytes).unwrap(), e);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = encode(Kind::Entry, 42, &entry()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<Entry>(Kind::Entry, 42, &bad).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(
                decode::<Entry>(Kind::Entry, 42, &bytes[..len]).is_err(),
                "length {len}"
            );
        }
    }

    #[test]
    fn an_error_quotes_nothing_of_what_it_could_not_read() {
        let bytes = rmp_serde::to_vec_named("a secret").unwrap();
        let error = unpack::<Vec<u64>>("a state", &bytes).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn a_record_of_another_session_or_kind_is_refused() {
        let bytes = encode(Kind::Entry, 42, &entry()).unwrap();
        assert!(decode::<Entry>(Kind::Entry, 43, &bytes).is_err());
        assert!(decode::<Entry>(Kind::Row, 42, &bytes).is_err());
    }
}
