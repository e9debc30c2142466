//! setWebhook, deleteWebhook, getWebhookInfo, and the deliveries.
//!
//! Updates of one chat are posted in order, one after the other; chats go in parallel up to
//! `max_connections`. Whatever is not answered 2xx is posted again, later and later.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Done, Refusal, Reply};
use super::args::Args;
use super::post::{Target, post};
use super::server::carry_out;
use super::state::{Shared, State};
use super::updates::{ConfirmedBy, Queued, allowed_updates, tell};
use super::world::{put, seconds};

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A webhook that is set.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    /// Tells the settings apart: deliveries of an earlier one stop.
    setting: u64,
    url: String,
    secret: Option<String>,
    max_connections: usize,
    last_error: Option<(i64, String)>,
}

/// One attempt to deliver an update.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The update's identifier.
    pub update_id: i64,
    /// The status that came back; `None` when nothing did.
    pub status: Option<u16>,
    /// When the answer came, or the attempt failed.
    pub at: Timestamp,
}

/// setWebhook. An empty address takes it off.
pub(crate) fn set(shared: &Arc<Shared>, args: &Args) -> Reply {
    let url = args.text("url").unwrap_or_default();
    if url.is_empty() {
        return shared.with(|state| delete(state, args));
    }
    check_url(&url)?;
    let secret = args.text("secret_token").filter(|text| !text.is_empty());
    if let Some(secret) = &secret {
        check_secret(secret)?;
    }
    let most = args.number("max_connections").unwrap_or(40).clamp(1, 100);
    let kinds = allowed_updates(args)?;
    let drop_pending = args.flag("drop_pending_updates");
    let (setting, description) = shared.with(|state| {
        state.webhook_setting += 1;
        if drop_pending {
            state.queue.drop_waiting();
        }
        let same = state
            .webhook
            .as_ref()
            .is_some_and(|old| old.url == url && old.secret == secret)
            && kinds.is_none();
        state.queue.want(kinds);
        state.webhook = Some(Webhook {
            setting: state.webhook_setting,
            url,
            secret,
            max_connections: usize::try_from(most).unwrap_or(40),
            last_error: None,
        });
        for queued in &mut state.queue.waiting {
            queued.in_flight = false;
            queued.not_before = None;
        }
        let description = if same {
            "Webhook is already set"
        } else {
            "Webhook was set"
        };
        (state.webhook_setting, description)
    });
    tokio::spawn(deliver(Arc::clone(shared), setting));
    Ok(Done::told(description))
}

pub(crate) fn delete(state: &mut State, args: &Args) -> Reply {
    if args.flag("drop_pending_updates") {
        state.queue.drop_waiting();
    }
    Ok(Done::told(match state.webhook.take() {
        Some(_) => "Webhook was deleted",
        None => "Webhook is already deleted",
    }))
}

pub(crate) fn info(state: &State) -> Value {
    let mut info = json!({
        "url": "", "has_custom_certificate": false,
        "pending_update_count": state.queue.waiting.len(),
    });
    if let Some(hook) = &state.webhook {
        put(&mut info, "url", Some(hook.url.clone()));
        put(&mut info, "max_connections", Some(hook.max_connections));
        put(&mut info, "ip_address", Some("127.0.0.1"));
        if let Some((date, message)) = &hook.last_error {
            put(&mut info, "last_error_date", Some(*date));
            put(&mut info, "last_error_message", Some(message.clone()));
        }
    }
    put(&mut info, "allowed_updates", state.queue.wanted());
    info
}

/// https on one of four ports. Plain http is taken for loopback only: the real server never does,
/// but a test's listener has no certificate.
fn check_url(url: &str) -> Result<(), Refusal> {
    if let Some(rest) = url.strip_prefix("https://") {
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let port = host.rsplit_once(':').map(|(_, port)| port);
        return match port {
            None | Some("80" | "88" | "443" | "8443") if !host.is_empty() => Ok(()),
            None => Err(Refusal::bad("invalid webhook URL specified")),
            Some(_) => Err(Refusal::bad(
                "bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443",
            )),
        };
    }
    match Target::of(url) {
        Some(target) if target.is_loopback() => Ok(()),
        _ => Err(Refusal::bad(
            "bad webhook: HTTPS url must be provided for webhook",
        )),
    }
}

fn check_secret(secret: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if secret.len() > 256 {
        return Err(Refusal::bad("secret token is too long"));
    }
    if !secret.chars().all(allowed) {
        return Err(Refusal::bad("secret token contains unallowed characters"));
    }
    Ok(())
}

/// The chat of an update; updates without one share a queue.
fn chat_of(update: &Value) -> i64 {
    update
        .as_object()
        .into_iter()
        .flatten()
        .find_map(|(_, payload)| payload.get("chat")?.get("id")?.as_i64())
        .unwrap_or(0)
}

/// The next updates to post: the first of each chat, unless that is under way or waits for its turn.
fn due(state: &mut State, setting: u64) -> Option<Vec<(Webhook, Value)>> {
    let hook = state
        .webhook
        .clone()
        .filter(|hook| hook.setting == setting)?;
    let now = Instant::now();
    let mut posts: Vec<(Webhook, Value)> = state
        .queue
        .take_again()
        .into_iter()
        .map(|update| (hook.clone(), update))
        .collect();
    let is_flying = |queued: &&Queued| queued.in_flight;
    let mut free = hook
        .max_connections
        .saturating_sub(state.queue.waiting.iter().filter(is_flying).count());
    let mut seen = BTreeSet::new();
    for queued in &mut state.queue.waiting {
        let first = seen.insert(chat_of(&queued.body));
        let ready = queued.not_before.is_none_or(|at| at <= now);
        if first && ready && !queued.in_flight && free > 0 {
            queued.in_flight = true;
            free -= 1;
            posts.push((hook.clone(), queued.body.clone()));
        }
    }
    Some(posts)
}

/// Posts updates until this setting of the webhook is over.
async fn deliver(shared: Arc<Shared>, setting: u64) {
    let mut pulse = shared.pulse();
    let mut posts = tokio::task::JoinSet::new();
    loop {
        pulse.borrow_and_update();
        let Some(batch) = shared.quietly(|state| due(state, setting)) else {
            return;
        };
        for (hook, update) in batch {
            posts.spawn(attempt(Arc::clone(&shared), hook, update));
        }
        let next = shared.look(|state| {
            let times = state.queue.waiting.iter().filter(|one| !one.in_flight);
            times.filter_map(|one| one.not_before).min()
        });
        let next = next.unwrap_or_else(|| Instant::now() + LONGEST_PAUSE);
        tokio::select! {
            _ = pulse.changed() => {}
            _ = posts.join_next(), if !posts.is_empty() => {}
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// Posts one update and draws the conclusion from the answer.
async fn attempt(shared: Arc<Shared>, hook: Webhook, update: Value) {
    let id = update
        .get("update_id")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let answer = post(&hook.url, hook.secret.as_deref(), &update.to_string()).await;
    let status = answer.as_ref().ok().map(|answer| answer.status);
    let confirmed = shared.with(|state| {
        state.record.deliveries.push(Delivery {
            update_id: id,
            status,
            at: Timestamp::now(),
        });
        if status.is_some_and(|status| (200..300).contains(&status)) {
            return state.queue.confirm(id, ConfirmedBy::Webhook);
        }
        let error = match &answer {
            Ok(answer) => format!("Wrong response from the webhook: {}", answer.reason),
            Err(error) => error.clone(),
        };
        failed(state, hook.setting, id, error);
        None
    });
    tell(&shared, confirmed.into_iter().collect()).await;
    let reply = answer.ok().filter(|answer| answer.status == 200);
    if let Some(Ok(Value::Object(mut values))) =
        reply.map(|answer| serde_json::from_slice(&answer.body))
    {
        // A webhook may answer with a call; its result is told to nobody.
        if let Some(Value::String(method)) = values.remove("method") {
            let _ = Box::pin(carry_out(&shared, &method, Args::of(values))).await;
        }
    }
}

fn failed(state: &mut State, setting: u64, id: i64, error: String) {
    let base = state.webhook_backoff;
    if let Some(hook) = state.webhook.as_mut().filter(|one| one.setting == setting) {
        hook.last_error = Some((seconds(), error));
    }
    if let Some(queued) = state.queue.waiting.iter_mut().find(|one| one.id == id) {
        queued.in_flight = false;
        queued.attempts += 1;
        let pause = base.saturating_mul(1 << queued.attempts.min(16).saturating_sub(1));
        queued.not_before = Some(Instant::now() + pause.min(LONGEST_PAUSE));
    }
}
