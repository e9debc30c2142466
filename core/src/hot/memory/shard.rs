//! One shard of the in-process tier: records, their use order, their expiry order.
//!
//! Invariant: after each [`Shard::with`] the use order holds exactly the clean sessions that have a
//! log, the expiry order exactly the clean records that will expire, and the shared byte count is right.
//! What is awake are clean sessions whose logs nobody has tried to pack since they were used.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashlink::LinkedHashMap;

use super::record::{Packed, Record};
use crate::hot::LogEntry;
use crate::key::Address;

/// What a session costs beside its entries: map, use order, expiry order.
const SESSION_OVERHEAD: u64 = 384;
/// How many expired records one operation clears away at most.
const SWEEP: usize = 4;

/// A log that may be worth packing.
#[derive(Debug)]
pub(super) struct Asleep {
    pub(super) address: Address,
    pub(super) used: u64,
    pub(super) log: VecDeque<LogEntry>,
}

/// A shard; its owner locks it.
#[derive(Debug, Default)]
pub(super) struct Shard {
    records: HashMap<Address, Record, foldhash::fast::RandomState>,
    /// Clean sessions with a log, least recently used first, and when each was used.
    clean: LinkedHashMap<Address, u64>,
    /// Those of them whose logs may be worth packing, least recently used first, and when each was used.
    awake: LinkedHashMap<Address, Duration>,
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
            let before = bytes(address, record);
            record.expire(now.time);
            let result = f(record);
            if record.is_unordered() {
                now.total
                    .fetch_add(bytes(address, record), Ordering::Relaxed);
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

    /// Up to `most` clean sessions whose logs nobody has used since `before`; each is given once.
    pub(super) fn asleep(&mut self, before: Duration, most: usize) -> Vec<Asleep> {
        let mut asleep = Vec::new();
        while asleep.len() < most
            && self.awake.front().is_some_and(|(_, used)| *used <= before)
            && let Some((address, _)) = self.awake.pop_front()
        {
            let used = self.clean.get(&address);
            let log = self.records.get(&address).and_then(Record::open_log);
            if let Some((used, log)) = used.zip(log) {
                let (used, log) = (*used, log.clone());
                asleep.push(Asleep { address, used, log });
            }
        }
        asleep
    }

    /// Puts the packed log in the place of the open one, unless the session was used meanwhile.
    pub(super) fn pack(&mut self, address: &Address, used: u64, packed: Packed, total: &AtomicU64) {
        if self.clean.get(address) != Some(&used) {
            return;
        }
        if let Some(record) = self.records.get_mut(address) {
            total.fetch_sub(bytes(address, record), Ordering::Relaxed);
            record.pack(packed);
            total.fetch_add(bytes(address, record), Ordering::Relaxed);
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
        total.fetch_sub(bytes(address, &record), Ordering::Relaxed);
        if let Some(at) = record.due() {
            self.due.remove(&(at, address.clone()));
        }
        self.clean.remove(address);
        self.awake.remove(address);
        Some(record)
    }

    fn put(&mut self, address: Address, record: Record, now: Now<'_>) {
        if record.is_empty() {
            return;
        }
        now.total
            .fetch_add(bytes(&address, &record), Ordering::Relaxed);
        if let Some(at) = record.due() {
            self.due.insert((at, address.clone()));
        }
        if record.is_clean() {
            self.clean.insert(address.clone(), now.tick);
            if !record.is_packed() {
                self.awake.insert(address.clone(), now.time);
            }
        }
        self.records.insert(address, record);
    }
}

/// About what a record takes.
fn bytes(address: &Address, record: &Record) -> u64 {
    let name = u64::try_from(address.as_str().len()).unwrap_or(u64::MAX);
    SESSION_OVERHEAD + name + record.entries_bytes()
}
