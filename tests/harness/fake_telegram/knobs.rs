//! The handle's faults and settings, and what it tells of the bot's doings.

use std::time::Duration;

use serde_json::Value;

use super::FakeTelegram;
use super::faults::{Duplicates, Failure, RateLimits};
use super::record::{Action, Call, SentDocument, SentMessage};
use super::updates::Confirmation;
use super::webhook::Delivery;

impl FakeTelegram {
    /// Makes the token invalid from now on.
    pub fn revoke(&self) {
        self.shared.with(|state| state.revoked = true);
    }

    /// Lets the bot read all group messages, or only what is meant for it. Off at the start.
    pub fn reads_all_group_messages(&self, all: bool) {
        self.shared.with(|state| state.bot.reads_all = all);
    }

    /// Resets every open connection, waiting polls included.
    pub fn drop_connections(&self) {
        self.shared.cut();
    }

    /// Resets every connection, old and new, until it is switched off again.
    pub fn offline(&self, offline: bool) {
        self.shared.with(|state| state.offline = offline);
        if offline {
            self.shared.cut();
        }
    }

    /// The next `times` calls of a method fail like this, after those planned before.
    pub fn fail_next(&self, method: &str, times: usize, failure: Failure) {
        let plan = std::iter::repeat_n(failure, times);
        self.shared.with(|state| {
            let method = method.to_ascii_lowercase();
            state.faults.next.entry(method).or_default().extend(plan);
        });
    }

    /// Takes back the failures that no call has met yet.
    pub fn fail_no_more(&self) {
        self.shared.with(|state| state.faults.next.clear());
    }

    /// Every call of a method is carried out this much later; zero ends it.
    pub fn delay(&self, method: &str, by: Duration) {
        let method = method.to_ascii_lowercase();
        self.shared
            .with(|state| state.faults.delays.insert(method, by));
    }

    /// Of the updates from now on, so many in a hundred come again under a new identifier once they
    /// are confirmed, and as many once more under their own.
    pub fn duplicate(&self, percent: u64, seed: u64) {
        let duplicates = Some(Duplicates::new(percent, seed));
        self.shared
            .with(|state| state.faults.duplicates = duplicates);
    }

    /// Sets the rate limits; edits count as messages.
    pub fn limit(&self, limits: RateLimits) {
        self.shared.with(|state| state.faults.limits = limits);
    }

    /// The pause after a webhook's first failure; it doubles with each further one, up to a minute.
    pub fn webhook_backoff(&self, first: Duration) {
        self.shared.with(|state| state.webhook_backoff = first);
    }

    /// Runs `hook` on the updates that a call confirms, before that call is answered.
    ///
    /// For a webhook it runs after the 2xx, which is what confirms.
    pub fn on_confirm(&self, hook: impl Fn(&[Value]) + Send + Sync + 'static) {
        self.shared
            .with(|state| state.queue.hook = Some(std::sync::Arc::new(hook)));
    }

    /// Every confirmed update, in the order of confirming.
    #[must_use]
    pub fn confirmed(&self) -> Vec<Confirmation> {
        self.shared.look(|state| state.queue.confirmed.clone())
    }

    /// The highest confirmed identifier.
    #[must_use]
    pub fn highest_confirmed(&self) -> Option<i64> {
        self.shared.look(|state| {
            let ids = state.queue.confirmed.iter().map(|one| one.update_id);
            ids.max()
        })
    }

    /// How many updates wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.look(|state| state.queue.waiting.len())
    }

    /// The updates that wait, oldest first.
    #[must_use]
    pub fn pending(&self) -> Vec<Value> {
        self.shared.look(|state| {
            let waiting = state.queue.waiting.iter();
            waiting.map(|queued| queued.body.clone()).collect()
        })
    }

    /// The messages that the bot has sent, with their edits.
    #[must_use]
    pub fn sent(&self) -> Vec<SentMessage> {
        self.shared.look(|state| state.record.sent.clone())
    }

    /// The messages that the bot has sent into one chat.
    #[must_use]
    pub fn sent_in(&self, chat: i64) -> Vec<SentMessage> {
        let mut sent = self.sent();
        sent.retain(|sent| sent.chat == chat);
        sent
    }

    /// The documents that the bot has uploaded.
    #[must_use]
    pub fn documents(&self) -> Vec<SentDocument> {
        self.shared.look(|state| state.record.documents.clone())
    }

    /// The chat actions, such as `typing`.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        self.shared.look(|state| state.record.actions.clone())
    }

    /// Every call with a valid token, the failed ones included.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.look(|state| state.record.calls.clone())
    }

    /// The calls of one method, in any case.
    #[must_use]
    pub fn calls_of(&self, method: &str) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.method.eq_ignore_ascii_case(method));
        calls
    }

    /// The attempts to deliver updates to the webhook.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.look(|state| state.record.deliveries.clone())
    }

    /// The commands set for this scope, as `{"type":"default"}`, and language.
    #[must_use]
    pub fn commands(&self, scope: &Value, language: &str) -> Option<Value> {
        let scope = scope.to_string();
        self.shared
            .look(|state| state.commands.of(&scope, language).cloned())
    }

    /// Waits, blocking the thread, until `done` is true. An async test uses [`until`](Self::until).
    ///
    /// # Errors
    /// It is not true within 30 s; the error shows the last calls.
    pub fn wait_for(&self, what: &str, mut done: impl FnMut(&Self) -> bool) -> anyhow::Result<()> {
        self.shared.wait(what, || done(self))
    }

    /// Waits until `done` is true, without blocking the thread.
    ///
    /// # Errors
    /// It is not true within 30 s; the error shows the last calls.
    pub async fn until(
        &self,
        what: &str,
        mut done: impl FnMut(&Self) -> bool + Send,
    ) -> anyhow::Result<()> {
        self.shared.wait_async(what, || done(self)).await
    }

    /// Waits, blocking the thread, until the bot has sent this many messages in all.
    ///
    /// # Errors
    /// It has not within 30 s.
    pub fn wait_sent(&self, count: usize) -> anyhow::Result<Vec<SentMessage>> {
        let what = format!("{count} messages sent");
        self.wait_for(&what, |fake| fake.sent().len() >= count)?;
        Ok(self.sent())
    }

    /// Waits until the bot has sent this many messages in all, without blocking the thread.
    ///
    /// # Errors
    /// It has not within 30 s.
    pub async fn until_sent(&self, count: usize) -> anyhow::Result<Vec<SentMessage>> {
        let what = format!("{count} messages sent");
        self.until(&what, |fake| fake.sent().len() >= count).await?;
        Ok(self.sent())
    }
}
