//! Waiting out an outage of the server: longer each time, told once.
//!
//! Invariant: one line when an outage begins and one when it is over, whatever lies between.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::CallError;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// The outages of one kind of call.
#[derive(Debug)]
pub(crate) struct Backoff {
    what: &'static str,
    wait: Duration,
    since: Option<Instant>,
    /// Since when nothing but conflicts came.
    contested: Option<Instant>,
}

impl Backoff {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self {
            what,
            wait: FIRST,
            since: None,
            contested: None,
        }
    }

    /// Notes a failure and says how long to wait before the next try.
    pub(crate) fn failed(&mut self, error: &CallError) -> Duration {
        if self.since.is_none() {
            self.since = Some(Instant::now());
            let what = self.what;
            tracing::warn!(what, %error, "Telegram does not answer as it should; trying again");
        }
        self.contested = match error {
            CallError::Conflict { .. } => self.contested.or_else(|| Some(Instant::now())),
            _ => None,
        };
        let wait = self.wait;
        self.wait = wait.saturating_mul(2).min(LONGEST);
        match error {
            CallError::TooMany { after } => *after,
            _ => wait,
        }
    }

    /// Notes a success.
    pub(crate) fn over(&mut self) {
        self.wait = FIRST;
        self.contested = None;
        if let Some(since) = self.since.take() {
            let (what, after) = (self.what, since.elapsed());
            tracing::info!(what, ?after, "Telegram answers again");
        }
    }

    /// For how long somebody else has been taking the updates; an outage before that does not count, since
    /// the bot's own last call may linger at the server when it is over.
    pub(crate) fn contested(&self) -> Duration {
        self.contested
            .map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_wait_doubles_to_a_bound_and_starts_afresh_after_a_success() {
        let mut backoff = Backoff::new("a test");
        let error = CallError::Server { status: 502 };
        let waits: Vec<u64> = (0..7).map(|_| backoff.failed(&error).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        backoff.over();
        assert_eq!(backoff.failed(&error), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_counts_from_its_beginning_and_not_from_that_of_an_outage_before_it() {
        let mut backoff = Backoff::new("a test");
        backoff.failed(&CallError::Server { status: 502 });
        tokio::time::advance(Duration::from_secs(3600)).await;
        let conflict = CallError::Conflict { webhook: false };
        assert_eq!(backoff.contested(), Duration::ZERO);
        backoff.failed(&conflict);
        tokio::time::advance(Duration::from_secs(5)).await;
        backoff.failed(&conflict);
        assert_eq!(backoff.contested(), Duration::from_secs(5));
        backoff.over();
        assert_eq!(backoff.contested(), Duration::ZERO);
    }

    #[test]
    fn the_servers_own_wait_is_kept() {
        let after = Duration::from_secs(77);
        assert_eq!(
            Backoff::new("a test").failed(&CallError::TooMany { after }),
            after
        );
    }
}
