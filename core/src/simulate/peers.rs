//! What policies are compared with, and nobody should use live.

use std::time::Duration;

use crate::clock::millis;
use crate::error::Result;
use crate::ttl::{Estimate, Touch, Ttl, TtlPolicy};

/// k times the moving mean of a session's gaps: the obvious adaptive rule. How long one waits for a return grows with
/// how long one has waited already, whatever the session did lately, so that it keeps what is lost and drops what comes back.
#[derive(Debug, Clone, Copy)]
pub struct Ewma {
    /// How many mean gaps a session stays hot.
    pub k: f64,
}

/// A new gap counts so much.
const WEIGHT: f32 = 0.3;

/// Before its first gap a session is taken to have gaps of a minute, about the median of a person in a channel.
const FIRST_S: f32 = 60.0;

impl TtlPolicy for Ewma {
    fn touch(&self, estimate: &mut Estimate, touch: Touch) -> Ttl {
        let first = estimate.touches == 0;
        let gap = estimate.note(touch.now);
        let [mean, _] = &mut estimate.returns;
        if first {
            mean.expected = FIRST_S;
        }
        if let Some(gap) = gap {
            mean.expected += WEIGHT * (gap.as_secs_f32() - mean.expected);
        }
        let seconds = self.k * f64::from(mean.expected);
        Ttl::After(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

/// Whoever knows when each session comes back: it stays hot if that costs less than a load.
#[derive(Debug, Clone, Copy)]
pub struct Oracle {
    cost_ms: u64,
}

impl Oracle {
    /// With the break-even time: the seconds of being hot that one load is worth.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when it is not 1 s to 10 years.
    pub fn new(cost: Duration) -> Result<Self> {
        Ok(Self {
            cost_ms: millis(crate::ttl::checked_cost(cost)?),
        })
    }

    /// True when it keeps a session hot that comes back after this long.
    pub(super) const fn keeps(&self, gap_ms: u64) -> bool {
        gap_ms <= self.cost_ms
    }
}
