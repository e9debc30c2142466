//! How often one person is answered.
//!
//! Invariant: what is over the rate is kept and not answered, and the person is told so at most once a
//! minute; the memory for it is bounded. Knows no session.

use std::num::NonZeroU32;

use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use scrollback::Author;

/// How often one person is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Answers a minute in the long run (default 20: more is no conversation).
    pub per_minute: NonZeroU32,
    /// Answers at once after a pause (default 5).
    pub burst: NonZeroU32,
}

impl Default for Rate {
    fn default() -> Self {
        let at_least_one = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        Self {
            per_minute: at_least_one(20),
            burst: at_least_one(5),
        }
    }
}

/// Persons remembered before those who have been silent are forgotten: some 100 bytes each.
const PERSONS: usize = 10_000;

/// How many requests lie between two looks at how many are remembered.
const SWEEP: u32 = 1024;

type Person = (String, String);
type Limiter<C> = RateLimiter<
    Person,
    HashMapStateStore<Person>,
    C,
    governor::middleware::NoOpMiddleware<<C as Clock>::Instant>,
>;

/// What a person's next request is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// An answer.
    Answer,
    /// A word that they are too fast.
    Tell,
    /// Nothing.
    Silence,
}

/// Counts each person's answers.
pub(crate) struct Rates<C: Clock = DefaultClock> {
    answers: Limiter<C>,
    notices: Limiter<C>,
    asked: AtomicU32,
}

impl Rates {
    pub(crate) fn new(rate: Rate) -> Self {
        Self::on(rate, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn on(rate: Rate, clock: &C) -> Self {
        let limiter = |quota| RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Self {
            answers: limiter(Quota::per_minute(rate.per_minute).allow_burst(rate.burst)),
            notices: limiter(Quota::per_minute(NonZeroU32::MIN)),
            asked: AtomicU32::new(0),
        }
    }

    /// Counts one request of a person.
    pub(crate) fn ask(&self, person: &Author) -> Turn {
        if self
            .asked
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(SWEEP)
        {
            for limiter in [&self.answers, &self.notices] {
                if limiter.len() > PERSONS {
                    // Who has not asked for a while has a full allowance, as who was never seen.
                    limiter.retain_recent();
                }
            }
        }
        let person = (person.platform.clone(), person.id.clone());
        if self.answers.check_key(&person).is_ok() {
            Turn::Answer
        } else if self.notices.check_key(&person).is_ok() {
            Turn::Tell
        } else {
            Turn::Silence
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn over_the_rate_a_person_is_told_once_a_minute_and_others_are_answered() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::on(Rate::default(), &clock);
        let (ann, bob) = (Author::new("t", 1), Author::new("t", 2));
        for _ in 0..5 {
            assert_eq!(rates.ask(&ann), Turn::Answer);
        }
        assert_eq!(rates.ask(&ann), Turn::Tell);
        assert_eq!(rates.ask(&ann), Turn::Silence);
        assert_eq!(rates.ask(&bob), Turn::Answer);
        clock.advance(Duration::from_secs(3));
        assert_eq!(rates.ask(&ann), Turn::Answer);
        assert_eq!(rates.ask(&ann), Turn::Silence);
        clock.advance(Duration::from_secs(60));
        for _ in 0..5 {
            assert_eq!(rates.ask(&ann), Turn::Answer);
        }
        assert_eq!(rates.ask(&ann), Turn::Tell);
    }

    #[test]
    fn the_memory_of_persons_is_bounded() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::on(Rate::default(), &clock);
        for n in 0..3 * PERSONS {
            clock.advance(Duration::from_secs(1));
            rates.ask(&Author::new("t", n));
        }
        assert!(
            rates.answers.len() <= PERSONS + 1024,
            "{}",
            rates.answers.len()
        );
    }
}
