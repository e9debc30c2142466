//! Connections as r2d2 opens and judges them.
//!
//! Invariant: nothing here waits without a time-out, and a connection on which anything went wrong is
//! never used again. Each connection knows which server, in which life, it talks to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::io::tcp::TcpSettings;
use redis::{Client, RedisConnectionInfo, RedisError, Value};

use super::commands::{Packed, Reply};
use super::config::RedisConfig;
use super::scripts;
use super::wire::Wire;
use crate::error::{Error, Result};

/// Gives each connection to an unknown server an identity of its own.
static UNKNOWN: AtomicU64 = AtomicU64::new(0);

/// Which life of which server: its process and its replication history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    Known {
        run: String,
        replication: String,
    },
    /// INFO is forbidden: every connection may be another server.
    Unknown(u64),
}

/// Why there is no connection, or why one was given up.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub(super) struct Fault {
    pub(super) text: String,
    /// The operator must change something; waiting will not help.
    pub(super) config: bool,
    /// The server did not answer in time.
    pub(super) timeout: bool,
}

impl Fault {
    pub(super) fn timeout(what: &str) -> Self {
        Self {
            text: format!("{what} was not answered in time"),
            config: false,
            timeout: true,
        }
    }

    /// A server that answers so must be asked again who it is: it was demoted, or loads its data.
    pub(super) fn unfit(reply: &Reply) -> Option<Self> {
        let refusal = reply.as_ref().err()?;
        let code = refusal.split(' ').next().unwrap_or_default();
        matches!(code, "READONLY" | "LOADING" | "MASTERDOWN" | "NOAUTH")
            .then(|| Self::refused(refusal))
    }

    /// From a server's refusal, such as `NOAUTH Authentication required.`
    pub(super) fn refused(reply: &str) -> Self {
        let code = reply.split(' ').next().unwrap_or_default();
        let config = matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM") || reply.contains("AUTH");
        let hint = match code {
            "NOAUTH" => "; put the password in the URL",
            "WRONGPASS" => "; check user and password in the URL",
            "NOPERM" => "; allow the command to this user (ACL)",
            _ => "",
        };
        Self {
            text: format!("the server says: {reply}{hint}"),
            config,
            timeout: false,
        }
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        // A read time-out shows as "would block" on most systems.
        let timeout = error.is_timeout()
            || std::error::Error::source(&error)
                .and_then(|e| e.downcast_ref::<std::io::Error>())
                .is_some_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        let text = if timeout {
            "no answer in time".to_owned()
        } else {
            error.to_string()
        };
        Self {
            text,
            config: false,
            timeout,
        }
    }
}

/// A connection with time-outs, ready for operations.
pub(super) struct Link {
    wire: Wire,
    pub(super) identity: Identity,
    pub(super) broken: bool,
}

impl Link {
    /// Sends packed commands in one write.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.wire.send(bytes)?)
    }

    /// Reads one reply, until `until` where the wire [can](Self::is_punctual); a server's refusal is a reply. After a
    /// time-out there, the next call goes on with the same reply; after any other fault the connection is of no use.
    pub(super) fn receive(&mut self, until: Instant) -> Result<Reply, Fault> {
        match self.wire.receive(until) {
            Ok(Value::ServerError(e)) => Ok(Err(words(e.code(), e.details()))),
            Ok(value) => Ok(Ok(value)),
            Err(e) => match e.code().map(|code| words(code, e.detail())) {
                Some(refusal) if !e.is_io_error() => Ok(Err(refusal)),
                _ => Err(e.into()),
            },
        }
    }

    /// True when a read ends at the time it is given.
    pub(super) const fn is_punctual(&self) -> bool {
        self.wire.is_punctual()
    }
}

fn words(code: &str, detail: Option<&str>) -> String {
    detail.map_or_else(|| code.to_owned(), |detail| format!("{code} {detail}"))
}

/// Opens connections for r2d2.
pub(super) struct Opener {
    client: Client,
    password: Option<(Option<String>, String)>,
    database: i64,
    deadline: Duration,
    failures: AtomicU64,
    last: Mutex<Option<Fault>>,
}

impl Opener {
    pub(super) fn new(config: &RedisConfig) -> Result<Self> {
        let bad = |text: String| Error::Config(vec![text]);
        let target = config.target().map_err(bad)?;
        let settings = target.redis_settings();
        let user = settings.username().map(str::to_owned);
        let password = settings.password().map(|p| (user, p.to_owned()));
        let database = settings.db();
        // AUTH and SELECT are ours to send: the crate sends them before a read time-out can be set.
        let bare = RedisConnectionInfo::default().set_skip_set_lib_name();
        let target = target
            .set_redis_settings(bare)
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(target).map_err(|e| bad(e.to_string()))?;
        // `rediss://` needs a process-wide provider; another one installed by the host is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let deadline = config.call_deadline();
        let (failures, last) = (AtomicU64::new(0), Mutex::new(None));
        Ok(Self {
            client,
            password,
            database,
            deadline,
            failures,
            last,
        })
    }

    /// How often connecting has failed so far.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }

    /// Why connecting failed last.
    pub(super) fn last_failure(&self) -> Option<Fault> {
        self.last.lock().clone()
    }

    fn open(&self) -> Result<Link, Fault> {
        let mut link = Link {
            wire: Wire::open(&self.client, self.deadline)?,
            identity: Identity::Unknown(0),
            broken: false,
        };
        self.greet(&mut link)?;
        Ok(link)
    }

    /// Logs in, asks who the server is and loads the scripts, in one round trip.
    fn greet(&self, link: &mut Link) -> Result<(), Fault> {
        let mut hello = Packed::default();
        match &self.password {
            Some((Some(user), password)) => hello.command(&["AUTH", user, password]),
            Some((None, password)) => hello.command(&["AUTH", password]),
            None => {}
        }
        if self.database != 0 {
            hello.command(&["SELECT", &self.database.to_string()]);
        }
        let must_succeed = hello.replies;
        hello.command(&["PING"]);
        hello.command(&["INFO", "server"]);
        hello.command(&["INFO", "replication"]);
        for script in scripts::all() {
            hello.command(&["SCRIPT", "LOAD", script.code]);
        }
        let until = Instant::now() + self.deadline;
        link.send(&hello.bytes)?;
        let mut replies = Vec::with_capacity(hello.replies);
        for _ in 0..hello.replies {
            if Instant::now() > until {
                return Err(Fault::timeout("connecting"));
            }
            replies.push(link.receive(until)?);
        }
        let mut replies = replies.into_iter();
        for reply in replies.by_ref().take(must_succeed) {
            reply.map_err(|refusal| Fault::refused(&refusal))?;
        }
        // PING is refused while the server loads its data, or asks for a password: then it is of no use yet.
        if let Some(Err(refusal)) = replies.next()
            && !refusal.starts_with("NOPERM")
        {
            return Err(Fault::refused(&refusal));
        }
        let run = replies.next().and_then(|r| field(&r.ok()?, "run_id"));
        let replication = replies
            .next()
            .and_then(|r| field(&r.ok()?, "master_replid"));
        // A script that could not be loaded is sent whole at its first use.
        link.identity = match (run, replication) {
            (Some(run), Some(replication)) => Identity::Known { run, replication },
            _ => Identity::Unknown(UNKNOWN.fetch_add(1, Ordering::SeqCst)),
        };
        Ok(())
    }

    /// Asks the server whether it is there.
    pub(super) fn check(&self, link: &mut Link) -> Result<(), Fault> {
        let mut ping = Packed::default();
        ping.command(&["PING"]);
        link.send(&ping.bytes)?;
        link.receive(Instant::now() + self.deadline).map(drop)
    }
}

/// A field of an INFO reply.
pub(super) fn field(reply: &Value, name: &str) -> Option<String> {
    let text = match reply {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text,
        _ => return None,
    };
    let value = |line: &str| {
        Some(
            line.trim_end()
                .strip_prefix(name)?
                .strip_prefix(':')?
                .to_owned(),
        )
    };
    text.lines().find_map(value)
}

/// The opener, shared between the pool and the thread that asks it why it failed.
pub(super) struct Watched(pub(super) Arc<Opener>);

impl r2d2::ManageConnection for Watched {
    type Connection = Link;
    type Error = Fault;

    fn connect(&self) -> Result<Link, Fault> {
        self.0.open().inspect_err(|fault| {
            *self.0.last.lock() = Some(fault.clone());
            self.0.failures.fetch_add(1, Ordering::SeqCst);
        })
    }

    fn is_valid(&self, link: &mut Link) -> Result<(), Fault> {
        self.0.check(link)
    }

    fn has_broken(&self, link: &mut Link) -> bool {
        link.broken
    }
}
