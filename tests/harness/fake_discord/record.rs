//! What the bot did, as the fake saw it.

use jiff::Timestamp;
use serde_json::Value;

/// A message the bot sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SentMessage {
    /// Its id.
    pub id: u64,
    /// The channel or thread it is in.
    pub channel: u64,
    /// Its first text, as it was sent; empty while a deferred response is not filled.
    pub content: String,
    /// The nonce it was sent with.
    pub nonce: Option<String>,
    /// The nonce was to be checked.
    pub enforce_nonce: bool,
    /// The message it answers.
    pub reference: Option<u64>,
    /// `allowed_mentions` as they were sent.
    pub allowed_mentions: Option<Value>,
    /// Whom it really pinged.
    pub pings: Pings,
    /// What became of its text.
    pub edits: Vec<Edit>,
    /// Its files.
    pub files: Vec<SentFile>,
    /// Its embeds.
    pub embeds: Vec<Value>,
    /// Its components.
    pub components: Vec<Value>,
    /// Its flags.
    pub flags: u64,
    /// Only the one who used the command sees it.
    pub ephemeral: bool,
    /// The interaction it answers.
    pub interaction: Option<u64>,
    /// It began as "is thinking …".
    pub deferred: bool,
    /// When it was made.
    pub at: Timestamp,
    /// The bot deleted it again.
    pub deleted: bool,
}

impl SentMessage {
    /// Its present text.
    #[must_use]
    pub fn text(&self) -> &str {
        let last = self.edits.last();
        last.map_or(&self.content, |edit| &edit.content)
    }
}

/// One edit of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The new text, as it was sent.
    pub content: String,
    /// When.
    pub at: Timestamp,
}

/// A file that came with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentFile {
    /// Its name.
    pub name: String,
    /// What it is said to be.
    pub content_type: Option<String>,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Who was pinged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pings {
    /// `@everyone`.
    pub everyone: bool,
    /// `@here`.
    pub here: bool,
    /// Users named in the text.
    pub users: Vec<u64>,
    /// Roles named in the text.
    pub roles: Vec<u64>,
    /// The author of the answered message.
    pub replied_user: Option<u64>,
}

impl Pings {
    /// Nobody was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its method.
    pub method: String,
    /// Its path below `/api/v10`, with the query.
    pub path: String,
    /// When it came.
    pub at: Timestamp,
    /// How it was answered; `None` while it is not.
    pub status: Option<u16>,
}

/// "… is typing".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Typing {
    /// Where.
    pub channel: u64,
    /// When.
    pub at: Timestamp,
}

/// What a connection to the gateway asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A new session.
    Identify {
        /// Its shard and of how many.
        shard: (u64, u64),
        /// The intents.
        intents: u64,
        /// It takes zlib.
        compress: bool,
    },
    /// To go on with a session.
    Resume {
        /// Which.
        session: String,
        /// The last event it has seen.
        seq: u64,
        /// How many events were sent again; `None` when it was refused.
        replayed: Option<usize>,
    },
    /// A sign of life.
    Heartbeat {
        /// The last event it has seen.
        seq: Option<u64>,
    },
    /// It closed the connection; `None` without a code.
    Closed(Option<u16>),
}

/// One thing a connection to the gateway asked for, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayCall {
    /// The connection, counted from 1.
    pub connection: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub asked: Asked,
}

#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) sent: Vec<SentMessage>,
    pub(crate) calls: Vec<Call>,
    pub(crate) typing: Vec<Typing>,
    pub(crate) gateway: Vec<GatewayCall>,
    /// Calls made while their bucket was told to wait.
    pub(crate) impatient: u64,
}

impl Record {
    pub(crate) fn sent_mut(&mut self, id: u64) -> Option<&mut SentMessage> {
        self.sent.iter_mut().find(|sent| sent.id == id)
    }

    pub(crate) fn asked(&mut self, connection: u64, asked: Asked) {
        self.gateway.push(GatewayCall {
            connection,
            at: Timestamp::now(),
            asked,
        });
    }
}
