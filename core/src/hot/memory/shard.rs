//! One shard of the in-process tier: records, their use order, their expiry order.
//!
//! Invariant: after each [`Shard::with`] the use order holds exactly the clean sessions that have a
//! log, the expiry order exactly the clean records that will expire, and the shared byte count is right.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashlink::LinkedHashMap;

use crate::hot::{LogEntry, Record as Payload, WriterId};
use crate::key::Address;

/// What an entry costs beside its bytes: the entry itself and its share of the queue.
const ENTRY_OVERHEAD: u64 = 96;
/// What a session costs beside its entries: map, use order, expiry order.
const SESSION_OVERHEAD: u64 = 384;
/// How many expired records one operation clears away at most.
const SWEEP: usize = 4;

/// All that is known of one session.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    /// The log; `None` when the session is not hot.
    pub(super) log: Option<VecDeque<LogEntry>>,
    /// The fence and when it vanishes.
    pub(super) fence: Option<(u64, Duration)>,
    /// Writers with something left to flush.
    pub(super) marks: BTreeSet<WriterId>,
    /// When the log expires, if no mark is set then.
    pub(super) expires_at: Option<Duration>,
    entries_bytes: u64,
}

impl Record {
    pub(super) fn push(&mut self, entry: LogEntry) {
        self.entries_bytes += weight(&entry);
        self.log.get_or_insert_default().push_back(entry);
    }

    /// Drops entries with smaller numbers from the front, never the last one.
    pub(super) fn trim(&mut self, below: u64) {
        let Some(log) = &mut self.log else { return };
        while log.len() > 1 && log.front().is_some_and(|e| e.at.number < below) {
            if let Some(entry) = log.pop_front() {
                self.entries_bytes -= weight(&entry);
            }
        }
    }

    pub(super) fn drop_log(&mut self) {
        self.log = None;
        self.expires_at = None;
        self.entries_bytes = 0;
    }

    /// As Redis does it: at the very end of its time it is still there.
    fn expire(&mut self, now: Duration) {
        if self.marks.is_empty() && self.expires_at.is_some_and(|at| at < now) {
            self.drop_log();
        }
        if self.fence.is_some_and(|(_, until)| until < now) {
            self.fence = None;
        }
    }

    fn due(&self) -> Option<Duration> {
        match (&self.log, self.marks.is_empty()) {
            (_, false) => None,
            (Some(_), true) => self.expires_at,
            (None, true) => self.fence.map(|(_, until)| until),
        }
    }

    fn is_empty(&self) -> bool {
        self.log.is_none() && self.fence.is_none() && self.marks.is_empty()
    }

    /// True when it is neither in the use order nor in the expiry order: a writer has marked it.
    fn is_unordered(&self) -> bool {
        !self.marks.is_empty()
    }

    fn evictable(&self) -> bool {
        self.log.is_some() && self.marks.is_empty()
    }

    fn bytes(&self, address: &Address) -> u64 {
        SESSION_OVERHEAD + size(address.as_str().len()) + self.entries_bytes
    }
}

fn weight(entry: &LogEntry) -> u64 {
    let (Payload::Entry(body) | Payload::Snapshot(body)) = &entry.record;
    let carry = entry.carry.as_ref().map_or(0, bytes::Bytes::len);
    ENTRY_OVERHEAD + size(body.len() + carry)
}

fn size(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A shard; its owner locks it.
#[derive(Debug, Default)]
pub(super) struct Shard {
    records: HashMap<Address, Record, foldhash::fast::RandomState>,
    /// Clean sessions with a log, least recently used first, and when each was used.
    clean: LinkedHashMap<Address, u64>,
    due: BTreeSet<(Duration, Address)>,
}

/// What an operation on a shard needs to know of the whole tier.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now<'a> {
    pub(super) time: Duration,
    /// A number that rises with every operation of the tier.
    pub(super) tick: u64,
    pub(super) total: &'a AtomicU64,
}

impl Shard {
    /// Runs `f` on a session's record (a fresh one if there is none), then puts all orders right.
    pub(super) fn with<R>(
        &mut self,
        address: &Address,
        now: Now<'_>,
        f: impl FnOnce(&mut Record) -> R,
    ) -> R {
        // A dirty session that stays one is in no order, and mostly it is one that is worked on: it is changed where it is.
        if let Some(record) = self.records.get_mut(address).filter(|r| r.is_unordered()) {
            let before = record.bytes(address);
            record.expire(now.time);
            let result = f(record);
            if record.is_unordered() {
                now.total
                    .fetch_add(record.bytes(address), Ordering::Relaxed);
                now.total.fetch_sub(before, Ordering::Relaxed);
            } else if let Some(record) = self.records.remove(address) {
                now.total.fetch_sub(before, Ordering::Relaxed);
                self.put(address.clone(), record, now);
            }
            return result;
        }
        let mut record = self.take(address, now.total).unwrap_or_default();
        record.expire(now.time);
        let result = f(&mut record);
        self.put(address.clone(), record, now);
        result
    }

    /// Clears away some of what has expired.
    pub(super) fn sweep(&mut self, now: Now<'_>) {
        for _ in 0..SWEEP {
            match self.due.first() {
                Some((at, address)) if *at < now.time => {
                    let address = address.clone();
                    if let Some(mut record) = self.take(&address, now.total) {
                        record.expire(now.time);
                        self.put(address, record, now);
                    }
                }
                _ => return,
            }
        }
    }

    /// When the least recently used clean session was used.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.clean.front().map(|(_, tick)| *tick)
    }

    /// Forgets the least recently used clean session. Its fence goes too, lest fences fill the tier: a
    /// hydration that misses its fence starts again.
    pub(super) fn evict_oldest(&mut self, now: Now<'_>) {
        if let Some(address) = self.clean.front().map(|(address, _)| address.clone()) {
            self.take(&address, now.total);
        }
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (&Address, &Record)> {
        self.records.iter()
    }

    /// Puts other contents in place.
    pub(super) fn replace(&mut self, records: Vec<(Address, Record)>, now: Now<'_>) {
        let old: Vec<Address> = self.records.keys().cloned().collect();
        for address in old {
            self.take(&address, now.total);
        }
        for (address, record) in records {
            self.put(address, record, now);
        }
    }

    fn take(&mut self, address: &Address, total: &AtomicU64) -> Option<Record> {
        let record = self.records.remove(address)?;
        total.fetch_sub(record.bytes(address), Ordering::Relaxed);
        if let Some(at) = record.due() {
            self.due.remove(&(at, address.clone()));
        }
        self.clean.remove(address);
        Some(record)
    }

    fn put(&mut self, address: Address, record: Record, now: Now<'_>) {
        if record.is_empty() {
            return;
        }
        now.total
            .fetch_add(record.bytes(&address), Ordering::Relaxed);
        if let Some(at) = record.due() {
            self.due.insert((at, address.clone()));
        }
        if record.evictable() {
            self.clean.insert(address.clone(), now.tick);
        }
        self.records.insert(address, record);
    }
}
