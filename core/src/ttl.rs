//! How long a session stays hot after it was touched.
//!
//! A policy sees each touch and answers with a time to live. The same code serves the live path and
//! `scrollback simulate`. Invariants: a policy decides only about clean sessions, a dirty one never
//! expires; it learns only from what it has seen, and nothing from a gap that no clock can vouch for.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::millis;
use crate::error::{Error, Result};

mod bounds;
mod curve;
mod economic;
mod learned;

pub use bounds::Bounds;
pub use economic::{Economic, Prices};
pub use learned::Learned;

/// How long a clean session stays hot from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// It leaves the hot tier after this long, unless touched.
    After(Duration),
    /// It stays until evicted for room.
    Pinned,
}

impl Ttl {
    /// The time to live in milliseconds, at least 1; `None` when pinned.
    #[must_use]
    pub fn millis(self) -> Option<u64> {
        match self {
            Self::After(d) => Some(millis(d).max(1)),
            Self::Pinned => None,
        }
    }
}

/// Who talks in a session. What is learned of one kind is never used for another: an agent's steps come
/// and end in another rhythm than a person's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A person talks with the bot, or people with each other.
    #[default]
    People,
    /// A program works through it, step by step.
    Agents,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::People, Self::Agents];

    /// `people` or `agents`: part of the name under which a store keeps what was learned.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::People => "people",
            Self::Agents => "agents",
        }
    }
}

/// One touch of a session: an append, or a read for a responder.
#[derive(Debug, Clone, Copy)]
pub struct Touch {
    /// Time since the Unix epoch as the process believed at its start, and monotonic from there: a jump of
    /// the wall clock moves it only at a restart.
    pub now: Duration,
    /// Bytes of all that the session's context holds.
    pub bytes: usize,
    /// Who talks in the session.
    pub kind: Kind,
}

/// Returns after a silence of one range of lengths, as counted and as expected of an average session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Returns {
    /// How many came back, older ones counting less.
    #[serde(rename = "v")]
    pub seen: f32,
    /// How many of an average session would have.
    #[serde(rename = "e")]
    pub expected: f32,
}

/// What policies remember of one session, at most 64 bytes; kept with its record in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// When the session became hot, in the time of [`Touch::now`].
    #[serde(skip)]
    pub hot_since: Option<Duration>,
    /// How often it was touched.
    #[serde(rename = "n", default)]
    pub touches: u64,
    /// When it was last touched, in milliseconds of [`Touch::now`]; 0: never.
    #[serde(rename = "l", default)]
    pub last_ms: u64,
    /// Returns after a silence of 12 minutes to 3 hours, and after a longer one.
    #[serde(rename = "r", default)]
    pub returns: [Returns; 2],
    /// What [`Learned`] chose at the last touch that was not in a burst.
    #[serde(rename = "t", default)]
    pub chosen: u8,
}

/// A longer silence tells nothing: either the session begins a new life, or a clock jumped.
pub(crate) const LONGEST_GAP: Duration = Duration::from_secs(1 << 22);

impl Estimate {
    /// Notes a touch; the silence before it, where both clocks can be believed.
    pub fn note(&mut self, now: Duration) -> Option<Duration> {
        let now_ms = millis(now);
        let last_ms = std::mem::replace(&mut self.last_ms, now_ms);
        self.touches = self.touches.saturating_add(1);
        if self.hot_since.is_none() {
            self.hot_since = Some(now);
        }
        // A last touch in the future: a clock that was ahead has been set right.
        let gap = Duration::from_millis(now_ms.checked_sub(last_ms)?);
        (last_ms > 0 && gap <= LONGEST_GAP).then_some(gap)
    }
}

/// Decides a session's time to live at each touch; must be cheap: it is on the path of every append.
pub trait TtlPolicy: Send + Sync + Debug + 'static {
    /// The time to live from now on.
    fn touch(&self, estimate: &mut Estimate, touch: Touch) -> Ttl;

    /// A session was loaded from the store, which took this long, with a context of so many bytes. The default takes no note.
    fn loaded(&self, took: Duration, bytes: usize) {
        let _ = (took, bytes);
    }

    /// What it has learned of all sessions, to be kept in the store, each under its own name: always the same names. The
    /// default learns nothing.
    fn learned(&self) -> Vec<(&'static str, Bytes)> {
        Vec::new()
    }

    /// Goes on from what [`learned`](Self::learned) once gave under a name. The default ignores it.
    ///
    /// # Errors
    /// [`Error::Decode`] when it cannot be read; the policy then begins anew.
    fn restore(&self, name: &str, learned: &[u8]) -> Result<()> {
        let _ = (name, learned);
        Ok(())
    }
}

impl<P: TtlPolicy + ?Sized> TtlPolicy for Arc<P> {
    fn touch(&self, estimate: &mut Estimate, touch: Touch) -> Ttl {
        (**self).touch(estimate, touch)
    }

    fn loaded(&self, took: Duration, bytes: usize) {
        (**self).loaded(took, bytes);
    }

    fn learned(&self) -> Vec<(&'static str, Bytes)> {
        (**self).learned()
    }

    fn restore(&self, name: &str, learned: &[u8]) -> Result<()> {
        (**self).restore(name, learned)
    }
}

/// The session leaves the hot tier a fixed time after it became hot, touched or not.
#[derive(Debug, Clone, Copy)]
pub struct Fixed(pub Duration);

impl TtlPolicy for Fixed {
    fn touch(&self, estimate: &mut Estimate, touch: Touch) -> Ttl {
        estimate.note(touch.now);
        let since = estimate.hot_since.unwrap_or(touch.now);
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
        estimate.note(touch.now);
        Ttl::After(self.0)
    }
}

/// The session never expires; only eviction for room removes it from the hot tier.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pinned;

impl TtlPolicy for Pinned {
    fn touch(&self, estimate: &mut Estimate, touch: Touch) -> Ttl {
        estimate.note(touch.now);
        Ttl::Pinned
    }
}

/// The break-even times that make sense: below a second nothing would stay hot, beyond ten years nothing would leave.
const COSTS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(10 * 365 * 86_400);

pub(crate) fn checked_cost(cost: Duration) -> Result<Duration> {
    if COSTS.contains(&cost) {
        return Ok(cost);
    }
    Err(Error::Config(vec![format!(
        "a load's worth of {} s of being hot is not 1 s to 10 years",
        cost.as_secs_f64()
    )]))
}

#[cfg(test)]
mod tests;
