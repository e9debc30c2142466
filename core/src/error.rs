//! What can go wrong, sorted by what a caller can do about it.
//!
//! Sources are boxed, so that no dependency's error type is part of the public API.

use std::path::PathBuf;
use std::time::Duration;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The boxed cause of an [`Error`].
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// The one error type of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tier cannot be reached now. Retry later, or serve without it.
    #[error("{tier} is unavailable: {what}")]
    Unavailable {
        /// `redis`, `memory`, `sled`, `journal` …
        tier: &'static str,
        /// What was attempted and what to do.
        what: String,
        /// The underlying failure.
        source: Option<Source>,
    },
    /// A call did not finish by its deadline. Whether it took effect is unknown; the cache resolves it.
    #[error("{what} did not finish within {after:?}")]
    Timeout {
        /// The operation.
        what: &'static str,
        /// The deadline that passed.
        after: Duration,
    },
    /// A bound on queued work is reached. Slow down and try again; nothing was accepted.
    #[error(
        "too much is waiting to be made durable ({waiting} {unit}, limit {limit}); try again later"
    )]
    Backpressure {
        /// How much is waiting.
        waiting: u64,
        /// The bound.
        limit: u64,
        /// What is counted: `bytes` or `appends`.
        unit: &'static str,
    },
    /// The disk is too full to accept more. Reads go on; free some space.
    #[error("disk space is low under {}: {free_bytes} bytes free, {floor_bytes} needed; free some space", path.display())]
    DiskLow {
        /// The directory that is short of space.
        path: PathBuf,
        /// Bytes free.
        free_bytes: u64,
        /// The configured floor in bytes.
        floor_bytes: u64,
    },
    /// The input is over a limit. Make it smaller; nothing was accepted.
    #[error("{what} is too large: {size} bytes, limit {limit}")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Somebody else changed the state first. Read it again and retry.
    #[error("the state was changed by someone else: expected version {expected}, found {actual}")]
    Conflict {
        /// The version the caller had read.
        expected: u64,
        /// The version in force.
        actual: u64,
    },
    /// Something was forgotten in the session since what is to be answered was said. Nothing was accepted.
    #[error("something was forgotten in the session since")]
    Forgotten,
    /// A stored record cannot be read: damaged, of another session, or of a newer version.
    #[error("cannot read {what}: {why}")]
    Decode {
        /// Which record.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Input that is not valid, named.
    #[error("{0}")]
    Invalid(String),
    /// The cache is closed, or is closing.
    #[error("the cache is closed")]
    Closed,
    /// The configuration has faults; each is named.
    #[error("invalid configuration: {}", .0.join("; "))]
    Config(Vec<String>),
    /// Another process holds the directory.
    #[error("{} is in use by another process; stop it, or use another directory", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

impl Error {
    /// An [`Error::Unavailable`] with a cause.
    pub fn unavailable(
        tier: &'static str,
        what: impl Into<String>,
        source: impl Into<Source>,
    ) -> Self {
        Self::Unavailable {
            tier,
            what: what.into(),
            source: Some(source.into()),
        }
    }

    /// An [`Error::Unavailable`] without a further cause.
    pub fn away(tier: &'static str, what: impl Into<String>) -> Self {
        Self::Unavailable {
            tier,
            what: what.into(),
            source: None,
        }
    }

    /// An [`Error::Decode`].
    pub fn decode(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Decode {
            what,
            why: why.to_string(),
        }
    }

    /// True when the tier did not answer: the operation may or may not have taken effect.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. })
    }
}
