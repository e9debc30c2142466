//! The command line: names and help texts; decides nothing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Settings;
use crate::control::{Request, Selection, Show};
use crate::exit;

/// A chat bot that remembers.
///
/// Without a subcommand it starts `console`. While a bot runs, export, history, forget, verify,
/// compact and stats are answered by it through DATA/control.sock; otherwise they open the data directory.
#[derive(Debug, Parser)]
#[command(name = "scrollback", version, after_help = exit::TABLE)]
pub(crate) struct Cli {
    /// The options that every subcommand takes.
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Chat in the terminal; from a pipe, read lines and print replies only (the default)
    Console,
    /// Serve Discord (token in SCROLLBACK_DISCORD_TOKEN)
    Discord,
    /// Serve Telegram (token in SCROLLBACK_TELEGRAM_TOKEN)
    Telegram,
    /// Serve every platform that has a token, on one cache
    Run,
    /// Read chat logs through the same path as a live chat
    Replay(Replay),
    /// Print messages as JSON lines: session, seq, id, author, role, text, ts
    Export(Export),
    /// Print the newest messages of a session
    History(History),
    /// Erase a session, or everything a person said
    Forget(Forget),
    /// Check journal, hot tier and store against each other
    Verify(Output),
    /// Give back the disk space of what was erased, edited and deleted
    Compact(Output),
    /// Print counters and gauges
    Stats(Output),
    /// Measure this machine: turns a second, beside what one could write by hand (one to two minutes)
    ///
    /// Measures on the Redis of --redis, and removes afterwards what it wrote there; without one, on a redis-server of its
    /// own. The data directory is not touched.
    Bench(Output),
    /// Try time-to-live policies on chat logs, or on what this bot has kept: misses, memory and cost of each
    Simulate(Simulate),
    /// Make a master key for --key-file
    Keygen {
        /// The file to make
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Wrap the keys of an encrypted data directory by another master key, also while a bot runs
    RotateKey {
        /// The file with the new master key; start with --key-file FILE from then on
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl Command {
    /// What is logged when nobody says: a bot that runs unattended tells what it is doing.
    pub(crate) const fn default_log(&self) -> &'static str {
        match self {
            Self::Discord | Self::Telegram | Self::Run => {
                "warn,scrollback=info,scrollback_kit=info,scrollback_discord=info,scrollback_telegram=info"
            }
            _ => "warn",
        }
    }
}

/// How replayed lines are put into sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum KeyBy {
    /// One session per space and channel.
    #[default]
    #[value(name = "channel")]
    Channel,
    /// One session per space, channel and author.
    #[value(name = "channel,author")]
    ChannelAuthor,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Chat logs, plain or gzip; `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// One session per channel, or per author in a channel
    #[arg(long, value_enum, default_value_t, value_name = "PARTS")]
    pub(crate) key: KeyBy,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `simulate`.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Chat logs in order of time, plain or gzip; `-` for standard input
    #[arg(
        required_unless_present = "from_store",
        conflicts_with = "from_store",
        value_name = "FILE"
    )]
    pub(crate) files: Vec<PathBuf>,
    /// What is in the data directory instead of files, while no bot runs on it
    #[arg(long)]
    pub(crate) from_store: bool,
    /// What makes a session of a log: space, channel, stream (a channel up to its `/`), author, joined by commas
    #[arg(long, default_value = "channel", value_name = "PARTS")]
    pub(crate) key: String,
    /// How many seconds of being hot one load from the store is worth (the break-even time C)
    #[arg(
        long = "c",
        default_value_t = 6000.0,
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    pub(crate) cost: f64,
    /// Print all rows as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw misses against residency into this file
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Export {
    /// Every session
    #[arg(long)]
    all: bool,
    /// One session, by its printed key
    #[arg(long, value_name = "KEY")]
    session: Option<String>,
    /// Everything one person said
    #[arg(long, value_name = "PLATFORM:ID")]
    author: Option<String>,
}

impl Export {
    /// The request.
    pub(crate) fn request(&self) -> anyhow::Result<Request> {
        let what = match (&self.session, &self.author) {
            (Some(key), _) => Selection::Session(key.clone()),
            (_, Some(author)) => Selection::author(author)?,
            _ => Selection::All,
        };
        Ok(Request::Export { what })
    }
}

/// Arguments of `history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// The session's printed key, such as console/local/channel=main/user=you
    #[arg(value_name = "KEY")]
    session: String,
    /// How many messages, the newest, 1 to 10000
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Print JSON lines as export does
    #[arg(long)]
    json: bool,
}

impl History {
    /// The request.
    pub(crate) fn request(&self) -> Request {
        Request::History {
            session: self.session.clone(),
            limit: self.limit,
        }
    }

    /// How to print the answer.
    pub(crate) const fn show(&self) -> Show {
        if self.json { Show::Lines } else { Show::Chat }
    }
}

/// Arguments of `forget`.
#[derive(Debug, Args)]
pub(crate) struct Forget {
    #[command(flatten)]
    whom: Whom,
    /// Print the receipt as one JSON object
    #[arg(long)]
    json: bool,
}

/// What to forget.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// One session, by its printed key
    #[arg(long, value_name = "KEY")]
    session: Option<String>,
    /// Everything one person said, in every session
    #[arg(long, value_name = "PLATFORM:ID")]
    author: Option<String>,
}

impl Forget {
    /// The request.
    pub(crate) fn request(&self) -> anyhow::Result<Request> {
        let what = match (&self.whom.session, &self.whom.author) {
            (Some(key), _) => Selection::Session(key.clone()),
            (None, author) => Selection::author(author.as_deref().unwrap_or_default())?,
        };
        Ok(Request::Forget { what })
    }

    /// How to print the answer.
    pub(crate) const fn show(&self) -> Show {
        if self.json {
            Show::Json
        } else {
            Show::Forgotten
        }
    }
}

/// Arguments of `verify`, `compact`, `stats` and `bench`.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Output {
    /// True for one JSON object instead of a text.
    pub(crate) const fn json(&self) -> bool {
        self.json
    }

    /// How to print what `verify` found.
    pub(crate) const fn show_verified(&self) -> Show {
        if self.json {
            Show::Json
        } else {
            Show::Verified
        }
    }

    /// How to print what `compact` did.
    pub(crate) const fn show_compacted(&self) -> Show {
        if self.json {
            Show::Json
        } else {
            Show::Compacted
        }
    }

    /// How to print the counters.
    pub(crate) const fn show_stats(&self) -> Show {
        if self.json { Show::Json } else { Show::Pairs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_are_taken_before_and_after_the_subcommand() {
        for line in [
            ["scrollback", "--data", "d", "console"],
            ["scrollback", "console", "--data", "d"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.settings.data.unwrap().as_os_str(), "d");
        }
    }

    #[test]
    fn export_wants_exactly_one_selection() {
        assert!(Cli::try_parse_from(["scrollback", "export"]).is_err());
        assert!(Cli::try_parse_from(["scrollback", "export", "--all", "--session", "k"]).is_err());
        assert!(Cli::try_parse_from(["scrollback", "forget", "--json"]).is_err());
    }
}
