//! Per-session order, sessions in parallel.
//!
//! Invariants: jobs of one session run one after the other in the order in which they were submitted;
//! a slow session delays no other; what waits is bounded, per session and in total; a task and a map
//! entry exist for a session only while it has work, and the dispatcher holds a handle on every task.
//! Knows nothing of what a job is.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use scrollback::SessionKey;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// The bounds of a [`Dispatcher`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DispatchLimits {
    /// Jobs that may wait behind the running one of a session (default 64: a person who sends more
    /// without an answer is flooding).
    pub per_session: usize,
    /// Jobs waiting and running in all sessions (default 10,000: some 10 MiB of pending messages).
    pub total: usize,
}

impl Default for DispatchLimits {
    fn default() -> Self {
        Self {
            per_session: 64,
            total: 10_000,
        }
    }
}

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Too much waits in this session; wait for its answers.
    #[error("the session already has {0} messages waiting for an answer")]
    SessionFull(usize),
    /// Too much waits in all sessions together.
    #[error("{0} messages are waiting for an answer in all sessions")]
    Full(usize),
    /// The dispatcher drains, or has drained.
    #[error("no new work is taken: the bot is closing")]
    Closing,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Jobs that were cut off or never started.
    pub left: usize,
}

type Handler<J> = Box<dyn Fn(J) -> BoxFuture<'static, ()> + Send + Sync>;

/// Runs jobs, each in its session's order.
///
/// Dropping it cuts off what runs; [`drain`](Self::drain) first.
pub struct Dispatcher<J: Send + 'static>(Arc<Shared<J>>);

struct Shared<J> {
    limits: DispatchLimits,
    handler: Handler<J>,
    state: Mutex<State<J>>,
    /// Told whenever a job leaves a queue or is done.
    progress: Notify,
}

struct State<J> {
    lanes: HashMap<SessionKey, Lane<J>>,
    /// Jobs waiting and running.
    in_hand: usize,
    closing: bool,
}

/// A session with work: what waits, and the task that works it off.
struct Lane<J> {
    waiting: VecDeque<J>,
    task: AbortHandle,
}

impl<J: Send + 'static> fmt::Debug for Dispatcher<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("limits", &self.0.limits)
            .field("in_hand", &self.in_hand())
            .finish_non_exhaustive()
    }
}

impl<J: Send + 'static> Dispatcher<J> {
    /// A dispatcher that hands each job to `handler`.
    pub fn new<F, Fut>(limits: DispatchLimits, handler: F) -> Self
    where
        F: Fn(J) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(Shared {
            limits: DispatchLimits {
                per_session: limits.per_session,
                total: limits.total.max(1),
            },
            handler: Box::new(move |job| handler(job).boxed()),
            state: Mutex::new(State {
                lanes: HashMap::new(),
                in_hand: 0,
                closing: false,
            }),
            progress: Notify::new(),
        }))
    }

    /// Queues a job at once; must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The job back, with the reason.
    pub fn submit(&self, session: &SessionKey, job: J) -> Result<(), (Refused, J)> {
        let mut state = self.0.state.lock();
        if state.closing {
            return Err((Refused::Closing, job));
        }
        if state.in_hand >= self.0.limits.total {
            return Err((Refused::Full(state.in_hand), job));
        }
        if let Some(lane) = state.lanes.get_mut(session) {
            if lane.waiting.len() >= self.0.limits.per_session {
                return Err((Refused::SessionFull(lane.waiting.len()), job));
            }
            lane.waiting.push_back(job);
        } else {
            // The worker needs the lock to end, so its lane is there before it can look for it.
            let worker = work(Arc::clone(&self.0), session.clone(), job);
            let lane = Lane {
                waiting: VecDeque::new(),
                task: tokio::spawn(worker).abort_handle(),
            };
            state.lanes.insert(session.clone(), lane);
        }
        state.in_hand += 1;
        Ok(())
    }

    /// Queues a job, waiting for room until the deadline at most.
    ///
    /// # Errors
    /// The job back, with the reason that held at the deadline; at once when closing.
    pub async fn submit_within(
        &self,
        session: &SessionKey,
        job: J,
        patience: Duration,
    ) -> Result<(), (Refused, J)> {
        let deadline = Instant::now() + patience;
        let mut job = job;
        loop {
            let progress = self.0.progress.notified();
            tokio::pin!(progress);
            // Armed before the look, so that room made in between is not missed.
            progress.as_mut().enable();
            job = match self.submit(session, job) {
                Err((Refused::Full(_) | Refused::SessionFull(_), job)) => job,
                done => return done,
            };
            if timeout_at(deadline, progress).await.is_err() {
                return self.submit(session, job);
            }
        }
    }

    /// Jobs waiting and running now.
    #[must_use]
    pub fn in_hand(&self) -> usize {
        self.0.state.lock().in_hand
    }

    /// Sessions with work now.
    #[must_use]
    pub fn active(&self) -> usize {
        self.0.state.lock().lanes.len()
    }

    /// Refuses new work and finishes what is queued; at the deadline cuts off the rest.
    pub async fn drain(&self, patience: Duration) -> Drained {
        let deadline = Instant::now() + patience;
        self.0.state.lock().closing = true;
        // Waiting callers of `submit_within` learn that no room will come.
        self.0.progress.notify_waiters();
        loop {
            let progress = self.0.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.in_hand() == 0 {
                return Drained::default();
            }
            if timeout_at(deadline, progress).await.is_err() {
                let left = self.0.cut_off();
                tracing::warn!(
                    left,
                    "the deadline passed before all messages were answered"
                );
                return Drained { left };
            }
        }
    }
}

impl<J: Send + 'static> Drop for Dispatcher<J> {
    fn drop(&mut self) {
        self.0.cut_off();
    }
}

impl<J> Shared<J> {
    /// Stops every task and forgets what waits; returns how many jobs that were.
    fn cut_off(&self) -> usize {
        let (lanes, left) = {
            let mut state = self.state.lock();
            state.closing = true;
            let lanes = std::mem::take(&mut state.lanes);
            (lanes, std::mem::take(&mut state.in_hand))
        };
        // Outside the lock: dropping a job may run its owner's code.
        lanes.values().for_each(|lane| lane.task.abort());
        drop(lanes);
        self.progress.notify_waiters();
        left
    }

    /// The session's next job; without one its lane ends.
    fn next(&self, session: &SessionKey) -> Option<J> {
        let mut state = self.state.lock();
        state.in_hand = state.in_hand.saturating_sub(1);
        let next = state.lanes.get_mut(session)?.waiting.pop_front();
        if next.is_none() {
            state.lanes.remove(session);
        }
        next
    }
}

/// Works off one session's jobs until none waits.
async fn work<J: Send + 'static>(shared: Arc<Shared<J>>, session: SessionKey, first: J) {
    let mut next = Some(first);
    while let Some(job) = next {
        // The call itself may panic, not only its future.
        let run = AssertUnwindSafe(async { (shared.handler)(job).await });
        if run.catch_unwind().await.is_err() {
            tracing::error!(%session, "handling a message panicked; the session goes on");
        }
        next = shared.next(&session);
        shared.progress.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
