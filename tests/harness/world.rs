//! A small world for the data path: one store, one hot tier behind fault injectors, a clock moved by
//! hand, and as many caches over them as a test wants. A dropped cache is a crash: nothing is flushed.
//!
//! With `SCROLLBACK_ENCRYPTED=1` the store, and so all of it, is encrypted.
#![expect(
    clippy::unwrap_used,
    reason = "a test world that cannot be set up must end the test loudly"
)]

use std::sync::Arc;
use std::time::Duration;

use scrollback::hot::HotTier;
use scrollback::hot::memory::MemoryTier;
use scrollback::store::Store;
use scrollback::store::sled::{SledConfig, SledStore};
use scrollback::testing::ManualClock;
use scrollback::{
    Author, Cache, CacheBuilder, MasterKey, Message, Session, SessionKey, Sliding, Window,
};

use crate::faulty::{FaultyStore, FaultyTier};

/// The parts that several caches share.
#[derive(Debug)]
pub struct World {
    /// Where journals and the store live.
    pub dir: tempfile::TempDir,
    /// The store, with faults on demand.
    pub store: Arc<FaultyStore>,
    /// The hot tier, with faults on demand.
    pub hot: Arc<FaultyTier>,
    /// The in-process tier behind it, when it is one.
    pub memory: Option<Arc<MemoryTier>>,
    /// The clock of all caches.
    pub clock: Arc<ManualClock>,
}

/// The time to live that a world's sessions have.
pub const TTL: Duration = Duration::from_secs(600);

impl World {
    /// A world over the in-process tier.
    #[must_use]
    pub fn in_memory() -> Self {
        let clock = ManualClock::shared();
        let memory = Arc::new(MemoryTier::new(64 << 20, Arc::clone(&clock) as _));
        let mut world = Self::over(Arc::clone(&memory) as _, clock);
        world.memory = Some(memory);
        world
    }

    /// A world over any tier.
    #[must_use]
    pub fn over(tier: Arc<dyn HotTier>, clock: Arc<ManualClock>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = SledConfig::new(dir.path().join("store"));
        if std::env::var_os("SCROLLBACK_ENCRYPTED").is_some() {
            config = config.encrypt(MasterKey::generate());
        }
        let (store, quarantined) = SledStore::open(&config).unwrap();
        assert!(quarantined.is_none());
        let store = FaultyStore::new(Arc::new(store));
        Self {
            dir,
            store,
            hot: FaultyTier::new(tier),
            memory: None,
            clock,
        }
    }

    /// The configuration of a cache with a journal of its own; flushes only when told.
    #[must_use]
    pub fn builder(&self, name: &str) -> CacheBuilder {
        Cache::builder()
            .hot_tier(Arc::clone(&self.hot) as _)
            .shared_store(Arc::clone(&self.store) as Arc<dyn Store>)
            .journal(self.dir.path().join(format!("journal-{name}")))
            .clock(Arc::clone(&self.clock) as _)
            .window(Window::messages(10))
            .ttl(Sliding(TTL))
            // Tests hold calls back, on machines that are busy.
            .deadline(Duration::from_secs(10))
            .flush_every(Duration::from_secs(3600))
            .journal_limits(1 << 30, 0)
    }

    /// A cache with a journal of its own.
    pub async fn cache(&self, name: &str) -> Cache {
        self.builder(name).build().await.unwrap()
    }
}

/// A session's key.
#[must_use]
pub fn key(channel: &str) -> SessionKey {
    SessionKey::new("test", "bot").channel(channel)
}

/// A message with a platform id.
#[must_use]
pub fn say(id: &str, text: &str) -> Message {
    Message::user(Author::new("test", "ann"), text).id(id)
}

/// The texts of a session's context.
pub async fn context(session: &Session) -> Vec<String> {
    session
        .context()
        .await
        .unwrap()
        .messages
        .iter()
        .map(|m| m.text.clone())
        .collect()
}

/// The texts of a session's whole history, whose places must rise.
pub async fn history(session: &Session) -> Vec<String> {
    let all = session.export().await.unwrap();
    assert!(
        all.iter().is_sorted_by(|a, b| a.0 < b.0),
        "places do not rise"
    );
    all.into_iter().map(|(_, m)| m.text).collect()
}

/// The texts that [`fill`] appends.
#[must_use]
pub fn texts(range: std::ops::RangeInclusive<u32>) -> Vec<String> {
    range.map(|n| format!("m{n}")).collect()
}

/// Appends messages whose ids are numbers.
pub async fn fill(session: &Session, range: std::ops::RangeInclusive<u32>) {
    for n in range {
        session
            .append(say(&n.to_string(), &format!("m{n}")))
            .await
            .unwrap();
    }
}

/// Waits until `check` is true.
///
/// # Panics
/// When it is not within 10 s.
pub async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let in_time = tokio::time::timeout(Duration::from_secs(10), async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(in_time.await.is_ok(), "not within 10 s: {what}");
}

/// Ends a cache as a crash does: nothing is flushed.
pub async fn crash(cache: Cache) {
    drop(cache);
    // The flusher sees the drop and ends.
    tokio::task::yield_now().await;
}
