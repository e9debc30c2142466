//! The cache that a role opens, as its specification says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use scrollback::store::Store;
use scrollback::store::sled::SledStore;
use scrollback::testing::faults;
use scrollback::{
    Cache, CacheBuilder, MasterKey, RedisConfig, SessionKey, SledConfig, Sliding, Window, session,
};
use serde::{Deserialize, Serialize};

/// How a role's cache is set up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CacheSpec {
    /// The data directory.
    pub(crate) data: PathBuf,
    /// Where the journal is, if not in the data directory.
    #[serde(default)]
    pub(crate) journal: Option<PathBuf>,
    /// Redis's URL; in process when `None`.
    pub(crate) redis: Option<String>,
    /// `synced`, else journaled.
    pub(crate) synced: bool,
    pub(crate) flush_every_ms: u64,
    /// The free disk space that the journal leaves.
    pub(crate) free_floor_bytes: u64,
    /// With a master key of the campaign's own.
    pub(crate) encrypted: bool,
    /// How long a session stays hot, in milliseconds; the cache's own default when `None`.
    #[serde(default)]
    pub(crate) ttl_ms: Option<u64>,
}

/// The campaign's master key.
const MASTER: &str = "5cf0113e5cf0113e5cf0113e5cf0113e5cf0113e5cf0113e5cf0113e5cf0113e";

impl CacheSpec {
    /// In process, journaled, flushed every 50 ms so that a short life has seen every step.
    pub(crate) fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            journal: None,
            redis: None,
            synced: false,
            flush_every_ms: 50,
            free_floor_bytes: 8 << 20,
            encrypted: false,
            ttl_ms: None,
        }
    }

    /// Over this Redis.
    pub(crate) fn redis(mut self, url: impl Into<String>) -> Self {
        self.redis = Some(url.into());
        self
    }

    /// Encrypted, or not.
    pub(crate) const fn encrypted(mut self, encrypted: bool) -> Self {
        self.encrypted = encrypted;
        self
    }

    /// Sessions leave the hot tier when they were not touched for so long.
    pub(crate) const fn ttl_ms(mut self, ttl_ms: u64) -> Self {
        self.ttl_ms = Some(ttl_ms);
        self
    }

    /// Opens the cache.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) async fn open(&self) -> anyhow::Result<Cache> {
        let built = self.with_store()?.build().await;
        built.context("cannot open the cache")
    }

    /// Opens two caches over one store, as two processes over a shared one; each has a journal of its own.
    ///
    /// # Errors
    /// They cannot be opened.
    pub(crate) async fn open_two(&self) -> anyhow::Result<[Cache; 2]> {
        let sled = self.sled()?;
        let opened = tokio::task::spawn_blocking(move || SledStore::open(&sled)).await?;
        let store: Arc<dyn Store> = Arc::new(opened.context("cannot open the store")?.0);
        let over = |name: &str| {
            let journal = self.data.join(format!("journal-{name}"));
            let store = Arc::clone(&store);
            self.builder().shared_store(store).journal(journal).build()
        };
        Ok([over("a").await?, over("b").await?])
    }

    /// The configuration with the store.
    ///
    /// # Errors
    /// The campaign's master key is none.
    pub(crate) fn with_store(&self) -> anyhow::Result<CacheBuilder> {
        Ok(self.builder().store(self.sled()?))
    }

    fn sled(&self) -> anyhow::Result<SledConfig> {
        let store = SledConfig::new(&self.data).wait_lock(Duration::from_secs(5));
        if self.encrypted {
            return Ok(store.encrypt(MasterKey::from_hex(MASTER)?));
        }
        Ok(store)
    }

    /// Everything but the store.
    fn builder(&self) -> CacheBuilder {
        let mut builder = Cache::builder()
            .window(Window::messages(20))
            .flush_every(Duration::from_millis(self.flush_every_ms))
            .journal_limits(1 << 30, self.free_floor_bytes);
        if self.synced {
            builder = builder.level(session::Level::Synced);
        }
        if let Some(ttl) = self.ttl_ms {
            builder = builder.ttl(Sliding(Duration::from_millis(ttl)));
        }
        if let Some(dir) = &self.journal {
            builder = builder.journal(dir);
        }
        if let Some(url) = &self.redis {
            builder = builder.hot(RedisConfig::new(url));
        }
        builder
    }
}

/// The key of a session in the ledger.
pub(crate) fn key(session: &str) -> SessionKey {
    SessionKey::new("faults", "bot").channel(session)
}

/// Plants the fault that `SCROLLBACK_PLANT` names, for the campaign's test of itself.
///
/// # Errors
/// There is no such fault.
pub(crate) fn plant() -> anyhow::Result<()> {
    let Ok(name) = std::env::var("SCROLLBACK_PLANT") else {
        return Ok(());
    };
    let plant = faults::Plant::ALL
        .into_iter()
        .find(|plant| plant.name() == name);
    faults::plant(plant.with_context(|| format!("SCROLLBACK_PLANT: no such fault: {name}"))?);
    Ok(())
}

/// Runs a role on a runtime of its own.
///
/// # Errors
/// What the role fails with.
pub(crate) fn block_on(role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    if let Ok(filter) = std::env::var("SCROLLBACK_LOG") {
        let level = filter
            .parse()
            .unwrap_or(tracing_subscriber::filter::LevelFilter::WARN);
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(std::io::stderr)
            .init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(role)
}
