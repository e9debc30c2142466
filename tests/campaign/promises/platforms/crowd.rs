//! Chat platforms full of people, and what the platform itself knows of the bot.

use std::path::Path;
use std::process::Command;

use harness::{FakeDiscord, FakeTelegram, scrollback};

use super::{BotRead, CHANNELS, PRIVATE, Said};

/// A chat platform with many channels.
pub(super) trait Crowd {
    /// The command that serves it.
    ///
    /// # Errors
    /// The binary does not build.
    fn command(&self, data: &Path) -> anyhow::Result<Command>;
    /// Somebody says something; returns the channel and the message's id.
    fn say(&self, channel: usize, text: &str) -> (String, String);
    /// Cuts every connection.
    fn cut(&self);
    /// Waits until the bot is there: what is said before it ever came is not its business.
    ///
    /// # Errors
    /// It does not come.
    fn arrived(&self) -> anyhow::Result<()>;
    /// True when its events overtake each other.
    fn reorders(&self) -> bool;
    /// What was confirmed to the platform, or passed by a cursor, and is not kept.
    fn confirmed_and_lost(&self, read: &BotRead) -> Vec<String>;
    /// How many answers a channel has.
    fn answers(&self, channel: &str) -> usize;

    /// Channels with more answers than questions.
    fn answered_twice(&self, said: &Said) -> Vec<String> {
        let more = |(channel, said): &(&String, &Vec<(String, String)>)| {
            self.answers(channel) > said.len()
        };
        let channels = said.iter().filter(more);
        channels
            .map(|(channel, _)| format!("channel {channel} has more answers than questions"))
            .collect()
    }
}

fn has(read: &BotRead, channel: &str, id: &str) -> bool {
    let kept = read.kept.get(channel);
    kept.is_some_and(|kept| kept.iter().any(|(kept, _)| kept == id))
}

fn command(data: &Path, platform: &str, token: &str, url: &str) -> anyhow::Result<Command> {
    let mut command = scrollback(data, [platform, "--rate", "0"])?;
    let upper = platform.to_uppercase();
    command
        .env(format!("SCROLLBACK_{upper}_TOKEN"), token)
        .env(format!("SCROLLBACK_{upper}_API_URL"), url);
    Ok(command)
}

/// Telegram: what `getUpdates` was told to forget is confirmed.
pub(super) struct Telegrams<'a> {
    fake: &'a FakeTelegram,
    /// Each chat with who speaks there.
    chats: Vec<(i64, i64)>,
}

impl<'a> Telegrams<'a> {
    pub(super) fn new(fake: &'a FakeTelegram, seed: u64) -> Self {
        fake.reads_all_group_messages(true);
        fake.duplicate(10, seed);
        let ann = fake.user("Ann");
        let group = |n| (fake.supergroup(&format!("group {n}"), &[ann]), ann);
        let mut chats: Vec<_> = (0..CHANNELS).map(group).collect();
        for n in 0..PRIVATE {
            let person = fake.user(&format!("Person {n}"));
            chats.push((fake.private(person), person));
        }
        Self { fake, chats }
    }
}

impl Crowd for Telegrams<'_> {
    fn command(&self, data: &Path) -> anyhow::Result<Command> {
        command(data, "telegram", &self.fake.token(), &self.fake.url())
    }

    fn say(&self, channel: usize, text: &str) -> (String, String) {
        let (chat, person) = self.chats.get(channel).copied().unwrap_or_default();
        (
            chat.to_string(),
            self.fake.say(chat, person, text).to_string(),
        )
    }

    fn cut(&self) {
        self.fake.drop_connections();
    }

    fn arrived(&self) -> anyhow::Result<()> {
        let polls = |fake: &FakeTelegram| !fake.calls_of("getUpdates").is_empty();
        self.fake.wait_for("the bot polls", polls)
    }

    fn reorders(&self) -> bool {
        false
    }

    fn confirmed_and_lost(&self, read: &BotRead) -> Vec<String> {
        let confirmed = self.fake.confirmed();
        let named = confirmed.iter().filter_map(|one| {
            let message = one.update.get("message")?;
            let chat = message.get("chat")?.get("id")?.as_i64()?;
            Some((
                chat.to_string(),
                message.get("message_id")?.as_i64()?.to_string(),
            ))
        });
        let lost = named.filter(|(chat, id)| !has(read, chat, id));
        lost.map(|(chat, id)| format!("chat {chat}: {id} was confirmed and is not kept"))
            .collect()
    }

    fn answers(&self, channel: &str) -> usize {
        channel
            .parse()
            .map_or(0, |chat| self.fake.sent_in(chat).len())
    }
}

/// Discord: what a stored cursor has passed is never asked for again.
pub(super) struct Discords<'a> {
    fake: &'a FakeDiscord,
    channels: Vec<(u64, u64)>,
    /// What was said, to compare the cursors with.
    said: parking_lot::Mutex<Vec<(u64, u64)>>,
}

impl<'a> Discords<'a> {
    pub(super) fn new(fake: &'a FakeDiscord, seed: u64) -> Self {
        fake.duplicate(10, seed);
        fake.reorder(2, seed);
        fake.replay_overlap(20);
        let ann = fake.user("Ann");
        let guild = fake.guild("The guild");
        let channel = |n| (fake.text_channel(guild, &format!("channel-{n}")), ann);
        let mut channels: Vec<_> = (0..CHANNELS).map(channel).collect();
        for n in 0..PRIVATE {
            let person = fake.user(&format!("Person {n}"));
            channels.push((fake.dm(person), person));
        }
        Self {
            fake,
            channels,
            said: parking_lot::Mutex::default(),
        }
    }
}

impl Crowd for Discords<'_> {
    fn command(&self, data: &Path) -> anyhow::Result<Command> {
        command(data, "discord", self.fake.token(), self.fake.url())
    }

    fn say(&self, channel: usize, text: &str) -> (String, String) {
        let (channel, person) = self.channels.get(channel).copied().unwrap_or_default();
        let id = self.fake.say(channel, person, text);
        self.said.lock().push((channel, id));
        (channel.to_string(), id.to_string())
    }

    fn cut(&self) {
        self.fake.drop_connections();
    }

    fn arrived(&self) -> anyhow::Result<()> {
        let connected = |fake: &FakeDiscord| fake.connected() > 0;
        self.fake.wait_for("the bot is connected", connected)
    }

    fn reorders(&self) -> bool {
        true
    }

    fn confirmed_and_lost(&self, read: &BotRead) -> Vec<String> {
        let said = self.said.lock();
        let passed = said.iter().filter(|(channel, id)| {
            let cursor = read.cursors.get(&channel.to_string());
            cursor.is_some_and(|cursor| cursor >= id)
        });
        let lost = passed.filter(|(channel, id)| !has(read, &channel.to_string(), &id.to_string()));
        lost.map(|(channel, id)| {
            format!("channel {channel}: the cursor has passed {id}, which is not kept")
        })
        .collect()
    }

    fn answers(&self, channel: &str) -> usize {
        channel
            .parse()
            .map_or(0, |channel| self.fake.sent_in(channel).len())
    }
}
