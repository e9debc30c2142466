//! Long polling: asks for updates, and confirms them by asking for the next.
//!
//! Invariant: the next call goes out only when every update of the last is safe, so a crash at any point
//! loses none. Server errors, time-outs and nonsense are waited out.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use teloxide::types::AllowedUpdate;
use tokio::time::{sleep, timeout};

use crate::api::{Api, CallError, Done};
use crate::backoff::Backoff;
use crate::decode::{self, Received};
use crate::error::Error;
use crate::intake::Intake;

/// The kinds of updates that mean something to the bot.
pub(crate) const ALLOWED: [AllowedUpdate; 9] = [
    AllowedUpdate::Message,
    AllowedUpdate::EditedMessage,
    AllowedUpdate::ChannelPost,
    AllowedUpdate::EditedChannelPost,
    AllowedUpdate::BusinessConnection,
    AllowedUpdate::BusinessMessage,
    AllowedUpdate::EditedBusinessMessage,
    AllowedUpdate::DeletedBusinessMessages,
    AllowedUpdate::MyChatMember,
];

/// How long the server waits for an update before it answers with none.
const LONG: Duration = Duration::from_secs(30);
/// What a connection that died unnoticed may cost beyond it.
const SLACK: Duration = Duration::from_secs(15);
/// The most updates that Telegram hands out at once.
const LIMIT: u8 = 100;
/// How long the batch in hand may take when the bot is to stop.
const IN_HAND: Duration = Duration::from_secs(5);
/// How long somebody else may take the updates before the bot gives up: longer than any restart.
const CONFLICT: Duration = Duration::from_secs(600);

#[derive(Serialize)]
struct GetUpdates {
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    limit: u8,
    timeout: u64,
    allowed_updates: [AllowedUpdate; 9],
}

/// Takes updates until `stop` completes.
pub(crate) async fn run<S>(intake: &Intake, mut stop: Pin<&mut S>) -> Result<(), Error>
where
    S: Future<Output = ()> + Send,
{
    let api = &intake.hub.api;
    let mut backoff = Backoff::new("getUpdates");
    let mut offset = None;
    loop {
        let batch = tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            batch = fetch(api, offset, &mut backoff) => batch?,
        };
        let me = &intake.hub.me;
        let updates: Vec<Received> = batch
            .iter()
            .filter_map(|raw| decode::read(raw.get(), me))
            .collect();
        let mut taking = std::pin::pin!(intake.take_all(&updates));
        let stopped = tokio::select! {
            biased;
            taken = &mut taking => { taken?; false }
            // What is in hand is finished: a message that is kept and not answered would stay so.
            () = &mut stop => match timeout(IN_HAND, taking).await {
                Ok(taken) => { taken?; true }
                Err(_) => return Ok(()),
            },
        };
        offset = updates.iter().map(|one| one.id + 1).max().or(offset);
        if stopped {
            confirm(api, offset).await;
            return Ok(());
        }
    }
}

/// The next updates, at least one.
async fn fetch(
    api: &Api,
    offset: Option<i64>,
    backoff: &mut Backoff,
) -> Result<Vec<Box<RawValue>>, Error> {
    loop {
        let ask = GetUpdates {
            offset,
            limit: LIMIT,
            timeout: LONG.as_secs(),
            allowed_updates: ALLOWED,
        };
        let error = match api
            .call::<Vec<Box<RawValue>>>("GetUpdates", &ask, LONG + SLACK)
            .await
        {
            Ok(batch) => {
                backoff.over();
                let some = batch.iter().any(|raw| decode::id(raw.get()).is_some());
                if some {
                    return Ok(batch);
                }
                if !batch.is_empty() {
                    tracing::warn!("updates without ids came; they cannot be confirmed");
                    sleep(Duration::from_secs(1)).await;
                }
                continue;
            }
            Err(CallError::Unauthorized) => return Err(Error::Unauthorized),
            Err(error) => error,
        };
        if matches!(error, CallError::Conflict { .. }) && backoff.contested() > CONFLICT {
            return Err(Error::Conflict);
        }
        sleep(backoff.failed(&error)).await;
    }
}

/// Confirms the last batch at the end; without it, it comes once more and changes nothing.
async fn confirm(api: &Api, offset: Option<i64>) {
    let ask = GetUpdates {
        offset,
        limit: 1,
        timeout: 0,
        allowed_updates: ALLOWED,
    };
    let within = Duration::from_secs(2);
    if let Err(error) = api.call::<Done>("GetUpdates", &ask, within).await {
        tracing::debug!(%error, "the last updates are not confirmed and will come again");
    }
}
