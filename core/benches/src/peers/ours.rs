//! Scrollback itself, through its public API, with everything on that a bot has.

use std::time::Duration;

use scrollback::{Author, Cache, Message, RedisConfig, Session, SessionKey, SledConfig};

use super::Trips;
use crate::workload::{CONTEXT, Handed, Said, Turns};

/// A cache with a data directory of its own.
pub(crate) struct Ours {
    cache: Cache,
    trips: Trips,
    redis: Option<(String, String)>,
    _data: tempfile::TempDir,
}

impl Ours {
    /// On the Redis at a URL under a prefix, or without one.
    pub(crate) async fn new(redis: Option<(&str, String)>, trips: Trips) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let mut builder = Cache::builder()
            .store(SledConfig::new(data.path()))
            // Flushed between the rounds, so that a round measures turns; the cost of flushes is a figure of its own.
            .flush_every(Duration::from_secs(600))
            .backlog(1 << 30, 2_000_000, Duration::from_secs(2));
        if let Some((url, prefix)) = &redis {
            builder = builder.hot(RedisConfig::new(*url).prefix(prefix.clone()));
        }
        let cache = builder.build().await?;
        let redis = redis.map(|(url, prefix)| (url.to_owned(), prefix));
        Ok(Self {
            cache,
            trips,
            redis,
            _data: data,
        })
    }

    /// Appends one message.
    pub(crate) async fn append(&self, session: usize, said: Said) -> anyhow::Result<()> {
        self.session(session).append(message(said)).await?;
        Ok(())
    }

    /// How many messages a session's context shows.
    pub(crate) async fn shown(&self, session: usize) -> anyhow::Result<usize> {
        Ok(self.session(session).context().await?.messages.len())
    }

    fn session(&self, session: usize) -> Session {
        let key = SessionKey::new("bench", 1)
            .space(session / 10)
            .channel(session);
        self.cache.session(key)
    }
}

/// As it is given to the cache.
pub(crate) fn message(said: Said) -> Message {
    let message = match said.author {
        Some(author) => Message::user(Author::new("bench", author), said.text),
        None => Message::assistant(said.text),
    };
    message.id(said.id).at_ms(said.at_ms)
}

/// The newest messages of a context.
fn handed(context: &scrollback::Context) -> Handed {
    let newest = context.messages.iter().rev().take(CONTEXT);
    let id = |m: &Message| m.id.as_deref().and_then(|id| id.parse().ok());
    Handed {
        messages: newest.clone().count(),
        newest: newest
            .clone()
            .next()
            .and_then(|m| id(m))
            .unwrap_or_default(),
    }
}

impl Turns for Ours {
    async fn fill(&self, session: usize, history: Vec<Said>) -> anyhow::Result<()> {
        let session = self.session(session);
        for said in history {
            session.append(message(said)).await?;
        }
        Ok(())
    }

    async fn turn(&self, session: usize, said: Said, reply: Said) -> anyhow::Result<()> {
        let session = self.session(session);
        match self.trips {
            Trips::Two => {
                let newest = said.id;
                let turn = session.append(message(said)).await?;
                handed(turn.context()).check(newest)?;
                session.append(message(reply)).await?;
            }
            Trips::One => {
                let newest = reply.id;
                let turn = session.append_all([message(said), message(reply)]).await?;
                handed(turn.context()).check(newest)?;
            }
        }
        Ok(())
    }

    async fn rest(&self) -> anyhow::Result<()> {
        Ok(self.cache.flush().await?)
    }

    async fn close(&self) -> anyhow::Result<()> {
        self.cache.close(Duration::from_secs(30)).await?;
        let Some((url, prefix)) = &self.redis else {
            return Ok(());
        };
        super::r3::remove(url, &format!("{prefix}:*")).await
    }
}
