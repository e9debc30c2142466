//! Building a cache: configuration, opening, replay.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::cache::Cache;
use crate::clock::{self, Clock};
use crate::error::{Error, Result};
use crate::fault_point::fault;
use crate::flusher::{self, Flusher};
use crate::hot::memory::MemoryTier;
use crate::hot::redis::{RedisConfig, RedisTier};
use crate::hot::{HotTier, WriterId};
use crate::journal::{self, Journal, Replayed};
use crate::key::Address;
use crate::message::random_u64;
use crate::session::Level;
use crate::session::cell::Pending;
use crate::session::engine::{Engine, Kinds, Limits, Parts};
use crate::store::Store;
use crate::store::sled::{SledConfig, SledStore};
use crate::ttl::{Bounds, Economic, Kind, TtlPolicy};
use crate::window::Window;

/// Which hot tier.
#[derive(Debug)]
enum Hot {
    Memory,
    Redis(RedisConfig),
    Given(Arc<dyn HotTier>),
}

/// Which store.
#[derive(Debug)]
enum Durable {
    Unset,
    Sled(SledConfig),
    Given(Arc<dyn Store>),
}

/// A cache's configuration. Every default states its reason; nothing is read from the environment.
#[derive(Debug)]
pub struct CacheBuilder {
    hot: Hot,
    store: Durable,
    journal: Option<PathBuf>,
    journal_limits: journal::Limits,
    window: Window,
    ttl: Arc<dyn TtlPolicy>,
    ttl_bounds: Bounds,
    kinds: Kinds,
    clock: Arc<dyn Clock>,
    level: Level,
    limits: Limits,
    flush_every: Duration,
    deadline: Duration,
    retention: Option<Duration>,
    memory_limit: u64,
}

impl Default for CacheBuilder {
    fn default() -> Self {
        Self {
            hot: Hot::Memory,
            store: Durable::Unset,
            journal: None,
            journal_limits: journal::Limits::default(),
            window: Window::default(),
            ttl: Arc::new(Economic::default()),
            ttl_bounds: Bounds::default(),
            kinds: Kinds::default(),
            clock: clock::system(),
            level: Level::default(),
            limits: Limits::default(),
            flush_every: Duration::from_secs(2),
            deadline: Duration::from_millis(250),
            retention: None,
            memory_limit: 256 << 20,
        }
    }
}

impl Cache {
    /// Starts a configuration.
    #[must_use]
    pub fn builder() -> CacheBuilder {
        CacheBuilder::default()
    }
}

impl CacheBuilder {
    /// Redis as the hot tier, shared by several processes (default: in-process).
    #[must_use]
    pub fn hot(mut self, config: RedisConfig) -> Self {
        self.hot = Hot::Redis(config);
        self
    }

    /// Another hot tier.
    #[must_use]
    pub fn hot_tier(mut self, tier: Arc<dyn HotTier>) -> Self {
        self.hot = Hot::Given(tier);
        self
    }

    /// sled as the durable store, with the journal beside it in the same data directory.
    #[must_use]
    pub fn store(mut self, config: SledConfig) -> Self {
        self.store = Durable::Sled(config);
        self
    }

    /// Another store, or one that several caches of this process share; needs [`journal`](Self::journal).
    #[must_use]
    pub fn shared_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Durable::Given(store);
        self
    }

    /// Where the journal lives, one directory for each cache (default: `journal/` in sled's data directory).
    #[must_use]
    pub fn journal(mut self, dir: impl Into<PathBuf>) -> Self {
        self.journal = Some(dir.into());
        self
    }

    /// What a context holds (default: 50 messages).
    #[must_use]
    pub fn window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// How long sessions stay hot (default: [`Economic`], which keeps an average context for 30 minutes).
    #[must_use]
    pub fn ttl(mut self, policy: impl TtlPolicy) -> Self {
        self.ttl = Arc::new(policy);
        self
    }

    /// The shortest and the longest time to live, whatever the policy says (default: none).
    #[must_use]
    pub const fn ttl_bounds(mut self, bounds: Bounds) -> Self {
        self.ttl_bounds = bounds;
        self
    }

    /// Tells who talks in a session, for policies that learn (default: people in all). Must always say the same of a session.
    #[must_use]
    pub fn kinds(mut self, of: impl Fn(&Address) -> Kind + Send + Sync + 'static) -> Self {
        self.kinds = Kinds(Arc::new(of));
        self
    }

    /// The acknowledgement level (default: [`Level::Journaled`]: survives kill -9 for a microsecond).
    #[must_use]
    pub const fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// How often dirty sessions are flushed (default 2 s: a batch worth an fsync, a journal that stays small).
    #[must_use]
    pub const fn flush_every(mut self, interval: Duration) -> Self {
        self.flush_every = interval;
        self
    }

    /// By when a call of this API returns while the hot tier is slow or away, whatever it asks of it (default 250 ms:
    /// thousands of round trips, still unnoticed in a chat). Four fifths of it may be spent waiting for the tier; the
    /// rest is for going on without it, degraded.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The deadline of one store call on the data path (default 2 s: an fsync of a slow disk, and no chat waits longer); a
    /// flush may take five times as long. A store that does not answer by then counts as away.
    #[must_use]
    pub const fn store_deadline(mut self, deadline: Duration) -> Self {
        self.limits.store_deadline = deadline;
        self
    }

    /// Erases messages older than this, looked for every hour (default: never).
    #[must_use]
    pub const fn retention(mut self, age: Duration) -> Self {
        self.retention = Some(age);
        self
    }

    /// The in-process hot tier's bound in bytes (default 256 MiB: some ten thousand contexts).
    #[must_use]
    pub const fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// The largest message text in bytes (default 64 KiB: beyond every chat platform's own limit).
    #[must_use]
    pub const fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.limits.message_bytes = bytes;
        self
    }

    /// What may be accepted and not durable: bytes, appends, and how long an append waits for room
    /// (default 64 MiB, 100,000, 2 s).
    #[must_use]
    pub const fn backlog(mut self, bytes: u64, appends: u64, wait: Duration) -> Self {
        self.limits.backlog_bytes = bytes;
        self.limits.backlog_appends = appends;
        self.limits.backlog_wait = wait;
        self
    }

    /// The journal's bounds: its own bytes, and the free disk space it leaves (default 1 GiB, 256 MiB).
    #[must_use]
    pub const fn journal_limits(mut self, bytes: u64, free_floor_bytes: u64) -> Self {
        self.journal_limits = journal::Limits {
            journal_bytes: bytes,
            free_floor_bytes,
        };
        self
    }

    /// The most bytes of replicas kept in this process (default 128 MiB); least recently used ones go.
    #[must_use]
    pub const fn replica_limit(mut self, bytes: usize) -> Self {
        self.limits.replica_bytes = bytes;
        self
    }

    /// Another clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Everything wrong with the configuration.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |wrong: bool, what: &str| {
            if wrong {
                faults.push(what.to_owned());
            }
        };
        check(
            matches!(self.store, Durable::Unset),
            "no store: call `store` or `shared_store`",
        );
        let homeless = matches!(self.store, Durable::Given(_)) && self.journal.is_none();
        check(
            homeless,
            "a shared store needs a journal directory: call `journal`",
        );
        check(self.flush_every.is_zero(), "`flush_every` must not be zero");
        check(self.deadline.is_zero(), "`deadline` must not be zero");
        check(
            self.limits.store_deadline.is_zero(),
            "`store_deadline` must not be zero",
        );
        let bounds = self.ttl_bounds.fault();
        check(bounds.is_some(), bounds.as_deref().unwrap_or_default());
        check(self.memory_limit == 0, "`memory_limit` must not be zero");
        check(
            self.limits.message_bytes == 0,
            "`max_message_bytes` must not be zero",
        );
        check(
            self.limits.backlog_appends == 0 || self.limits.backlog_bytes == 0,
            "`backlog` must not be zero",
        );
        if let Hot::Redis(config) = &self.hot
            && let Err(e) = config.validate()
        {
            match e {
                Error::Config(more) => faults.extend(more),
                other => faults.push(other.to_string()),
            }
        }
        faults
    }

    /// Opens the store, replays the journal, starts the work between the tiers.
    ///
    /// Needs a running tokio runtime. A Redis that cannot be reached is a [warning](Cache::warnings), not an error.
    ///
    /// # Errors
    /// [`Error::Config`] with every fault at once; [`Error::Locked`] when another process holds the
    /// directory; an outage when the store or the journal cannot be opened.
    pub async fn build(self) -> Result<Cache> {
        let faults = self.faults();
        if !faults.is_empty() {
            return Err(Error::Config(faults));
        }
        let mut warnings = Vec::new();
        let limits = self.journal_limits;
        let (store, journal_dir) =
            open_store(self.store, self.journal, limits, &mut warnings).await?;
        let codec = store.codec();
        let opened = run_blocking(move || {
            let (journal, replayed) = Journal::open(&journal_dir, limits, codec)?;
            let writer = writer_id(&journal_dir)?;
            Ok((journal, replayed, writer))
        })
        .await;
        let (journal, replayed, writer) = opened?;
        // Whoever gives the tier up must still read the store, which may just be flushing: an fsync or two.
        let hot_deadline = self.deadline / 5 * 4;
        let hot: Arc<dyn HotTier> = match self.hot {
            Hot::Memory => Arc::new(MemoryTier::new(self.memory_limit, Arc::clone(&self.clock))),
            Hot::Redis(config) => Arc::new(RedisTier::new(config.deadline(hot_deadline))?),
            Hot::Given(tier) => tier,
        };
        let away = check_hot(&*hot, &mut warnings).await?;
        let parts = Parts {
            hot,
            hot_deadline,
            store,
            journal,
            writer,
            window: self.window,
            ttl: self.ttl,
            ttl_bounds: self.ttl_bounds,
            kinds: self.kinds,
            clock: self.clock,
            level: self.level,
            limits: self.limits,
        };
        let engine = Arc::new(Engine::new(parts));
        engine.hot_failed(away.as_ref());
        flusher::restore(&engine).await;
        replay(&engine, replayed).await?;
        let (stop, stopped) = watch::channel(None);
        let flusher = Flusher {
            engine: Arc::clone(&engine),
            interval: self.flush_every,
            retention: self.retention,
            stop: stopped,
        };
        engine.wake.notify_one();
        let task = tokio::spawn(flusher.run());
        Ok(Cache::new(engine, stop, task, warnings))
    }
}

/// Asks the hot tier how it is set up; the outage, when it does not answer.
async fn check_hot(hot: &dyn HotTier, warnings: &mut Vec<String>) -> Result<Option<Error>> {
    match hot.check().await {
        Ok(more) => {
            warnings.extend(more);
            Ok(None)
        }
        Err(e @ Error::Config(_)) => Err(e),
        Err(e) => {
            warnings.push(format!(
                "starting without the hot tier, degraded: {}",
                explain(&e)
            ));
            Ok(Some(e))
        }
    }
}

async fn open_store(
    store: Durable,
    journal: Option<PathBuf>,
    limits: journal::Limits,
    warnings: &mut Vec<String>,
) -> Result<(Arc<dyn Store>, PathBuf)> {
    match store {
        Durable::Unset => Err(Error::Config(vec!["no store".into()])),
        Durable::Given(store) => Ok((store, journal.unwrap_or_default())),
        Durable::Sled(config) => {
            let config = config.floor_bytes(limits.free_floor_bytes);
            let dir = journal.unwrap_or_else(|| config.data_dir().join("journal"));
            let (store, quarantined) = run_blocking(move || SledStore::open(&config)).await?;
            if let Some(q) = quarantined {
                warnings.push(format!(
                    "the store could not be read ({}); it was moved to {} and a new one begun: older history and \
                     the index of duplicates are gone with it, what is in the journal and in Redis is kept",
                    q.why, q.path.display(),
                ));
            }
            Ok((Arc::new(store), dir))
        }
    }
}

async fn run_blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let result = tokio::task::spawn_blocking(f).await;
    result.unwrap_or_else(|e| Err(Error::unavailable("store", "opening ended early", e)))
}

/// An error with its causes, for a warning.
fn explain(error: &Error) -> String {
    let mut out = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(e) = source {
        out.push_str(": ");
        out.push_str(&e.to_string());
        source = e.source();
    }
    out
}

/// This journal's name in dirty marks: the same after every restart, so that its marks are found again.
fn writer_id(journal: &Path) -> Result<WriterId> {
    let path = journal.join("writer");
    let failed = |e: std::io::Error| {
        Error::unavailable(
            "journal",
            format!(
                "cannot read or write {}; check the disk, and whether this user may write there",
                path.display()
            ),
            e,
        )
    };
    match std::fs::read(&path).map(String::from_utf8) {
        Ok(Ok(id)) if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) => {
            return Ok(WriterId(id));
        }
        // Half-written, or rotten: it gets a new name, and what it marked in Redis under the old one stays there.
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    let id = format!("{:016x}{:016x}", random_u64(), random_u64());
    let fresh = journal.join("writer.new");
    fault("writer.create").map_err(failed)?;
    let mut file = std::fs::File::create(&fresh).map_err(failed)?;
    fault("writer.write")
        .and_then(|()| file.write_all(id.as_bytes()))
        .and_then(|()| fault("writer.sync"))
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    fault("writer.rename")
        .and_then(|()| std::fs::rename(&fresh, &path))
        .map_err(failed)?;
    fault("writer.dir-sync")
        .and_then(|()| std::fs::File::open(journal))
        .and_then(|d| d.sync_all())
        .map_err(failed)?;
    Ok(WriterId(id))
}

/// Puts what an earlier process left in the journal back into the queue, without what is durable or
/// erased; the flusher places and flushes it.
async fn replay(engine: &Arc<Engine>, replayed: Vec<Replayed>) -> Result<()> {
    let mut sessions: HashMap<Address, Vec<Replayed>> = HashMap::new();
    for r in replayed {
        sessions.entry(r.session.clone()).or_default().push(r);
    }
    let total: usize = sessions.values().map(Vec::len).sum();
    if total > 0 {
        tracing::info!(
            entries = total,
            sessions = sessions.len(),
            "replaying the journal"
        );
    }
    for (address, entries) in sessions {
        let cell = engine.cell(&address);
        for r in entries {
            cell.push(
                engine,
                Pending {
                    born: r.epoch,
                    ..Pending::new(r.id, r.record)
                },
            );
        }
        cell.queue(engine);
    }
    Ok(())
}
