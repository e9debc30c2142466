//! A cache in the campaign's own process, over a store that fails and hangs on demand, for what needs no process of
//! its own to be broken.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use harness::faulty::{FaultyStore, Stall};
use scrollback::hot::memory::MemoryTier;
use scrollback::key::Address;
use scrollback::store::sled::SledStore;
use scrollback::{Author, Cache, CacheBuilder, Message, Session, SessionKey, SledConfig, clock};
use tokio::runtime::Runtime;

/// Long enough that only what a test makes happen happens.
pub(crate) const NEVER: Duration = Duration::from_secs(86_400);

/// A cache and what lies below it.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) runtime: Runtime,
    pub(crate) cache: Cache,
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) tier: Arc<MemoryTier>,
}

/// A runtime for one round.
///
/// # Errors
/// No threads.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}

/// The store in `dir`, behind faults.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn store(dir: &Path) -> anyhow::Result<Arc<FaultyStore>> {
    let config = SledConfig::new(dir)
        .cache_bytes(8 << 20)
        .wait_lock(Duration::from_secs(5));
    let (store, _) = SledStore::open(&config).context("cannot open the store")?;
    Ok(FaultyStore::new(Arc::new(store)))
}

impl Stage {
    /// Opens a cache in `data` over an in-process tier of `tier_bytes`; flushed only when asked unless `with` says
    /// otherwise.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(
        data: &Path,
        tier_bytes: u64,
        with: impl FnOnce(CacheBuilder) -> CacheBuilder,
    ) -> anyhow::Result<Self> {
        let runtime = runtime()?;
        let store = store(data)?;
        let tier = Arc::new(MemoryTier::new(tier_bytes, clock::system()));
        let builder = Cache::builder()
            .hot_tier(Arc::clone(&tier) as Arc<_>)
            .shared_store(Arc::clone(&store) as Arc<_>)
            .journal(data.join("journal"))
            .journal_limits(1 << 30, 1 << 20)
            .flush_every(NEVER);
        let cache = runtime.block_on(with(builder).build())?;
        Ok(Self {
            runtime,
            cache,
            store,
            tier,
        })
    }

    /// The session of this name.
    pub(crate) fn session(&self, name: impl ToString) -> Session {
        self.cache.session(key(name))
    }

    /// Everything said in a session.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn exported(&self, name: impl ToString) -> anyhow::Result<Vec<String>> {
        let session = self.session(name);
        let all = self.runtime.block_on(session.export())?;
        Ok(all.into_iter().map(|(_, m)| m.text).collect())
    }

    /// Lets everything go on, and closes.
    ///
    /// # Errors
    /// Something is not durable.
    pub(crate) fn close(self) -> anyhow::Result<()> {
        self.store.set_stall(Stall::No);
        self.store.set_no_flush(false);
        let closed = self
            .runtime
            .block_on(self.cache.close(Duration::from_secs(20)))?;
        anyhow::ensure!(closed.left == 0, "{} entries are left", closed.left);
        Ok(())
    }
}

/// The key of the session of this name.
pub(crate) fn key(name: impl ToString) -> SessionKey {
    SessionKey::new("faults", "bot").channel(name)
}

/// Its address.
pub(crate) fn address(name: impl ToString) -> Address {
    Address::from(&key(name))
}

/// A message of `bytes` text; its number is its platform id.
pub(crate) fn message(n: u64, bytes: usize) -> Message {
    let mut text = format!("{n} ");
    text.extend(std::iter::repeat_n('x', bytes.saturating_sub(text.len())));
    text.truncate(bytes);
    Message::user(Author::new("faults", "ann"), text).id(n)
}

/// This process's resident memory in KiB.
pub(crate) fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// Waits until `is` holds, up to 10 s; true when it does.
pub(crate) fn soon(is: impl Fn() -> bool) -> bool {
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while std::time::Instant::now() < until {
        if is() {
            return true;
        }
        crate::process::pause(Duration::from_millis(5));
    }
    is()
}
