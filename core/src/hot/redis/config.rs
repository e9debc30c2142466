//! How to reach Redis: what a user may set, and its check.
//!
//! Invariant: nothing printed from here holds the user, the password or the URL's parameters.

use std::fmt;
use std::time::Duration;

use redis::{ConnectionInfo, IntoConnectionInfo};

use crate::error::{Error, Result};

/// Longer prefixes only cost memory: they are part of every key.
const LONGEST_PREFIX: usize = 128;

/// How to reach Redis, and what to call the keys there.
#[derive(Clone)]
pub struct RedisConfig {
    url: String,
    prefix: String,
    deadline: Duration,
    queue: usize,
}

impl RedisConfig {
    /// A server by URL: `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "scrollback".to_owned(),
            // Long against a round trip (0.1–2 ms), short against a person's patience.
            deadline: Duration::from_millis(250),
            // At 100,000 operations a second this is 80 ms of work: more would miss the deadline anyway.
            queue: 8192,
        }
    }

    /// The prefix of every key (default `scrollback`); printable ASCII without braces and spaces.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The deadline of every call, and of connecting (default 250 ms).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How many operations may wait for the connection (default 8,192); more fail at once.
    #[must_use]
    pub fn queue(mut self, operations: usize) -> Self {
        self.queue = operations;
        self
    }

    /// Checks everything that can be checked without a server.
    ///
    /// # Errors
    /// [`Error::Config`] that lists every fault.
    pub fn validate(&self) -> Result<()> {
        let mut faults = Vec::new();
        if let Err(fault) = self.target() {
            faults.push(fault);
        }
        let printable = |b: u8| b.is_ascii_graphic() && b != b'{' && b != b'}';
        if self.prefix.is_empty() || !self.prefix.bytes().all(printable) {
            faults.push("redis prefix: use printable ASCII without spaces and braces".to_owned());
        }
        if self.prefix.len() > LONGEST_PREFIX {
            faults.push(format!(
                "redis prefix: use at most {LONGEST_PREFIX} characters"
            ));
        }
        if self.deadline < Duration::from_millis(1) {
            faults.push("redis deadline: use at least 1 ms".to_owned());
        }
        if self.queue == 0 {
            faults.push("redis queue: use at least 1 operation".to_owned());
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Error::Config(faults))
        }
    }

    /// The parsed URL, or what is wrong with it (without quoting it: it may hold a password).
    pub(super) fn target(&self) -> Result<ConnectionInfo, String> {
        self.url.as_str().into_connection_info().map_err(|e| {
            format!(
                "redis URL: {}; expected redis://[user:password@]host[:port][/database]",
                e.category()
            )
        })
    }

    pub(super) fn key_prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn call_deadline(&self) -> Duration {
        self.deadline
    }

    pub(super) fn queue_length(&self) -> usize {
        self.queue
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.target().map(|t| t.addr().to_string());
        f.debug_struct("RedisConfig")
            .field("server", &server.as_deref().unwrap_or("not a valid URL"))
            .field("prefix", &self.prefix)
            .field("deadline", &self.deadline)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
