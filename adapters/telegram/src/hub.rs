//! What the parts of a running bot share, and the one way in which they write to a chat.
//!
//! Invariant: a chat that is gone or wants to be left alone is not called; a chat that moved is written to
//! where it is now.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use scrollback_kit::{Pings, SendError};

use crate::api::{Api, CallError};
use crate::business::Connections;
use crate::chats::{Chats, Room};
use crate::event::Me;
use crate::moved::Moved;

/// What the parts of a running bot share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) api: Arc<Api>,
    pub(crate) me: Me,
    pub(crate) pings: Pings,
    pub(crate) chats: Chats,
    pub(crate) moved: Moved,
    pub(crate) connections: Connections,
    /// Updates that could not be taken in since the start.
    pub(crate) left_out: AtomicU64,
}

/// What is to be done about a call whose effect is unknown, and about a chat that has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Adds something to the chat: never twice, and where the chat is now.
    Adds,
    /// Changes a message, or shows something for a moment: repeating is harmless; a message stays where
    /// it was sent.
    Changes,
}

impl Hub {
    /// Counts an update that cannot be taken in; how many they are.
    pub(crate) fn leave_out(&self) -> u64 {
        self.left_out.fetch_add(1, Relaxed) + 1
    }

    /// Makes a call about a chat, and tells where that chat is.
    pub(crate) async fn write<T, F, Fut>(
        &self,
        room: &Room,
        kind: Call,
        call: F,
    ) -> Result<(i64, T), CallFailed>
    where
        F: Fn(i64) -> Fut,
        Fut: Future<Output = Result<T, CallError>>,
    {
        let mut at = room.clone();
        if kind == Call::Adds {
            at.chat = self.moved.current(room.chat);
        }
        self.chats.check(&at)?;
        let first = call(at.chat).await;
        let done = match first {
            Err(CallError::Moved { to }) => {
                self.note_move(to, at.chat).await;
                if kind == Call::Changes {
                    return Err(self.failed(&at, kind, CallError::Moved { to }));
                }
                at.chat = to;
                call(to).await
            }
            done => done,
        };
        match done {
            Ok(done) => Ok((at.chat, done)),
            Err(error) => Err(self.failed(&at, kind, error)),
        }
    }

    async fn note_move(&self, new: i64, old: i64) {
        if let Err(error) = self.moved.note(new, old).await {
            tracing::warn!(%error, old, new, "a group's move is not noted yet; its update will");
        }
    }

    /// Draws the conclusions from a failed call.
    fn failed(&self, room: &Room, kind: Call, error: CallError) -> CallFailed {
        let chat = room.chat;
        if error.is_gone() {
            if self.chats.gone(room) {
                tracing::info!(chat, %error, "nothing more is sent there until something comes");
            }
        } else if let CallError::TooMany { after } = &error {
            self.chats.later(room, *after);
            tracing::debug!(chat, ?after, "Telegram asks to leave a chat alone");
        } else if kind == Call::Adds {
            tracing::warn!(chat, %error, "a message was not sent");
        } else {
            tracing::debug!(chat, %error, "a message was not changed, or typing not shown");
        }
        CallFailed::Called(error, kind)
    }
}

/// Why nothing was written.
#[derive(Debug)]
pub(crate) enum CallFailed {
    /// Without a call: what is known of the chat says so.
    Known(SendError),
    /// After a call.
    Called(CallError, Call),
}

impl CallFailed {
    /// True when the refusal is about this.
    pub(crate) fn says(&self, what: &str) -> bool {
        matches!(self, Self::Called(error, _) if error.says(what))
    }

    /// True when the bot cannot write there at all.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::Known(error) => matches!(error, SendError::Refused(_)),
            Self::Called(error, _) => error.is_gone(),
        }
    }
}

impl From<SendError> for CallFailed {
    fn from(error: SendError) -> Self {
        Self::Known(error)
    }
}

impl From<CallFailed> for SendError {
    fn from(failed: CallFailed) -> Self {
        match failed {
            CallFailed::Known(error) => error,
            CallFailed::Called(error, kind) => error.for_kit(kind == Call::Changes),
        }
    }
}
