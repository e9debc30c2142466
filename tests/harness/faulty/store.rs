//! The store that fails on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use scrollback::codec::Codec;
use scrollback::key::Address;
use scrollback::message::{Author, EntryId, Message, Seq};
use scrollback::store::{
    Checked, Compacted, Erase, Erased, Flushed, Found, Known, Page, Progress, SessionFlush,
    SessionFlushed, Store, Stored,
};
use scrollback::{Error, Result};

/// What a test does in the middle of a store's call.
type Meanwhile = Box<dyn FnOnce() + Send>;

/// A store whose flushes (and, away, everything) can fail or hang.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    before_find: std::sync::Mutex<Option<Meanwhile>>,
    after_find: std::sync::Mutex<Option<Meanwhile>>,
    away: AtomicBool,
    no_flush: AtomicBool,
    cut_flush: std::sync::Mutex<Option<usize>>,
    wasteful: AtomicBool,
    flushes: AtomicU64,
    allots: AtomicU64,
    finds: AtomicU64,
    stall: std::sync::Mutex<Stall>,
    resumed: std::sync::Condvar,
    hanging: AtomicU64,
}

/// Which calls of a store hang until they are let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stall {
    /// None.
    #[default]
    No,
    /// Flushes.
    Flushes,
    /// Every call.
    Everything,
    /// Erasures.
    Erasures,
}

impl std::fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FaultyStore").field(&self.inner).finish()
    }
}

impl FaultyStore {
    /// In front of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            before_find: std::sync::Mutex::default(),
            after_find: std::sync::Mutex::default(),
            away: AtomicBool::new(false),
            no_flush: AtomicBool::new(false),
            cut_flush: std::sync::Mutex::default(),
            wasteful: AtomicBool::new(false),
            flushes: AtomicU64::new(0),
            stall: std::sync::Mutex::default(),
            resumed: std::sync::Condvar::new(),
            allots: AtomicU64::new(0),
            finds: AtomicU64::new(0),
            hanging: AtomicU64::new(0),
        })
    }

    /// Makes every call fail, or lets them through.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, SeqCst);
    }

    /// Does this before the next look-up of a platform id.
    pub fn before_find(&self, meanwhile: impl FnOnce() + Send + 'static) {
        *self.before_find.lock().unwrap() = Some(Box::new(meanwhile));
    }

    /// Does this after the next look-up of a platform id, before its caller hears what was found.
    pub fn after_find(&self, meanwhile: impl FnOnce() + Send + 'static) {
        *self.after_find.lock().unwrap() = Some(Box::new(meanwhile));
    }

    /// How many epochs were asked for.
    #[must_use]
    pub fn allots(&self) -> u64 {
        self.allots.load(SeqCst)
    }

    /// How often it was asked for platform ids, for one or for many.
    #[must_use]
    pub fn finds(&self) -> u64 {
        self.finds.load(SeqCst)
    }

    /// Makes flushes fail, or lets them through.
    pub fn set_no_flush(&self, no_flush: bool) {
        self.no_flush.store(no_flush, SeqCst);
    }

    /// Takes only the first `most` entries of each session in the next flush, and refuses all flushes after it.
    ///
    /// # Panics
    /// When a thread panicked meanwhile.
    pub fn cut_next_flush(&self, most: usize) {
        *self.cut_flush.lock().unwrap() = Some(most);
    }

    /// Makes it say, until it is compacted, that a compaction would give back much.
    pub fn set_wasteful(&self) {
        self.wasteful.store(true, SeqCst);
    }

    /// Makes calls hang, or lets them go on.
    pub fn set_stall(&self, stall: Stall) {
        *self.stall.lock().unwrap() = stall;
        self.resumed.notify_all();
    }

    /// How many flushes were begun.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.flushes.load(SeqCst)
    }

    /// How many calls hang now.
    pub fn hanging(&self) -> u64 {
        self.hanging.load(SeqCst)
    }

    /// Hangs while everything does, or calls of this kind do.
    fn wait(&self, kind: Stall) {
        let stalled =
            |stall: &mut Stall| *stall == Stall::Everything || kind != Stall::No && *stall == kind;
        self.hanging.fetch_add(1, SeqCst);
        drop(self.resumed.wait_while(self.stall.lock().unwrap(), stalled));
        self.hanging.fetch_sub(1, SeqCst);
    }

    /// As when another epoch is allotted between two steps of a flush.
    fn flush_in_part(&self, batch: &[SessionFlush], most: usize) -> Result<Vec<SessionFlushed>> {
        let mut part = batch.to_vec();
        for session in &mut part {
            session.entries.truncate(most);
            session.settled_to = 0;
        }
        let mut flushed = self.through()?.flush(&part)?;
        for (told, asked) in flushed.iter_mut().zip(batch) {
            told.entries.resize(asked.entries.len(), Flushed::Refused);
        }
        Ok(flushed)
    }

    fn through(&self) -> Result<&Arc<dyn Store>> {
        self.wait(Stall::No);
        if self.away.load(SeqCst) {
            Err(Error::away("faulty", "cut off by the test"))
        } else {
            Ok(&self.inner)
        }
    }
}

impl Store for FaultyStore {
    fn name(&self) -> &'static str {
        "faulty"
    }
    fn codec(&self) -> Codec {
        self.inner.codec()
    }
    fn allot(&self, session: &Address, above: u64) -> Result<u64> {
        self.allots.fetch_add(1, SeqCst);
        self.through()?.allot(session, above)
    }
    fn window(&self, session: &Address) -> Result<Option<Stored>> {
        self.through()?.window(session)
    }
    fn known(&self, session: &Address, ids: &[EntryId]) -> Result<Known> {
        self.through()?.known(session, ids)
    }
    fn find(&self, session: &Address, platform_ids: &[&str]) -> Result<Vec<Option<Found>>> {
        self.finds.fetch_add(1, SeqCst);
        let meanwhile = self.before_find.lock().unwrap().take();
        meanwhile.into_iter().for_each(|call| call());
        let found = self.through()?.find(session, platform_ids);
        let meanwhile = self.after_find.lock().unwrap().take();
        meanwhile.into_iter().for_each(|call| call());
        found
    }
    fn flush(&self, batch: &[SessionFlush]) -> Result<Vec<SessionFlushed>> {
        self.flushes.fetch_add(1, SeqCst);
        self.wait(Stall::Flushes);
        let cut = self.cut_flush.lock().unwrap().take();
        if let Some(most) = cut {
            self.no_flush.store(true, SeqCst);
            return self.flush_in_part(batch, most);
        }
        if self.no_flush.load(SeqCst) {
            return Err(Error::away("faulty", "flush refused by the test"));
        }
        self.through()?.flush(batch)
    }
    fn history(&self, session: &Address, page: Page) -> Result<Vec<(Seq, Message)>> {
        self.through()?.history(session, page)
    }
    fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<Address>> {
        self.through()?.sessions(after, limit)
    }
    fn sessions_of(&self, author: &Author) -> Result<Vec<Address>> {
        self.through()?.sessions_of(author)
    }
    fn erase(&self, session: &Address, what: &Erase) -> Result<Erased> {
        self.wait(Stall::Erasures);
        self.through()?.erase(session, what)
    }
    fn check(&self) -> Result<Checked> {
        self.through()?.check()
    }
    fn compact(&self, progress: &dyn Fn(Progress)) -> Result<Compacted> {
        let done = self.through()?.compact(progress)?;
        self.wasteful.store(false, SeqCst);
        Ok(done)
    }
    fn is_wasteful(&self) -> bool {
        self.wasteful.load(SeqCst)
    }
    fn close(&self) -> Result<()> {
        self.wait(Stall::No);
        self.inner.close()
    }
}
