//! Policies tried on a log, side by side: the same code that decides on the live path.
//!
//! A session is hot until its time to live has passed since its last touch; a touch of a session that is not hot is a miss.
//! *Residency* is the time for which sessions were hot, the end of each session's last time to live included. Invariant: a
//! policy sees only what it would have seen live; the oracle alone looks ahead. Knows no tier and no store.

use std::sync::Arc;
use std::time::Duration;

use crate::ttl::{Bounds, Estimate, Kind, Touch, Ttl, TtlPolicy};

mod peers;

pub use peers::{Ewma, Oracle};

/// One message of a log: a touch.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// When, in milliseconds since the Unix epoch; no event is earlier than the one before it.
    pub at_ms: u64,
    /// Whose: sessions are numbered from 0 on, in the order in which they appear.
    pub session: usize,
    /// Bytes of the session's context with it.
    pub bytes: usize,
}

/// What a policy did on a log.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Touches of sessions that were not hot, each session's first one included.
    pub misses: u64,
    /// Seconds for which sessions were hot, added up.
    pub residency_s: f64,
    /// The same, each second times the context's bytes.
    pub byte_seconds: f64,
}

/// A policy on the log, with what it remembers of each session.
#[derive(Debug)]
struct Lane {
    policy: Rule,
    bounds: Bounds,
    sessions: Vec<Hot>,
    tally: Tally,
}

/// What decides.
#[derive(Debug)]
enum Rule {
    Policy(Arc<dyn TtlPolicy>),
    Oracle(Oracle),
}

/// What a lane remembers of a session.
#[derive(Debug, Clone, Copy, Default)]
struct Hot {
    estimate: Estimate,
    /// `None` when pinned.
    ttl_ms: Option<u64>,
}

/// Several policies on one log.
#[derive(Debug, Default)]
pub struct Simulation {
    lanes: Vec<Lane>,
    /// When each session was touched last, and how large its context was then.
    last: Vec<(u64, usize)>,
    touches: u64,
    now_ms: u64,
}

impl Simulation {
    /// Adds a policy; all must be added before the first event.
    pub fn policy(&mut self, policy: Arc<dyn TtlPolicy>, bounds: Bounds) {
        self.lane(Rule::Policy(policy), bounds);
    }

    /// Adds the bound: what whoever knew when each session comes back would have paid.
    pub fn oracle(&mut self, oracle: Oracle) {
        self.lane(Rule::Oracle(oracle), Bounds::default());
    }

    fn lane(&mut self, policy: Rule, bounds: Bounds) {
        self.lanes.push(Lane {
            policy,
            bounds,
            sessions: Vec::new(),
            tally: Tally::default(),
        });
    }

    /// Takes in the next event.
    pub fn event(&mut self, event: Event) {
        self.now_ms = self.now_ms.max(event.at_ms);
        self.touches += 1;
        let known = self.last.get(event.session).copied();
        if known.is_none() {
            self.last.resize(event.session + 1, (event.at_ms, 0));
        }
        for lane in &mut self.lanes {
            lane.event(event, known);
        }
        if let Some(last) = self.last.get_mut(event.session) {
            *last = (event.at_ms, event.bytes);
        }
    }

    /// How many events and sessions there were.
    #[must_use]
    pub fn touches(&self) -> (u64, usize) {
        (self.touches, self.last.len())
    }

    /// The time to live in force of a session under the policy that was added as number `lane`.
    #[must_use]
    pub fn ttl(&self, lane: usize, session: usize) -> Option<Ttl> {
        let hot = self.lanes.get(lane)?.sessions.get(session)?;
        let after = |ms| Ttl::After(Duration::from_millis(ms));
        Some(hot.ttl_ms.map_or(Ttl::Pinned, after))
    }

    /// What each policy did, in the order in which they were added; the time for which sessions stay hot after their last
    /// touch is added.
    #[must_use]
    pub fn tallies(&self) -> Vec<Tally> {
        let end = |lane: &Lane| {
            let mut tally = lane.tally;
            for (hot, (last_ms, bytes)) in lane.sessions.iter().zip(&self.last) {
                // A pinned one stays to the end of the log: who knows how long afterwards.
                let tail = hot.ttl_ms.unwrap_or(self.now_ms - last_ms);
                tally.hot_for(tail, *bytes);
            }
            tally
        };
        self.lanes.iter().map(end).collect()
    }
}

impl Lane {
    fn event(&mut self, event: Event, known: Option<(u64, usize)>) {
        if self.sessions.len() <= event.session {
            self.sessions.resize(event.session + 1, Hot::default());
        }
        let Some(hot) = self.sessions.get_mut(event.session) else {
            return;
        };
        match (&self.policy, known) {
            (_, None) => self.tally.misses += 1,
            (Rule::Oracle(oracle), Some((last_ms, bytes))) => {
                let gap = event.at_ms - last_ms;
                if oracle.keeps(gap) {
                    self.tally.hot_for(gap, bytes);
                } else {
                    self.tally.misses += 1;
                }
            }
            (Rule::Policy(_), Some((last_ms, bytes))) => {
                let gap = event.at_ms - last_ms;
                let stayed = hot.ttl_ms.map_or(gap, |ttl| ttl.min(gap));
                self.tally.hot_for(stayed, bytes);
                if stayed < gap {
                    self.tally.misses += 1;
                    hot.estimate.hot_since = None;
                }
            }
        }
        let Rule::Policy(policy) = &self.policy else {
            hot.ttl_ms = Some(0);
            return;
        };
        let touch = Touch {
            now: Duration::from_millis(event.at_ms),
            bytes: event.bytes,
            kind: Kind::People,
        };
        let ttl = policy.touch(&mut hot.estimate, touch);
        hot.ttl_ms = self.bounds.apply(ttl).millis();
    }
}

impl Tally {
    fn hot_for(&mut self, ms: u64, bytes: usize) {
        let seconds = Duration::from_millis(ms).as_secs_f64();
        self.residency_s += seconds;
        self.byte_seconds += seconds * f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// What it cost, in seconds of being hot, when a load is worth `cost`.
    #[must_use]
    pub fn cost(&self, cost: Duration) -> f64 {
        self.residency_s + count(self.misses) * cost.as_secs_f64()
    }
}

/// A count as a float; beyond 2^32 its size is all that matters.
fn count(n: u64) -> f64 {
    let high = u32::try_from(n >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(n & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

#[cfg(test)]
mod tests;
