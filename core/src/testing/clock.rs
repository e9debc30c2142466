//! A clock moved by hand.
//!
//! Invariant: wall and monotonic time move separately, and the monotonic one never goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, millis};

/// A [`Clock`] that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: AtomicU64,
    monotonic_us: AtomicU64,
}

impl Default for ManualClock {
    /// Starts in November 2023, so that wall times look like wall times.
    fn default() -> Self {
        Self {
            wall_ms: AtomicU64::new(1_700_000_000_000),
            monotonic_us: AtomicU64::new(0),
        }
    }
}

impl ManualClock {
    /// A clock to share.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        self.wall_ms.fetch_add(millis(by), Ordering::SeqCst);
        let us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.monotonic_us.fetch_add(us, Ordering::SeqCst);
    }

    /// Sets the wall clock, forwards or backwards; monotonic time stays.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic_us.load(Ordering::SeqCst))
    }
}
