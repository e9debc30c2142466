//! The queue of updates and getUpdates, the long poll over it.
//!
//! An update stays queued until a later call's offset (or a webhook's 2xx) confirms it; identifiers
//! only rise. What is confirmed is told to the test's hook before the confirming call is answered.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::answer::{Refusal, Reply};
use super::args::Args;
use super::state::{Shared, State};

/// Every kind of update; what is not in it is queued whatever `allowed_updates` says.
const KINDS: [&str; 24] = [
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "business_connection",
    "business_message",
    "edited_business_message",
    "deleted_business_messages",
    "message_reaction",
    "message_reaction_count",
    "inline_query",
    "chosen_inline_result",
    "callback_query",
    "shipping_query",
    "pre_checkout_query",
    "purchased_paid_media",
    "poll",
    "poll_answer",
    "my_chat_member",
    "chat_member",
    "chat_join_request",
    "chat_boost",
    "removed_chat_boost",
    "managed_bot",
];

/// The kinds that come only when they are asked for by name.
const ONLY_ON_REQUEST: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];

/// How an update came to be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfirmedBy {
    /// A getUpdates call with a higher offset.
    Offset,
    /// A webhook that answered 2xx.
    Webhook,
    /// `drop_pending_updates`.
    Dropped,
}

/// One confirmed update.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// Its identifier.
    pub update_id: i64,
    /// The whole update.
    pub update: Value,
    /// When the confirming call arrived.
    pub at: Timestamp,
    /// What confirmed it.
    pub by: ConfirmedBy,
}

/// An update that waits.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) id: i64,
    pub(crate) body: Value,
    /// Comes again under a new identifier, and again under its own, once it is confirmed.
    twice: (bool, bool),
    pub(crate) attempts: u32,
    pub(crate) not_before: Option<Instant>,
    pub(crate) in_flight: bool,
}

pub(crate) type ConfirmHook = Arc<dyn Fn(&[Value]) + Send + Sync>;

/// Updates in order, and what became of the earlier ones.
#[derive(Default)]
pub(crate) struct Queue {
    last_id: i64,
    pub(crate) waiting: VecDeque<Queued>,
    /// Confirmed updates that the next answer repeats.
    again: Vec<Value>,
    pub(crate) confirmed: Vec<Confirmation>,
    pub(crate) hook: Option<ConfirmHook>,
    /// `None` is the default set.
    pub(crate) allowed: Option<BTreeSet<String>>,
    /// Rises with every getUpdates call; a waiting call with a lower number has been taken over.
    poll: u64,
}

impl Queue {
    /// Starts after an arbitrary identifier, as Telegram does.
    pub(crate) fn new() -> Self {
        Self {
            last_id: 718_000_000,
            ..Self::default()
        }
    }

    fn allows(&self, kind: &str) -> bool {
        match &self.allowed {
            _ if !KINDS.contains(&kind) => true,
            Some(kinds) => kinds.contains(kind),
            None => !ONLY_ON_REQUEST.contains(&kind),
        }
    }

    fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    fn append(&mut self, mut body: Value, twice: (bool, bool)) -> i64 {
        let id = self.next_id();
        if let Some(fields) = body.as_object_mut() {
            // Telegram sends the identifier first; maps keep their own order here.
            fields.insert("update_id".into(), id.into());
        }
        self.waiting.push_back(Queued {
            id,
            body,
            twice,
            attempts: 0,
            not_before: None,
            in_flight: false,
        });
        id
    }

    /// Takes an update out as confirmed and queues what is to come again.
    pub(crate) fn confirm(&mut self, id: i64, by: ConfirmedBy) -> Option<Value> {
        let at = self.waiting.iter().position(|queued| queued.id == id)?;
        let queued = self.waiting.remove(at)?;
        self.confirmed.push(Confirmation {
            update_id: id,
            update: queued.body.clone(),
            at: Timestamp::now(),
            by,
        });
        if by != ConfirmedBy::Dropped {
            if queued.twice.0 {
                self.append(queued.body.clone(), (false, false));
            }
            if queued.twice.1 {
                self.again.push(queued.body.clone());
            }
        }
        Some(queued.body)
    }

    /// Confirms everything below `offset`; a negative one keeps that many from the end.
    fn confirm_below(&mut self, offset: i64) -> Vec<Value> {
        let keep_from = if offset < 0 {
            let keep = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
            let first = self.waiting.len().saturating_sub(keep);
            match self.waiting.get(first) {
                Some(queued) => queued.id,
                None => return Vec::new(),
            }
        } else {
            offset
        };
        let ids: Vec<i64> = self
            .waiting
            .iter()
            .map(|queued| queued.id)
            .filter(|id| *id < keep_from)
            .collect();
        ids.into_iter()
            .filter_map(|id| self.confirm(id, ConfirmedBy::Offset))
            .collect()
    }

    /// Drops everything that waits.
    pub(crate) fn drop_waiting(&mut self) {
        let ids: Vec<i64> = self.waiting.iter().map(|queued| queued.id).collect();
        for id in ids {
            self.confirm(id, ConfirmedBy::Dropped);
        }
        self.again.clear();
    }

    /// Confirmed updates that are to be posted once more to a webhook.
    pub(crate) fn take_again(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.again)
    }

    fn batch(&mut self, limit: usize) -> Vec<Value> {
        let mut batch = self.take_again();
        let waiting = self.waiting.iter().map(|queued| queued.body.clone());
        batch.extend(waiting.take(limit));
        batch.truncate(limit);
        batch
    }

    /// Remembers the wanted kinds; an empty list is the default set.
    pub(crate) fn want(&mut self, kinds: Option<BTreeSet<String>>) {
        if let Some(kinds) = kinds {
            self.allowed = Some(kinds).filter(|kinds| !kinds.is_empty());
        }
    }

    /// The wanted kinds as getWebhookInfo shows them.
    pub(crate) fn wanted(&self) -> Option<Vec<String>> {
        let kinds = self.allowed.as_ref()?;
        Some(kinds.iter().cloned().collect())
    }
}

impl State {
    /// Queues an update, unless its kind is not wanted.
    pub(crate) fn push_update(&mut self, kind: &str, payload: Value) -> Option<i64> {
        if !self.queue.allows(kind) {
            return None;
        }
        let mut body = Map::new();
        body.insert(kind.into(), payload);
        self.push_body(Value::Object(body))
    }

    /// Queues a body of any form.
    pub(crate) fn push_body(&mut self, body: Value) -> Option<i64> {
        let twice = match &mut self.faults.duplicates {
            Some(duplicates) => (duplicates.strikes(), duplicates.strikes()),
            None => (false, false),
        };
        Some(self.queue.append(body, twice))
    }
}

/// `allowed_updates`, when it was passed. Unknown kinds are passed over, as the real one does.
pub(crate) fn allowed_updates(args: &Args) -> Result<Option<BTreeSet<String>>, Refusal> {
    let Some(value) = args.json("allowed_updates", "allowed updates")? else {
        return Ok(None);
    };
    let Some(list) = value.as_array() else {
        return Err(Refusal::bad("can't parse allowed updates JSON object"));
    };
    let known = |kind: &&str| KINDS.contains(kind);
    Ok(Some(
        list.iter()
            .filter_map(Value::as_str)
            .filter(known)
            .map(str::to_owned)
            .collect(),
    ))
}

fn webhook_is_active() -> Refusal {
    Refusal::conflict(
        "can't use getUpdates method while webhook is active; use deleteWebhook to delete the \
         webhook first",
    )
}

fn taken_over() -> Refusal {
    Refusal::conflict(
        "terminated by other getUpdates request; make sure that only one bot instance is running",
    )
}

/// getUpdates.
pub(crate) async fn get_updates(shared: &Arc<Shared>, args: &Args) -> Reply {
    let offset = args.number("offset").unwrap_or(0);
    // Out of range is brought into it, not refused; absent is the most.
    let limit = args.number("limit").unwrap_or(100).clamp(1, 100);
    let limit = usize::try_from(limit).unwrap_or(100);
    let timeout = args.number("timeout").unwrap_or(0).clamp(0, 50);
    let until = Instant::now() + Duration::from_secs(timeout.unsigned_abs());
    let kinds = allowed_updates(args)?;
    let (mine, confirmed) = shared.with(|state| {
        if state.webhook.is_some() {
            return Err(webhook_is_active());
        }
        state.queue.want(kinds);
        state.queue.poll += 1;
        let confirmed = state.queue.confirm_below(offset);
        Ok((state.queue.poll, confirmed))
    })?;
    tell(shared, confirmed).await;
    wait_for_batch(shared, mine, limit, until).await
}

async fn wait_for_batch(shared: &Arc<Shared>, mine: u64, limit: usize, until: Instant) -> Reply {
    let mut pulse = shared.pulse();
    loop {
        pulse.borrow_and_update();
        let batch = shared.quietly(|state| {
            if state.queue.poll != mine {
                Err(taken_over())
            } else if state.webhook.is_some() {
                Err(Refusal::conflict("terminated by setWebhook request"))
            } else {
                Ok(state.queue.batch(limit))
            }
        })?;
        if !batch.is_empty() || Instant::now() >= until {
            return Ok(Value::Array(batch).into());
        }
        tokio::select! {
            _ = pulse.changed() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

/// Runs the test's hook on what was just confirmed, and waits for it.
pub(crate) async fn tell(shared: &Arc<Shared>, confirmed: Vec<Value>) {
    let hook = shared.look(|state| state.queue.hook.clone());
    if let Some(hook) = hook.filter(|_| !confirmed.is_empty()) {
        // It may block: it reads what the bot has written.
        let _ = tokio::task::spawn_blocking(move || hook(&confirmed)).await;
    }
}
