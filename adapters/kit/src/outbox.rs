//! How the kit talks back: one outbox stands for the place where a message came from.
//!
//! Invariant: an outbox never splits or rewrites; it is handed parts within its limit. An adapter
//! implements it and keeps mentions from pinging by its platform's own means.

use std::time::Duration;

use async_trait::async_trait;

use crate::responder::Source;
use crate::split::Limit;

/// Who may see a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Audience {
    /// All who see the message that is answered.
    #[default]
    Everyone,
    /// Only the person who asked: a direct message, or the platform's own means.
    Asker,
}

/// Why something was not sent, by what the kit does about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Rate limit or outage: the same call may succeed later.
    #[error("the platform cannot take it now")]
    Later {
        /// How long to wait, if the platform told.
        after: Option<Duration>,
    },
    /// It will never succeed: blocked, no permission, gone.
    #[error("the platform refused: {0}")]
    Refused(String),
    /// Anything else.
    #[error("sending failed")]
    Failed(#[source] Source),
}

/// Sends to the place, and about the person, of one incoming message.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// The longest text that one message of the platform holds.
    fn limit(&self) -> Limit;

    /// Whether [`edit`](Self::edit) works; without it a streamed reply is sent once, when complete.
    fn edits(&self) -> bool {
        true
    }

    /// Sends a text and returns the platform's id of what was sent, if there is one.
    ///
    /// # Errors
    /// [`SendError`]; the text may have been sent all the same.
    async fn send(&self, text: &str, audience: Audience) -> Result<Option<String>, SendError>;

    /// Replaces the text of something sent before.
    ///
    /// # Errors
    /// [`SendError`].
    async fn edit(&self, id: &str, text: &str) -> Result<(), SendError>;

    /// Sends a file.
    ///
    /// # Errors
    /// [`SendError`]; the file may have been sent all the same.
    async fn send_file(
        &self,
        name: &str,
        bytes: Vec<u8>,
        audience: Audience,
    ) -> Result<Option<String>, SendError>;

    /// Shows that an answer is being prepared, where the platform can.
    ///
    /// # Errors
    /// [`SendError`]; the kit ignores it.
    async fn typing(&self) -> Result<(), SendError> {
        Ok(())
    }
}
