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
}

impl Backoff {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self {
            what,
            wait: FIRST,
            since: None,
        }
    }

    /// Notes a failure and says how long to wait before the next try.
    pub(crate) fn failed(&mut self, error: &CallError) -> Duration {
        if self.since.is_none() {
            self.since = Some(Instant::now());
            let what = self.what;
            tracing::warn!(what, %error, "Telegram does not answer as it should; trying again");
        }
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
        if let Some(since) = self.since.take() {
            let (what, after) = (self.what, since.elapsed());
            tracing::info!(what, ?after, "Telegram answers again");
        }
    }

    /// How long the outage lasts; zero when there is none.
    pub(crate) fn lasts(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
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
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(backoff.lasts(), Duration::from_secs(5));
        backoff.over();
        assert_eq!(backoff.failed(&error), FIRST);
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
