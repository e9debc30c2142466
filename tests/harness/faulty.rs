//! Tiers that fail on demand, in front of real ones.
//!
//! A lost reply performs the operation and reports an outage, as a cut connection does. Knows nothing
//! of what the tiers behind it do.
#![expect(
    clippy::unwrap_used,
    reason = "a test world that cannot be set up must end the test loudly"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use async_trait::async_trait;
use scrollback::codec::Codec;
use scrollback::hot::{
    Append, Appended, HotTier, Place, Publish, Published, Read, Settle, WriterId,
};
use scrollback::key::Address;
use scrollback::message::{Author, EntryId, Message, Seq};
use scrollback::store::{
    Checked, Compacted, Erase, Erased, Flushed, Found, Known, Page, Progress, SessionFlush,
    SessionFlushed, Store, Stored,
};
use scrollback::{Error, Result};
use tokio::sync::oneshot;

/// What happens to the next append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It arrives, its reply does not.
    LostReply,
    /// It does not arrive.
    LostRequest,
}

/// A hot tier that can be cut off and can lose replies.
#[derive(Debug)]
pub struct FaultyTier {
    inner: Arc<dyn HotTier>,
    away: AtomicBool,
    trusted: AtomicBool,
    plan: std::sync::Mutex<VecDeque<Fault>>,
    appends: AtomicU64,
    lose_settle: AtomicBool,
    slow: AtomicBool,
    delay_ms: AtomicU64,
    full: AtomicBool,
    hold: std::sync::Mutex<Option<Hold>>,
    hold_append: std::sync::Mutex<Option<Hold>>,
}

type Hold = (oneshot::Sender<()>, oneshot::Receiver<()>);

fn hold() -> (Hold, Held) {
    let (here, arrived) = oneshot::channel();
    let (go, gone) = oneshot::channel();
    ((here, gone), Held { arrived, go })
}

/// A settling or an append that waits for the test.
#[derive(Debug)]
pub struct Held {
    arrived: oneshot::Receiver<()>,
    go: oneshot::Sender<()>,
}

impl Held {
    /// Waits until the call has come as far as the tier.
    ///
    /// # Panics
    /// When it is not there within 10 s.
    pub async fn arrived(&mut self) {
        let within = std::time::Duration::from_secs(10);
        let arrived = tokio::time::timeout(within, &mut self.arrived).await;
        arrived.unwrap().unwrap();
    }

    /// Lets it go on.
    pub fn go(self) {
        self.go.send(()).unwrap();
    }
}

impl FaultyTier {
    /// In front of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn HotTier>) -> Arc<Self> {
        let plan = std::sync::Mutex::default();
        Arc::new(Self {
            inner,
            away: AtomicBool::new(false),
            trusted: AtomicBool::new(false),
            plan,
            appends: AtomicU64::new(0),
            lose_settle: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
            full: AtomicBool::new(false),
            hold: std::sync::Mutex::default(),
            hold_append: std::sync::Mutex::default(),
        })
    }

    /// Lets a new process take over a log that it finds, as in a tier that cannot come back older.
    pub fn set_trusted(&self) {
        self.trusted.store(true, SeqCst);
    }

    /// Cuts the tier off, or brings it back.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, SeqCst);
    }

    /// The next append meets this fault.
    pub fn fail_next(&self, fault: Fault) {
        self.plan.lock().unwrap().push_back(fault);
    }

    /// True while a fault waits for its append.
    #[must_use]
    pub fn will_fail(&self) -> bool {
        !self.plan.lock().unwrap().is_empty()
    }

    /// The next settling is done, its reply is lost.
    pub fn lose_next_settle(&self) {
        self.lose_settle.store(true, SeqCst);
    }

    /// Appends take a while from now on, as over a network: one pause before each is done, one after.
    pub fn set_slow(&self) {
        self.slow.store(true, SeqCst);
    }

    /// Every call takes so long from now on, by tokio's clock.
    pub fn set_delay(&self, delay: std::time::Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap();
        self.delay_ms.store(delay, SeqCst);
    }

    /// Writes are refused and reads answered, as by a server without memory.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, SeqCst);
    }

    async fn arrive_to_write(&self) -> Result<()> {
        self.arrive().await?;
        if self.full.load(SeqCst) {
            return Err(Error::away("faulty", "full by the test"));
        }
        Ok(())
    }

    async fn arrive(&self) -> Result<()> {
        let delay = self.delay_ms.load(SeqCst);
        if delay > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
        }
        Self::check(self)
    }

    async fn pause(&self) {
        if self.slow.load(SeqCst) {
            tokio::task::yield_now().await;
        }
    }

    /// The next settling waits, not done yet, until the test lets it go.
    pub fn hold_next_settle(&self) -> Held {
        let (at, held) = hold();
        *self.hold.lock().unwrap() = Some(at);
        held
    }

    /// The next append waits, not done yet, until the test lets it go.
    pub fn hold_next_append(&self) -> Held {
        let (at, held) = hold();
        *self.hold_append.lock().unwrap() = Some(at);
        held
    }

    /// Takes back the faults that no append has met yet.
    pub fn clear(&self) {
        self.plan.lock().unwrap().clear();
    }

    /// How many appends have reached the tier.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.appends.load(SeqCst)
    }

    fn check(&self) -> Result<()> {
        if self.away.load(SeqCst) {
            Err(Error::away("faulty", "cut off by the test"))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl HotTier for FaultyTier {
    fn name(&self) -> &'static str {
        "faulty"
    }
    fn generation(&self) -> u64 {
        self.inner.generation()
    }
    fn trusted(&self) -> bool {
        self.trusted.load(SeqCst)
    }
    async fn append(&self, session: &Address, append: Append) -> Result<Appended> {
        self.arrive_to_write().await?;
        let fault = self.plan.lock().unwrap().pop_front();
        if fault == Some(Fault::LostRequest) {
            return Err(Error::away("faulty", "request lost by the test"));
        }
        let held = self.hold_append.lock().unwrap().take();
        if let Some((here, gone)) = held {
            let _ = here.send(());
            let _ = gone.await;
        }
        self.pause().await;
        self.appends.fetch_add(1, SeqCst);
        let done = self.inner.append(session, append).await;
        self.pause().await;
        if fault == Some(Fault::LostReply) {
            return Err(Error::away("faulty", "reply lost by the test"));
        }
        done
    }
    async fn read(&self, session: &Address, after: Option<Place>, generation: u64) -> Result<Read> {
        self.arrive().await?;
        self.inner.read(session, after, generation).await
    }
    async fn fence(&self, session: &Address, epoch: u64) -> Result<()> {
        self.arrive_to_write().await?;
        self.inner.fence(session, epoch).await
    }
    async fn publish(&self, session: &Address, publish: Publish) -> Result<Published> {
        self.arrive_to_write().await?;
        self.inner.publish(session, publish).await
    }
    async fn settle(&self, writer: &WriterId, sessions: Vec<Settle>) -> Result<()> {
        self.arrive_to_write().await?;
        let held = self.hold.lock().unwrap().take();
        if let Some((here, gone)) = held {
            here.send(()).unwrap();
            gone.await.unwrap();
        }
        let done = self.inner.settle(writer, sessions).await;
        if self.lose_settle.swap(false, SeqCst) {
            return Err(Error::away("faulty", "reply lost by the test"));
        }
        done
    }
    async fn touch(&self, session: &Address, ttl_ms: u64) -> Result<()> {
        self.arrive().await?;
        self.inner.touch(session, ttl_ms).await
    }
    async fn release(&self, session: &Address) -> Result<()> {
        self.arrive().await?;
        self.inner.release(session).await
    }
    async fn marked(&self, writer: &WriterId) -> Result<Vec<Address>> {
        self.arrive().await?;
        self.inner.marked(writer).await
    }
    async fn check(&self) -> Result<Vec<String>> {
        self.arrive().await?;
        self.inner.check().await
    }
    async fn tidy(&self) {
        self.inner.tidy().await;
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

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
    fn find(&self, session: &Address, platform_id: &str) -> Result<Option<Found>> {
        let meanwhile = self.before_find.lock().unwrap().take();
        meanwhile.into_iter().for_each(|call| call());
        let found = self.through()?.find(session, platform_id);
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
