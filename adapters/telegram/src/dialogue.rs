//! teloxide's dialogues, kept in the cache: `Storage<D>` for a bot that is written with teloxide.
//!
//! Invariant: a dialogue is the typed state of a session of its own, named by storage and chat; an update is
//! a compare-and-set, so two processes never overwrite each other unseen.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use scrollback::{Cache, Session, SessionKey};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use teloxide::dispatching::dialogue::Storage;
use teloxide::types::ChatId;

/// The platform in the keys of dialogues.
const PLATFORM: &str = "telegram-dialogue";
/// How often a change is tried again when somebody else was faster.
const TRIES: usize = 16;

/// Why a dialogue was not read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialogueError {
    /// There is no dialogue to remove.
    #[error("the chat has no dialogue")]
    Missing,
    /// What the cache answers.
    #[error("the dialogue cannot be reached")]
    Cache(#[from] scrollback::Error),
}

/// Keeps dialogues in a cache.
///
/// In a teloxide bot it takes the place of any other storage:
/// `dptree::deps![DialogueStorage::new(cache)]`.
#[derive(Debug, Clone)]
pub struct DialogueStorage {
    cache: Cache,
    name: String,
}

impl DialogueStorage {
    /// The dialogues named `dialogue`.
    #[must_use]
    pub fn new(cache: Cache) -> Arc<Self> {
        Self::named(cache, "dialogue")
    }

    /// The dialogues of this name: of one bot among several, or one kind of dialogue among several.
    #[must_use]
    pub fn named(cache: Cache, name: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            cache,
            name: name.into(),
        })
    }

    fn session(&self, chat: ChatId) -> Session {
        let key = SessionKey::new(PLATFORM, &self.name).channel(chat.0);
        self.cache.session(key)
    }
}

// The state is a list of one dialogue or none, so that any `D` has a form of its own.
async fn change<D: Serialize>(
    session: Session,
    to: &[D],
    must_exist: bool,
) -> Result<(), DialogueError> {
    let mut tries = TRIES;
    loop {
        // Only its version matters, and that there is one: also a dialogue of an older type is replaced.
        let now = session.state::<Vec<IgnoredAny>>().await?;
        if must_exist && now.is_none_or(|(_, dialogues)| dialogues.is_empty()) {
            return Err(DialogueError::Missing);
        }
        tries = tries.saturating_sub(1);
        match session.set_state(&to).await {
            Err(scrollback::Error::Conflict { .. }) if tries > 0 => {}
            done => return Ok(done.map(drop)?),
        }
    }
}

impl<D> Storage<D> for DialogueStorage
where
    D: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    type Error = DialogueError;

    fn remove_dialogue(
        self: Arc<Self>,
        chat_id: ChatId,
    ) -> BoxFuture<'static, Result<(), DialogueError>> {
        async move { change::<D>(self.session(chat_id), &[], true).await }.boxed()
    }

    fn update_dialogue(
        self: Arc<Self>,
        chat_id: ChatId,
        dialogue: D,
    ) -> BoxFuture<'static, Result<(), DialogueError>> {
        async move { change(self.session(chat_id), &[dialogue], false).await }.boxed()
    }

    fn get_dialogue(
        self: Arc<Self>,
        chat_id: ChatId,
    ) -> BoxFuture<'static, Result<Option<D>, DialogueError>> {
        let read = async move {
            let state = self.session(chat_id).state::<Vec<D>>().await?;
            Ok(state.and_then(|(_, mut dialogues)| dialogues.pop()))
        };
        read.boxed()
    }
}

#[cfg(test)]
mod tests;
