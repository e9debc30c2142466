//! The binary on both platforms, against servers that speak their APIs: order, redelivery, dropped
//! connections and kill -9 (P9), both in one process, SIGTERM in mid-reply (P12), refused tokens.
//!
//! `SCROLLBACK_KILLS=200` for more kills than the few of a quick run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use harness::{
    Exported, FakeDiscord, FakeTelegram, Finished, Run, counter, data_dir, eventually, read_export,
    scrollback, serving,
};

/// Messages of the great runs, and the channels over which they are spread.
const MESSAGES: usize = 10_000;
const CHANNELS: usize = 200;
/// Parts in which they are said; what goes wrong goes wrong between two parts.
const PARTS: usize = 40;

fn telegram(data: &Path, fake: &FakeTelegram, name: &str) -> anyhow::Result<Command> {
    let mut command = scrollback(data, [name, "--rate", "0"])?;
    command
        .env("SCROLLBACK_TELEGRAM_TOKEN", fake.token())
        .env("SCROLLBACK_TELEGRAM_API_URL", fake.url());
    Ok(command)
}

fn discord(data: &Path, fake: &FakeDiscord, name: &str) -> anyhow::Result<Command> {
    let mut command = scrollback(data, [name, "--rate", "0"])?;
    command
        .env("SCROLLBACK_DISCORD_TOKEN", fake.token())
        .env("SCROLLBACK_DISCORD_API_URL", fake.url());
    Ok(command)
}

fn started(command: Command, data: &Path) -> anyhow::Result<Run> {
    let run = Run::start(command)?;
    serving(data)?;
    Ok(run)
}

fn ended(run: Run) -> anyhow::Result<Finished> {
    run.signal("TERM")?;
    run.ended()
}

/// What is kept, in order, by channel.
fn kept(data: &Path) -> anyhow::Result<BTreeMap<String, Vec<Exported>>> {
    let all = Run::to_end(scrollback(data, ["export", "--all"])?, b"")?.expect(0)?;
    let mut by_channel: BTreeMap<String, Vec<Exported>> = BTreeMap::new();
    for line in read_export(&all.stdout)? {
        let mut parts = line.session.split('/');
        if let Some(channel) = parts.find_map(|part| part.strip_prefix("channel=")) {
            by_channel.entry(channel.to_owned()).or_default().push(line);
        }
    }
    Ok(by_channel)
}

fn verify(data: &Path) -> anyhow::Result<()> {
    Run::to_end(scrollback(data, ["verify"])?, b"")?.expect(0)?;
    Ok(())
}

/// A chat platform with many channels.
trait Crowd {
    /// The command that serves it.
    fn command(&self, data: &Path) -> anyhow::Result<Command>;
    /// Somebody says something in a channel; returns its id.
    fn say(&self, channel: i64, text: &str) -> i64;
    /// Cuts every connection.
    fn cut(&self);
    /// Waits until the bot is there: what is said before it ever came is not its business.
    fn arrived(&self) -> anyhow::Result<()>;
}

/// What was said: by channel, ids and texts in order.
type Said = BTreeMap<i64, Vec<(String, String)>>;

/// Says everything in parts, with three cuts and some kills between them, until all is kept.
fn crowded(crowd: &dyn Crowd, channels: &[i64], data: &Path) -> anyhow::Result<()> {
    let kills: usize = std::env::var("SCROLLBACK_KILLS")
        .ok()
        .map_or(Ok(3), |n| n.parse())?;
    let mut run = started(crowd.command(data)?, data)?;
    crowd.arrived()?;
    let mut said = Said::new();
    for part in 0..PARTS.max(kills + 1) {
        let parts = PARTS.max(kills + 1);
        for n in part * MESSAGES / parts..(part + 1) * MESSAGES / parts {
            // Bursts in one channel and turns between channels alike.
            let at = (n / 3 + n * n / 7) % channels.len();
            let channel = *channels.get(at).context("no channel")?;
            let text = format!("message {n}");
            let id = crowd.say(channel, &text);
            said.entry(channel)
                .or_default()
                .push((id.to_string(), text));
        }
        if [parts / 4, parts / 2, parts * 3 / 4].contains(&part) {
            crowd.cut();
        }
        if part * kills / parts != (part + 1) * kills / parts {
            // Some of this part is taken in, some is under way; or all was taken in before one could look.
            let before = counter(data, "appended")?.unwrap_or_default();
            let at_most = Instant::now() + Duration::from_secs(1);
            eventually("the bot goes on", || {
                let now = counter(data, "appended")?;
                Ok(now.filter(|n| *n > before || Instant::now() > at_most))
            })?;
            run.kill_9()?;
            run = started(crowd.command(data)?, data)?;
        }
    }
    let all: usize = said.values().map(Vec::len).sum();
    ensure!(all == MESSAGES, "{all} said");
    let all = eventually("everything is kept", || {
        let kept: usize = kept(data)?.values().map(Vec::len).sum();
        Ok((kept >= MESSAGES).then_some(()))
    });
    ended(run)?.expect(0)?;
    // When not all came, what is missing tells more than that.
    same(&said, data)?;
    all
}

fn same(said: &Said, data: &Path) -> anyhow::Result<()> {
    let kept = kept(data)?;
    ensure!(kept.len() == said.len(), "{} channels kept", kept.len());
    for (channel, said) in said {
        let kept = kept
            .get(&channel.to_string())
            .context("a channel is lost")?;
        let kept: Vec<_> = kept.iter().map(|m| (&m.id, &m.text)).collect();
        let said: Vec<_> = said.iter().map(|(id, text)| (id, text)).collect();
        let lost: Vec<_> = said.iter().filter(|m| !kept.contains(m)).collect();
        ensure!(lost.is_empty(), "channel {channel} lost {lost:?}");
        ensure!(
            kept == said,
            "channel {channel}: said {said:?}, kept {kept:?}"
        );
    }
    verify(data)
}

struct Telegrams<'a> {
    fake: &'a FakeTelegram,
    person: i64,
}

impl Crowd for Telegrams<'_> {
    fn command(&self, data: &Path) -> anyhow::Result<Command> {
        telegram(data, self.fake, "telegram")
    }
    fn say(&self, channel: i64, text: &str) -> i64 {
        self.fake.say(channel, self.person, text)
    }
    fn cut(&self) {
        self.fake.drop_connections();
    }
    fn arrived(&self) -> anyhow::Result<()> {
        let polls = |fake: &FakeTelegram| !fake.calls_of("getUpdates").is_empty();
        self.fake.wait_for("the bot polls", polls)
    }
}

#[test]
fn telegram_loses_doubles_and_reorders_nothing_through_cuts_and_kills() -> anyhow::Result<()> {
    let (data, fake) = (data_dir()?, FakeTelegram::start()?);
    fake.reads_all_group_messages(true);
    let person = fake.user("Ann");
    let channels: Vec<i64> = (0..CHANNELS)
        .map(|n| fake.supergroup(&format!("group {n}"), &[person]))
        .collect();
    fake.duplicate(10, 42);
    let fake = &fake;
    crowded(&Telegrams { fake, person }, &channels, data.path())
}

struct Discords<'a> {
    fake: &'a FakeDiscord,
    person: u64,
}

impl Crowd for Discords<'_> {
    fn command(&self, data: &Path) -> anyhow::Result<Command> {
        discord(data, self.fake, "discord")
    }
    fn say(&self, channel: i64, text: &str) -> i64 {
        let id = self.fake.say(channel.cast_unsigned(), self.person, text);
        id.cast_signed()
    }
    fn cut(&self) {
        self.fake.drop_connections();
    }
    fn arrived(&self) -> anyhow::Result<()> {
        self.fake
            .wait_for("the bot is connected", |fake| fake.connected() > 0)
    }
}

#[test]
fn discord_loses_doubles_and_reorders_nothing_through_cuts_and_kills() -> anyhow::Result<()> {
    let (data, fake) = (data_dir()?, FakeDiscord::start()?);
    let person = fake.user("Ann");
    let guild = fake.guild("The guild");
    let channels: Vec<i64> = (0..CHANNELS)
        .map(|n| {
            fake.text_channel(guild, &format!("channel-{n}"))
                .cast_signed()
        })
        .collect();
    fake.duplicate(10, 42);
    let fake = &fake;
    crowded(&Discords { fake, person }, &channels, data.path())
}

#[test]
fn one_process_serves_both_and_finishes_its_replies_when_told_to_end() -> anyhow::Result<()> {
    let (data, tg, dc) = (data_dir()?, FakeTelegram::start()?, FakeDiscord::start()?);
    let (ann, bob) = (tg.user("Ann"), dc.user("Bob"));
    let (chat, channel) = (tg.private(ann), dc.dm(bob));
    let slow = Duration::from_millis(1500);
    tg.delay("sendMessage", slow);
    dc.delay("POST /channels/*/messages", slow);
    let mut command = telegram(data.path(), &tg, "run")?;
    command
        .env("SCROLLBACK_DISCORD_TOKEN", dc.token())
        .env("SCROLLBACK_DISCORD_API_URL", dc.url())
        .env("SCROLLBACK_LOG", "trace");
    let run = started(command, data.path())?;
    dc.wait_for("the bot is connected", |dc| dc.connected() > 0)?;
    tg.say(chat, ann, "my cat is called Canarymog");
    dc.say(channel, bob, "my dog is called Canaryrex");
    tg.wait_for("a reply is under way", |tg| {
        !tg.calls_of("sendMessage").is_empty()
    })?;
    dc.wait_for("a reply is under way", |dc| {
        let mut calls = dc.calls().into_iter();
        calls.any(|call| call.method == "POST" && call.path.ends_with("/messages"))
    })?;
    let finished = ended(run)?.expect(0)?;
    let sent: Vec<String> = tg.sent().into_iter().map(|m| m.text).collect();
    assert_eq!(sent, ["Noted."]);
    let sent: Vec<String> = dc.sent().iter().map(|m| m.text().to_owned()).collect();
    assert_eq!(sent, ["Noted."]);
    let kept = kept(data.path())?;
    for id in [chat.to_string(), channel.to_string()] {
        let texts: Vec<_> = kept[&id].iter().map(|m| m.text.as_str()).collect();
        assert!(texts.len() == 2 && texts[1] == "Noted.", "{texts:?}");
    }
    for secret in [&*tg.token(), dc.token(), "Canarymog", "Canaryrex"] {
        assert!(!finished.stderr.contains(secret), "{secret} is in the log");
    }
    verify(data.path())
}

#[test]
fn a_refused_token_is_told_with_what_to_do_and_the_other_platform_goes_on() -> anyhow::Result<()> {
    let (data, tg, dc) = (data_dir()?, FakeTelegram::start()?, FakeDiscord::start()?);
    let bad = "123456:AAcanarycanarycanarycanarycanary123";
    let mut command = telegram(data.path(), &tg, "telegram")?;
    command.env("SCROLLBACK_TELEGRAM_TOKEN", bad);
    let refused = Run::to_end(command, b"")?.expect(2)?;
    assert!(
        refused.stderr.contains("SCROLLBACK_TELEGRAM_TOKEN")
            || refused.stderr.contains("@BotFather"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("canary"), "{}", refused.stderr);
    let mut command = discord(data.path(), &dc, "discord")?;
    command.env("SCROLLBACK_DISCORD_TOKEN", bad);
    let refused = Run::to_end(command, b"")?.expect(2)?;
    assert!(refused.stderr.contains("token"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("canary"), "{}", refused.stderr);

    let mut command = telegram(data.path(), &tg, "run")?;
    command
        .env("SCROLLBACK_DISCORD_TOKEN", bad)
        .env("SCROLLBACK_DISCORD_API_URL", dc.url());
    let run = started(command, data.path())?;
    let ann = tg.user("Ann");
    tg.say(tg.private(ann), ann, "hello");
    tg.wait_sent(1)?;
    ended(run)?.expect(2)?;
    Ok(())
}

#[test]
fn a_missing_intent_is_explained() -> anyhow::Result<()> {
    let (data, dc) = (data_dir()?, FakeDiscord::start()?);
    dc.allow_intents(0);
    let refused = Run::to_end(discord(data.path(), &dc, "discord")?, b"")?.expect(2)?;
    assert!(
        refused.stderr.contains("Message Content Intent"),
        "{}",
        refused.stderr
    );
    Ok(())
}
