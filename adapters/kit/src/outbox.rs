//! How the kit talks back: one outbox stands for the place where a message came from.
//!
//! Invariant: an outbox never splits or shortens; it is handed parts within its limit. An adapter
//! implements it and keeps mentions from pinging by its platform's own means.

use std::borrow::Cow;
use std::fmt;
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

/// One message of an answer.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// What it says, within the outbox's limit.
    pub text: &'a str,
    /// Who may see it.
    pub audience: Audience,
    /// Which message of its answer it is, from 0; the same when the call is repeated, so that an outbox
    /// can tell its platform that it is.
    pub nth: u32,
}

impl fmt::Debug for Part<'_> {
    /// Leaves the text out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("bytes", &self.text.len())
            .field("audience", &self.audience)
            .field("nth", &self.nth)
            .finish()
    }
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
    /// It is larger than the platform takes.
    #[error("it is larger than the platform takes")]
    TooLarge,
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

    /// The least time between two edits in this place, where the platform asks for more than
    /// [`Pace::every`](crate::pace::Pace::every).
    fn pace(&self) -> Duration {
        Duration::ZERO
    }

    /// The text with what would ping somebody made plain, for a platform that can forbid it in no other
    /// way. Called on a whole text, before it is split.
    fn quiet<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(text)
    }

    /// Sends a text and returns the platform's id of what was sent, if there is one.
    ///
    /// # Errors
    /// [`SendError`]; the text may have been sent all the same.
    async fn send(&self, part: Part<'_>) -> Result<Option<String>, SendError>;

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
