//! The contract of what answers: a model, the built-in recall, or a bot's own code.
//!
//! Invariant: object safe, so that a bot picks its responder at run time. A responder never sends; it
//! returns what to say, and the kit says it. Knows no platform.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use scrollback::{Context, Message, Seq, Session};

/// The boxed cause of a failure.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// The pieces of a reply, in order; their concatenation is the reply.
pub type Pieces = BoxStream<'static, Result<String, RespondError>>;

/// What a responder is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// The session, for a responder that looks beyond the context.
    pub session: Session,
    /// The messages so far, the one to answer last.
    pub context: Context,
    /// The message to answer.
    pub message: Arc<Message>,
    /// Its place in the session.
    pub seq: Seq,
    /// True in a chat of one person and the bot.
    pub private: bool,
}

/// What a responder answers.
pub enum Reply {
    /// Nothing to say.
    None,
    /// The whole reply.
    Text(String),
    /// The reply as it comes into being.
    Stream(Pieces),
}

impl fmt::Debug for Reply {
    /// Leaves the text out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Stream(_) => f.write_str("Stream(..)"),
        }
    }
}

/// Why there is no reply, by what an adapter does about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RespondError {
    /// Overloaded or away for now: say so, and that asking again later helps.
    #[error("the responder cannot answer now")]
    Later {
        /// How long to wait, if known.
        after: Option<Duration>,
    },
    /// It will not answer this; the text is meant for the person who asked.
    #[error("the responder refused")]
    Refused(String),
    /// It broke: log it, apologise.
    #[error("the responder failed")]
    Failed(#[source] Source),
}

impl RespondError {
    /// A [`RespondError::Failed`].
    pub fn failed(source: impl Into<Source>) -> Self {
        Self::Failed(source.into())
    }
}

impl From<scrollback::Error> for RespondError {
    fn from(error: scrollback::Error) -> Self {
        if error.is_outage() {
            Self::Later { after: None }
        } else {
            Self::failed(error)
        }
    }
}

/// Answers messages.
#[async_trait]
pub trait Responder: Send + Sync + 'static {
    /// Answers one message. The kit cancels the call at its deadline by dropping it.
    ///
    /// # Errors
    /// [`RespondError`], by what the adapter should do.
    async fn respond(&self, request: Request) -> Result<Reply, RespondError>;
}
