//! Calls of the cache that must succeed before an update may be confirmed.
//!
//! Invariant: what a later try can mend is tried until it succeeds or the caller gives up by dropping the
//! call; what no try can mend is returned at once, so that it holds nothing up.

use std::future::Future;
use std::time::Duration;

use scrollback::Error;
use tokio::time::sleep;

/// The pause after a first failure, doubled after each further one.
const FIRST: Duration = Duration::from_millis(50);
/// The longest pause: how soon work goes on after an outage.
const LONGEST: Duration = Duration::from_secs(2);

/// Runs a call of the cache until it succeeds or can never succeed.
///
/// The call must be safe to repeat after a time-out: an append with a platform id, an edit, a delete.
///
/// # Errors
/// What no later try can mend: too large, invalid, closed.
pub async fn insist<T, F, Fut>(call: F) -> scrollback::Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = scrollback::Result<T>>,
{
    let mut wait = FIRST;
    loop {
        match call().await {
            Err(error) if passes(&error) => {
                if wait == FIRST {
                    tracing::warn!(%error, "the cache does not take an update now; trying again");
                }
                sleep(wait).await;
                wait = wait.saturating_mul(2).min(LONGEST);
            }
            done => return done,
        }
    }
}

/// True for what a later try can mend, for callers that let the platform deliver again instead.
#[must_use]
pub const fn passes(error: &Error) -> bool {
    error.is_outage() || matches!(error, Error::Backpressure { .. } | Error::DiskLow { .. })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_again_and_what_does_not_is_returned() {
        let calls = Cell::new(0);
        let done = insist(|| {
            calls.set(calls.get() + 1);
            let n = calls.get();
            async move {
                match n {
                    1 => Err(Error::Timeout {
                        what: "x",
                        after: FIRST,
                    }),
                    2 => Err(Error::Backpressure {
                        waiting: 1,
                        limit: 1,
                        unit: "appends",
                    }),
                    n => Ok(n),
                }
            }
        });
        assert_eq!(done.await.unwrap(), 3);
        let closed = insist(|| async { Err::<(), _>(Error::Closed) }).await;
        assert!(matches!(closed, Err(Error::Closed)));
    }
}
