//! When to send signs of life, when to call a connection dead, how long to wait before another one.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// The heartbeat of one connection.
#[derive(Debug)]
pub(super) struct Heart {
    every: Duration,
    next: Instant,
    answered: bool,
}

impl Heart {
    /// The first beat comes at a random part of the interval, so that a crowd does not beat at once.
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every,
            next: Instant::now() + every.mul_f64(fraction()),
            answered: true,
        }
    }

    /// When the next beat is due.
    pub(super) const fn due(&self) -> Instant {
        self.next
    }

    /// Counts a beat; false when the last one was never answered: the connection is dead.
    pub(super) fn beat(&mut self) -> bool {
        self.next = Instant::now() + self.every;
        std::mem::replace(&mut self.answered, false)
    }

    /// The other side has answered.
    pub(super) const fn answered(&mut self) {
        self.answered = true;
    }
}

/// The longest pause between two tries to connect.
const LONGEST: Duration = Duration::from_secs(60);

/// The pauses between tries that fail.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failed: u32,
}

impl Backoff {
    /// How often it failed since it last went well.
    pub(crate) const fn failed(&self) -> u32 {
        self.failed
    }

    /// It went well.
    pub(crate) const fn reset(&mut self) {
        self.failed = 0;
    }

    /// It failed: how long to wait. Short after the first time, then doubled up to a minute.
    pub(crate) fn pause(&mut self) -> Duration {
        let base = match self.failed {
            0 => Duration::from_millis(100),
            n => Duration::from_millis(500)
                .saturating_mul(1 << n.min(7))
                .min(LONGEST),
        };
        self.failed = self.failed.saturating_add(1);
        base.mul_f64(0.5 + fraction() / 2.0)
    }
}

/// A random number from 0 to 1, by way of the standard library's hasher keys.
pub(crate) fn fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 40;
    // 24 bits, which a float holds exactly.
    u32::try_from(bits).map_or(0.5, |bits| f64::from(bits) / f64::from(1_u32 << 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_beat_without_an_answer_to_the_last_one_means_death() {
        let mut heart = Heart::new(Duration::from_secs(40));
        assert!(heart.due() <= Instant::now() + Duration::from_secs(40));
        assert!(heart.beat());
        heart.answered();
        assert!(heart.beat());
        assert!(!heart.beat());
    }

    #[test]
    fn pauses_grow_to_a_minute_and_start_again() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..20).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= Duration::from_millis(100));
        assert!(pauses.iter().all(|p| *p <= LONGEST));
        assert!(pauses[19] >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }

    #[test]
    fn a_fraction_is_one() {
        assert!((0..1000).all(|_| (0.0..1.0).contains(&fraction())));
    }
}
