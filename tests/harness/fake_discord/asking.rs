//! Asking the fake what the bot did, and waiting for it.

use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::Value;

use super::FakeDiscord;
use super::record::{Asked, Call, GatewayCall, Pings, SentMessage, Typing};

/// How long a wait may take.
const DEADLINE: Duration = Duration::from_secs(30);

impl FakeDiscord {
    /// The bot's messages, in the order in which they were made.
    pub fn sent(&self) -> Vec<SentMessage> {
        self.shared.read(|state| state.record.sent.clone())
    }

    /// The bot's messages in one channel.
    pub fn sent_in(&self, channel: u64) -> Vec<SentMessage> {
        let mut sent = self.sent();
        sent.retain(|one| one.channel == channel);
        sent
    }

    /// The bot's responses and follow-ups to one interaction.
    pub fn responses(&self, interaction: u64) -> Vec<SentMessage> {
        let mut sent = self.sent();
        sent.retain(|one| one.interaction == Some(interaction));
        sent
    }

    /// Whom the bot's messages pinged: the message, and whom.
    pub fn pings(&self) -> Vec<(u64, Pings)> {
        let sent = self.sent().into_iter();
        sent.filter(|one| !one.pings.is_empty())
            .map(|one| (one.id, one.pings))
            .collect()
    }

    /// When the bot was typing, and where.
    pub fn typing(&self) -> Vec<Typing> {
        self.shared.read(|state| state.record.typing.clone())
    }

    /// All requests.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.read(|state| state.record.calls.clone())
    }

    /// What connections asked of the gateway.
    pub fn gateway_calls(&self) -> Vec<GatewayCall> {
        self.shared.read(|state| state.record.gateway.clone())
    }

    /// How many sessions were asked for.
    pub fn identifies(&self) -> usize {
        self.count_asked(|asked| matches!(asked, Asked::Identify { .. }))
    }

    /// How many sessions were to be resumed.
    pub fn resumes(&self) -> usize {
        self.count_asked(|asked| matches!(asked, Asked::Resume { .. }))
    }

    /// How many heartbeats came.
    pub fn heartbeats(&self) -> usize {
        self.count_asked(|asked| matches!(asked, Asked::Heartbeat { .. }))
    }

    fn count_asked(&self, fits: impl Fn(&Asked) -> bool) -> usize {
        let calls = self.gateway_calls();
        calls.iter().filter(|call| fits(&call.asked)).count()
    }

    /// Connections that have a session now.
    pub fn connected(&self) -> usize {
        self.shared.read(|state| state.gateway.attached())
    }

    /// Events that no connection has sent yet.
    pub fn unsent_events(&self) -> usize {
        self.shared.read(|state| state.gateway.unsent())
    }

    /// Requests made while their bucket was told to wait.
    pub fn impatient_calls(&self) -> u64 {
        self.shared.read(|state| state.record.impatient)
    }

    /// The commands the bot has registered, as the API gives them.
    pub fn registered_commands(&self) -> Vec<Value> {
        self.shared.read(|state| state.world.commands.clone())
    }

    /// A message's present text; `None` when it is gone.
    pub fn text_of(&self, channel: u64, message: u64) -> Option<String> {
        self.shared.read(|state| {
            let message = state.world.message(channel, message);
            message.map(|message| message.content.clone())
        })
    }

    /// Blocks until `done`; not for a test whose bot runs on the same thread.
    ///
    /// # Errors
    /// It is not within 30 s.
    pub fn wait_for(&self, what: &str, mut done: impl FnMut(&Self) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + DEADLINE;
        if self.shared.wait(until, || done(self)) {
            return Ok(());
        }
        bail!("not within {DEADLINE:?}: {what}\n{}", self.summary())
    }

    /// As [`Self::wait_for`], for a task.
    ///
    /// # Errors
    /// It is not within 30 s.
    pub async fn until(
        &self,
        what: &str,
        mut done: impl FnMut(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + DEADLINE;
        if self.shared.until(until, || done(self)).await {
            return Ok(());
        }
        bail!("not within {DEADLINE:?}: {what}\n{}", self.summary())
    }

    /// Blocks until the bot has sent `n` messages, deferred responses not counted while empty.
    ///
    /// # Errors
    /// It has not within 30 s.
    pub fn wait_sent(&self, n: usize) -> anyhow::Result<Vec<SentMessage>> {
        self.wait_for(&format!("{n} messages sent"), |fake| fake.filled() >= n)?;
        Ok(self.sent())
    }

    /// As [`Self::wait_sent`], for a task.
    ///
    /// # Errors
    /// It has not within 30 s.
    pub async fn until_sent(&self, n: usize) -> anyhow::Result<Vec<SentMessage>> {
        let what = format!("{n} messages sent");
        self.until(&what, |fake| fake.filled() >= n).await?;
        Ok(self.sent())
    }

    fn filled(&self) -> usize {
        let sent = self.sent();
        let empty = |one: &&SentMessage| one.deferred && one.edits.is_empty();
        sent.len() - sent.iter().filter(empty).count()
    }

    /// What happened so far, for the text of an error: counts and paths, no message texts.
    fn summary(&self) -> String {
        let calls = self.calls();
        let last = calls.iter().rev().take(10).map(|call| {
            let status = call
                .status
                .map_or("-".to_owned(), |status| status.to_string());
            format!("  {status} {} {}", call.method, call.path)
        });
        format!(
            "{} messages sent, {} sessions, {} connected, {} events unsent; last calls first:\n{}",
            self.sent().len(),
            self.identifies(),
            self.connected(),
            self.unsent_events(),
            last.collect::<Vec<_>>().join("\n")
        )
    }
}
