//! Keeps what the bot said.
//!
//! Invariant: what was said once is kept once; what may quote something that was forgotten meanwhile is not
//! kept at all.

use std::time::Duration;

use scrollback::{Error, Message, SessionKey, Turn};
use tokio::time::sleep;

use crate::deliver::Sent;

/// Appends what was said to the session, a message for each that the platform has; tries again while
/// that is safe, as it cannot be unsaid.
pub(super) async fn keep(turn: &Turn, key: &SessionKey, question: &Message, sent: Vec<Sent>) {
    if sent.is_empty() {
        return;
    }
    let named = sent.iter().all(|s| s.id.is_some());
    let message = |s: Sent| Message {
        id: s.id,
        reply_to: question.id.clone(),
        ..Message::assistant(s.text)
    };
    let messages: Vec<Message> = sent.into_iter().map(message).collect();
    let mut wait = Duration::from_millis(500);
    for tries_left in (0..4).rev() {
        let Err(error) = turn.answer_all(messages.iter().cloned()).await else {
            return;
        };
        // With ids a second append of the same messages is found out, without one it is not.
        let safe = match error {
            Error::Forgotten => {
                tracing::info!(session = %key, "something was forgotten during an answer; it is not kept");
                return;
            }
            Error::Backpressure { .. } => true,
            ref other => other.is_outage() && named,
        };
        if tries_left == 0 || !safe {
            tracing::error!(session = %key, %error, "an answer was sent and not kept");
            return;
        }
        sleep(wait).await;
        wait = wait.saturating_mul(3);
    }
}
