//! What the tier knows of one session: its log, open or packed, its fence, its marks.
//!
//! Invariant: `entries_bytes` is what the log takes. Knows no order of sessions.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::hot::{LogEntry, Place, Record as Payload, WriterId};
use crate::pack;

/// What an entry costs beside its bytes: the entry itself and its share of the queue.
const ENTRY_OVERHEAD: u64 = 96;

/// All that is known of one session.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    /// `None` when the session is not hot.
    log: Option<Log>,
    /// The fence and when it vanishes.
    pub(super) fence: Option<(u64, Duration)>,
    /// Writers with something left to flush.
    pub(super) marks: BTreeSet<WriterId>,
    /// When the log expires, if no mark is set then.
    pub(super) expires_at: Option<Duration>,
    entries_bytes: u64,
}

#[derive(Debug, Clone)]
enum Log {
    Open(VecDeque<LogEntry>),
    Packed(Packed),
}

/// A log that nobody has used for a while.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    bytes: Box<[u8]>,
    /// What it is unpacked.
    raw: usize,
    last: Place,
}

impl Record {
    pub(super) const fn is_hot(&self) -> bool {
        self.log.is_some()
    }

    pub(super) const fn is_packed(&self) -> bool {
        matches!(self.log, Some(Log::Packed(_)))
    }

    /// Where the log ends.
    pub(super) fn last(&self) -> Option<Place> {
        match self.log.as_ref()? {
            Log::Open(entries) => Some(entries.back()?.at),
            Log::Packed(packed) => Some(packed.last),
        }
    }

    /// The log, which is open from then on.
    pub(super) fn entries(&mut self) -> Option<&mut VecDeque<LogEntry>> {
        if let Some(Log::Packed(packed)) = &self.log {
            let entries = packed.open();
            self.drop_entries();
            // What cannot be read back is not hot: the store has all of it, for only clean logs are packed.
            for entry in entries? {
                self.push(entry);
            }
        }
        match &mut self.log {
            Some(Log::Open(entries)) => Some(entries),
            _ => None,
        }
    }

    /// The log as it is now, to be packed; `None` when there is none, or it is.
    pub(super) fn open_log(&self) -> Option<&VecDeque<LogEntry>> {
        match &self.log {
            Some(Log::Open(entries)) => Some(entries),
            _ => None,
        }
    }

    /// Keeps what was made of the log in its place.
    pub(super) fn pack(&mut self, packed: Packed) {
        self.entries_bytes = size(packed.bytes.len()) + ENTRY_OVERHEAD;
        self.log = Some(Log::Packed(packed));
    }

    /// Begins a log with its first entry.
    pub(super) fn begin(&mut self, entry: LogEntry) {
        self.drop_log();
        self.push(entry);
    }

    /// One more entry of a log that is open or none yet.
    pub(super) fn push(&mut self, entry: LogEntry) {
        self.entries_bytes += weight(&entry);
        if let Log::Open(entries) = self.log.get_or_insert_with(|| Log::Open(VecDeque::new())) {
            entries.push_back(entry);
        }
    }

    /// Drops entries with smaller numbers from the front, never the last one.
    pub(super) fn trim(&mut self, below: u64) {
        let mut gone = 0;
        if let Some(entries) = self.entries() {
            while entries.len() > 1 && entries.front().is_some_and(|e| e.at.number < below) {
                gone += entries.pop_front().as_ref().map_or(0, weight);
            }
        }
        self.entries_bytes -= gone;
    }

    pub(super) fn drop_log(&mut self) {
        self.drop_entries();
        self.expires_at = None;
    }

    fn drop_entries(&mut self) {
        self.log = None;
        self.entries_bytes = 0;
    }

    /// As Redis does it: at the very end of its time it is still there.
    pub(super) fn expire(&mut self, now: Duration) {
        if self.marks.is_empty() && self.expires_at.is_some_and(|at| at < now) {
            self.drop_log();
        }
        if self.fence.is_some_and(|(_, until)| until < now) {
            self.fence = None;
        }
    }

    pub(super) fn due(&self) -> Option<Duration> {
        match (&self.log, self.marks.is_empty()) {
            (_, false) => None,
            (Some(_), true) => self.expires_at,
            (None, true) => self.fence.map(|(_, until)| until),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.log.is_none() && self.fence.is_none() && self.marks.is_empty()
    }

    /// True when it is neither in the use order nor in the expiry order: a writer has marked it.
    pub(super) fn is_unordered(&self) -> bool {
        !self.marks.is_empty()
    }

    pub(super) fn is_clean(&self) -> bool {
        self.log.is_some() && self.marks.is_empty()
    }

    pub(super) const fn entries_bytes(&self) -> u64 {
        self.entries_bytes
    }
}

/// What each part of an entry's head takes: epoch, number, whether it is a snapshot, whether it has a summary.
const HEAD: usize = 18;

impl Packed {
    /// A log packed; `None` when that is not worth it.
    pub(super) fn of(entries: &VecDeque<LogEntry>) -> Option<Self> {
        Self::by(pack::pack, entries)
    }

    /// The same, however little is gained: for tests, whose logs are short.
    #[cfg(test)]
    pub(super) fn of_any(entries: &VecDeque<LogEntry>) -> Option<Self> {
        Self::by(pack::squeeze, entries)
    }

    fn by(
        pack: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
        entries: &VecDeque<LogEntry>,
    ) -> Option<Self> {
        let last = entries.back()?.at;
        let bytes: usize = entries.iter().map(|e| e.bytes() + HEAD + 3 * 4).sum();
        let mut raw = Vec::with_capacity(bytes);
        for entry in entries {
            let (snapshot, body) = match &entry.record {
                Payload::Entry(body) => (0, body),
                Payload::Snapshot(body) => (1, body),
            };
            let mut head = [0; HEAD];
            head[..8].copy_from_slice(&entry.at.epoch.to_be_bytes());
            head[8..16].copy_from_slice(&entry.at.number.to_be_bytes());
            head[16] = snapshot;
            head[17] = u8::from(entry.carry.is_some());
            pack::put(&mut raw, &head);
            pack::put(&mut raw, body);
            if let Some(carry) = &entry.carry {
                pack::put(&mut raw, carry);
            }
        }
        Some(Self {
            bytes: pack(&raw)?.into(),
            raw: raw.len(),
            last,
        })
    }

    /// The log; each entry for itself, so that one which is trimmed is given back.
    fn open(&self) -> Option<Vec<LogEntry>> {
        let raw = pack::unpack(&self.bytes, self.raw).ok()?;
        let mut rest = raw.as_slice();
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let head: [u8; HEAD] = pack::take(&mut rest)?.try_into().ok()?;
            let number = |at| {
                head.get(at..at + 8)?
                    .try_into()
                    .ok()
                    .map(u64::from_be_bytes)
            };
            let body = Bytes::copy_from_slice(pack::take(&mut rest)?);
            let carry = match head[17] {
                0 => None,
                _ => Some(Bytes::copy_from_slice(pack::take(&mut rest)?)),
            };
            entries.push(LogEntry {
                at: Place::new(number(0)?, number(8)?),
                record: match head[16] {
                    0 => Payload::Entry(body),
                    _ => Payload::Snapshot(body),
                },
                carry,
            });
        }
        Some(entries)
    }
}

fn weight(entry: &LogEntry) -> u64 {
    ENTRY_OVERHEAD + size(entry.bytes())
}

fn size(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
