//! What the bot did: calls, sent messages with their edits, documents, actions.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

/// One call of a method.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its name as it was written.
    pub method: String,
    /// When it arrived.
    pub at: Timestamp,
    /// Its arguments as a JSON object, whichever way they came; files by name and size.
    pub body: Value,
}

/// One edit of a sent message.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// The text after parsing.
    pub text: String,
    /// The text as it came.
    pub raw_text: String,
    /// Its entities.
    pub entities: Vec<Value>,
    /// When.
    pub at: Timestamp,
}

/// A message that the bot has sent.
#[derive(Debug, Clone, PartialEq)]
pub struct SentMessage {
    /// The chat.
    pub chat: i64,
    /// The forum topic.
    pub thread: Option<i64>,
    /// The business connection.
    pub business_connection: Option<String>,
    /// Its identifier.
    pub message_id: i64,
    /// The present text (or caption), after parsing.
    pub text: String,
    /// The present text as it came.
    pub raw_text: String,
    /// `HTML`, `MarkdownV2`.
    pub parse_mode: Option<String>,
    /// The present entities, given and found.
    pub entities: Vec<Value>,
    /// The message that it answers.
    pub reply_to: Option<i64>,
    /// Its edits, oldest first; the present text is the last one's.
    pub edits: Vec<Edit>,
    /// Whether it was sent without a sound.
    pub disable_notification: bool,
    /// `link_preview_options`.
    pub link_preview: Option<Value>,
    /// Whether it would notify someone by name: a mention entity is in it.
    pub mentions: bool,
    /// `file_id` of its document.
    pub document: Option<String>,
    /// Whether the bot has deleted it.
    pub deleted: bool,
    /// When it was sent.
    pub at: Timestamp,
}

impl SentMessage {
    /// True when one of the entities names somebody.
    pub(crate) fn mentions_in(entities: &[Value]) -> bool {
        entities.iter().any(|entity| {
            matches!(
                entity.get("type").and_then(Value::as_str),
                Some("mention" | "text_mention")
            )
        })
    }
}

/// A document that the bot has uploaded.
#[derive(Debug, Clone)]
pub struct SentDocument {
    /// The chat.
    pub chat: i64,
    /// The message.
    pub message_id: i64,
    /// Its file identifier.
    pub file_id: String,
    /// Its name.
    pub file_name: String,
    /// Its type.
    pub mime_type: String,
    /// Its contents.
    pub bytes: Bytes,
}

/// A sendChatAction call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The chat.
    pub chat: i64,
    /// The forum topic.
    pub thread: Option<i64>,
    /// Such as `typing`.
    pub action: String,
    /// When.
    pub at: Timestamp,
}

/// Everything of the above.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) calls: Vec<Call>,
    pub(crate) sent: Vec<SentMessage>,
    pub(crate) documents: Vec<SentDocument>,
    pub(crate) actions: Vec<Action>,
    pub(crate) deliveries: Vec<super::webhook::Delivery>,
}

impl Record {
    pub(crate) fn sent_mut(&mut self, chat: i64, message_id: i64) -> Option<&mut SentMessage> {
        self.sent
            .iter_mut()
            .find(|sent| sent.chat == chat && sent.message_id == message_id)
    }
}

/// A summary for the error of a wait: the last calls, and what was sent.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} calls, {} messages sent; the last calls:",
            self.calls.len(),
            self.sent.len()
        )?;
        for call in self.calls.iter().rev().take(12).rev() {
            writeln!(f, "  {} {} {}", call.at, call.method, call.body)?;
        }
        writeln!(f, "the last messages:")?;
        for sent in self.sent.iter().rev().take(6).rev() {
            writeln!(f, "  {} in {}: {:?}", sent.message_id, sent.chat, sent.text)?;
        }
        Ok(())
    }
}
