//! The shared hot tier: logs as Redis streams, compare-and-append as one native command.
//!
//! Owns how the contract maps to Redis. Invariant: every call returns by its deadline, and after anything
//! unexpected the answer is an outage ("unknown"), never a guess. Only this module and those below it
//! know the `redis` and `r2d2` crates. Talks to one primary; keys are laid out so that a Cluster lane can
//! follow without moving data.
//!
//! A user with these rights is enough (a test keeps the list true): `~PREFIX:* -@all +ping +info +select
//! +script|load +eval +evalsha +xadd +xrange +xrevrange +zadd +zrem +zlexcount +zrange +persist +pexpire
//! +set +get +del +unlink +exists +multi +exec`.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use redis::Value;

use self::commands::{Calling, Commands, Packed, Reply};
use self::connection::{Fault, Opener, field};
use self::lane::{Answer, Lane, TIER};
use self::scripts::{PUBLISHING, RELEASING, SETTLING};
use crate::error::{Error, Result};
use crate::hot::{Append, Appended, HotTier, Place, Publish, Published, Read, Settle, WriterId};
use crate::key::Address;

mod commands;
mod config;
mod connection;
mod desk;
mod lane;
mod scripts;
mod wire;
mod worker;

pub use self::config::RedisConfig;

/// The oldest server with all that is used: NOMKSTREAM, MINID, exclusive ranges, `PEXPIRE … GT`.
const OLDEST_MAJOR: u32 = 7;

/// A hot tier in Redis, shared by every process that uses the same server and prefix.
#[derive(Debug)]
pub struct RedisTier {
    commands: Commands,
    lane: Lane,
}

impl RedisTier {
    /// A tier that connects in the background; with a dead server it starts degraded.
    ///
    /// # Errors
    /// [`Error::Config`] that lists every fault of the configuration.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a configuration is used up, as for every tier"
    )]
    pub fn new(config: RedisConfig) -> Result<Self> {
        config.validate()?;
        let opener = Opener::new(&config)?;
        let lane = Lane::start(opener, config.call_deadline(), config.queue_length())?;
        Ok(Self {
            commands: Commands::new(config.key_prefix()),
            lane,
        })
    }

    fn until(&self) -> Instant {
        Instant::now() + self.lane.deadline()
    }

    /// Sends what needs no particular generation; a refusal of any command is an error.
    async fn run(&self, what: &'static str, packed: Packed) -> Result<Vec<Value>> {
        match self.lane.call(what, packed, None, self.until()).await? {
            Answer::Replies(replies) => replies
                .into_iter()
                .map(|r| r.map_err(|e| refused(what, &e)))
                .collect(),
            Answer::Suspect => Err(unexpected(what)),
        }
    }

    /// Calls a script, and once more with its text when the server has forgotten it.
    async fn script(
        &self,
        what: &'static str,
        believed: Option<u64>,
        pack: impl Fn(Calling) -> Packed + Send,
    ) -> Result<Option<Vec<Value>>> {
        let until = self.until();
        for calling in [Calling::Digest, Calling::Text] {
            let answer = self.lane.call(what, pack(calling), believed, until).await?;
            let Answer::Replies(replies) = answer else {
                return Ok(None);
            };
            let forgotten = |r: &Reply| r.as_ref().is_err_and(|e| e.starts_with("NOSCRIPT"));
            if calling == Calling::Digest && replies.iter().any(forgotten) {
                continue;
            }
            let values = replies
                .into_iter()
                .map(|r| r.map_err(|e| refused(what, &e)));
            return values.collect::<Result<_>>().map(Some);
        }
        Err(unexpected(what))
    }
}

#[async_trait]
impl HotTier for RedisTier {
    fn name(&self) -> &'static str {
        TIER
    }

    fn generation(&self) -> u64 {
        self.lane.generation()
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.lane.deadline())
    }

    async fn append(&self, session: &Address, append: Append) -> Result<Appended> {
        let packed = self.commands.append(session, &append);
        drop(append.entry);
        let call = self
            .lane
            .call("append", packed, Some(append.generation), self.until());
        let Answer::Replies(mut replies) = call.await? else {
            return Ok(Appended::Suspect);
        };
        let added = replies.pop();
        // The mark's replies come first; an entry whose mark failed must not count as accepted.
        for reply in replies {
            reply.map_err(|e| refused("append", &e))?;
        }
        match added {
            Some(Ok(Value::BulkString(_))) => Ok(Appended::Done),
            Some(Ok(Value::Nil)) => Ok(Appended::Missing),
            Some(Err(e)) if e.contains("equal or smaller") => Ok(Appended::Behind),
            Some(Err(e)) => Err(refused("append", &e)),
            _ => Err(unexpected("append")),
        }
    }

    async fn read(&self, session: &Address, after: Option<Place>, generation: u64) -> Result<Read> {
        let packed = self.commands.read(session, after);
        let call = self
            .lane
            .call("read", packed, Some(generation), self.until());
        let Answer::Replies(mut replies) = call.await? else {
            return Ok(Read::Suspect);
        };
        let last = replies.pop().ok_or_else(|| unexpected("read"))?;
        let value = last.map_err(|e| refused("read", &e))?;
        if after.is_none() {
            let entries = commands::entries(value)?;
            return Ok(if entries.is_empty() {
                Read::Missing
            } else {
                Read::Entries(entries)
            });
        }
        let Value::Array(results) = value else {
            return Err(unexpected("read"));
        };
        let mut results = results.into_iter();
        match (results.next(), results.next()) {
            (Some(_), Some(Value::Int(0))) => Ok(Read::Missing),
            (Some(newer), Some(Value::Int(1))) => commands::entries(newer).map(Read::Entries),
            _ => Err(unexpected("read")),
        }
    }

    async fn fence(&self, session: &Address, epoch: u64) -> Result<()> {
        self.run("fence", self.commands.fence(session, epoch))
            .await
            .map(drop)
    }

    async fn publish(&self, session: &Address, publish: Publish) -> Result<Published> {
        let pack = |calling| {
            self.commands
                .publish(&PUBLISHING, calling, session, &publish)
        };
        let values = self
            .script("publish", Some(publish.generation), pack)
            .await?;
        let Some(values) = values else {
            return Ok(Published::Suspect);
        };
        match values.first() {
            Some(Value::BulkString(word)) => match word.as_slice() {
                b"done" => Ok(Published::Done),
                b"moved" => Ok(Published::Moved),
                b"fenced" => Ok(Published::Fenced),
                _ => Err(unexpected("publish")),
            },
            _ => Err(unexpected("publish")),
        }
    }

    async fn settle(&self, writer: &WriterId, sessions: Vec<Settle>) -> Result<()> {
        if sessions.is_empty() {
            return Ok(());
        }
        let pack = |calling| self.commands.settle(&SETTLING, calling, writer, &sessions);
        self.script("settle", None, pack).await.map(drop)
    }

    async fn touch(&self, session: &Address, ttl_ms: u64) -> Result<()> {
        self.run("touch", self.commands.touch(session, ttl_ms))
            .await
            .map(drop)
    }

    async fn release(&self, session: &Address) -> Result<()> {
        let pack = |calling| self.commands.release(&RELEASING, calling, session);
        self.script("release", None, pack).await.map(drop)
    }

    async fn marked(&self, writer: &WriterId) -> Result<Vec<Address>> {
        let sets = self.run("marked", self.commands.marks()).await?;
        Ok(sets
            .into_iter()
            .flat_map(|set| commands::marked_in(set, writer))
            .collect())
    }

    async fn check(&self) -> Result<Vec<String>> {
        let mut packed = Packed::default();
        for section in ["server", "memory", "replication"] {
            packed.command(&["INFO", section]);
        }
        let answer = self.lane.call("check", packed, None, self.until()).await;
        // A wrong password looks like an outage to other calls; here the operator is asking.
        let answer = answer.map_err(|e| {
            self.lane
                .config_fault()
                .map_or(e, |f| Error::Config(vec![f]))
        })?;
        let Answer::Replies(replies) = answer else {
            return Err(unexpected("check"));
        };
        let mut sections = replies.into_iter();
        match (sections.next(), sections.next(), sections.next()) {
            (Some(Ok(server)), Some(Ok(memory)), Some(Ok(replication))) => {
                judge(&server, &memory, &replication)
            }
            _ => Ok(vec![
                "redis: INFO is forbidden to this user, so version and eviction policy are \
                          unknown and every reconnect counts as a restart; allow it (ACL +info)"
                    .to_owned(),
            ]),
        }
    }

    async fn close(&self) {
        self.lane.close().await;
    }
}

/// What is wrong with a server's settings.
fn judge(server: &Value, memory: &Value, replication: &Value) -> Result<Vec<String>> {
    let version = field(server, "redis_version").unwrap_or_default();
    let major = version
        .split('.')
        .next()
        .and_then(|m| m.parse::<u32>().ok());
    if major.is_some_and(|m| m < OLDEST_MAJOR) {
        return Err(Error::Config(vec![format!(
            "redis {version} is too old; {OLDEST_MAJOR}.0 or later is needed"
        )]));
    }
    let mut warnings = Vec::new();
    let policy = field(memory, "maxmemory_policy").unwrap_or_default();
    if policy != "noeviction" && !policy.starts_with("volatile-") {
        warnings.push(format!(
            "redis: maxmemory-policy {policy} drops sessions that are not durable yet; set noeviction"
        ));
    }
    if field(server, "redis_mode").is_some_and(|mode| mode == "cluster") {
        warnings.push("redis: cluster mode is not supported yet; use a single primary".to_owned());
    }
    if field(replication, "role").is_some_and(|role| role != "master") {
        warnings
            .push("redis: this server is a replica and refuses writes; use its primary".to_owned());
    }
    Ok(warnings)
}

fn refused(what: &'static str, reply: &str) -> Error {
    Error::unavailable(TIER, format!("{what} was refused"), Fault::refused(reply))
}

fn unexpected(what: &'static str) -> Error {
    Error::away(TIER, format!("an unexpected reply to {what}"))
}

#[cfg(test)]
mod tests;
