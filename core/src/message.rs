//! Messages and what a session's log is made of. Plain values; knows no tier.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

mod shared;

pub use shared::Messages;

/// Who speaks, in the sense of a language model's chat format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A person.
    User,
    /// The bot.
    Assistant,
    /// Instructions for the bot; the newest one stays in the context when the window moves on.
    System,
    /// The result of a tool call; paired with the assistant message that made the call.
    Tool,
}

impl Role {
    /// The role's name in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
            Self::Tool => "tool",
        }
    }
}

/// A person or program on a platform; the name is for display only and does not identify.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Author {
    /// The platform's name.
    #[serde(rename = "p")]
    pub platform: String,
    /// The platform's id of the person.
    #[serde(rename = "i")]
    pub id: String,
    /// The name to show, if known.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "ids are given as literals and numbers: `.channel(7)`"
)]
impl Author {
    /// An author by platform and id.
    pub fn new(platform: impl Into<String>, id: impl ToString) -> Self {
        Self {
            platform: platform.into(),
            id: id.to_string(),
            name: None,
        }
    }

    /// Adds the name to show.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// True when both are the same person, whatever their names.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.platform == other.platform && self.id == other.id
    }
}

/// A file that came with a message, by reference; the bytes stay on the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Where to fetch it: a URL or a platform file id.
    #[serde(rename = "u")]
    pub reference: String,
    /// MIME type, if known.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// File name, if known.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Size in bytes, if known.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// A call of a tool by the assistant; answered by a [`Role::Tool`] message with the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The call's id, unique in the session.
    #[serde(rename = "i")]
    pub id: String,
    /// The tool's name.
    #[serde(rename = "n")]
    pub name: String,
    /// The arguments, usually JSON.
    #[serde(rename = "a")]
    pub arguments: String,
}

/// One utterance.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who said it; `None` for the bot itself or a tool.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// In which role.
    #[serde(rename = "r")]
    pub role: Role,
    /// What was said, byte for byte.
    #[serde(rename = "t")]
    pub text: String,
    /// The platform's id of the message; a second message with it in the session is a duplicate.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When it was said, milliseconds since the Unix epoch; 0 until the session fills it in.
    #[serde(rename = "m", default)]
    pub at_ms: u64,
    /// The platform id of the message to which this replies.
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Files that came with it.
    #[serde(rename = "f", default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Tool calls that the assistant makes with this message.
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// For [`Role::Tool`]: the id of the call that this answers.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Token count by the window's counter, computed once when appended.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// When it was last edited, milliseconds since the Unix epoch.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub edited_ms: Option<u64>,
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "ids are given as literals and numbers: `.channel(7)`"
)]
impl Message {
    /// A message in a role, without an author.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self {
            author: None,
            role,
            text: text.into(),
            id: None,
            at_ms: 0,
            reply_to: None,
            attachments: Vec::new(),
            tool_calls: Vec::new(),
            tool_call_id: None,
            tokens: None,
            edited_ms: None,
        }
    }

    /// What a person said.
    pub fn user(author: Author, text: impl Into<String>) -> Self {
        Self {
            author: Some(author),
            ..Self::new(Role::User, text)
        }
    }

    /// What the bot said.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, text)
    }

    /// Instructions for the bot.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, text)
    }

    /// The result of a tool call.
    pub fn tool(call_id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            tool_call_id: Some(call_id.into()),
            ..Self::new(Role::Tool, text)
        }
    }

    /// Sets the platform's id of the message.
    #[must_use]
    pub fn id(mut self, id: impl ToString) -> Self {
        self.id = Some(id.to_string());
        self
    }

    /// Sets when it was said, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn at_ms(mut self, at_ms: u64) -> Self {
        self.at_ms = at_ms;
        self
    }

    /// Sets who said it.
    #[must_use]
    pub fn author(mut self, author: Author) -> Self {
        self.author = Some(author);
        self
    }

    /// Sets the message to which this replies.
    #[must_use]
    pub fn reply_to(mut self, id: impl ToString) -> Self {
        self.reply_to = Some(id.to_string());
        self
    }

    /// Adds a file by reference.
    #[must_use]
    pub fn attach(mut self, attachment: Attachment) -> Self {
        self.attachments.push(attachment);
        self
    }

    /// Adds a tool call.
    #[must_use]
    pub fn call(mut self, call: ToolCall) -> Self {
        self.tool_calls.push(call);
        self
    }

    /// Bytes of everything it holds: text, ids, names, attachments, tool calls.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let own = |part: &Option<String>| part.as_ref().map_or(0, String::len);
        let author = |a: &Author| a.platform.len() + a.id.len() + own(&a.name);
        self.content_bytes()
            + self.author.as_ref().map_or(0, author)
            + own(&self.id)
            + own(&self.reply_to)
            + own(&self.tool_call_id)
    }

    /// Bytes of what is said with it: text, attachments, tool calls.
    pub(crate) fn content_bytes(&self) -> usize {
        const EACH: usize = 64;
        let own = |part: &Option<String>| part.as_ref().map_or(0, String::len);
        let attached = |a: &Attachment| a.reference.len() + own(&a.media_type) + own(&a.name);
        let called = |c: &ToolCall| c.id.len() + c.name.len() + c.arguments.len();
        self.text.len()
            + self
                .attachments
                .iter()
                .map(|a| attached(a) + EACH)
                .sum::<usize>()
            + self
                .tool_calls
                .iter()
                .map(|c| called(c) + EACH)
                .sum::<usize>()
    }

    /// Its ids and names: what is bounded one by one, beside what is said.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        let author = self.author.iter();
        let author = author.flat_map(|a| [Some(&a.platform), Some(&a.id), a.name.as_ref()]);
        let own = [&self.id, &self.reply_to, &self.tool_call_id];
        author.chain(own.map(Option::as_ref)).flatten()
    }
}

impl fmt::Debug for Message {
    /// Leaves the text out: users' words never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("role", &self.role)
            .field("id", &self.id)
            .field("text_bytes", &self.text.len())
            .field("at_ms", &self.at_ms)
            .finish_non_exhaustive()
    }
}

/// A message's place in its session: rises strictly, survives in exports.
///
/// An entry's number and the message's field in it: `number × 1024 + field`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// How many messages one entry can hold.
    pub const FIELDS: u64 = 1024;

    /// The place of field `field` of entry `number`.
    #[must_use]
    pub const fn new(number: u64, field: u64) -> Self {
        Self(number.saturating_mul(Self::FIELDS).saturating_add(field))
    }

    /// The entry's number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 / Self::FIELDS
    }

    /// The field in the entry.
    #[must_use]
    pub const fn field(self) -> u64 {
        self.0 % Self::FIELDS
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An entry's identity, unique in space and time whatever number the entry gets.
///
/// 64 bits of a random per-process origin, 64 bits of a counter that starts at the wall clock's
/// microseconds, so two ids of one process differ and two processes' ids practically do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryId(pub u128);

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Hands out [`EntryId`]s.
#[derive(Debug)]
pub(crate) struct EntryIds {
    origin: u64,
    next: AtomicU64,
}

impl EntryIds {
    pub(crate) fn new(wall_ms: u64) -> Self {
        Self {
            origin: random_u64(),
            next: AtomicU64::new(wall_ms.saturating_mul(1000)),
        }
    }

    pub(crate) fn next(&self) -> EntryId {
        let low = self.next.fetch_add(1, Ordering::Relaxed);
        EntryId(u128::from(self.origin) << 64 | u128::from(low))
    }
}

/// 64 bits from the operating system's randomness, by way of the standard library's hasher keys.
pub(crate) fn random_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

/// One step of a session's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The entry's identity.
    #[serde(rename = "i")]
    pub id: EntryId,
    /// When it was accepted, milliseconds since the Unix epoch.
    #[serde(rename = "m")]
    pub at_ms: u64,
    /// What it does.
    #[serde(rename = "b")]
    pub body: Body,
}

impl Entry {
    /// How many messages it adds.
    pub(crate) fn len(&self) -> usize {
        match &self.body {
            Body::Messages(messages) => messages.iter().flatten().count(),
            _ => 0,
        }
    }

    /// The platform ids of the messages it adds.
    pub(crate) fn platform_ids(&self) -> impl Iterator<Item = String> {
        let messages = match &self.body {
            Body::Messages(messages) => messages.as_slice(),
            _ => &[],
        };
        messages.iter().flatten().filter_map(|m| m.id.clone())
    }

    /// Takes out the messages with these platform ids; true when there were any.
    pub(crate) fn strip(&mut self, ids: impl Fn(&str) -> bool) -> bool {
        let Body::Messages(messages) = &mut self.body else {
            return false;
        };
        let hit = |m: &Message| m.id.as_deref().is_some_and(&ids);
        let mut changed = false;
        for slot in messages.iter_mut() {
            changed |= slot.take_if(|m| hit(m)).is_some();
        }
        if changed && messages.iter().all(Option::is_none) {
            self.body = Body::Void;
        }
        changed
    }
}

/// What an entry does to its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Adds messages, at most [`Seq::FIELDS`]; `None` where one was deleted or erased.
    #[serde(rename = "m")]
    Messages(Vec<Option<Arc<Message>>>),
    /// Replaces a message's text.
    #[serde(rename = "e")]
    Edit {
        /// The message's platform id.
        #[serde(rename = "i")]
        id: String,
        /// The new text; `None` in a store once it has been applied to its message.
        #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// When it was edited on the platform; an older edit never replaces a newer one.
        #[serde(rename = "m")]
        at_ms: u64,
    },
    /// Removes a message, and any with that platform id that may still come.
    #[serde(rename = "d")]
    Delete {
        /// The message's platform id.
        #[serde(rename = "i")]
        id: String,
    },
    /// Sets the session's state.
    #[serde(rename = "s")]
    State(State),
    /// Starts a new context; the history stays.
    #[serde(rename = "r")]
    Reset,
    /// The conversation ended: flush it and let it leave the hot tier.
    #[serde(rename = "n")]
    End,
    /// What stood here was erased or removed; only the number remains.
    #[serde(rename = "x")]
    Void,
}

/// A session's state: opaque bytes and the version that compare-and-set compares.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// 1 for the first state of a session, then one more at each change.
    #[serde(rename = "v")]
    pub version: u64,
    /// The encoded value.
    #[serde(rename = "b")]
    pub value: Bytes,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "State(version {}, {} bytes)",
            self.version,
            self.value.len()
        )
    }
}
