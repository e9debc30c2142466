//! Sends a whole text through an outbox: split, in order, with a bounded number of further tries.
//!
//! Invariant: every call of an outbox ends by its deadline, so that a hanging platform holds up
//! nothing but its own session, and that not for ever.

use std::future::Future;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::outbox::{Audience, Outbox, SendError};
use crate::split::split;

/// The deadline of one call of an outbox.
const SEND: Duration = Duration::from_secs(30);
/// How often a call is tried while the platform says "later".
const TRIES: u32 = 4;
/// The longest wait before another try.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Sends a text in as many messages as its length needs and returns the id of the first one that has
/// an id. A text of white space only is not sent.
///
/// # Errors
/// The error of the first part that could not be sent; the parts before it were.
pub async fn deliver(
    outbox: &dyn Outbox,
    text: &str,
    audience: Audience,
) -> Result<Option<String>, SendError> {
    let mut first = None;
    for part in parts(text, outbox) {
        let id = persist(|| outbox.send(&part, audience)).await?;
        first = first.or(id);
    }
    Ok(first)
}

/// The parts of a text that a platform takes.
pub(crate) fn parts(text: &str, outbox: &dyn Outbox) -> Vec<String> {
    let mut parts = split(text, outbox.limit());
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Runs a call of an outbox until it succeeds, fails for good, or has been tried often enough.
pub(crate) async fn persist<T, F, Fut>(call: F) -> Result<T, SendError>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, SendError>>,
{
    let mut wait = Duration::from_millis(500);
    for _ in 1..TRIES {
        match once(call()).await {
            Err(SendError::Later { after }) => {
                sleep(after.unwrap_or(wait).min(LONGEST_WAIT)).await;
                wait = wait.saturating_mul(2);
            }
            done => return done,
        }
    }
    once(call()).await
}

/// Runs a call of an outbox once, by its deadline. A call that did not end may have sent its text, so
/// it is not one to try again.
pub(crate) async fn once<T>(
    call: impl Future<Output = Result<T, SendError>>,
) -> Result<T, SendError> {
    timeout(SEND, call)
        .await
        .unwrap_or_else(|late| Err(SendError::Failed(late.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeOutbox, Sent};

    #[tokio::test]
    async fn a_long_text_goes_out_in_parts_and_the_first_id_comes_back() {
        let outbox = FakeOutbox::new(10);
        let id = deliver(&outbox, "aaaa bbbb cccc dddd", Audience::Asker)
            .await
            .unwrap();
        assert_eq!(id.as_deref(), Some("1"));
        assert_eq!(outbox.texts(), ["aaaa bbbb ", "cccc dddd"]);
        assert!(
            outbox
                .log()
                .iter()
                .all(|s| matches!(s, Sent::Text(_, Audience::Asker)))
        );
    }

    #[tokio::test]
    async fn blank_parts_are_not_sent() {
        let outbox = FakeOutbox::new(10);
        assert_eq!(
            deliver(&outbox, &" \n".repeat(30), Audience::Everyone)
                .await
                .unwrap(),
            None
        );
        assert!(outbox.log().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_platform_that_says_later_is_asked_again_but_not_for_ever() {
        let outbox = FakeOutbox::new(10);
        outbox.later(3);
        assert!(deliver(&outbox, "hi", Audience::Everyone).await.is_ok());
        outbox.later(4);
        let refused = deliver(&outbox, "ho", Audience::Everyone).await;
        assert!(matches!(refused, Err(SendError::Later { .. })));
        assert_eq!(outbox.texts(), ["hi"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_platform_that_hangs_is_given_up() {
        let outbox = FakeOutbox::new(10);
        outbox.hang();
        let late = deliver(&outbox, "hi", Audience::Everyone).await;
        assert!(matches!(late, Err(SendError::Failed(_))));
    }
}
