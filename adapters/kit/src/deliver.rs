//! Sends a whole text through an outbox: split, in order, with a bounded number of further tries.
//!
//! Invariant: every call of an outbox ends by its deadline, so that a hanging platform holds up
//! nothing but its own session, and that not for ever.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::outbox::{Audience, Outbox, Part, SendError};
use crate::split::split;

/// The deadline of one call of an outbox.
const SEND: Duration = Duration::from_secs(30);
/// How often a call is tried while the platform says "later".
const TRIES: u32 = 4;
/// The longest wait before another try; an answer that comes still later is none.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A message that a platform has taken.
#[derive(Clone, PartialEq, Eq)]
pub struct Sent {
    /// What it says.
    pub text: String,
    /// The platform's id of it, if there is one.
    pub id: Option<String>,
}

impl fmt::Debug for Sent {
    /// Leaves the text out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent")
            .field("bytes", &self.text.len())
            .field("id", &self.id)
            .finish()
    }
}

/// What became of a text.
#[derive(Debug, Default)]
#[must_use]
pub struct Delivered {
    /// The messages that were sent, in order.
    pub sent: Vec<Sent>,
    /// Why the rest was not.
    pub failed: Option<SendError>,
}

impl Delivered {
    /// The messages, when all of the text was sent.
    ///
    /// # Errors
    /// Why the rest was not.
    pub fn whole(self) -> Result<Vec<Sent>, SendError> {
        self.failed.map_or(Ok(self.sent), Err)
    }
}

/// Sends a text in as many messages as its length needs. A text of white space only is not sent.
pub async fn deliver(outbox: &dyn Outbox, text: &str, audience: Audience) -> Delivered {
    let mut done = Delivered::default();
    for (nth, text) in (0..).zip(parts(text, outbox)) {
        let part = Part {
            text: &text,
            audience,
            nth,
        };
        match persist(|| outbox.send(part)).await {
            Ok(id) => done.sent.push(Sent { text, id }),
            Err(error) => {
                done.failed = Some(error);
                break;
            }
        }
    }
    done
}

/// The parts of a text that a platform takes.
pub(crate) fn parts(text: &str, outbox: &dyn Outbox) -> Vec<String> {
    let mut parts = split(&outbox.quiet(text), outbox.limit());
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
            // Asking earlier than the platform told would only lengthen its patience's end.
            Err(SendError::Later { after }) if after.unwrap_or(wait) <= LONGEST_WAIT => {
                sleep(after.unwrap_or(wait)).await;
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
    use crate::fake::{Call, FakeOutbox};

    #[tokio::test]
    async fn a_long_text_goes_out_in_parts_and_their_ids_come_back() {
        let outbox = FakeOutbox::new(10);
        let sent = deliver(&outbox, "aaaa bbbb cccc dddd", Audience::Asker)
            .await
            .whole()
            .unwrap();
        let ids: Vec<_> = sent.iter().map(|s| s.id.as_deref()).collect();
        assert_eq!(ids, [Some("1"), Some("2")]);
        assert_eq!(outbox.texts(), ["aaaa bbbb ", "cccc dddd"]);
        assert!(
            outbox
                .log()
                .iter()
                .all(|s| matches!(s, Call::Text(_, Audience::Asker)))
        );
    }

    #[tokio::test]
    async fn blank_parts_are_not_sent() {
        let outbox = FakeOutbox::new(10);
        let done = deliver(&outbox, &" \n".repeat(30), Audience::Everyone).await;
        assert_eq!(done.whole().unwrap(), []);
        assert!(outbox.log().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_platform_that_says_later_is_asked_again_but_not_for_ever() {
        let outbox = FakeOutbox::new(10);
        outbox.later(3);
        let done = deliver(&outbox, "hi", Audience::Everyone).await;
        assert!(done.whole().is_ok());
        outbox.later(4);
        let refused = deliver(&outbox, "ho", Audience::Everyone).await;
        assert!(matches!(refused.failed, Some(SendError::Later { .. })));
        assert_eq!(outbox.texts(), ["hi"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_platform_that_hangs_is_given_up() {
        let outbox = FakeOutbox::new(10);
        outbox.hang();
        let late = deliver(&outbox, "hi", Audience::Everyone).await;
        assert!(matches!(late.failed, Some(SendError::Failed(_))));
    }
}
