//! The subcommands that look at or change a data directory, whoever holds it.
//!
//! Owns their wire form and the choice between asking the process that holds the directory, through
//! its control socket, and opening the directory. Both ways run the same [`run::run`].

use std::path::PathBuf;

use scrollback::{Author, Cache, SessionKey};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::exit::{Exit, Failed};
use crate::open;
use crate::signals::DEADLINE;

mod client;
mod place;
mod run;
mod server;
mod show;

pub(crate) use server::Server;
pub(crate) use show::Show;

/// What can be asked; one JSON line on the control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Messages as rows, by session and place.
    Export {
        /// Whose.
        what: Selection,
    },
    /// The newest messages of a session as rows.
    History {
        /// The printed session key.
        session: String,
        /// How many.
        limit: u32,
    },
    /// Erases.
    Forget {
        /// What.
        what: Selection,
    },
    /// Checks journal, hot tier and store against each other.
    Verify {},
    /// Gives back disk space; its rows tell how far it is.
    Compact {},
    /// Counters and gauges.
    Stats {},
    /// Wraps all keys by the master key in a file.
    RotateKey {
        /// The file's absolute path, as the process sees it that holds the directory.
        file: PathBuf,
    },
}

/// Which messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Selection {
    /// All sessions.
    All,
    /// One session, by its printed key.
    Session(String),
    /// What one person said.
    Author {
        /// The platform's name.
        platform: String,
        /// The platform's id of the person.
        id: String,
    },
}

impl Selection {
    /// Reads `PLATFORM:ID`; the id may hold further colons.
    pub(crate) fn author(text: &str) -> anyhow::Result<Self> {
        let parts = text.split_once(':');
        let (platform, id) = parts
            .filter(|(platform, _)| !platform.is_empty())
            .ok_or_else(|| {
                Failed::usage(format!("`{text}` is not PLATFORM:ID, such as console:you"))
            })?;
        Ok(Self::Author {
            platform: platform.to_owned(),
            id: id.to_owned(),
        })
    }
}

/// Reads a printed session key.
pub(crate) fn session_key(text: &str) -> anyhow::Result<SessionKey> {
    text.parse()
        .map_err(|error| Failed::usage(format!("`{text}`: {error}")))
}

/// The author that a selection names.
pub(crate) fn author(platform: &str, id: &str) -> Author {
    Author::new(platform, id)
}

/// Has a request answered, by the process that holds the data directory or by this one, and shows it.
///
/// # Errors
/// A bad request, no such directory, a directory held by a process that does not answer.
pub(crate) async fn ask(config: &Config, request: &Request, show: Show) -> anyhow::Result<Exit> {
    check(request)?;
    if !config.data.is_dir() {
        // Opening would create it, and a misspelled path would look like an empty one.
        return Err(Failed::usage(format!(
            "there is no data directory {}; name it with --data",
            config.data.display()
        )));
    }
    if let Some(exit) = client::ask(&config.data, request, show).await? {
        return Ok(exit);
    }
    match open::open(config).await {
        Ok(cache) => locally(&cache, request, show).await,
        Err(error) if Exit::of(&error) == Exit::InUse => {
            // It may have been starting when its socket was not there yet.
            client::ask(&config.data, request, show).await?.ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// Refuses a bad request before anything is opened.
fn check(request: &Request) -> anyhow::Result<()> {
    match request {
        Request::History { session, .. }
        | Request::Export {
            what: Selection::Session(session),
        }
        | Request::Forget {
            what: Selection::Session(session),
        } => session_key(session).map(drop),
        _ => Ok(()),
    }
}

async fn locally(cache: &Cache, request: &Request, show: Show) -> anyhow::Result<Exit> {
    let mut sink = show::Sink::new(show);
    let answered = match run::run(request, cache, &mut sink).await {
        Ok(done) => sink.done(&done).await,
        Err(error) => Err(error),
    };
    let closed = open::close(cache, Exit::Ok, DEADLINE).await;
    match answered? {
        Exit::Ok => closed,
        exit => Ok(exit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_splits_at_the_first_colon() {
        let expected = Selection::Author {
            platform: "replay".into(),
            id: "bot:x:y".into(),
        };
        assert_eq!(Selection::author("replay:bot:x:y").unwrap(), expected);
        assert!(Selection::author("nobody").is_err());
        assert!(Selection::author(":x").is_err());
    }

    #[test]
    fn a_request_is_one_readable_line() {
        let request = Request::Forget {
            what: Selection::Session("a/b".into()),
        };
        let line = serde_json::to_string(&request).unwrap();
        assert_eq!(line, r#"{"cmd":"forget","what":{"session":"a/b"}}"#);
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
        assert!(serde_json::from_str::<Request>(r#"{"cmd":"quit"}"#).is_err());
    }
}
