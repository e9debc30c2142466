//! The lane: one thread that sends what is queued as one pipeline, and answers; a caller who is alone goes to the
//! [desk](super::desk) itself.
//!
//! Invariant: an operation is answered at most once and only with its own replies; after any I/O error
//! or time-out the connection is dropped with all that was under way on it. No caller waits for this
//! thread longer than its own deadline. Knows no sessions and no keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::coop::consume_budget;

use super::commands::{Packed, Reply};
use super::connection::{Fault, Opener};
use super::desk::{Desk, Tried};
use super::worker::Worker;
use crate::error::{Error, Result};

/// Of tokio's 128 units of work before a task must let others go first, what an operation on the caller's own thread
/// takes: a millisecond or two of them in a row, four at most.
const DIRECT_COST: usize = 8;

/// The tier's name in errors and logs.
pub(super) const TIER: &str = "redis";

/// What came of an operation.
#[derive(Debug)]
pub(super) enum Answer {
    /// The server's replies, as many as commands were packed.
    Replies(Vec<Reply>),
    /// Not sent: the caller believes in another generation.
    Suspect,
}

/// One operation on its way.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) what: &'static str,
    pub(super) packed: Packed,
    /// The generation it is only valid in.
    pub(super) believed: Option<u64>,
    pub(super) until: Instant,
    pub(super) answer: oneshot::Sender<Result<Answer>>,
}

/// What travels to the thread.
#[derive(Debug)]
pub(super) enum Message {
    Op(Op),
    /// Wakes the thread so that it sees that the lane is closed.
    Wake,
}

/// What callers and the thread both see.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) generation: AtomicU64,
    /// No connection, and connecting has failed: calls fail at once until the thread has a new one.
    pub(super) away: AtomicBool,
    pub(super) closed: AtomicBool,
    pub(super) fault: Mutex<Option<Fault>>,
    pub(super) deadline: Duration,
    /// Who talks to the server.
    pub(super) desk: Mutex<Desk>,
    /// Callers that wait for an answer.
    waiting: AtomicUsize,
    /// By when the thread must be done with what it has sent, in µs since `start`; 0 when it waits for
    /// work. Over TLS a reply that trickles in can hold it longer, for no single read times out.
    due_us: AtomicU64,
    start: Instant,
}

impl Shared {
    fn new(deadline: Duration) -> Self {
        Self {
            generation: AtomicU64::new(1),
            away: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            fault: Mutex::new(None),
            deadline,
            desk: Mutex::default(),
            waiting: AtomicUsize::new(0),
            due_us: AtomicU64::new(0),
            start: Instant::now(),
        }
    }

    /// Notes that the thread talks to the server now, or that it is done.
    pub(super) fn talking(&self, now: bool) {
        let due = if now {
            self.since_start_us(Instant::now() + self.deadline)
        } else {
            0
        };
        self.due_us.store(due, Ordering::Relaxed);
    }

    /// True when the thread hangs in a reply.
    fn hangs(&self, now: Instant) -> bool {
        let due = self.due_us.load(Ordering::Relaxed);
        due != 0 && self.since_start_us(now) > due
    }

    fn since_start_us(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }

    /// The error of a call that was sent and not answered.
    pub(super) fn interrupted(&self, what: &'static str, fault: &Fault) -> Error {
        if fault.timeout {
            let after = self.deadline;
            Error::Timeout { what, after }
        } else {
            Error::unavailable(TIER, format!("{what} was interrupted"), fault.clone())
        }
    }

    /// The error of a call that was not sent.
    pub(super) fn outage(&self) -> Error {
        let why = self.fault.lock().clone();
        match why {
            Some(fault) => Error::unavailable(TIER, "serving without it until it is back", fault),
            None => Error::away(TIER, "not connected"),
        }
    }
}

/// A caller that waits for an answer.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// One more; the second is true when nobody else waits.
    fn begin(shared: &'a Shared) -> (Self, bool) {
        let others = shared.waiting.fetch_add(1, Ordering::SeqCst);
        (Self(&shared.waiting), others == 0)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The handle of callers.
#[derive(Debug)]
pub(super) struct Lane {
    queue: Sender<Message>,
    shared: Arc<Shared>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Lane {
    /// Starts the thread; it connects by itself.
    pub(super) fn start(opener: Opener, deadline: Duration, queue: usize) -> Result<Self> {
        let (sender, receiver) = crossbeam_channel::bounded(queue);
        let shared = Arc::new(Shared::new(deadline));
        let (end, ended) = oneshot::channel();
        let worker = Worker::new(opener, receiver, Arc::clone(&shared));
        std::thread::Builder::new()
            .name("scrollback-redis".to_owned())
            .spawn(move || {
                worker.run();
                end.send(()).ok();
            })
            .map_err(|e| Error::unavailable(TIER, "cannot start its thread", e))?;
        Ok(Self {
            queue: sender,
            shared,
            ended: Mutex::new(Some(ended)),
        })
    }

    pub(super) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::SeqCst)
    }

    /// Why connecting fails, if it does and waiting will not help.
    pub(super) fn config_fault(&self) -> Option<String> {
        let fault = self.shared.fault.lock();
        fault
            .as_ref()
            .filter(|f| f.config && self.shared.away.load(Ordering::SeqCst))
            .map(|f| f.text.clone())
    }

    pub(super) fn deadline(&self) -> Duration {
        self.shared.deadline
    }

    /// Has `packed` sent and waits for the answer, at most until `until`.
    pub(super) async fn call(
        &self,
        what: &'static str,
        packed: Packed,
        believed: Option<u64>,
        until: Instant,
    ) -> Result<Answer> {
        if self.shared.closed.load(Ordering::SeqCst) {
            return Err(Error::Closed);
        }
        if believed.is_some_and(|b| b != self.generation()) {
            return Ok(Answer::Suspect);
        }
        if self.shared.away.load(Ordering::SeqCst) {
            return Err(self.shared.outage());
        }
        if self.shared.hangs(Instant::now()) {
            return Err(Error::away(TIER, "a reply is overdue; serving without it"));
        }
        let (_waiting, alone) = Waiting::begin(&self.shared);
        let packed = if alone {
            match self.attempt(what, packed, believed) {
                Tried::Answered(answer) => {
                    for _ in 0..DIRECT_COST {
                        consume_budget().await;
                    }
                    return answer;
                }
                Tried::Later(later) => return self.answered(what, later, until).await,
                Tried::Busy(packed) => packed,
            }
        } else {
            packed
        };
        let (answer, answered) = oneshot::channel();
        match self.queue.try_send(Message::Op(Op {
            what,
            packed,
            believed,
            until,
            answer,
        })) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(Error::away(
                    TIER,
                    "too many operations wait for it; try again later",
                ));
            }
            Err(TrySendError::Disconnected(_)) => return Err(Error::Closed),
        }
        self.answered(what, answered, until).await
    }

    fn attempt(&self, what: &'static str, packed: Packed, believed: Option<u64>) -> Tried {
        let (tried, wake) = self.shared.attempt(what, packed, believed);
        if wake {
            // A full queue means that the thread is awake and comes to the desk.
            self.queue.try_send(Message::Wake).ok();
        }
        tried
    }

    async fn answered(
        &self,
        what: &'static str,
        answered: oneshot::Receiver<Result<Answer>>,
        until: Instant,
    ) -> Result<Answer> {
        match tokio::time::timeout_at(until.into(), answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::Timeout {
                what,
                after: self.shared.deadline,
            }),
        }
    }

    /// Ends the thread and waits for it, within a deadline.
    pub(super) async fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // A full queue means that the thread is awake and will see the flag.
        self.queue.try_send(Message::Wake).ok();
        let ended = self.ended.lock().take();
        if let Some(ended) = ended {
            tokio::time::timeout(self.shared.deadline * 3, ended)
                .await
                .ok();
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.queue.try_send(Message::Wake).ok();
    }
}
