//! Fetches what was said in a channel since its cursor, then compares its newest messages with what is kept.
//!
//! Invariants: pages are taken in oldest first, and the cursor follows message by message; a channel that
//! cannot be read is left alone, one that cannot be read now is tried until it can. Edits and deletions
//! that were missed are found out for the newest 100 messages, and only for messages that are kept, so that
//! nothing that was forgotten comes back.

use scrollback::Message;
use scrollback_kit::commands::{Parsed, parse};
use scrollback_kit::insist;
use serde_json::Value;
use serenity::all::Message as Said;

use crate::gateway::Backoff;
use crate::map::{self, Kind};
use crate::news::whole_message;
use crate::rest::id_of;
use crate::snowflake::made_at_ms;
use crate::work::{Closed, Site};

mod compare;

/// Messages in a page: the most that Discord gives.
const PAGE: usize = 100;

/// A page of messages, or why there is none.
enum Fetched {
    Page(Vec<Value>),
    /// The channel cannot be read.
    Refused,
    /// The run ends.
    Stopped,
}

/// What may have been missed in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing.
    Nothing,
    /// Edits and deletions.
    Compare,
    /// Messages too, up to this one if Discord told.
    Missed(Option<u64>),
}

/// Takes in what was missed.
pub(crate) async fn catch_up(site: &Site, look: Look) -> Result<(), Closed> {
    let kept_some = site.book.has(site.at.itself());
    match look {
        Look::Nothing => return Ok(()),
        Look::Compare => {}
        Look::Missed(last) => {
            if !take_missed(site).await? {
                return Ok(());
            }
            last.into_iter().for_each(|last| site.passed(last));
        }
    }
    if kept_some && !site.shared.is_stopping() {
        compare::compare(site).await?;
    }
    Ok(())
}

/// Takes in the messages after the cursor; false when that was not possible.
async fn take_missed(site: &Site) -> Result<bool, Closed> {
    let mut words = OwnWords::default();
    loop {
        let after = site.book.cursor(site.at.itself());
        let page = match fetch(site, Some(after)).await {
            Fetched::Page(page) => page,
            Fetched::Refused => return Ok(false),
            Fetched::Stopped => {
                site.fall_behind();
                return Ok(false);
            }
        };
        let (whole, newest) = (page.len() == PAGE, page.last().and_then(id_of));
        for message in page {
            if site.shared.is_stopping() {
                site.fall_behind();
                return Ok(false);
            }
            take(site, &message, &mut words).await?;
        }
        // Also past what could not be read.
        newest.into_iter().for_each(|newest| site.passed(newest));
        if !whole || newest.is_none_or(|newest| newest <= after) {
            return Ok(true);
        }
    }
}

/// Reads a page; what passes is waited for, without holding up others.
async fn fetch(site: &Site, after: Option<u64>) -> Fetched {
    let (shared, channel) = (&site.shared, site.at.itself());
    let mut backoff = Backoff::default();
    loop {
        if shared.is_stopping() {
            return Fetched::Stopped;
        }
        let fetched = {
            let _permit = shared.fetches.acquire().await;
            shared.rest.messages(channel, after).await
        };
        let failure = match fetched {
            Ok(page) => return Fetched::Page(page),
            Err(failure) => failure,
        };
        if !failure.passes() {
            tracing::info!(channel, %failure, "a Discord channel cannot be read; what was missed there stays missing");
            return Fetched::Refused;
        }
        if backoff.failed() == 1 {
            tracing::warn!(channel, %failure, "a Discord channel cannot be read now; its messages wait");
        }
        let pause = backoff.pause();
        tokio::time::sleep(failure.after().unwrap_or(pause)).await;
    }
}

/// Takes in one message that was missed.
async fn take(site: &Site, message: &Value, words: &mut OwnWords) -> Result<(), Closed> {
    let Some(id) = id_of(message) else {
        return Ok(());
    };
    let Some(mut said) = whole_message(message) else {
        tracing::warn!(
            channel = site.at.itself(),
            "a Discord message cannot be read"
        );
        return Ok(());
    };
    said.guild_id = site.at.guild.map(crate::snowflake::typed);
    match map::kind(&said, &site.me) {
        Kind::Talk => {
            words.heard(&said);
            site.said(&said).await?;
        }
        Kind::Own => {
            if words.is_answer(&said, site) {
                keep_own(site, &said, words.asker).await?;
            }
            site.passed(id);
        }
        Kind::Notice => site.passed(id),
    }
    Ok(())
}

/// Tells the bot's answers in a channel from what its commands showed.
#[derive(Debug, Default)]
struct OwnWords {
    /// The person last heard or answered.
    asker: Option<u64>,
    /// The bot's last words were what a command showed; those without a reference go on with it.
    by_command: bool,
}

impl OwnWords {
    fn heard(&mut self, said: &Said) {
        self.asker = Some(said.author.id.get());
        self.by_command = false;
    }

    /// True for an answer that an earlier process sent, which it may not have kept.
    fn is_answer(&mut self, said: &Said, site: &Site) -> bool {
        if let Some(question) = &said.referenced_message {
            self.asker = Some(question.author.id.get());
            let private = site.at.guild.is_none();
            let asked = map::incoming(question, site.at, &site.me, &site.shared.directory);
            let parsed = parse(&asked.message.text, Some(&site.me.name), true, private);
            self.by_command = matches!(parsed, Parsed::Command(_));
        }
        !self.by_command && made_at_ms(said.id.get()) < site.shared.began_ms
    }
}

/// Keeps what the bot said before it was ended too early to keep it; what is kept already stays as it is.
async fn keep_own(site: &Site, said: &Said, asker: Option<u64>) -> Result<(), Closed> {
    let origin = map::origin(site.at, &site.me, asker);
    let session = site.shared.bot.session(&origin);
    if session.key().user_id().is_some_and(str::is_empty) || said.content.is_empty() {
        return Ok(());
    }
    let mut message: Message = map::own(said, site.at, &site.me, &site.shared.directory);
    for id in [&mut message.id, &mut message.reply_to]
        .into_iter()
        .flatten()
    {
        *id = map::known_as(session.key(), site.at, id);
    }
    match Box::pin(insist(|| session.append(message.clone()))).await {
        Ok(_) => Ok(()),
        Err(scrollback::Error::Closed) => Err(Closed),
        Err(error) => {
            tracing::warn!(%error, channel = site.at.itself(), "an answer of the bot's cannot be kept");
            Ok(())
        }
    }
}
