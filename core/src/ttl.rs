//! How long a session stays hot after it was touched.
//!
//! A policy sees each touch and answers with a time to live. The same trait serves fixed, sliding and
//! learned policies. Invariant: a policy decides only about clean sessions; a dirty one never expires.

use std::fmt::Debug;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a clean session stays hot from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// It leaves the hot tier after this long, unless touched.
    After(Duration),
    /// It stays until evicted for room.
    Pinned,
}

impl Ttl {
    /// The time to live in milliseconds; `None` when pinned.
    #[must_use]
    pub fn millis(self) -> Option<u64> {
        match self {
            Self::After(d) => Some(crate::clock::millis(d).max(1)),
            Self::Pinned => None,
        }
    }
}

/// One touch of a session: an append, or a read for a responder.
#[derive(Debug, Clone, Copy)]
pub struct Touch {
    /// Monotonic time now.
    pub now: Duration,
    /// Encoded bytes of the session's context.
    pub bytes: usize,
}

/// What a policy remembers of one session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// When the session became hot, monotonic.
    #[serde(skip)]
    pub hot_since: Option<Duration>,
    /// How often it was touched.
    #[serde(rename = "n", default)]
    pub touches: u64,
}

/// Decides a session's time to live at each touch; must be cheap.
pub trait TtlPolicy: Send + Sync + Debug + 'static {
    /// The time to live from now on.
    fn touch(&self, estimate: &mut Estimate, touch: Touch) -> Ttl;
}

/// The session leaves the hot tier a fixed time after it became hot, touched or not.
#[derive(Debug, Clone, Copy)]
pub struct Fixed(pub Duration);

impl TtlPolicy for Fixed {
    fn touch(&self, estimate: &mut Estimate, touch: Touch) -> Ttl {
        estimate.touches += 1;
        let since = *estimate.hot_since.get_or_insert(touch.now);
        let lived = touch.now.saturating_sub(since);
        Ttl::After(self.0.saturating_sub(lived).max(Duration::from_millis(1)))
    }
}

/// The session leaves the hot tier a fixed time after its last touch.
#[derive(Debug, Clone, Copy)]
pub struct Sliding(pub Duration);

impl Default for Sliding {
    /// 30 minutes: after u seconds of silence the chance of return per second is about 0.4/u on real
    /// chat logs, so most of the returns that any day-long TTL catches come within this time.
    fn default() -> Self {
        Self(Duration::from_secs(30 * 60))
    }
}

impl TtlPolicy for Sliding {
    fn touch(&self, estimate: &mut Estimate, touch: Touch) -> Ttl {
        estimate.touches += 1;
        estimate.hot_since.get_or_insert(touch.now);
        Ttl::After(self.0)
    }
}

/// The session never expires; only eviction for room removes it from the hot tier.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pinned;

impl TtlPolicy for Pinned {
    fn touch(&self, estimate: &mut Estimate, touch: Touch) -> Ttl {
        estimate.touches += 1;
        estimate.hot_since.get_or_insert(touch.now);
        Ttl::Pinned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Touch {
        Touch {
            now: Duration::from_secs(secs),
            bytes: 0,
        }
    }

    #[test]
    fn a_fixed_ttl_runs_from_the_first_touch_and_a_sliding_one_from_the_last() {
        let (mut a, mut b) = (Estimate::default(), Estimate::default());
        let (fixed, sliding) = (
            Fixed(Duration::from_secs(60)),
            Sliding(Duration::from_secs(60)),
        );
        assert_eq!(
            fixed.touch(&mut a, at(100)),
            Ttl::After(Duration::from_secs(60))
        );
        assert_eq!(
            fixed.touch(&mut a, at(140)),
            Ttl::After(Duration::from_secs(20))
        );
        assert_eq!(
            sliding.touch(&mut b, at(100)),
            Ttl::After(Duration::from_secs(60))
        );
        assert_eq!(
            sliding.touch(&mut b, at(140)),
            Ttl::After(Duration::from_secs(60))
        );
    }
}
