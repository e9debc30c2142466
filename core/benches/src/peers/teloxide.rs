//! teloxide's own storage of dialogues: the whole history is read and written at each step.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Context as _;
use teloxide::dispatching::dialogue::serializer::Json;
use teloxide::dispatching::dialogue::{RedisStorage, Storage};
use teloxide::types::ChatId;

use super::r3::Stored;
use crate::workload::{CONTEXT, Handed, Said, Turns};

/// Its keys are bare chat ids: these are nobody's, whatever else is in that Redis.
const FIRST_CHAT: i64 = -8_700_000_000_000_000;

/// The storage, and which chats are ours in it.
pub(crate) struct Teloxide {
    storage: Arc<RedisStorage<Json>>,
    url: String,
    first: i64,
    sessions: usize,
    history: usize,
}

impl Teloxide {
    pub(crate) async fn new(url: &str, sessions: usize, history: usize) -> anyhow::Result<Self> {
        Ok(Self {
            storage: RedisStorage::open(url, Json).await?,
            url: url.to_owned(),
            first: FIRST_CHAT - i64::from(fastrand::u32(..)) * 100_000,
            sessions,
            history,
        })
    }

    fn chat(&self, session: usize) -> ChatId {
        ChatId(self.first - i64::try_from(session).unwrap_or_default())
    }

    /// Reads the dialogue, adds a message, writes it.
    async fn step(&self, session: usize, said: Said) -> anyhow::Result<Handed> {
        let chat = self.chat(session);
        let read = Arc::clone(&self.storage).get_dialogue(chat).await?;
        let mut messages: VecDeque<Stored> = read.context("a dialogue is gone")?;
        messages.push_back(said.into());
        while messages.len() > self.history {
            messages.pop_front();
        }
        let skip = messages.len().saturating_sub(CONTEXT);
        let context = messages.make_contiguous().get(skip..).unwrap_or_default();
        let handed = Stored::handed(context);
        Arc::clone(&self.storage)
            .update_dialogue(chat, messages)
            .await?;
        Ok(handed)
    }
}

impl Turns for Teloxide {
    async fn fill(&self, session: usize, history: Vec<Said>) -> anyhow::Result<()> {
        let messages: VecDeque<Stored> = history.into_iter().map(Stored::from).collect();
        let storage = Arc::clone(&self.storage);
        Ok(storage
            .update_dialogue(self.chat(session), messages)
            .await?)
    }

    async fn turn(&self, session: usize, said: Said, reply: Said) -> anyhow::Result<()> {
        let newest = said.id;
        self.step(session, said).await?.check(newest)?;
        self.step(session, reply).await?;
        Ok(())
    }

    async fn close(&self) -> anyhow::Result<()> {
        let client = redis::Client::open(self.url.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let keys: Vec<i64> = (0..self.sessions).map(|s| self.chat(s).0).collect();
        redis::cmd("UNLINK")
            .arg(keys)
            .exec_async(&mut connection)
            .await?;
        Ok(())
    }
}
