//! What a cache tells of itself.

use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use crate::clock::millis;
use crate::session::engine::Engine;

/// Counters since the start, and gauges.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Stats {
    /// Messages appended.
    pub appended: u64,
    /// Appends that changed nothing: the message was there already.
    pub duplicates: u64,
    /// Touches of a session that was hot.
    pub hits: u64,
    /// Touches that had to load the session from the store.
    pub misses: u64,
    /// Flushes done: store transactions.
    pub flushes: u64,
    /// Entries made durable.
    pub flushed: u64,
    /// Entries waiting to be made durable now.
    pub waiting: u64,
    /// How far write-behind lags now: the age in milliseconds of the oldest entry that is accepted and not durable
    /// (of one replayed from the journal, since the replay); 0 when nothing waits.
    pub lag_ms: u64,
    /// About how many bytes the replicas take now.
    pub replica_bytes: u64,
    /// Sessions known to this process now.
    pub sessions: u64,
    /// True while the hot tier or the store is away.
    pub degraded: bool,
    /// `memory` or `redis`.
    pub hot_tier: &'static str,
    /// `sled`, …
    pub store: &'static str,
}

impl Stats {
    pub(crate) fn of(engine: &Engine) -> Self {
        let c = &engine.counters;
        let (lag, replica_bytes) = engine.gauges();
        let (touches, misses) = (c.touches.load(Relaxed), c.misses.load(Relaxed));
        Self {
            appended: c.appended.load(Relaxed),
            duplicates: c.duplicates.load(Relaxed),
            hits: touches.saturating_sub(misses),
            misses,
            flushes: c.flushes.load(Relaxed),
            flushed: c.flushed.load(Relaxed),
            waiting: engine.backlog.appends.load(Relaxed),
            lag_ms: millis(lag),
            replica_bytes,
            sessions: engine.cell_count() as u64,
            degraded: engine.is_degraded(),
            hot_tier: engine.hot_name(),
            store: engine.store.name(),
        }
    }

    /// Hits among all touches, 0 to 1; 0 without touches.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        let all = self.hits + self.misses;
        if all == 0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let ratio = self.hits as f64 / all as f64;
        ratio
    }
}

/// How a close ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Closed {
    /// Entries that were not durable by the deadline; they are in the journal.
    pub left: u64,
}

/// What a verification found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verified {
    /// Sessions checked.
    pub sessions: u64,
    /// Messages checked.
    pub messages: u64,
    /// Sessions that were hot and compared with the store.
    pub hot: u64,
    /// What is wrong, in words, without users' text.
    pub violations: Vec<String>,
}
