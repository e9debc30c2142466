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
use scrollback::hot::{
    Append, Appended, HotTier, Place, Publish, Published, Read, Settle, WriterId,
};
use scrollback::key::Address;
use scrollback::{Error, Result};
use tokio::sync::oneshot;

pub use self::store::{FaultyStore, Stall};

mod store;

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
