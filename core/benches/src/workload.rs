//! The workload: what is said, by whom, and what every peer must be able to do with it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of what a person says, and of a reply.
const SAID_BYTES: usize = 120;
const REPLY_BYTES: usize = 400;

/// How many messages a responder is handed.
pub(crate) const CONTEXT: usize = 20;

/// When the first message was said: 2026-01-01, in milliseconds since the Unix epoch.
const BEGAN_MS: u64 = 1_767_225_600_000;

/// A platform's ids rise: one series for all.
static IDS: AtomicU64 = AtomicU64::new(1_455_000_000_000_000_000);

/// One message of the workload.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) id: u64,
    pub(crate) at_ms: u64,
    /// `None` for the bot.
    pub(crate) author: Option<u64>,
    pub(crate) text: String,
}

impl Said {
    /// What a person says in a session.
    pub(crate) fn by_person(session: usize) -> Self {
        let id = IDS.fetch_add(1, Relaxed);
        let author = Some(session as u64 * 10 + id % 3);
        Self::new(id, author, SAID_BYTES)
    }

    /// What the bot replies.
    pub(crate) fn by_bot() -> Self {
        Self::new(IDS.fetch_add(1, Relaxed), None, REPLY_BYTES)
    }

    fn new(id: u64, author: Option<u64>, bytes: usize) -> Self {
        const WORDS: &str = "the quick brown fox jumps over the lazy dog and then asks what anyone remembers of it; ";
        let mut text = String::with_capacity(bytes);
        while text.len() < bytes {
            let rest = bytes - text.len();
            text.push_str(WORDS.get(..rest.min(WORDS.len())).unwrap_or(WORDS));
        }
        let at_ms = BEGAN_MS + id % 1_000_000_000;
        Self {
            id,
            at_ms,
            author,
            text,
        }
    }
}

/// The newest message of a context, and how many there are: what every peer is checked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handed {
    pub(crate) messages: usize,
    pub(crate) newest: u64,
}

impl Handed {
    /// A context ends with what was just said, and is full.
    pub(crate) fn check(self, newest: u64) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.newest == newest && self.messages == CONTEXT,
            "a wrong context was handed out: {self:?}, not {CONTEXT} messages up to {newest}"
        );
        Ok(())
    }
}

/// What takes turns.
pub(crate) trait Turns: Send + Sync + 'static {
    /// Gives a session its history, oldest first.
    fn fill(
        &self,
        session: usize,
        history: Vec<Said>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// One turn: append, context, append.
    fn turn(
        &self,
        session: usize,
        said: Said,
        reply: Said,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// What is done between rounds and not measured.
    fn rest(&self) -> impl Future<Output = anyhow::Result<()>> + Send {
        async { Ok(()) }
    }

    /// Removes what was written to Redis, and ends.
    fn close(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
}
