//! The durable contract: a log per session with indexes, written in batches.
//!
//! A store applies what entries mean: an edit changes the stored message, a delete removes it, so that
//! history and exports need no replay. Calls block; the cache makes them off the async threads.
//!
//! Invariants: a flush is durable (power cut included) when it returns, and one that is cut short has stored entries in
//! order, each whole or not at all, by sessions; an entry id is
//! stored at most once, and so is a platform id per session; a flush from an epoch below the row's is
//! refused; nothing erased is ever returned or stored again.

use std::fmt::Debug;

use bytes::Bytes;
use serde::Serialize;

use crate::codec::Codec;
use crate::error::Result;
use crate::key::Address;
use crate::message::{Author, EntryId, Message, Seq};
use crate::summary::{Erasures, Summary};
use crate::ttl::Estimate;

pub mod sled;

/// What a store knows of a session, read in one step.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// The epoch last allotted (or seen in a flush).
    pub epoch: u64,
    /// The largest entry number stored.
    pub last: u64,
    /// Every number up to this one is stored, or will never be.
    pub durable_to: u64,
    /// The numbers above `durable_to` that are stored.
    pub taken: Vec<u64>,
    /// The summary as of `last`, with the largest cut a flush told.
    pub summary: Summary,
    /// What was erased.
    pub erased: Erasures,
    /// The entries from the cut on: number and encoded [`Entry`](crate::message::Entry). Those that say nothing beside
    /// `summary` and the others (states, edits applied to their messages, what was erased) may be left out.
    pub entries: Vec<(u64, Bytes)>,
    /// True when no platform id is known besides those in `entries`.
    pub complete: bool,
    /// What policies remember of the session, as the last flush that said so told; `None` when none did, or in a store
    /// that does not keep it.
    pub estimate: Option<Estimate>,
}

/// What a store knows of some entry ids, read in one step.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The session's epoch; 0 when it has no row.
    pub epoch: u64,
    /// What was erased.
    pub erased: Erasures,
    /// For each id asked, its number when it is stored.
    pub numbers: Vec<Option<u64>>,
}

/// What a store knows of a platform id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A message with it stands here.
    At(Seq),
    /// It was deleted, or erased; nothing with this id is ever stored again.
    Gone,
    /// It was edited before its message came.
    Ahead {
        /// The text it is to have.
        text: String,
        /// When it was edited, milliseconds since the Unix epoch.
        at_ms: u64,
    },
}

/// One session's part of a flush.
#[derive(Debug, Clone)]
pub struct SessionFlush {
    /// The session.
    pub session: Address,
    /// The epoch in which all these entries were placed.
    pub epoch: u64,
    /// Where the writer's context starts; the store keeps the largest of those that are not beyond what is stored, and only
    /// once it is durable up to [`cut_at`](Self::cut_at).
    pub cut: Seq,
    /// The number of the entry that moved the context's start there; 0 when that was long ago.
    pub cut_at: u64,
    /// As far as the writer knows, every number of this epoch up to this one is durable once this flush
    /// is, or stands for nothing (0: it knows nothing).
    pub settled_to: u64,
    /// The entries, by rising number; none when only the estimate is to be kept.
    pub entries: Vec<FlushEntry>,
    /// What policies remember of the session, to be kept with its row; `None` leaves what is kept.
    pub estimate: Option<Estimate>,
}

/// One entry of a flush.
#[derive(Debug, Clone)]
pub struct FlushEntry {
    /// Its number in the session's log.
    pub number: u64,
    /// Its identity.
    pub id: EntryId,
    /// The encoded [`Entry`](crate::message::Entry).
    pub record: Bytes,
}

/// How a session's part of a flush ended.
#[derive(Debug, Clone, Default)]
pub struct SessionFlushed {
    /// The session's epoch in the store.
    pub epoch: u64,
    /// Every number up to this one is stored, or will never be.
    pub durable_to: u64,
    /// For each entry, in order.
    pub entries: Vec<Flushed>,
}

/// How one entry's flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// It is durable (also when it was already).
    Durable,
    /// It is durable without some of its messages, whose platform ids stand elsewhere or are deleted.
    Pruned,
    /// Its epoch is over, its number is taken by another entry, or an entry before it was refused.
    Refused,
    /// It was erased.
    Erased,
}

/// What to erase from a session.
#[derive(Debug, Clone)]
pub enum Erase {
    /// All of it.
    All,
    /// What one person said.
    Author(Author),
    /// What was said before this time (milliseconds since the Unix epoch).
    Before(u64),
}

/// What was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// The session's new epoch; 0 when there was nothing to erase and no row.
    pub epoch: u64,
    /// How many messages.
    pub messages: u64,
    /// Their bytes of text.
    pub bytes: u64,
}

/// A page of history, newest first: messages before a place, optionally not before another.
#[derive(Debug, Clone, Copy, Default)]
pub struct Page {
    /// Only messages before this place; `None` for the newest.
    pub before: Option<Seq>,
    /// At most this many (0 counts as 1; at most 10,000).
    pub limit: usize,
}

/// What [`Store::check`] found.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// Sessions read.
    pub sessions: u64,
    /// Messages read.
    pub messages: u64,
    /// What is wrong, in words, without users' text.
    pub violations: Vec<String>,
}

/// How far a compaction has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Sessions copied.
    pub done: u64,
    /// Sessions there are.
    pub total: u64,
}

/// What a compaction did. All zero for a store that has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Bytes on disk before.
    pub bytes_before: u64,
    /// Bytes on disk after.
    pub bytes_after: u64,
    /// Bytes of the keys and values that remain.
    pub live_bytes: u64,
    /// Keys that remain.
    pub rows_copied: u64,
    /// Entries of which nothing but the id was left, and that are not kept.
    pub rows_dropped: u64,
    /// How long writers had to wait at its end, in milliseconds.
    pub stall_ms: u64,
}

/// A durable store.
pub trait Store: Send + Sync + Debug + 'static {
    /// `sled`, …
    fn name(&self) -> &'static str;

    /// How the records are written that this store is given and gives back: with its keys, when it encrypts.
    fn codec(&self) -> Codec {
        Codec::plain()
    }

    /// Allots a new epoch, above the row's and above `above`, creating the row where there is none. No
    /// epoch is ever allotted twice, a power cut included.
    ///
    /// # Errors
    /// An outage, [`Error::Decode`](crate::Error::Decode) for damage, or
    /// [`Error::DiskLow`](crate::Error::DiskLow).
    fn allot(&self, session: &Address, above: u64) -> Result<u64>;

    /// Row and window in one read; `None` when there is no row.
    ///
    /// # Errors
    /// As [`allot`](Self::allot).
    fn window(&self, session: &Address) -> Result<Option<Stored>>;

    /// Which of these entries are stored, with the row's epoch and erasures.
    ///
    /// # Errors
    /// As [`allot`](Self::allot).
    fn known(&self, session: &Address, ids: &[EntryId]) -> Result<Known>;

    /// What policies remember of the session. The default reads the whole window.
    ///
    /// # Errors
    /// As [`allot`](Self::allot).
    fn estimate(&self, session: &Address) -> Result<Option<Estimate>> {
        Ok(self.window(session)?.and_then(|stored| stored.estimate))
    }

    /// Keeps what a policy has learned of all sessions, under a short name, in place of what was kept under it: a few
    /// kilobytes, now and then. The default keeps nothing: the policy then begins anew at each start.
    ///
    /// # Errors
    /// As [`allot`](Self::allot).
    fn keep_learned(&self, name: &str, learned: &[u8]) -> Result<()> {
        let _ = (name, learned);
        Ok(())
    }

    /// What was kept under a name, if anything was.
    ///
    /// # Errors
    /// As [`allot`](Self::allot).
    fn learned(&self, name: &str) -> Result<Option<Bytes>> {
        let _ = name;
        Ok(None)
    }

    /// For each of these platform ids, what is known of it in the session.
    ///
    /// # Errors
    /// As [`allot`](Self::allot).
    fn find(&self, session: &Address, platform_ids: &[&str]) -> Result<Vec<Option<Found>>>;

    /// Stores entries of many sessions, durably; in one step or, a large flush, in several.
    ///
    /// Per session: an epoch below the row's refuses all of it, a larger one becomes the row's. Per
    /// entry, in order: erased → [`Flushed::Erased`]; id stored already → [`Flushed::Durable`]; number held by
    /// another id, or an earlier entry of this session refused in this flush → [`Flushed::Refused`]; else
    /// applied. The estimate is kept unless the epoch is refused. When none was refused, `durable_to` rises to `settled_to`; then on while the next number is stored. A message whose platform id is at another place, or gone, is not stored a second time.
    ///
    /// # Errors
    /// As [`allot`](Self::allot); then it is unknown what of the flush is stored; flush it again.
    fn flush(&self, batch: &[SessionFlush]) -> Result<Vec<SessionFlushed>>;

    /// Messages of a session, oldest first within the page.
    ///
    /// # Errors
    /// As [`allot`](Self::allot).
    fn history(&self, session: &Address, page: Page) -> Result<Vec<(Seq, Message)>>;

    /// Sessions in key order, after `after`, at most `limit`.
    ///
    /// # Errors
    /// As [`allot`](Self::allot).
    fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<Address>>;

    /// Sessions in which an author has ever spoken.
    ///
    /// # Errors
    /// As [`allot`](Self::allot).
    fn sessions_of(&self, author: &Author) -> Result<Vec<Address>>;

    /// Erases: the tombstone is durable, the epoch is bumped and nothing erased is readable when this
    /// returns. Platform ids stay known as gone.
    ///
    /// # Errors
    /// As [`allot`](Self::allot).
    fn erase(&self, session: &Address, what: &Erase) -> Result<Erased>;

    /// Reads everything and checks every invariant that a store can check by itself.
    ///
    /// # Errors
    /// As [`allot`](Self::allot); damage is a violation, not an error.
    fn check(&self) -> Result<Checked>;

    /// Gives back the disk space of what was erased, edited and deleted, while other calls go on; texts that were
    /// erased are in none of the store's files after it. The default does nothing.
    ///
    /// # Errors
    /// [`Error::DiskLow`](crate::Error::DiskLow) without room for a copy of what is kept, else as
    /// [`allot`](Self::allot), also while another compaction runs; the store is then as it was.
    fn compact(&self, progress: &dyn Fn(Progress)) -> Result<Compacted> {
        progress(Progress::default());
        Ok(Compacted::default())
    }

    /// True when a compaction would give back much; cheap to ask. The default says no.
    fn is_wasteful(&self) -> bool {
        false
    }

    /// Flushes and closes; later calls fail.
    ///
    /// # Errors
    /// As [`allot`](Self::allot).
    fn close(&self) -> Result<()>;
}
