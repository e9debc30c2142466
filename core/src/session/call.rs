//! One call of the public API: the engine, and how long the hot tier may still hold the call up.
//!
//! Invariant: what a call waits for the hot tier, itself and behind calls of the same session that wait for it, takes no longer
//! than the tier's share of the deadline together; what does not fit is an outage, and the call goes on without the tier. Only such waiting
//! counts, not the time of the journal or the store. A tier that answers at once (in process) is never late.

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::MutexGuard;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout};

use crate::error::{Error, Result};
use crate::hot::{Append, Appended, HotTier, Place, Publish, Published, Read, Settle, WriterId};
use crate::key::Address;
use crate::session::cell::Cell;
use crate::session::engine::Engine;

/// A call on its way.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    engine: &'a Engine,
    pub(crate) hot: Bounded<'a>,
}

impl<'a> Call<'a> {
    /// Begins a call.
    pub(crate) fn begin(engine: &'a Engine) -> Self {
        let hot = Bounded {
            tier: engine.tier(),
            deadline: engine.hot_deadline,
            spent_us: AtomicU64::new(0),
            cell: None,
        };
        Self { engine, hot }
    }

    /// Waits for the session's turn. What those ahead waited for the hot tier meanwhile, this call has waited too.
    pub(crate) async fn turn(&mut self, cell: &'a Cell) -> MutexGuard<'a, ()> {
        // Who calls in a loop, in process or alone on Redis, never waits: others on this thread must get their turns.
        consume_budget().await;
        if let Ok(turn) = cell.turn.try_lock() {
            self.hot.cell = Some(cell);
            return turn;
        }
        let (before, began) = (cell.waited_us.load(Relaxed), Instant::now());
        let turn = cell.turn.lock().await;
        let ahead = cell.waited_us.load(Relaxed).wrapping_sub(before);
        let spent = ahead.min(micros(began.elapsed()));
        self.hot.spent_us.fetch_add(spent, Relaxed);
        self.hot.cell = Some(cell);
        turn
    }
}

impl Deref for Call<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.engine
    }
}

/// The hot tier, as long as the call's time lasts.
#[derive(Debug)]
pub(crate) struct Bounded<'a> {
    tier: &'a dyn HotTier,
    deadline: Duration,
    /// What this call has waited so far.
    spent_us: AtomicU64,
    /// The session whose callers wait for this call.
    cell: Option<&'a Cell>,
}

impl Bounded<'_> {
    /// Microseconds waited so far.
    pub(crate) fn spent_us(&self) -> u64 {
        self.spent_us.load(Relaxed)
    }

    /// What was waited beyond `charged`, with the turn of many sessions held: their callers have waited it too.
    pub(crate) fn charge(&self, cells: &[&Arc<Cell>], charged: u64) {
        let more = self.spent_us().saturating_sub(charged);
        for cell in cells {
            cell.waited_us.fetch_add(more, Relaxed);
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.tier.name()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.tier.generation()
    }

    pub(crate) fn trusted(&self) -> bool {
        self.tier.trusted()
    }

    /// Not async itself: an append is large, and goes into the tier's future alone, not into those around it as well.
    pub(crate) fn append<'c>(
        &'c self,
        session: &'c Address,
        append: Append,
    ) -> impl Future<Output = Result<Appended>> + 'c {
        self.within("append", self.tier.append(session, append))
    }

    pub(crate) async fn read(
        &self,
        session: &Address,
        after: Option<Place>,
        generation: u64,
    ) -> Result<Read> {
        self.within("read", self.tier.read(session, after, generation))
            .await
    }

    pub(crate) async fn fence(&self, session: &Address, epoch: u64) -> Result<()> {
        self.within("fence", self.tier.fence(session, epoch)).await
    }

    pub(crate) async fn publish(&self, session: &Address, publish: Publish) -> Result<Published> {
        self.within("publish", self.tier.publish(session, publish))
            .await
    }

    pub(crate) async fn settle(&self, writer: &WriterId, sessions: Vec<Settle>) -> Result<()> {
        self.within("settle", self.tier.settle(writer, sessions))
            .await
    }

    pub(crate) async fn touch(&self, session: &Address, ttl_ms: u64) -> Result<()> {
        self.within("touch", self.tier.touch(session, ttl_ms)).await
    }

    pub(crate) async fn release(&self, session: &Address) -> Result<()> {
        self.within("release", self.tier.release(session)).await
    }

    pub(crate) async fn marked(&self, writer: &WriterId) -> Result<Vec<Address>> {
        self.within("marked", self.tier.marked(writer)).await
    }

    /// Lets others go first for a moment, which is part of what the call may wait.
    pub(crate) async fn pause(&self, time: Duration) {
        let spent = Duration::from_micros(self.spent_us());
        let time = time.min(self.deadline.saturating_sub(spent));
        let began = Instant::now();
        tokio::time::sleep(time).await;
        let took = micros(began.elapsed());
        self.spent_us.fetch_add(took, Relaxed);
        if let Some(cell) = self.cell {
            cell.waited_us.fetch_add(took, Relaxed);
        }
    }

    /// Asked once even when nothing is left: who answers at once is not late.
    async fn within<T>(
        &self,
        what: &'static str,
        asked: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut asked = pin!(asked);
        // A tier in this process, or one that the caller asks itself, has answered by now.
        let at_once = poll_fn(|context| Poll::Ready(asked.as_mut().poll(context))).await;
        if let Poll::Ready(answer) = at_once {
            return answer;
        }
        let spent = Duration::from_micros(self.spent_us.load(Relaxed));
        let began = Instant::now();
        let left = self.deadline.saturating_sub(spent);
        // A second timer for each append costs more than it seems.
        let answered = match self.tier.deadline() {
            Some(deadline) if deadline <= left => Ok(asked.await),
            // Boxed, since it is rare: else every append would carry room for it.
            _ => Box::pin(timeout(left, asked)).await,
        };
        let took = micros(began.elapsed());
        self.spent_us.fetch_add(took, Relaxed);
        if let Some(cell) = self.cell {
            cell.waited_us.fetch_add(took, Relaxed);
        }
        answered.unwrap_or_else(|_| {
            let after = self.deadline;
            Err(Error::Timeout { what, after })
        })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
