//! The hot-tier contract: one ordered log per live session, compare-and-append, fenced replacement.
//!
//! A log's entries have places `(epoch, number)` that rise strictly. A log begins with a *snapshot*
//! (published by a hydrator) and goes on with *entries*, numbered without a gap. A tier knows
//! nothing of what entries mean. Every write is one atomic step of the tier.
//!
//! Invariant: an [`append`](HotTier::append) that succeeds proves that nobody was ahead of the caller; a
//! log is replaced only by a copy of a newer epoch whose maker holds the fence and has seen its end.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::key::Address;

pub mod memory;
pub mod redis;

/// A place in a session's log: epochs first, then numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// One hot lifetime of the session, allotted by the store.
    pub epoch: u64,
    /// The entry's number.
    pub number: u64,
}

impl Place {
    /// A place.
    #[must_use]
    pub const fn new(epoch: u64, number: u64) -> Self {
        Self { epoch, number }
    }
}

/// A writer's name in dirty marks: stable for one data directory, printable, without spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriterId(pub String);

/// One append.
#[derive(Debug, Clone)]
pub struct Append {
    /// Where the entry goes; the log must end before it.
    pub at: Place,
    /// The encoded entry.
    pub entry: Bytes,
    /// An encoded summary that stands for everything trimmed; with it the log may be trimmed.
    pub carry: Option<Bytes>,
    /// Entries with smaller numbers may go: all of them are durable. Only together with `carry`.
    pub trim_below: Option<u64>,
    /// Set this writer's dirty mark, and keep the log from expiring, in the same step or before it.
    pub mark: Option<WriterId>,
    /// The generation the caller believes in.
    pub generation: u64,
}

/// How an append ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The entry is in the log; nobody was ahead.
    Done,
    /// The log ends at or after this place: somebody else wrote. Read what is newer.
    Behind,
    /// The session is not hot. Hydrate.
    Missing,
    /// The tier came back different (another generation). Every replica is suspect. Hydrate.
    Suspect,
}

/// One entry read from a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it stands.
    pub at: Place,
    /// What it holds.
    pub record: Record,
    /// The summary that came with a trimming append.
    pub carry: Option<Bytes>,
}

impl LogEntry {
    /// Bytes of what it holds.
    pub(crate) fn bytes(&self) -> usize {
        let (Record::Entry(bytes) | Record::Snapshot(bytes)) = &self.record;
        bytes.len() + self.carry.as_ref().map_or(0, Bytes::len)
    }
}

/// What a log's entry holds, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An entry.
    Entry(Bytes),
    /// A snapshot: the whole window up to here.
    Snapshot(Bytes),
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The session is not hot.
    Missing,
    /// The tier came back different since the given generation.
    Suspect,
    /// The entries after the asked place, in order (none when the caller is current).
    Entries(Vec<LogEntry>),
}

/// A copy to put in place of a log, or where there is none.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The copy's epoch and the number of its last entry.
    pub at: Place,
    /// The encoded snapshot.
    pub snapshot: Bytes,
    /// The last place of the log that was merged into the copy; `None` when there was none.
    pub over: Option<Place>,
    /// Set this writer's dirty mark: the copy holds entries that are not durable, or an append follows.
    pub mark: Option<WriterId>,
    /// Time to live when `mark` is `None`; `None` for no expiry.
    pub ttl_ms: Option<u64>,
    /// The generation the caller believes in.
    pub generation: u64,
}

/// How a publication ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The copy is the log now.
    Done,
    /// The log moved since it was read, or is not of an older epoch. Read it again.
    Moved,
    /// Somebody else's fence stands. Start the hydration again.
    Fenced,
    /// The tier came back different.
    Suspect,
}

/// A session of which a writer has nothing left to flush.
#[derive(Debug, Clone)]
pub struct Settle {
    /// The session.
    pub session: Address,
    /// Time to live once no writer's mark is left; `None` for no expiry.
    pub ttl_ms: Option<u64>,
}

/// A tier that keeps live sessions.
#[async_trait]
pub trait HotTier: Send + Sync + Debug + 'static {
    /// `memory`, `redis`, …
    fn name(&self) -> &'static str;

    /// Rises each time the tier may have come back different (restarted, failed over, restored).
    fn generation(&self) -> u64;

    /// True when a log found there can be believed by a process that has never seen it: the tier cannot
    /// have come back in an older state.
    fn trusted(&self) -> bool {
        false
    }

    /// By when every call returns whatever the tier does; `None` when nothing is promised.
    fn deadline(&self) -> Option<Duration> {
        None
    }

    /// Appends one entry if nobody is ahead.
    ///
    /// # Errors
    /// An outage ([`is_outage`](crate::Error::is_outage)): whether the entry was appended is unknown.
    async fn append(&self, session: &Address, append: Append) -> Result<Appended>;

    /// Reads the entries after `after`, or all of them.
    ///
    /// # Errors
    /// An outage.
    async fn read(&self, session: &Address, after: Option<Place>, generation: u64) -> Result<Read>;

    /// Announces a hydration in `epoch`: sets the session's fence to it (also over a larger one; it may
    /// vanish after a minute).
    ///
    /// # Errors
    /// An outage.
    async fn fence(&self, session: &Address, epoch: u64) -> Result<()>;

    /// Puts a copy in place, if the fence is the copy's epoch and the log (if any) is of an older
    /// epoch and still ends where `over` says.
    ///
    /// # Errors
    /// An outage: whether the copy was published is unknown.
    async fn publish(&self, session: &Address, publish: Publish) -> Result<Published>;

    /// Clears `writer`'s marks on these sessions; where no mark is left, the time to live applies.
    ///
    /// # Errors
    /// An outage.
    async fn settle(&self, writer: &WriterId, sessions: Vec<Settle>) -> Result<()>;

    /// Lengthens a clean session's time to live; does nothing to a dirty or absent one.
    ///
    /// # Errors
    /// An outage.
    async fn touch(&self, session: &Address, ttl_ms: u64) -> Result<()>;

    /// Removes a clean session at once; a dirty one stays.
    ///
    /// # Errors
    /// An outage.
    async fn release(&self, session: &Address) -> Result<()>;

    /// Every session that carries a dirty mark of `writer`.
    ///
    /// # Errors
    /// An outage.
    async fn marked(&self, writer: &WriterId) -> Result<Vec<Address>>;

    /// Checks the connection and the server's settings; says what is wrong with them.
    ///
    /// # Errors
    /// An outage, or [`Error::Config`](crate::Error::Config).
    async fn check(&self) -> Result<Vec<String>>;

    /// Upkeep of its own, asked for every ten seconds or so, beside everything else: giving back memory, say.
    async fn tidy(&self) {}

    /// Ends background work and connections.
    async fn close(&self);
}
