//! What an expert writes by hand: redis-rs, one multiplexed connection for all, a pipeline for each step; lists of JSON.

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};

use super::Trips;
use crate::workload::{CONTEXT, Handed, Said, Turns};

/// How long a session lives.
const EXPIRE_S: i64 = 1800;

/// A message as it stands in Redis.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    id: u64,
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<u64>,
    at: u64,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
}

impl From<Said> for Stored {
    fn from(said: Said) -> Self {
        Self {
            id: said.id,
            role: if said.author.is_some() {
                Role::User
            } else {
                Role::Assistant
            },
            author: said.author,
            at: said.at_ms,
            text: said.text,
        }
    }
}

impl Stored {
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// What a context of these is checked by.
    pub(super) fn handed(newest: &[Self]) -> Handed {
        Handed {
            messages: newest.len(),
            newest: newest.last().map(|m| m.id).unwrap_or_default(),
        }
    }
}

/// The hand-written store.
pub(crate) struct R3 {
    connection: MultiplexedConnection,
    prefix: String,
    trips: Trips,
    history: isize,
}

impl R3 {
    pub(crate) async fn new(
        url: &str,
        prefix: String,
        trips: Trips,
        history: usize,
    ) -> anyhow::Result<Self> {
        let client = redis::Client::open(url)?;
        let connection = client.get_multiplexed_async_connection().await?;
        Ok(Self {
            connection,
            prefix,
            trips,
            history: isize::try_from(history)?,
        })
    }

    fn key(&self, session: usize) -> String {
        format!("{}:{session}", self.prefix)
    }
}

fn newest(values: &[String]) -> anyhow::Result<Handed> {
    let decoded: Result<Vec<Stored>, _> = values.iter().map(|v| serde_json::from_str(v)).collect();
    Ok(Stored::handed(&decoded.context("a message in Redis")?))
}

impl Turns for R3 {
    async fn fill(&self, session: usize, history: Vec<Said>) -> anyhow::Result<()> {
        let mut pipe = redis::pipe();
        for said in history {
            let json = serde_json::to_string(&Stored::from(said))?;
            pipe.rpush(self.key(session), json).ignore();
        }
        pipe.exec_async(&mut self.connection.clone()).await?;
        Ok(())
    }

    async fn turn(&self, session: usize, said: Said, reply: Said) -> anyhow::Result<()> {
        let key = self.key(session);
        let mut connection = self.connection.clone();
        let context = isize::try_from(CONTEXT)?;
        let (said_id, reply_id) = (said.id, reply.id);
        let said = serde_json::to_string(&Stored::from(said))?;
        let reply = serde_json::to_string(&Stored::from(reply))?;
        let mut first = redis::pipe();
        match self.trips {
            Trips::Two => first.rpush(&key, said).ignore(),
            Trips::One => first.rpush(&key, &[said, reply.clone()]).ignore(),
        };
        let (values,): (Vec<String>,) = first
            .ltrim(&key, -self.history, -1)
            .ignore()
            .lrange(&key, -context, -1)
            .expire(&key, EXPIRE_S)
            .ignore()
            .query_async(&mut connection)
            .await?;
        if self.trips == Trips::One {
            return newest(&values)?.check(reply_id);
        }
        newest(&values)?.check(said_id)?;
        redis::pipe()
            .rpush(&key, reply)
            .ignore()
            .ltrim(&key, -self.history, -1)
            .ignore()
            .expire(&key, EXPIRE_S)
            .ignore()
            .exec_async(&mut connection)
            .await?;
        Ok(())
    }

    async fn close(&self) -> anyhow::Result<()> {
        remove_by(&mut self.connection.clone(), &format!("{}:*", self.prefix)).await
    }
}

/// Removes every key that matches `pattern`.
pub(super) async fn remove(url: &str, pattern: &str) -> anyhow::Result<()> {
    let client = redis::Client::open(url)?;
    remove_by(
        &mut client.get_multiplexed_async_connection().await?,
        pattern,
    )
    .await
}

async fn remove_by(connection: &mut MultiplexedConnection, pattern: &str) -> anyhow::Result<()> {
    let mut cursor = 0_u64;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(1000);
        let (next, keys): (u64, Vec<String>) = scan.query_async(connection).await?;
        if !keys.is_empty() {
            redis::cmd("UNLINK")
                .arg(keys)
                .exec_async(connection)
                .await?;
        }
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}
