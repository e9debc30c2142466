//! A handle on one session: what a bot's author works with.
//!
//! Every call goes to the one cell of the session in this process. A handle is cheap to
//! clone and knows no tier.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::key::{Address, SessionKey};
use crate::message::{EntryId, Message, Messages, Seq};
use crate::session::engine::Engine;
use crate::store::{Erase, Erased, Page};

pub(crate) mod append;
pub(crate) mod call;
mod calls;
pub(crate) mod cell;
mod draft;
pub(crate) mod engine;
mod erase;
pub(crate) mod extent;
mod hydrate;
mod judge;
mod load;
mod log;
mod place;
mod read;

use append::Accepted;
use cell::Cell;
use draft::Draft;
use judge::Seen;

/// How well an accepted append is kept when the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// In the hot tier only: nothing is promised.
    Cached,
    /// Written to the local journal, then to the hot tier: survives kill -9.
    #[default]
    Journaled,
    /// The journal was also fsynced: survives a power cut.
    Synced,
}

/// What became of an append.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The entry's identity; 0 for a duplicate.
    pub entry: EntryId,
    /// The place of the first message; numbers given while Redis is away may change once. For a
    /// duplicate the place where the message stands, 0 when it was deleted.
    pub seq: Seq,
    /// How well it is kept.
    pub level: Level,
    /// True when a message with this platform id was there already (or was deleted): nothing changed.
    pub duplicate: bool,
    /// True when the hot tier is away: other processes see the message after reconciliation.
    pub degraded: bool,
}

/// The messages for a responder, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The messages; a system message that the window has moved past comes first.
    pub messages: Messages,
    /// True when the hot tier was not asked, or could not be asked, for what is newer.
    pub stale: bool,
}

/// An accepted append and the context right after it.
#[derive(Clone)]
pub struct Turn {
    receipt: Receipt,
    context: Context,
    lsn: u64,
    /// What was forgotten up to this epoch is in none of what the caller has read.
    epoch: u64,
    cell: Arc<Cell>,
    engine: Arc<Engine>,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("receipt", &self.receipt)
            .finish_non_exhaustive()
    }
}

impl Turn {
    /// How long [`durable`](Self::durable) waits.
    pub const DURABLE_WITHIN: Duration = Duration::from_secs(30);

    /// What became of the append.
    #[must_use]
    pub const fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// The window, newest last; no further round trip.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// Appends what answers this turn, as [`Session::append_all`] does, unless something was forgotten in the
    /// session since the turn's context was read: an answer that took long must not bring it back in a quote.
    ///
    /// # Errors
    /// [`Error::Forgotten`]; otherwise as [`Session::append_all`].
    pub async fn answer_all(&self, messages: impl IntoIterator<Item = Message>) -> Result<Self> {
        let messages = draft::prepare(&self.engine, messages)?;
        let since = self.epoch;
        submit(&self.cell, &self.engine, Draft::Answer { messages, since }).await
    }

    /// The turn for who reads the session once more before answering, instead of [`context`](Self::context):
    /// only what is forgotten from now on keeps the answer out.
    #[must_use]
    pub fn renewed(mut self) -> Self {
        self.epoch = self.epoch.max(self.cell.inner.lock().epoch());
        self
    }

    /// Completes when the entry is in the durable store; asks for a flush at once.
    ///
    /// # Errors
    /// [`Error::Timeout`] after [`Self::DURABLE_WITHIN`]; the entry stays in the journal.
    pub async fn durable(&self) -> Result<()> {
        self.cell
            .durable(&self.engine, self.lsn, Self::DURABLE_WITHIN)
            .await
    }
}

/// What a forget removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// Sessions touched.
    pub sessions: u64,
    /// Messages removed.
    pub messages: u64,
    /// Bytes of text removed.
    pub bytes: u64,
}

impl Forgotten {
    pub(crate) fn add(&mut self, erased: Erased) {
        self.sessions += u64::from(erased.messages > 0);
        self.messages += erased.messages;
        self.bytes += erased.bytes;
    }
}

/// A handle on one session; cheap to clone.
#[derive(Clone)]
pub struct Session {
    key: SessionKey,
    cell: Arc<Cell>,
    engine: Arc<Engine>,
    /// The state's version that this handle has last seen, shared by its clones.
    version: Arc<AtomicU64>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.cell.address).finish()
    }
}

impl Session {
    pub(crate) fn new(key: SessionKey, engine: Arc<Engine>) -> Self {
        let cell = engine.cell(&Address::from(&key));
        Self {
            key,
            cell,
            engine,
            version: Arc::default(),
        }
    }

    /// The session's key.
    #[must_use]
    pub const fn key(&self) -> &SessionKey {
        &self.key
    }

    /// Appends a message; when this returns it is acknowledged at the cache's [`Level`].
    ///
    /// A message whose platform id the session has already seen changes nothing
    /// ([`Receipt::duplicate`]). While the hot tier is away the message is accepted all the same
    /// ([`Receipt::degraded`]).
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Backpressure`], [`Error::DiskLow`], [`Error::Closed`]: nothing was accepted.
    /// An outage of journal and store: likewise.
    pub async fn append(&self, message: Message) -> Result<Turn> {
        self.append_all([message]).await
    }

    /// Appends messages that belong together as one entry: one round trip, all or nothing.
    ///
    /// # Errors
    /// As [`append`](Self::append); [`Error::Invalid`] for none or for more than [`Seq::FIELDS`].
    pub async fn append_all(&self, messages: impl IntoIterator<Item = Message>) -> Result<Turn> {
        let messages = draft::prepare(&self.engine, messages)?;
        self.submit(Draft::Messages(messages)).await
    }

    /// Replaces a message's text, as of now.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn edit(&self, platform_id: impl ToString, text: impl Into<String>) -> Result<Turn> {
        self.edit_at(platform_id, text, self.engine.now_ms()).await
    }

    /// Replaces a message's text, edited at a time the platform told (milliseconds since the Unix epoch).
    ///
    /// The newest edit wins in whatever order they come; an edit may come before its message; a deleted
    /// message stays deleted.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn edit_at(
        &self,
        platform_id: impl ToString,
        text: impl Into<String>,
        at_ms: u64,
    ) -> Result<Turn> {
        let (id, text) = (platform_id.to_string(), text.into());
        draft::check_size(&self.engine, "a message", text.len())?;
        draft::check_size(&self.engine, "a message id", id.len())?;
        self.submit(Draft::Edit { id, text, at_ms }).await
    }

    /// Removes a message, also one that may still come with this platform id.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn delete(&self, platform_id: impl ToString) -> Result<Turn> {
        let id = platform_id.to_string();
        draft::check_size(&self.engine, "a message id", id.len())?;
        self.submit(Draft::Delete { id }).await
    }

    /// The context, after asking a shared hot tier for what is newer.
    ///
    /// # Errors
    /// Only when neither the hot tier nor the store nor this process can serve it.
    pub async fn context(&self) -> Result<Context> {
        // Boxed, as every read that may load the session: large futures, of which callers hold several.
        Box::pin(self.cell.context(&self.engine)).await
    }

    /// The context as this process knows it, without asking anybody; may be stale, and says so. A
    /// session that this process does not know is loaded.
    ///
    /// # Errors
    /// As [`context`](Self::context).
    pub async fn context_cached(&self) -> Result<Context> {
        match self.cell.context_cached() {
            Some(context) => Ok(context),
            None => self.context().await,
        }
    }

    /// True when a message with this platform id stands in the session or was deleted from it; looks beyond
    /// the hot window.
    ///
    /// # Errors
    /// An outage of the store.
    pub async fn knows(&self, platform_id: impl ToString) -> Result<bool> {
        let id = platform_id.to_string();
        let seen = self.cell.seen_one(&self.engine, &id).await?;
        Ok(matches!(seen, Seen::At(_)))
    }

    /// A page of history, oldest first within the page, beyond the hot window and across resets.
    ///
    /// # Errors
    /// An outage of the store.
    pub async fn history(&self, page: Page) -> Result<Vec<(Seq, Message)>> {
        Box::pin(self.cell.history(&self.engine, page)).await
    }

    /// Every message of the session, oldest first.
    ///
    /// # Errors
    /// An outage of the store.
    pub async fn export(&self) -> Result<Vec<(Seq, Message)>> {
        Box::pin(self.cell.export(&self.engine)).await
    }

    /// The typed state and its version; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Decode`] when it is not a `T`; otherwise as [`context`](Self::context).
    pub async fn state<T: DeserializeOwned>(&self) -> Result<Option<(u64, T)>> {
        let Some(state) = Box::pin(self.cell.state(&self.engine)).await? else {
            self.version.store(0, Relaxed);
            return Ok(None);
        };
        let value = crate::codec::unpack("a session's state", &state.value)?;
        self.version.store(state.version, Relaxed);
        Ok(Some((state.version, value)))
    }

    /// Sets the state if it is still at the version that this handle last read or set (0: none yet).
    ///
    /// # Errors
    /// [`Error::Conflict`] when somebody else changed it; [`Error::Unavailable`] while the hot tier is away;
    /// [`Error::TooLarge`]; otherwise as [`append`](Self::append).
    pub async fn set_state<T: Serialize>(&self, state: &T) -> Result<u64> {
        let value = rmp_serde::to_vec_named(state)
            .map_err(|e| Error::Invalid(format!("the state cannot be encoded: {e}")))?;
        draft::check_size(&self.engine, "a session's state", value.len())?;
        let expected = self.version.load(Relaxed);
        self.submit(Draft::State {
            expected,
            value: Bytes::from(value),
        })
        .await?;
        self.version.store(expected + 1, Relaxed);
        Ok(expected + 1)
    }

    /// Starts a new context; the history stays.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn reset(&self) -> Result<Turn> {
        self.submit(Draft::Reset).await
    }

    /// The conversation ended: makes it durable and lets it leave the hot tier. Context and history stay;
    /// the next append loads it again.
    ///
    /// # Errors
    /// As [`append`](Self::append), and [`Error::Timeout`] when it does not become durable in time.
    pub async fn end(&self) -> Result<()> {
        let turn = self.submit(Draft::End).await?;
        self.cell.inner.lock().ending = true;
        self.cell.queue(&self.engine);
        turn.durable().await
    }

    /// Erases everything said in the session, from every tier, for good.
    ///
    /// # Errors
    /// An outage of the store: then nothing was erased.
    pub async fn forget(&self) -> Result<Forgotten> {
        let mut forgotten = Forgotten::default();
        forgotten.add(self.cell.erase(&self.engine, Erase::All).await?);
        Ok(forgotten)
    }

    async fn submit(&self, draft: Draft) -> Result<Turn> {
        draft::check_key(&self.key)?;
        submit(&self.cell, &self.engine, draft).await
    }
}

async fn submit(cell: &Arc<Cell>, engine: &Arc<Engine>, draft: Draft) -> Result<Turn> {
    // Boxed: the write path is a large future, and most callers hold several.
    let accepted = Box::pin(cell.submit(engine, draft)).await?;
    let Accepted {
        receipt,
        context,
        lsn,
        epoch,
    } = accepted;
    let stale = receipt.degraded;
    Ok(Turn {
        receipt,
        context: Context {
            messages: context,
            stale,
        },
        lsn,
        epoch,
        cell: Arc::clone(cell),
        engine: Arc::clone(engine),
    })
}
