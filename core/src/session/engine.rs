//! What all sessions of one cache share: the tiers, the journal, the policies, the counters.
//!
//! Invariant: nothing here is held across an await; waiting for room never holds a session.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::clock::{Clock, millis};
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::hot::{HotTier, WriterId};
use crate::journal::Journal;
use crate::key::Address;
use crate::message::EntryIds;
use crate::session::Level;
use crate::session::calls::Calls;
use crate::session::cell::Cell;
use crate::store::{Found, Store};
use crate::ttl::{Bounds, Kind, TtlPolicy};
use crate::window::Window;

/// The bounds a cache keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A message's text, in bytes.
    pub(crate) message_bytes: usize,
    /// Entries accepted and not durable, in bytes.
    pub(crate) backlog_bytes: u64,
    /// Entries accepted and not durable.
    pub(crate) backlog_appends: u64,
    /// How long an append waits for room in the backlog.
    pub(crate) backlog_wait: Duration,
    /// Replicas kept in this process, in bytes.
    pub(crate) replica_bytes: usize,
    /// How long a store call of the data path may take.
    pub(crate) store_deadline: Duration,
}

impl Default for Limits {
    /// 64 KiB a message (beyond every chat platform's own limit); 64 MiB or 100,000 appends of backlog
    /// (minutes of a stalled store); replicas of 128 MiB; 2 s for a store call.
    fn default() -> Self {
        Self {
            message_bytes: 64 << 10,
            backlog_bytes: 64 << 20,
            backlog_appends: 100_000,
            backlog_wait: Duration::from_secs(2),
            replica_bytes: 128 << 20,
            store_deadline: Duration::from_secs(2),
        }
    }
}

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) appended: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) touches: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flushed: AtomicU64,
}

/// Entries accepted and not durable.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pub(crate) appends: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// What calls in hand have been let in for and have not queued yet.
    promised_appends: AtomicU64,
    promised_bytes: AtomicU64,
}

/// Room in the backlog for one append, held until its entry is queued: a call in hand.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    backlog: &'a Backlog,
    bytes: u64,
}

impl<'a> Room<'a> {
    fn new(backlog: &'a Backlog, bytes: u64) -> Self {
        backlog.promised_appends.fetch_add(1, SeqCst);
        backlog.promised_bytes.fetch_add(bytes, SeqCst);
        Self { backlog, bytes }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.backlog.promised_bytes.fetch_sub(self.bytes, SeqCst);
        self.backlog.promised_appends.fetch_sub(1, SeqCst);
    }
}

impl Backlog {
    /// Appends and bytes, those of calls in hand included.
    fn total(&self) -> (u64, u64) {
        let appends = self.appends.load(SeqCst) + self.promised_appends.load(SeqCst);
        let bytes = self.bytes.load(SeqCst) + self.promised_bytes.load(SeqCst);
        (appends, bytes)
    }

    /// True when nothing waits and no call is in hand that would add to it.
    pub(crate) fn is_empty(&self) -> bool {
        self.total().0 == 0
    }

    /// A waiting entry's record was replaced by a shorter one.
    pub(crate) fn replace(&self, before: usize, after: usize) {
        self.bytes.fetch_add(after as u64, Relaxed);
        self.bytes.fetch_sub(before as u64, Relaxed);
    }
}

/// By address, which is a hash already.
type Cells = HashMap<Address, Arc<Cell>, foldhash::fast::RandomState>;

/// Tells which kind a session is of.
#[derive(Clone)]
pub(crate) struct Kinds(pub(crate) Arc<dyn Fn(&Address) -> Kind + Send + Sync>);

impl Kinds {
    fn of(&self, session: &Address) -> Kind {
        (self.0)(session)
    }
}

impl Default for Kinds {
    fn default() -> Self {
        Self(Arc::new(|_| Kind::People))
    }
}

impl std::fmt::Debug for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kinds")
    }
}

/// How many parts the map of cells is split into, to keep lookups from waiting on each other.
const SHARDS: usize = 16;

/// What the store answered of platform ids; `None` for one that it has never heard of.
pub(crate) type Told = HashMap<String, Option<Found>>;

#[derive(Debug)]
pub(crate) struct Engine {
    /// Asked only within a [`Call`](crate::session::call::Call)'s time.
    hot: Arc<dyn HotTier>,
    /// How long the hot tier may hold up one call.
    pub(crate) hot_deadline: Duration,
    pub(crate) store: Arc<dyn Store>,
    /// The store's: what it keeps, the journal and the hot tier hold as well.
    pub(crate) codec: Codec,
    pub(crate) journal: Journal,
    pub(crate) window: Arc<Window>,
    pub(crate) ttl: Arc<dyn TtlPolicy>,
    pub(crate) ttl_bounds: Bounds,
    /// Which kind a session is of.
    kinds: Kinds,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) level: Level,
    pub(crate) limits: Limits,
    pub(crate) writer: WriterId,
    pub(crate) ids: EntryIds,
    pub(crate) counters: Counters,
    pub(crate) backlog: Backlog,
    /// Sessions that the flusher must look at.
    pub(crate) dirty: Mutex<Vec<Arc<Cell>>>,
    /// One round at a time, so that nothing is taken from the list by a round nobody waits for.
    pub(crate) flushing: tokio::sync::Mutex<()>,
    /// Wakes the flusher before its time.
    pub(crate) wake: Notify,
    /// Tells those who wait for room that a flush ended.
    pub(crate) room: Notify,
    pub(crate) closed: AtomicBool,
    /// Bytes by which replicas have grown since they were last swept.
    replica_growth: AtomicUsize,
    hot_away: AtomicBool,
    pub(super) calls: Calls,
    /// The wall clock and the monotonic one at the start.
    began: (u64, Duration),
    store_away: AtomicBool,
    cells: [RwLock<Cells>; SHARDS],
}

/// What [`Engine::new`] needs.
pub(crate) struct Parts {
    pub(crate) hot: Arc<dyn HotTier>,
    pub(crate) hot_deadline: Duration,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) journal: Journal,
    pub(crate) window: Window,
    pub(crate) ttl: Arc<dyn TtlPolicy>,
    pub(crate) ttl_bounds: Bounds,
    pub(crate) kinds: Kinds,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) level: Level,
    pub(crate) limits: Limits,
    pub(crate) writer: WriterId,
}

impl Engine {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            ids: EntryIds::new(parts.clock.wall_ms()),
            began: (parts.clock.wall_ms(), parts.clock.monotonic()),
            hot: parts.hot,
            codec: parts.store.codec(),
            hot_deadline: parts.hot_deadline,
            store: parts.store,
            journal: parts.journal,
            window: Arc::new(parts.window),
            ttl: parts.ttl,
            ttl_bounds: parts.ttl_bounds,
            kinds: parts.kinds,
            clock: parts.clock,
            level: parts.level,
            limits: parts.limits,
            writer: parts.writer,
            counters: Counters::default(),
            backlog: Backlog::default(),
            dirty: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            room: Notify::new(),
            closed: AtomicBool::new(false),
            replica_growth: AtomicUsize::new(0),
            hot_away: AtomicBool::new(false),
            calls: Calls::new(parts.limits.store_deadline),
            store_away: AtomicBool::new(false),
            cells: Default::default(),
        }
    }

    pub(crate) fn hot_name(&self) -> &'static str {
        self.hot.name()
    }

    /// The hot tier, for whoever bounds what it is asked.
    pub(super) fn tier(&self) -> &dyn HotTier {
        &*self.hot
    }

    pub(crate) async fn tidy_hot(&self) {
        self.hot.tidy().await;
    }

    pub(crate) async fn close_hot(&self) {
        self.hot.close().await;
    }

    /// The one cell of a session in this process.
    pub(crate) fn cell(&self, address: &Address) -> Arc<Cell> {
        let Some(shard) = self.shard(address) else {
            return Arc::new(Cell::new(address.clone(), self.kinds.of(address)));
        };
        if let Some(cell) = shard.read().get(address) {
            return Arc::clone(cell);
        }
        let mut map = shard.write();
        let cell = map
            .entry(address.clone())
            .or_insert_with(|| Arc::new(Cell::new(address.clone(), self.kinds.of(address))));
        Arc::clone(cell)
    }

    fn shard(&self, address: &Address) -> Option<&RwLock<Cells>> {
        self.cells.get(usize::from(address.partition()) % SHARDS)
    }

    /// Every cell, for sweeps and sums.
    pub(crate) fn cells(&self) -> Vec<Arc<Cell>> {
        self.cells
            .iter()
            .flat_map(|s| s.read().values().map(Arc::clone).collect::<Vec<_>>())
            .collect()
    }

    pub(crate) fn cell_count(&self) -> usize {
        self.cells.iter().map(|s| s.read().len()).sum()
    }

    /// Drops cells that nobody uses and that hold nothing of their own.
    pub(crate) fn drop_unused(&self, unused: impl Fn(&Cell) -> bool) {
        for shard in &self.cells {
            // Only the map holds it: nobody can begin to use it while the shard is locked.
            shard
                .write()
                .retain(|_, cell| Arc::strong_count(cell) > 1 || !unused(cell));
        }
    }

    /// The time to write down, in milliseconds since the Unix epoch. A wall clock that went back is not believed: what is
    /// said now would be past retention, and older than what was said before it.
    pub(crate) fn now_ms(&self) -> u64 {
        let (wall_ms, monotonic) = self.began;
        let lived = self.clock.monotonic().saturating_sub(monotonic);
        let least = wall_ms.saturating_add(millis(lived));
        self.clock.wall_ms().max(least)
    }

    /// A monotonic time as time since the Unix epoch, as the wall clock stood at the start: for gaps between touches, which may
    /// span restarts. A jump of the wall clock counts only at the next start.
    pub(crate) const fn since_epoch(&self, monotonic: Duration) -> Duration {
        let (wall_ms, began) = self.began;
        Duration::from_millis(wall_ms).saturating_add(monotonic.saturating_sub(began))
    }

    /// Waits until there is room for one more append of `bytes`, and holds it.
    pub(crate) async fn admit(&self, bytes: u64) -> Result<Room<'_>> {
        let room = Room::new(&self.backlog, bytes);
        self.open()?;
        if !self.is_over() {
            return Ok(room);
        }
        drop(room);
        Box::pin(self.admit_later(bytes)).await
    }

    async fn admit_later(&self, bytes: u64) -> Result<Room<'_>> {
        let wait = async {
            loop {
                let freed = self.room.notified();
                tokio::pin!(freed);
                freed.as_mut().enable();
                let room = Room::new(&self.backlog, bytes);
                // After the room is taken, so that a close which does not see it is seen here.
                self.open()?;
                if !self.is_over() {
                    return Ok(room);
                }
                drop(room);
                self.wake.notify_one();
                freed.await;
            }
        };
        if let Ok(admitted) = tokio::time::timeout(self.limits.backlog_wait, wait).await {
            return admitted;
        }
        let (appends, waiting) = self.backlog.total();
        if appends >= self.limits.backlog_appends {
            return Err(Error::Backpressure {
                waiting: appends,
                limit: self.limits.backlog_appends,
                unit: "appends",
            });
        }
        Err(Error::Backpressure {
            waiting,
            limit: self.limits.backlog_bytes,
            unit: "bytes",
        })
    }

    /// True when the backlog is over a bound; asks for a flush from half of it on.
    fn is_over(&self) -> bool {
        let (appends, bytes) = self.backlog.total();
        if appends * 2 > self.limits.backlog_appends || bytes * 2 > self.limits.backlog_bytes {
            self.wake.notify_one();
        }
        appends > self.limits.backlog_appends || bytes > self.limits.backlog_bytes
    }

    /// Refuses new work once the cache is closed, or is closing.
    pub(crate) fn open(&self) -> Result<()> {
        if self.closed.load(SeqCst) {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    /// How long the oldest entry that is not durable has been waiting, and bytes of replicas: a look at every
    /// session, so that appends need not keep count.
    pub(crate) fn gauges(&self) -> (Duration, u64) {
        let (mut oldest, mut bytes) = (None, 0);
        for shard in &self.cells {
            for cell in shard.read().values() {
                let inner = cell.inner.lock();
                let since = inner.pending.front().map(|p| p.since);
                oldest = [oldest, since].into_iter().flatten().min();
                bytes += inner.replica.as_ref().map_or(0, |r| r.fold.weight() as u64);
            }
        }
        let age = |since| self.clock.monotonic().saturating_sub(since);
        (oldest.map_or(Duration::ZERO, age), bytes)
    }

    /// Notes that replicas have grown; what may have outgrown its bound is swept before its time.
    pub(crate) fn grown(&self, bytes: usize) {
        let step = self.limits.replica_bytes / 4;
        let before = self.replica_growth.fetch_add(bytes, Relaxed);
        if before < step && before + bytes >= step {
            self.wake.notify_one();
        }
    }

    /// True when replicas have grown enough to be swept; begins to count anew.
    pub(crate) fn has_grown(&self) -> bool {
        let grown = self.replica_growth.load(Relaxed) >= self.limits.replica_bytes / 4;
        if grown {
            self.replica_growth.store(0, Relaxed);
        }
        grown
    }

    /// What the store knows of platform ids.
    pub(crate) async fn found(&self, session: &Address, ids: Vec<String>) -> Result<Told> {
        if ids.is_empty() {
            return Ok(Told::new());
        }
        let session = session.clone();
        self.blocking(move |s| {
            let asked: Vec<_> = ids.iter().map(String::as_str).collect();
            let found = s.find(&session, &asked)?;
            Ok(ids.into_iter().zip(found).collect())
        })
        .await
    }

    /// Notes whether the hot tier answers; says so once when it changes.
    pub(crate) fn hot_failed(&self, error: Option<&Error>) {
        self.note(&self.hot_away, self.hot.name(), error);
    }

    /// Notes whether the store answers.
    pub(super) fn store_failed(&self, error: Option<&Error>) {
        self.note(&self.store_away, self.store.name(), error);
    }

    fn note(&self, away: &AtomicBool, tier: &'static str, error: Option<&Error>) {
        if away.load(Relaxed) == error.is_some() {
            return;
        }
        away.store(error.is_some(), Relaxed);
        match error {
            Some(e) => {
                tracing::warn!(tier, error = %e, "degraded: serving and accepting without it")
            }
            None => tracing::info!(tier, "back: reconciling"),
        }
    }

    pub(crate) fn hot_is_away(&self) -> bool {
        self.hot_away.load(Relaxed)
    }

    pub(crate) fn is_degraded(&self) -> bool {
        self.hot_is_away() || self.store_away.load(Relaxed)
    }
}

/// Adds one to a counter.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
