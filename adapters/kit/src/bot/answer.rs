//! Asking the responder and saying what it answers, whatever it does.
//!
//! Invariant: ends by its deadlines; a person is told when no answer comes; knows no session.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use scrollback::SessionKey;
use tokio::time::{sleep, timeout};

use crate::deliver::{Delivered, deliver};
use crate::outbox::{Audience, Outbox};
use crate::pace::{Pace, Shown, show};
use crate::responder::{Reply, RespondError};

/// Said when asking again may help.
pub(super) const LATER: &str = "I cannot do that right now. Please try again later.";
/// Said to a person who asks more often than the rate allows.
pub(super) const TOO_FAST: &str =
    "That is faster than I can answer. I am listening; please ask me again in a moment.";
/// Said when a platform does not take a file.
pub(super) const NO_FILE: &str = "I cannot send you that file here; it may be too large.";
/// Said when the responder broke.
const FAILED: &str = "Sorry, something went wrong while answering. Your message is kept.";
/// How often "typing" is shown again: Telegram's lasts 5 s, Discord's 10 s.
const TYPING: Duration = Duration::from_secs(4);

/// Waits for a responder until the deadline, showing "typing" meanwhile.
pub(super) async fn ask(
    respond: impl Future<Output = Result<Reply, RespondError>>,
    outbox: &dyn Outbox,
    deadline: Duration,
    session: &SessionKey,
) -> Result<Reply, RespondError> {
    let caught = timeout(deadline, AssertUnwindSafe(respond).catch_unwind());
    let asked = tokio::select! {
        biased;
        asked = caught => asked,
        never = keep_typing(outbox) => match never {},
    };
    match asked {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => Err(RespondError::failed("the responder panicked")),
        Err(_) => {
            tracing::warn!(%session, ?deadline, "the responder did not answer in time");
            Err(RespondError::Later { after: None })
        }
    }
}

async fn keep_typing(outbox: &dyn Outbox) -> Infallible {
    loop {
        // Only a courtesy: it may fail, and it may not hang.
        let _ = timeout(TYPING, outbox.typing()).await;
        sleep(TYPING).await;
    }
}

/// Says a reply, or why there is none. Apologies and refusals are not conversation: they are sent and
/// are not among what is returned as sent.
pub(super) async fn say(
    reply: Result<Reply, RespondError>,
    outbox: &dyn Outbox,
    pace: Pace,
    session: &SessionKey,
) -> Delivered {
    let error = match reply {
        Ok(Reply::None) => return Delivered::default(),
        Ok(Reply::Text(mut text)) => {
            text.truncate(text.floor_char_boundary(pace.max_bytes));
            return deliver(outbox, &text, Audience::Everyone).await;
        }
        Ok(Reply::Stream(pieces)) => {
            let Shown {
                sent,
                broken,
                failed,
            } = Box::pin(show(pieces, outbox, pace)).await;
            match broken {
                Some(error) if sent.is_empty() && failed.is_none() => error,
                broken => {
                    if let Some(error) = broken {
                        tracing::warn!(%session, %error, "a reply broke off");
                    }
                    return Delivered { sent, failed };
                }
            }
        }
        Err(error) => error,
    };
    let told = deliver(outbox, &apology(error, session), Audience::Everyone).await;
    Delivered {
        sent: Vec::new(),
        failed: told.failed,
    }
}

/// What a person is told of an error.
fn apology(error: RespondError, session: &SessionKey) -> String {
    match error {
        RespondError::Later { .. } => LATER.into(),
        RespondError::Refused(text) => text,
        RespondError::Failed(cause) => {
            tracing::warn!(%session, %cause, "the responder failed");
            FAILED.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::*;
    use crate::deliver::Sent;
    use crate::fake::FakeOutbox;

    fn key() -> SessionKey {
        SessionKey::new("test", "bot").channel(1)
    }

    const DEADLINE: Duration = Duration::from_secs(60);

    async fn answered(reply: Result<Reply, RespondError>) -> (Vec<String>, Vec<Sent>) {
        let outbox = FakeOutbox::new(2000);
        let reply = ask(async { reply }, &outbox, DEADLINE, &key()).await;
        let said = say(reply, &outbox, Pace::default(), &key()).await;
        (outbox.texts(), said.whole().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_said_and_handed_back_with_its_id() {
        let stream = Reply::Stream(stream::iter([Ok("he".into()), Ok("llo".into())]).boxed());
        for reply in [Reply::Text("hello".into()), stream] {
            let (texts, said) = answered(Ok(reply)).await;
            assert_eq!(texts, ["hello"]);
            assert_eq!(
                (said[0].text.as_str(), said[0].id.as_deref()),
                ("hello", Some("1"))
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_reply_says_nothing() {
        for reply in [
            Reply::None,
            Reply::Text(" \n".into()),
            Reply::Stream(stream::empty().boxed()),
        ] {
            let (texts, said) = answered(Ok(reply)).await;
            assert!(texts.is_empty() && said.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_told_politely_and_is_no_conversation() {
        let broken = stream::iter([Err(RespondError::failed("secret detail"))]).boxed();
        for (reply, told) in [
            (Err(RespondError::Later { after: None }), LATER),
            (
                Err(RespondError::Refused("Enough for today.".into())),
                "Enough for today.",
            ),
            (Err(RespondError::failed("secret detail")), FAILED),
            (Ok(Reply::Stream(broken)), FAILED),
        ] {
            let (texts, said) = answered(reply).await;
            assert_eq!(texts, [told]);
            assert!(said.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_responder_that_hangs_or_panics_costs_one_answer() {
        let outbox = FakeOutbox::new(2000);
        let hung = ask(std::future::pending(), &outbox, DEADLINE, &key()).await;
        assert!(matches!(hung, Err(RespondError::Later { .. })));
        let burst = async { panic!("on purpose") };
        let panicked = ask(burst, &outbox, DEADLINE, &key()).await;
        assert!(matches!(panicked, Err(RespondError::Failed(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_bounded() {
        let (texts, said) = answered(Ok(Reply::Text("é".repeat(100_000)))).await;
        let bytes: usize = said.iter().map(|s| s.text.len()).sum();
        assert_eq!(bytes, 32 << 10);
        assert_eq!(texts.concat().len(), 32 << 10);
    }
}
