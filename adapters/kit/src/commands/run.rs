//! What the commands do, against a session and its cache.
//!
//! Invariant: what a person said, and how much, is shown to the asker alone.

use std::fmt;

use jiff::Timestamp;
use scrollback::{Author, Cache, Forgotten, Message, Page, Role, Seq, Session};
use unicode_segmentation::UnicodeSegmentation;

use super::delete::delete;
use super::{Command, forget, help};
use crate::export::ExportLine;
use crate::mentions::defuse_mentions;
use crate::outbox::Audience;

/// How much of each message `/history` shows, in graphemes.
const HISTORY_TEXT: usize = 200;

/// What a command says, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who may see it.
    pub audience: Audience,
    /// What is sent.
    pub content: Content,
}

/// What is sent.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A text.
    Text(String),
    /// A file.
    File {
        /// Its name.
        name: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

impl fmt::Debug for Content {
    /// Leaves the text out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::File { name, bytes } => write!(f, "File({name}, {} bytes)", bytes.len()),
        }
    }
}

impl Answer {
    pub(crate) fn everyone(text: impl Into<String>) -> Self {
        Self {
            audience: Audience::Everyone,
            content: Content::Text(text.into()),
        }
    }

    pub(super) fn asker(text: impl Into<String>) -> Self {
        Self {
            audience: Audience::Asker,
            content: Content::Text(text.into()),
        }
    }
}

/// Who asked, and where.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The cache.
    pub cache: &'a Cache,
    /// The session in which it was asked.
    pub session: &'a Session,
    /// Who asked.
    pub asker: &'a Author,
    /// True in a chat of one person and the bot.
    pub private: bool,
    /// True for a person who may remove others' messages there.
    pub moderator: bool,
    /// The session's id of the message that the command replies to.
    pub reply_to: Option<&'a str>,
}

impl Asked<'_> {
    /// True where nobody else's words are: a session that names its person holds only theirs.
    fn own(&self) -> bool {
        self.private || self.session.key().user_id().is_some()
    }
}

/// Runs a command for the person who asked.
///
/// # Errors
/// What the cache answers; nothing is half done except that a `/forget yes` may have erased a part,
/// and can be repeated.
pub async fn run(command: Command, asked: Asked<'_>) -> scrollback::Result<Answer> {
    let Asked {
        cache,
        session,
        asker,
        ..
    } = asked;
    let own = asked.own();
    match command {
        Command::Help => Ok(Answer::everyone(help())),
        Command::Unknown => Ok(Answer::everyone("Unknown command, /help lists them.")),
        Command::History(n) => history(session, n).await,
        Command::HistoryOfWhat => Ok(Answer::asker(
            "Say /history, or /history with a number of messages, such as /history 20.",
        )),
        Command::Reset => {
            session.reset().await?;
            Ok(Answer::everyone(
                "Let us start afresh. The history stays; /forget erases.",
            ))
        }
        Command::Delete => delete(&asked).await,
        Command::Forget { confirmed: false } => Ok(Answer::asker(explain_forget(own))),
        Command::Forget { confirmed: true } => forget(cache, session, asker, own).await,
        Command::Export => export(cache, asker).await,
        Command::Stats => stats(cache, session).await,
    }
}

/// Who may see how a command ended.
pub(crate) const fn audience(command: Command) -> Audience {
    match command {
        Command::History(_)
        | Command::HistoryOfWhat
        | Command::Delete
        | Command::Forget { .. }
        | Command::Export => Audience::Asker,
        Command::Help | Command::Reset | Command::Stats | Command::Unknown => Audience::Everyone,
    }
}

async fn history(session: &Session, n: usize) -> scrollback::Result<Answer> {
    let page = Page {
        before: None,
        limit: n,
    };
    Ok(Answer::asker(show_history(&session.history(page).await?)))
}

fn show_history(messages: &[(Seq, Message)]) -> String {
    if messages.is_empty() {
        return "Nothing was said here yet.".into();
    }
    let lines: Vec<String> = messages.iter().map(|(_, m)| show(m)).collect();
    lines.join("\n")
}

fn show(message: &Message) -> String {
    let name = message.author.as_ref().and_then(|a| a.name.as_deref());
    let who = match message.role {
        Role::User => name.unwrap_or("someone"),
        Role::Assistant => "bot",
        role => role.as_str(),
    };
    let mut graphemes = message.text.graphemes(true);
    let mut text: String = graphemes.by_ref().take(HISTORY_TEXT).collect();
    if graphemes.next().is_some() {
        text.push('…');
    }
    defuse_mentions(&format!("{} {who}: {text}", when(message.at_ms)))
}

/// A time for people, in UTC and to the minute.
pub(crate) fn when(at_ms: u64) -> String {
    i64::try_from(at_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map_or_else(
            || "an unknown day UTC".into(),
            |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        )
}

fn explain_forget(own: bool) -> &'static str {
    if own {
        "This erases this whole conversation and everything else you said to this bot, for good. \
         To do it, say /forget yes. (/export first keeps a copy for you.)"
    } else {
        "This erases everything you said to this bot, here and elsewhere, and my answers to you, for good. \
         What others said stays. To do it, say /forget yes. (/export first keeps a copy for you.)"
    }
}

async fn forget(
    cache: &Cache,
    session: &Session,
    asker: &Author,
    own: bool,
) -> scrollback::Result<Answer> {
    let Forgotten {
        messages, bytes, ..
    } = forget::forget(cache, session, asker, own).await?;
    let plural = if messages == 1 { "message" } else { "messages" };
    Ok(Answer::asker(format!(
        "Forgotten: {messages} {plural}, {bytes} bytes of text."
    )))
}

async fn export(cache: &Cache, asker: &Author) -> scrollback::Result<Answer> {
    let said = cache.export_author(asker).await?;
    let mut bytes = Vec::new();
    for (key, seq, message) in said {
        let line = ExportLine::new(&key, seq, message)
            .to_json()
            .map_err(|e| scrollback::Error::decode("an exported message", e))?;
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
    }
    Ok(Answer {
        audience: Audience::Asker,
        content: if bytes.is_empty() {
            Content::Text("You have said nothing that is kept.".into())
        } else {
            Content::File {
                name: "export.jsonl".into(),
                bytes,
            }
        },
    })
}

async fn stats(cache: &Cache, session: &Session) -> scrollback::Result<Answer> {
    let context = session.context_cached().await?.messages.len();
    let s = cache.stats();
    let tier_state = if s.degraded {
        "A tier is away; I serve and accept without it."
    } else {
        "All is well."
    };
    Ok(Answer::everyone(format!(
        "I have {context} messages of this conversation in mind.\n\
         Since the start: {} messages taken in, {} duplicates dropped, {:.0} % of look-ups served from \
         the {} tier.\n\
         {} messages made durable in {} in {} batches, {} waiting, {} conversations at hand. {tier_state}",
        s.appended,
        s.duplicates,
        s.hit_ratio() * 100.0,
        s.hot_tier,
        s.flushed,
        s.store,
        s.flushes,
        s.waiting,
        s.sessions,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_says_who_and_when_and_bounds_each_line() {
        let ann = Author::new("test", 1).named("Ann");
        let shown = show_history(&[
            (
                Seq(1),
                Message::user(ann, "hi @everyone").at_ms(1_700_000_000_000),
            ),
            (
                Seq(2),
                Message::assistant("é".repeat(500)).at_ms(1_700_000_060_000),
            ),
        ]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "2023-11-14 22:13 UTC Ann: hi @\u{200b}everyone");
        assert_eq!(
            lines[1],
            format!("2023-11-14 22:14 UTC bot: {}…", "é".repeat(200))
        );
    }

    #[test]
    fn an_empty_history_says_so() {
        assert_eq!(show_history(&[]), "Nothing was said here yet.");
    }

    #[test]
    fn a_time_out_of_range_is_no_panic() {
        assert_eq!(when(u64::MAX), "an unknown day UTC");
        assert_eq!(when(0), "1970-01-01 00:00 UTC");
    }

    #[test]
    fn forgetting_is_explained_before_it_is_done() {
        assert!(explain_forget(true).contains("whole conversation"));
        assert!(explain_forget(false).contains("What others said stays"));
    }
}
