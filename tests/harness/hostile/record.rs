//! Records of every kind: a sound one reads back as itself, a damaged or foreign one never does.

use std::fmt::Debug;

use scrollback::codec::{HEADER, Kind, VERSION, decode, encode};
use scrollback::message::Entry;
use scrollback::summary::{Snapshot, Summary};
use scrollback::testing::formats;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

/// The session's hash in records that are made here.
const SESSION: u64 = 42;

/// Reads `data` as a record of every kind, as it is and as a payload under a sound head.
pub fn record(data: &[u8]) {
    let sealed = |kind| sealed(kind, SESSION, data);
    for record in [data, &sealed(b'E')] {
        check::<Entry>(Kind::Entry, record);
    }
    for record in [data, &sealed(b'S')] {
        check::<Snapshot>(Kind::Snapshot, record);
    }
    for record in [data, &sealed(b'C')] {
        check::<Summary>(Kind::Summary, record);
    }
    for record in [data, &sealed(b'J')] {
        let _ = decode::<IgnoredAny>(Kind::Journal, SESSION, record);
    }
    let _ = formats::is_row(data);
    let (row, mention) = formats::is_row(&self::sealed(b'R', 0, data));
    assert!(!row || !mention, "a record is two things");
}

/// A payload under the head that the codec's documentation tells.
pub(super) fn sealed(kind: u8, session: u64, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut head = vec![VERSION, kind];
    head.extend_from_slice(&length.to_be_bytes());
    let mut crc = crc32fast::Hasher::new();
    for part in [&head, &session.to_be_bytes()[..], payload] {
        crc.update(part);
    }
    head.extend_from_slice(&crc.finalize().to_be_bytes());
    head.extend_from_slice(&session.to_be_bytes());
    head.extend_from_slice(payload);
    head
}

fn check<T>(kind: Kind, record: &[u8])
where
    T: DeserializeOwned + Serialize + PartialEq + Debug,
{
    let Ok(value) = decode::<T>(kind, SESSION, record) else {
        return;
    };
    let again = encode(kind, SESSION, &value);
    let read = again.and_then(|bytes| decode::<T>(kind, SESSION, &bytes));
    assert_eq!(read.ok(), Some(value), "it does not read back as itself");
    refused::<T>(kind, SESSION + 1, record, "another session's");
    for other in [
        Kind::Entry,
        Kind::Snapshot,
        Kind::Summary,
        Kind::Row,
        Kind::Journal,
    ] {
        if other != kind {
            refused::<IgnoredAny>(other, SESSION, record, "another kind's");
        }
    }
    // One bit of each record, another one of each other record.
    let sum = record.iter().map(|b| usize::from(*b)).sum::<usize>();
    let mut damaged = record.to_vec();
    let at = sum % damaged.len();
    if let Some(byte) = damaged.get_mut(at) {
        *byte ^= 1 << (sum / HEADER % 8);
    }
    refused::<T>(kind, SESSION, &damaged, "a damaged");
}

fn refused<T: for<'de> Deserialize<'de>>(kind: Kind, session: u64, record: &[u8], what: &str) {
    let read = decode::<T>(kind, session, record);
    assert!(read.is_err(), "{what} record is read");
}
