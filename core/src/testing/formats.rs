//! The written formats without a journal or a store: frames to write, and what a reader makes of any bytes.
//!
//! Knows nothing that the formats do not tell.

use bytes::Bytes;

use crate::journal::record::{Frame, Replay, frame};
use crate::key::Address;
use crate::message::EntryId;

/// An entry that a replay found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The printed session key.
    pub session: String,
    /// The entry's identity.
    pub id: EntryId,
    /// The epoch in which it last stood.
    pub epoch: u64,
    /// The encoded entry.
    pub record: Bytes,
}

/// What a replay makes of one segment's bytes: the entries still wanted, and how many bytes it skipped as
/// damaged.
///
/// # Errors
/// As when a journal is opened: the segment is of a newer version.
pub fn replay(segment: &[u8]) -> crate::Result<(Vec<Found>, usize)> {
    let mut replay = Replay::default();
    let damaged = replay.read(1, segment)?;
    let found = replay.finish().into_iter().map(|r| Found {
        session: r.session.as_str().to_owned(),
        id: r.id,
        epoch: r.epoch,
        record: r.record,
    });
    Ok((found.collect(), damaged))
}

/// Whether the embedded store can read a record as a session's row, and as what is known of a platform id.
#[must_use]
pub fn is_row(record: &[u8]) -> (bool, bool) {
    crate::store::sled::is_row(record)
}

/// The frame of an accepted entry.
#[must_use]
pub fn append(session: &Address, id: EntryId, epoch: u64, record: &Bytes) -> Vec<u8> {
    frame(&Frame::Append {
        session,
        id,
        epoch,
        record,
    })
}

/// The frame of an entry that stands in another epoch now.
#[must_use]
pub fn placed(id: EntryId, epoch: u64) -> Vec<u8> {
    frame(&Frame::Placed { id, epoch })
}

/// The frame of a refused entry.
#[must_use]
pub fn abort(id: EntryId) -> Vec<u8> {
    frame(&Frame::Abort { id })
}
