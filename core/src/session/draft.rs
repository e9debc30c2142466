//! Drafts: what a caller wants to append, checked against the limits.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::key::SessionKey;
use crate::message::{Message, Seq};
use crate::session::engine::Engine;
use crate::window::Window;

/// What a caller wants to append.
#[derive(Debug, Clone)]
pub(crate) enum Draft {
    Messages(Vec<Arc<Message>>),
    /// Messages that may quote what the session held when it was in epoch `since`.
    Answer {
        messages: Vec<Arc<Message>>,
        since: u64,
    },
    Edit {
        id: String,
        text: String,
        at_ms: u64,
    },
    Delete {
        id: String,
    },
    State {
        expected: u64,
        value: Bytes,
    },
    Reset,
    End,
}

impl Draft {
    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Messages(messages) | Self::Answer { messages, .. } => {
                messages.iter().map(|m| m.bytes() + 64).sum()
            }
            Self::Edit { id, text, .. } => id.len() + text.len(),
            Self::State { value, .. } => value.len(),
            Self::Delete { id } => id.len(),
            Self::Reset | Self::End => 0,
        };
        bytes as u64 + 64
    }
}

/// Fills in what only the cache knows of new messages, and refuses what is over a limit.
pub(crate) fn prepare(
    engine: &Engine,
    messages: impl IntoIterator<Item = Message>,
) -> Result<Vec<Arc<Message>>> {
    let messages = messages.into_iter();
    let mut out = Vec::with_capacity(messages.size_hint().0.min(16));
    // Together they are one entry, which the hot tier carries in one call and a window holds whole.
    let together = engine.limits.message_bytes.max(Window::MAX_BYTES);
    let mut size = 0;
    for mut m in messages {
        if out.len() as u64 == Seq::FIELDS {
            let limit = Seq::FIELDS;
            return Err(Error::Invalid(format!(
                "at most {limit} messages can be appended at once"
            )));
        }
        check_size(engine, "a message", m.content_bytes())?;
        for name in m.names() {
            check_size(engine, "an id or name of a message", name.len())?;
        }
        if m.at_ms == 0 {
            m.at_ms = engine.now_ms();
        }
        m.tokens = engine.window.count(&m.text);
        size += m.bytes();
        if !out.is_empty() {
            within(together, "what is appended at once", size)?;
        }
        out.push(Arc::new(m));
    }
    if out.is_empty() {
        return Err(Error::Invalid("no message to append".into()));
    }
    Ok(out)
}

/// Refuses what is over the message limit.
pub(crate) fn check_size(engine: &Engine, what: &'static str, size: usize) -> Result<()> {
    within(engine.limits.message_bytes, what, size)
}

/// Refuses a session whose key is too large to be written with each of its entries.
pub(crate) fn check_key(key: &SessionKey) -> Result<()> {
    within(
        SessionKey::MAX_PART_BYTES,
        "a part of a session key",
        key.largest_part(),
    )
}

const fn within(limit: usize, what: &'static str, size: usize) -> Result<()> {
    if size > limit {
        Err(Error::TooLarge { what, size, limit })
    } else {
        Ok(())
    }
}
