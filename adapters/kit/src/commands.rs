//! The commands that every bot of the kit understands, as people type them.
//!
//! Invariant: parsing is pure and total; a text that only looks like a command (`/home/ann`, `/`) is
//! conversation. Knows no platform: `/name@bot` is understood everywhere.

mod delete;
mod forget;
mod run;

use crate::outbox::Audience;

pub use forget::forget_person;
pub use run::{Answer, Asked, Content, run};
pub(crate) use run::{audience, when};

/// How many messages `/history` shows without a number.
const HISTORY_DEFAULT: usize = 10;
/// How many messages `/history` shows at most: more would flood a chat.
const HISTORY_MAX: usize = 50;
/// The longest name that is taken for a command (Telegram's bound).
const LONGEST_NAME: usize = 32;

/// A command as a platform's own list of commands shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// Its name, without `/`.
    pub name: &'static str,
    /// What it does, in a line.
    pub description: &'static str,
    /// What may follow it.
    pub argument: Option<Argument>,
    /// Who may see the answer.
    pub audience: Audience,
}

/// What may follow a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    /// A number of messages, from 1 to the bound.
    Count(usize),
    /// The word `yes`, without which the command only explains itself.
    Yes,
    /// No word: the command is said as a reply to a message.
    Reply,
}

/// Every command, in the order in which `/help` lists them.
pub const COMMANDS: [Described; 7] = [
    Described {
        name: "help",
        description: "this list",
        argument: None,
        audience: Audience::Everyone,
    },
    Described {
        name: "history",
        description: "the last messages of this conversation (10, at most 50)",
        argument: Some(Argument::Count(HISTORY_MAX)),
        audience: Audience::Asker,
    },
    Described {
        name: "reset",
        description: "start afresh; the history stays",
        argument: None,
        audience: Audience::Everyone,
    },
    Described {
        name: "forget",
        description: "erase what you said",
        argument: Some(Argument::Yes),
        audience: Audience::Asker,
    },
    Described {
        name: "delete",
        description: "as a reply to a message: remove it from my memory",
        argument: Some(Argument::Reply),
        audience: Audience::Asker,
    },
    Described {
        name: "export",
        description: "everything you said, as a file",
        argument: None,
        audience: Audience::Asker,
    },
    Described {
        name: "stats",
        description: "how the memory is doing",
        argument: None,
        audience: Audience::Everyone,
    },
];

/// What `/help` says.
#[must_use]
pub fn help() -> String {
    let line = |c: &Described| {
        let argument = match c.argument {
            Some(Argument::Count(_)) => " [n]",
            Some(Argument::Yes | Argument::Reply) | None => "",
        };
        format!("/{}{argument} – {}", c.name, c.description)
    };
    COMMANDS.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Lists the commands.
    Help,
    /// Shows the last messages of this session.
    History(usize),
    /// `/history` with something that is no number: says how it is used.
    HistoryOfWhat,
    /// Starts a new context.
    Reset,
    /// Explains what would be erased, or erases it.
    Forget {
        /// True for `/forget yes`.
        confirmed: bool,
    },
    /// Removes the message that the command replies to.
    Delete,
    /// Hands the asker everything they said.
    Export,
    /// The cache's counters in words.
    Stats,
    /// Looks like a command, and is none of these.
    Unknown,
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// Conversation.
    Talk,
    /// A command that this bot is to run.
    Command(Command),
    /// A command for another bot, or one that nobody asked this bot to run.
    NotForUs,
}

/// Reads a text; `bot` is this bot's name for `/name@bot`, `addressed` tells that the message is for
/// this bot (private chat, mention, or a platform that routes commands).
#[must_use]
pub fn parse(text: &str, bot: Option<&str>, addressed: bool, private: bool) -> Parsed {
    let mut words = without_mention(text, bot).split_whitespace();
    let Some(called) = words.next().and_then(|w| w.strip_prefix('/')) else {
        return Parsed::Talk;
    };
    let (name, target) = match called.split_once('@') {
        Some((name, target)) => (name, Some(target)),
        None => (called, None),
    };
    if !is_name(name) {
        return Parsed::Talk;
    }
    let ours = target.zip(bot).is_some_and(|(t, b)| same(t, b));
    let for_another = target.is_some() && bot.is_some() && !ours;
    let command = known(name, words.next());
    match command {
        _ if for_another => Parsed::NotForUs,
        Command::Unknown if !private => Parsed::NotForUs,
        _ if private || addressed || ours => Parsed::Command(command),
        _ => Parsed::NotForUs,
    }
}

fn known(name: &str, argument: Option<&str>) -> Command {
    match name.to_ascii_lowercase().as_str() {
        // Telegram sends /start when a person opens a chat with the bot.
        "help" | "start" => Command::Help,
        "history" => match argument.map_or(Ok(HISTORY_DEFAULT), count) {
            Ok(n) => Command::History(n.clamp(1, HISTORY_MAX)),
            Err(NotACount) => Command::HistoryOfWhat,
        },
        "reset" => Command::Reset,
        "forget" => Command::Forget {
            confirmed: argument.is_some_and(|a| a.eq_ignore_ascii_case("yes")),
        },
        "delete" => Command::Delete,
        "export" => Command::Export,
        "stats" => Command::Stats,
        _ => Command::Unknown,
    }
}

/// An argument that should be a number of messages, and is none.
struct NotACount;

/// A number of messages; one too large for any integer is still a number.
fn count(argument: &str) -> Result<usize, NotACount> {
    if argument.is_empty() || !argument.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NotACount);
    }
    Ok(argument.parse().unwrap_or(HISTORY_MAX))
}

fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn same(target: &str, bot: &str) -> bool {
    target.eq_ignore_ascii_case(bot.trim_start_matches('@'))
}

/// The text after a leading mention of this bot (`<@123> /help`, `@name /help`).
fn without_mention<'a>(text: &'a str, bot: Option<&str>) -> &'a str {
    let text = text.trim_start();
    let Some((first, rest)) = text.split_once(char::is_whitespace) else {
        return text;
    };
    let by_id = first.starts_with("<@") && first.ends_with('>');
    let by_name = first
        .strip_prefix('@')
        .zip(bot)
        .is_some_and(|(n, b)| same(n, b));
    if by_id || by_name { rest } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private(text: &str) -> Parsed {
        parse(text, Some("ScrollBot"), true, true)
    }

    fn group(text: &str, addressed: bool) -> Parsed {
        parse(text, Some("ScrollBot"), addressed, false)
    }

    #[test]
    fn every_described_command_is_one_and_tells_its_audience() {
        for described in COMMANDS {
            let Parsed::Command(command) = private(&format!("/{}", described.name)) else {
                panic!("/{} is no command", described.name);
            };
            assert_ne!(command, Command::Unknown, "{}", described.name);
            assert_eq!(audience(command), described.audience, "{}", described.name);
            assert!(help().contains(described.name));
        }
    }

    #[test]
    fn each_command_is_read_in_any_case_and_with_the_bots_name() {
        for (name, command) in [
            ("help", Command::Help),
            ("start", Command::Help),
            ("history", Command::History(10)),
            ("reset", Command::Reset),
            ("forget", Command::Forget { confirmed: false }),
            ("delete", Command::Delete),
            ("export", Command::Export),
            ("stats", Command::Stats),
        ] {
            let upper = name.to_uppercase();
            for text in [
                format!("/{name}"),
                format!("  /{upper} "),
                format!("/{name}@scrollbot"),
                format!("@ScrollBot /{name}"),
                format!("<@!42> /{name}"),
            ] {
                assert_eq!(private(&text), Parsed::Command(command), "{text}");
                assert_eq!(group(&text, true), Parsed::Command(command), "{text}");
            }
        }
    }

    #[test]
    fn arguments_are_bounded() {
        for (text, n) in [
            ("/history 5", 5),
            ("/history 0", 1),
            ("/history 999", 50),
            ("/history 99999999999999999999999", 50),
        ] {
            assert_eq!(
                private(text),
                Parsed::Command(Command::History(n)),
                "{text}"
            );
        }
        for text in ["/history x", "/history -3", "/history 3.5"] {
            let asked = Parsed::Command(Command::HistoryOfWhat);
            assert_eq!(private(text), asked, "{text}");
        }
        let yes = Parsed::Command(Command::Forget { confirmed: true });
        assert_eq!(private("/forget YES"), yes);
        assert_ne!(private("/forget no"), yes);
        assert_ne!(private("/forget yesterday"), yes);
    }

    #[test]
    fn what_only_looks_like_a_command_is_talk() {
        for text in [
            "",
            "/",
            "//",
            "/ help",
            "help",
            "/home/ann",
            "/r/rust is fun",
            "/2x",
            "/é",
            "a /help",
        ] {
            assert_eq!(private(text), Parsed::Talk, "{text}");
            assert_eq!(group(text, true), Parsed::Talk, "{text}");
        }
    }

    #[test]
    fn commands_for_other_bots_are_left_alone() {
        for text in ["/help@other", "/forget@ScrollBot2 yes", "/dance@other"] {
            assert_eq!(group(text, true), Parsed::NotForUs, "{text}");
            assert_eq!(private(text), Parsed::NotForUs, "{text}");
        }
        assert_eq!(group("/help", false), Parsed::NotForUs);
        assert_eq!(
            group("/help@scrollbot", false),
            Parsed::Command(Command::Help)
        );
    }

    #[test]
    fn an_unknown_command_is_answered_only_in_private() {
        assert_eq!(private("/dance"), Parsed::Command(Command::Unknown));
        assert_eq!(group("/dance", true), Parsed::NotForUs);
    }
}
