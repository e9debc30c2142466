//! The exit codes, in one place: what each means and which error leads to it.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// The table that `--help` prints; the README repeats it.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  ok
  1  failure
  2  wrong usage or configuration
  3  the data directory is in use by another process
  4  verify found violations
  5  closed, but not everything was durable by the deadline (it is safe in the journal)
  6  stopped early by a signal (what was read is kept; the same command goes on from there)
  130  stopped at once by a second signal (what was acknowledged is safe in the journal)";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Exit {
    /// All is well.
    Ok,
    /// Something failed; stderr says what.
    Failure,
    /// Wrong usage or configuration.
    Usage,
    /// Another process holds the data directory.
    InUse,
    /// `verify` found violations.
    Violations,
    /// Not everything was durable when the cache closed; it is safe in the journal.
    NotDurable,
    /// A signal stopped it early.
    Interrupted,
    /// A second signal stopped it at once.
    Killed,
}

impl Exit {
    /// The process's exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::InUse => 3,
            Self::Violations => 4,
            Self::NotDurable => 5,
            Self::Interrupted => 6,
            Self::Killed => 130,
        }
    }

    /// The exit code for an error, by its first cause that tells.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        error
            .chain()
            .find_map(|cause| {
                if let Some(failed) = cause.downcast_ref::<Failed>() {
                    return Some(failed.exit);
                }
                match cause.downcast_ref::<scrollback::Error>()? {
                    scrollback::Error::Locked { .. } => Some(Self::InUse),
                    scrollback::Error::Config(_) | scrollback::Error::Invalid(_) => {
                        Some(Self::Usage)
                    }
                    _ => None,
                }
            })
            .unwrap_or(Self::Failure)
    }
}

/// An error that knows its exit code.
#[derive(Debug)]
pub(crate) struct Failed {
    exit: Exit,
    message: String,
}

impl Failed {
    /// An error that ends the process with `exit`.
    pub(crate) fn error(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        let message = message.into();
        anyhow::Error::new(Self { exit, message })
    }

    /// Wrong usage or configuration.
    pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
        Self::error(Exit::Usage, message)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failed {}

/// Says on stderr what failed, and turns the outcome into the process's exit code.
pub(crate) fn report(outcome: anyhow::Result<Exit>) -> ExitCode {
    let exit = outcome.unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        warn(format_args!("error: {error:#}"));
        if exit == Exit::InUse {
            warn("help: --wait-lock 30s waits for the other process to end");
        }
        exit
    });
    ExitCode::from(exit.code())
}

/// A line for the user on stderr; nothing can be done when stderr is gone.
pub(crate) fn warn(line: impl fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_exit_code_under_any_context() {
        let locked = scrollback::Error::Locked { path: "d".into() };
        let error = anyhow::Error::new(locked)
            .context("cannot open")
            .context("export");
        assert_eq!(Exit::of(&error), Exit::InUse);
        let usage = Failed::usage("no").context("somewhere");
        assert_eq!(Exit::of(&usage), Exit::Usage);
        assert_eq!(Exit::of(&anyhow::anyhow!("x")), Exit::Failure);
    }

    #[test]
    fn the_table_names_every_code() {
        for exit in [
            Exit::Ok,
            Exit::Failure,
            Exit::Usage,
            Exit::InUse,
            Exit::Violations,
            Exit::NotDurable,
            Exit::Interrupted,
            Exit::Killed,
        ] {
            let code = format!("\n  {}  ", exit.code());
            assert!(TABLE.contains(&code), "{exit:?}");
        }
    }
}
