//! The other way in: Telegram delivers each update to a small server of ours.
//!
//! Invariants: an update is answered 200 only when it is safe, so Telegram delivers every other again;
//! updates are taken in one at a time in the order in which they come, and Telegram is told to send one at
//! a time; a stranger gets no further than the comparison of the secret, and holds neither memory nor
//! connections: headers, body, time and connections are bounded.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::http::StatusCode;
use reqwest::Url;
use scrollback_kit::Secret;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::api::{CallError, Done};
use crate::backoff::Backoff;
use crate::config::Webhook;
use crate::error::Error;
use crate::hub::Hub;
use crate::intake::Intake;
use crate::poll::ALLOWED;

mod receive;
mod serve;

/// The deadline of the calls that set the webhook.
const SETTING: Duration = Duration::from_secs(20);
/// How long calls in hand may take at the end.
const IN_HAND: Duration = Duration::from_secs(5);

/// What the server knows.
#[derive(Debug)]
struct Door {
    intake: Arc<Intake>,
    path: String,
    secret: Secret,
    /// Held while an update is taken in, so that they are in the order in which they came; owns the task
    /// that does it, which goes on when the caller hangs up.
    turn: Mutex<JoinSet<StatusCode>>,
    /// True once a stranger was told of: they may be many.
    warned: AtomicBool,
    /// Told when the cache is closed.
    closed: Notify,
}

/// Takes updates until `stop` completes. The webhook stays set: Telegram keeps what it cannot deliver.
pub(crate) async fn run<S>(
    intake: Arc<Intake>,
    hook: &Webhook,
    mut stop: Pin<&mut S>,
) -> Result<(), Error>
where
    S: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind(hook.listen)
        .await
        .map_err(|e| Error::Failed {
            what: format!(
                "the webhook cannot listen on {}: choose an address of this machine that is free",
                hook.listen
            ),
            source: e.into(),
        })?;
    let hub = Arc::clone(&intake.hub);
    let secret = hook.secret.clone().unwrap_or_else(random_secret);
    let door = Arc::new(Door {
        intake,
        path: path(&hook.url),
        secret: secret.clone(),
        turn: Mutex::default(),
        warned: AtomicBool::new(false),
        closed: Notify::new(),
    });
    let until = async {
        tokio::select! {
            biased;
            () = &mut stop => Ok(()),
            () = door.closed.notified() => Err(Error::Closed),
            error = set(&hub, hook, &secret) => Err(error),
        }
    };
    let ended = Box::pin(serve::run(listener, Arc::clone(&door), until)).await;
    let mut left = door.turn.lock().await;
    let finished = timeout(IN_HAND, async { while left.join_next().await.is_some() {} });
    if finished.await.is_err() {
        left.shutdown().await;
    }
    ended
}

/// Sets the webhook, then waits for what only an operator can mend.
async fn set(hub: &Hub, hook: &Webhook, secret: &Secret) -> Error {
    let setting = json!({
        "url": hook.url,
        "secret_token": secret.expose(),
        "max_connections": 1,
        "allowed_updates": ALLOWED,
    });
    let mut backoff = Backoff::new("setWebhook");
    loop {
        match hub.api.call::<Done>("SetWebhook", &setting, SETTING).await {
            Ok(_) => break,
            Err(CallError::Unauthorized) => return Error::Unauthorized,
            Err(CallError::Refused { code, why }) => {
                return Error::Failed {
                    what: "Telegram refuses the webhook: its address must be https and reachable"
                        .into(),
                    source: format!("{code}: {why}").into(),
                };
            }
            Err(error) => sleep(backoff.failed(&error)).await,
        }
    }
    backoff.over();
    tracing::info!(listen = %hook.listen, "Telegram delivers updates to the webhook");
    hub.api.revoked.notified().await;
    Error::Unauthorized
}

fn path(url: &str) -> String {
    Url::parse(url).map_or_else(|_| "/".into(), |url| url.path().to_owned())
}

/// 64 characters that nobody can guess: at least 128 bits of the operating system's randomness, by way of
/// the standard library's keyed hasher.
fn random_secret() -> Secret {
    use std::hash::{BuildHasher, RandomState};
    let words = (0..4u64).map(|n| format!("{:016x}", RandomState::new().hash_one(n)));
    Secret::new(words.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_our_own_is_one_that_telegram_takes_and_never_the_same() {
        let (one, two) = (random_secret(), random_secret());
        assert_eq!(one.expose().len(), 64);
        assert_ne!(one, two);
        let hook = Webhook {
            secret: Some(one),
            ..Webhook::new("https://bot.example/hook")
        };
        let config = crate::TelegramConfig::new("1:x").webhook(hook);
        assert!(config.validate().is_ok());
    }

    #[test]
    fn the_path_is_the_addresss() {
        assert_eq!(path("https://bot.example/hook/7?x=1"), "/hook/7");
        assert_eq!(path("https://bot.example"), "/");
    }
}
