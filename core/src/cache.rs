//! The cache: one per process, the owner of the tiers and of the work between them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::flusher;
use crate::key::SessionKey;
use crate::keyring::MasterKey;
use crate::message::{Author, Message, Seq};
use crate::session::engine::Engine;
use crate::session::{Forgotten, Session};
use crate::stats::{Closed, Stats, Verified};
use crate::store::{Compacted, Erase, Progress};
use crate::verify;

/// What a close keeps of its time, or takes beyond it, for closing journal and tiers when the store hangs.
const CLOSING: Duration = Duration::from_millis(500);

/// The cache; cheap to clone. Close it to be sure that all is durable; what is not is in the journal.
#[derive(Clone)]
pub struct Cache {
    engine: Arc<Engine>,
    owner: Arc<Owner>,
}

/// Ends the background work when the last cache goes.
struct Owner {
    stop: watch::Sender<Option<Instant>>,
    flusher: Mutex<Option<JoinHandle<()>>>,
    warnings: Vec<String>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Cache {
    pub(crate) fn new(
        engine: Arc<Engine>,
        stop: watch::Sender<Option<Instant>>,
        flusher: JoinHandle<()>,
        warnings: Vec<String>,
    ) -> Self {
        let owner = Owner {
            stop,
            flusher: Mutex::new(Some(flusher)),
            warnings,
        };
        Self {
            engine,
            owner: Arc::new(owner),
        }
    }

    /// What was noticed at the start and an operator should know: a quarantined store, a hot tier that
    /// is away or badly set up.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.owner.warnings
    }

    /// A handle on a session; does no work.
    #[must_use]
    pub fn session(&self, key: SessionKey) -> Session {
        Session::new(key, Arc::clone(&self.engine))
    }

    /// Erases what a person said, in every session, from every tier, for good.
    ///
    /// # Errors
    /// An outage of the store; calling it again goes on where it stopped.
    pub async fn forget_author(&self, author: &Author) -> Result<Forgotten> {
        self.engine.open()?;
        flusher::flush(&self.engine).await?;
        let who = author.clone();
        let sessions = self.engine.blocking(move |s| s.sessions_of(&who)).await?;
        let mut forgotten = Forgotten::default();
        for address in sessions {
            let erased = self
                .engine
                .cell(&address)
                .erase(&self.engine, Erase::Author(author.clone()))
                .await?;
            forgotten.add(erased);
        }
        Ok(forgotten)
    }

    /// Everything a person said: session, place, message; by session and place.
    ///
    /// # Errors
    /// An outage of the store.
    pub async fn export_author(&self, author: &Author) -> Result<Vec<(SessionKey, Seq, Message)>> {
        flusher::flush(&self.engine).await?;
        let who = author.clone();
        let mut sessions = self.engine.blocking(move |s| s.sessions_of(&who)).await?;
        sessions.sort_unstable();
        let mut found = Vec::new();
        for address in sessions {
            let key = address.key()?;
            let messages = self.engine.cell(&address).export(&self.engine).await?;
            let by_author = messages
                .into_iter()
                .filter(|(_, m)| m.author.as_ref().is_some_and(|a| a.same(author)));
            found.extend(by_author.map(|(seq, m)| (key.clone(), seq, m)));
        }
        Ok(found)
    }

    /// Sessions in key order after `after`, at most `limit`; what is not durable yet is made so first.
    ///
    /// # Errors
    /// An outage of the store.
    pub async fn sessions(
        &self,
        after: Option<&SessionKey>,
        limit: usize,
    ) -> Result<Vec<SessionKey>> {
        if after.is_none() {
            flusher::flush(&self.engine).await?;
        }
        let after = after.map(SessionKey::to_string);
        let page = self
            .engine
            .blocking(move |s| s.sessions(after.as_deref(), limit))
            .await?;
        page.iter().map(crate::key::Address::key).collect()
    }

    /// Makes everything accepted so far durable.
    ///
    /// # Errors
    /// An outage of the store; the entries stay in the journal.
    pub async fn flush(&self) -> Result<()> {
        flusher::flush(&self.engine).await
    }

    /// Makes everything durable, then gives back the disk space of what was erased, edited and deleted; the texts of it
    /// leave the files. What sessions hold that nobody touched for an hour is packed. Reads and appends go on meanwhile.
    /// `progress` is told of every session, on a thread of the store's.
    ///
    /// It also runs by itself, looked for every hour, when the files hold much more than they must.
    ///
    /// # Errors
    /// [`Error::DiskLow`] without room for a copy of what is kept; an outage when the store
    /// fails, or while another compaction runs. The store is then as it was.
    pub async fn compact(&self, progress: impl Fn(Progress) + Send + 'static) -> Result<Compacted> {
        flusher::flush(&self.engine).await?;
        self.engine.journal.retire();
        self.engine.off_thread(move |s| s.compact(&progress)).await
    }

    /// Checks journal, hot tier and store against each other.
    ///
    /// # Errors
    /// An outage; violations are in the result, not errors.
    pub async fn verify(&self) -> Result<Verified> {
        verify::verify(&self.engine).await
    }

    /// Wraps the keys of an encrypted store by another master key, while everything goes on; from then on the data
    /// directory opens with that one only.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the store is not encrypted; an outage when the file of keys cannot be written: then the
    /// old master key still holds.
    pub async fn rotate_key(&self, master: &MasterKey) -> Result<()> {
        let (codec, master) = (self.engine.codec.clone(), master.clone());
        self.engine
            .blocking(move |_| match codec.keyring() {
                Some(keyring) => keyring.rotate(&master),
                None => Err(Error::Invalid("the store is not encrypted".to_owned())),
            })
            .await
    }

    /// Counters and gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of(&self.engine)
    }

    /// Refuses new work with [`Error::Closed`], finishes what is in hand, flushes, stops, closes
    /// the tiers. What is not durable by the deadline stays in the journal and is made durable by the next start.
    /// Returns by the deadline, or half a second after it, when the store hangs; tiers that answer may take 5 s more
    /// to close. A second call does nothing.
    ///
    /// # Errors
    /// A store that fails to close.
    pub async fn close(&self, deadline: Duration) -> Result<Closed> {
        self.engine.closed.store(true, SeqCst);
        self.engine.room.notify_waiters();
        let Some(task) = self.owner.flusher.lock().take() else {
            return Ok(Closed::default());
        };
        for cell in self.engine.cells() {
            cell.queue(&self.engine);
        }
        let until = Instant::now() + deadline;
        // What is left of the time closes journal and tiers.
        let flush_until = until - CLOSING.min(deadline / 10);
        self.owner.stop.send_replace(Some(flush_until));
        let abort = task.abort_handle();
        // A store call that hangs must not hold up the close: what it would write is in the journal.
        if tokio::time::timeout_at(flush_until + CLOSING / 10, task)
            .await
            .is_err()
        {
            abort.abort();
        }
        let patience = if self.engine.backlog.is_empty() {
            Duration::from_secs(5)
        } else {
            CLOSING
        };
        let closing_until = until.max(Instant::now() + patience);
        let engine = Arc::clone(&self.engine);
        let journal = tokio::task::spawn_blocking(move || engine.journal.close());
        let _ = tokio::time::timeout_at(closing_until, journal).await;
        // Nothing can be accepted any more.
        let left = self.engine.backlog.appends.load(SeqCst);
        let closing = async {
            self.engine.close_hot().await;
            self.engine.at_length(|s| s.close()).await
        };
        match tokio::time::timeout_at(closing_until, closing).await {
            Ok(Err(e)) if left == 0 => Err(e),
            _ => Ok(Closed { left }),
        }
    }
}
