//! The in-process hot tier: for embedded mode, and for tests of everything above.
//!
//! Owns the logs of one process, bounded by bytes. Invariant: a session with a dirty mark neither
//! expires nor is evicted, so the bound may be exceeded by dirty sessions (the cache bounds those).
//! Knows nothing of what entries mean, and never looks at the wall clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use self::record::{Packed, Record};
use self::shard::{Asleep, Now, Shard};
use crate::clock::Clock;
use crate::error::Result;
use crate::hot::{
    Append, Appended, HotTier, LogEntry, Place, Publish, Published, Read, Record as Payload,
    Settle, WriterId,
};
use crate::key::Address;

mod record;
mod shard;

/// Enough that two cores seldom meet on one; looking at all of them for an eviction stays cheap.
const SHARDS: usize = 16;
/// After so long without use a log is packed. Most turns of a conversation follow within seconds, and who comes back after
/// half a minute does not notice the 15 µs that opening takes.
const PACK_AFTER: Duration = Duration::from_secs(30);
/// So many logs are packed in one go, so that they and their copies take no more than a moment's memory.
const PACKED_TOGETHER: usize = 32;
/// As the contract says: a fence may vanish after a minute.
const FENCE: Duration = Duration::from_secs(60);

/// A hot tier in this process's memory; share it with an `Arc` between the caches of one process.
#[derive(Debug)]
pub struct MemoryTier {
    shards: [Mutex<Shard>; SHARDS],
    clock: Arc<dyn Clock>,
    generation: AtomicU64,
    ticks: AtomicU64,
    total: AtomicU64,
    limit_bytes: u64,
}

/// A state of a [`MemoryTier`], taken to be put back later.
#[derive(Debug, Clone)]
pub struct MemorySnapshot(Vec<Vec<(Address, Record)>>);

impl MemoryTier {
    /// A tier that keeps at most `limit_bytes` of clean sessions (dirty ones are never dropped).
    #[must_use]
    pub fn new(limit_bytes: u64, clock: Arc<dyn Clock>) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            clock,
            generation: AtomicU64::new(1),
            ticks: AtomicU64::new(0),
            total: AtomicU64::new(0),
            limit_bytes,
        }
    }

    /// Bytes held, with an estimate of the overhead.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Sessions that are hot now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        let hot = |s: &Mutex<Shard>| s.lock().records().filter(|(_, r)| r.is_hot()).count();
        self.shards.iter().map(hot).sum()
    }

    /// Those of them whose logs are packed, since nobody has used them for 30 s.
    #[must_use]
    pub fn packed(&self) -> usize {
        let packed = |s: &Mutex<Shard>| s.lock().records().filter(|(_, r)| r.is_packed()).count();
        self.shards.iter().map(packed).sum()
    }

    /// For tests: drops one session's log, dirty or not, as an evicting server would.
    pub fn evict(&self, session: &Address) {
        self.on(session, |_, record| record.drop_log());
    }

    /// For tests: comes back empty, as after a restart.
    pub fn lose_everything(&self) {
        self.restore(&MemorySnapshot(Vec::new()));
    }

    /// For tests: the state as it is now.
    #[must_use]
    pub fn snapshot(&self) -> MemorySnapshot {
        let copy = |s: &Mutex<Shard>| {
            s.lock()
                .records()
                .map(|(a, r)| (a.clone(), r.clone()))
                .collect::<Vec<_>>()
        };
        MemorySnapshot(self.shards.iter().map(copy).collect())
    }

    /// For tests: comes back with an older state, as after a restart from a snapshot.
    pub fn restore(&self, snapshot: &MemorySnapshot) {
        // First the generation: whoever gets a shard's lock from now on sees that it came back different.
        self.generation.fetch_add(1, Ordering::SeqCst);
        let states = snapshot.0.iter().map(Some).chain(std::iter::repeat(None));
        for (shard, state) in self.shards.iter().zip(states) {
            shard
                .lock()
                .replace(state.cloned().unwrap_or_default(), self.now());
        }
    }

    /// Runs `f` with the generation and a session's record, under its shard's lock.
    fn on<R>(&self, session: &Address, f: impl FnOnce(u64, &mut Record) -> R) -> R {
        let now = self.now();
        let result = {
            let mut shard = self.shard(session).lock();
            shard.sweep(now);
            let generation = self.generation();
            shard.with(session, now, |record| f(generation, record))
        };
        while self.bytes() > self.limit_bytes && self.evict_one(now) {}
        result
    }

    /// Packs logs that nobody has used since `before`, off the runtime's threads.
    async fn pack_unused(
        &self,
        before: Duration,
        packed: fn(&VecDeque<LogEntry>) -> Option<Packed>,
    ) {
        for shard in &self.shards {
            loop {
                let asleep = shard.lock().asleep(before, PACKED_TOGETHER);
                if asleep.is_empty() {
                    break;
                }
                let pack = move |one: Asleep| Some((packed(&one.log)?, one.address, one.used));
                let packing = move || asleep.into_iter().filter_map(pack).collect::<Vec<_>>();
                // Only a runtime that ends does not do it.
                let done = tokio::task::spawn_blocking(packing).await;
                for (packed, address, used) in done.unwrap_or_default() {
                    shard.lock().pack(&address, used, packed, &self.total);
                }
            }
        }
    }

    fn evict_one(&self, now: Now<'_>) -> bool {
        let oldest = self
            .shards
            .iter()
            .filter_map(|s| Some((s.lock().oldest()?, s)));
        let Some((_, shard)) = oldest.min_by_key(|(tick, _)| *tick) else {
            return false;
        };
        shard.lock().evict_oldest(now);
        true
    }

    fn shard(&self, session: &Address) -> &Mutex<Shard> {
        let [first, ..] = &self.shards;
        // The low bits already choose the partition.
        let index = usize::try_from(session.hash64() >> 48).unwrap_or_default() % SHARDS;
        self.shards.get(index).unwrap_or(first)
    }

    fn now(&self) -> Now<'_> {
        Now {
            time: self.clock.monotonic(),
            tick: self.ticks.fetch_add(1, Ordering::Relaxed),
            total: &self.total,
        }
    }

    fn after(&self, ttl_ms: u64) -> Duration {
        self.clock
            .monotonic()
            .saturating_add(Duration::from_millis(ttl_ms))
    }
}

#[async_trait]
impl HotTier for MemoryTier {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn trusted(&self) -> bool {
        true
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    async fn append(&self, session: &Address, append: Append) -> Result<Appended> {
        Ok(self.on(session, |generation, record| {
            if append.generation != generation {
                return Appended::Suspect;
            }
            // Open from here on: what cannot be opened is missing, not appended to.
            let Some(last) = record.entries().and_then(|log| log.back()).map(|e| e.at) else {
                return Appended::Missing;
            };
            if let Some(writer) = append.mark {
                record.marks.insert(writer);
                record.expires_at = None;
            }
            if append.at <= last {
                return Appended::Behind;
            }
            let trim = append.carry.as_ref().and(append.trim_below);
            let record_of = Payload::Entry(append.entry);
            record.push(LogEntry {
                at: append.at,
                record: record_of,
                carry: append.carry,
            });
            if let Some(below) = trim {
                record.trim(below);
            }
            Appended::Done
        }))
    }

    async fn read(&self, session: &Address, after: Option<Place>, generation: u64) -> Result<Read> {
        Ok(self.on(session, |current, record| {
            if generation != current {
                return Read::Suspect;
            }
            let Some(log) = record.entries() else {
                return Read::Missing;
            };
            let newer = log.partition_point(|e| Some(e.at) <= after);
            Read::Entries(log.range(newer..).cloned().collect())
        }))
    }

    async fn fence(&self, session: &Address, epoch: u64) -> Result<()> {
        let until = self.clock.monotonic().saturating_add(FENCE);
        self.on(session, |_, record| record.fence = Some((epoch, until)));
        Ok(())
    }

    async fn publish(&self, session: &Address, publish: Publish) -> Result<Published> {
        let expires_at = publish.ttl_ms.map(|ttl| self.after(ttl));
        Ok(self.on(session, |generation, record| {
            if publish.generation != generation {
                return Published::Suspect;
            }
            if record
                .fence
                .is_none_or(|(epoch, _)| epoch != publish.at.epoch)
            {
                return Published::Fenced;
            }
            let last = record.last();
            if last != publish.over || last.is_some_and(|l| l.epoch >= publish.at.epoch) {
                return Published::Moved;
            }
            let snapshot = Payload::Snapshot(publish.snapshot);
            record.begin(LogEntry {
                at: publish.at,
                record: snapshot,
                carry: None,
            });
            record.marks.extend(publish.mark);
            record.expires_at = expires_at.filter(|_| record.marks.is_empty());
            Published::Done
        }))
    }

    async fn settle(&self, writer: &WriterId, sessions: Vec<Settle>) -> Result<()> {
        for settle in sessions {
            let expires_at = settle.ttl_ms.map(|ttl| self.after(ttl));
            self.on(&settle.session, |_, record| {
                record.marks.remove(writer);
                if record.marks.is_empty() && record.is_hot() {
                    record.expires_at = expires_at;
                }
            });
        }
        Ok(())
    }

    async fn touch(&self, session: &Address, ttl_ms: u64) -> Result<()> {
        let until = self.after(ttl_ms);
        self.on(session, |_, record| {
            if record.marks.is_empty() {
                // No expiry counts as endless: nothing lengthens it.
                record.expires_at = record.expires_at.map(|at| at.max(until));
            }
        });
        Ok(())
    }

    async fn release(&self, session: &Address) -> Result<()> {
        self.on(session, |_, record| {
            if record.marks.is_empty() {
                record.drop_log();
            }
        });
        Ok(())
    }

    async fn marked(&self, writer: &WriterId) -> Result<Vec<Address>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let marked = shard.records().filter(|(_, r)| r.marks.contains(writer));
            found.extend(marked.map(|(address, _)| address.clone()));
        }
        Ok(found)
    }

    async fn check(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Packs the logs that nobody has used for 30 s.
    async fn tidy(&self) {
        let before = self.clock.monotonic().saturating_sub(PACK_AFTER);
        self.pack_unused(before, Packed::of).await;
    }

    async fn close(&self) {}
}

#[cfg(test)]
mod tests;
