//! A whole hot log, decoded.

use bytes::Bytes;

use crate::codec::Codec;
use crate::error::Result;
use crate::hot::{LogEntry, Place, Record};
use crate::key::Address;
use crate::message::Entry;
use crate::session::extent::Extent;
use crate::summary::Summary;

/// A log entry decoded, with what is needed to copy it.
pub(super) struct Decoded {
    pub(super) number: u64,
    pub(super) entry: Entry,
    pub(super) record: Bytes,
    /// Of what stood before it in its log, the highest number under which the store has some; 0 for nothing.
    pub(super) after: u64,
}

/// A whole log decoded.
pub(super) struct Log {
    pub(super) last: Place,
    pub(super) summary: Summary,
    pub(super) complete: bool,
    /// The newest summary that a trimming append carried, and the number up to which it stands.
    pub(super) carried: Option<(u64, Summary)>,
    pub(super) entries: Vec<Decoded>,
    pub(super) extent: Extent,
    /// False when the log's beginning is gone and no summary stands for it.
    pub(super) whole: bool,
}

impl Log {
    /// Decodes a log of the session.
    pub(super) fn decode(codec: &Codec, session: &Address, entries: &[LogEntry]) -> Result<Self> {
        let last = entries.last().map_or(Place::default(), |e| e.at);
        let mut log = Self {
            last,
            summary: Summary::default(),
            complete: false,
            carried: None,
            entries: Vec::new(),
            extent: Extent::default(),
            whole: false,
        };
        let mut next = None;
        for e in entries {
            let contiguous = next.is_none_or(|n| n == e.at.number) && e.at.epoch == last.epoch;
            next = Some(e.at.number + 1);
            match &e.record {
                Record::Snapshot(_) => log.extent = Extent::of_copy(e.at.number, e.bytes()),
                Record::Entry(_) => log.extent.push(e.at.number, e.bytes()),
            }
            match &e.record {
                Record::Snapshot(bytes) => {
                    let snapshot = codec.read_snapshot(session, bytes)?;
                    log.summary = snapshot.summary;
                    log.complete = snapshot.complete;
                    log.whole = contiguous;
                    for (number, record) in snapshot.entries {
                        let entry = codec.read_entry(session, &record)?;
                        log.entries.push(Decoded {
                            number,
                            entry,
                            record,
                            after: 0,
                        });
                    }
                }
                Record::Entry(record) => {
                    let entry = codec.read_entry(session, record)?;
                    let number = e.at.number;
                    if let Some(carry) = &e.carry {
                        let summary = codec.read_summary(session, carry)?;
                        log.carried = Some((number - 1, summary));
                    }
                    log.whole = contiguous && (log.whole || e.carry.is_some());
                    log.entries.push(Decoded {
                        number,
                        entry,
                        record: record.clone(),
                        after: 0,
                    });
                }
            }
        }
        Ok(log)
    }
}
