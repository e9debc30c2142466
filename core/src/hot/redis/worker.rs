//! The lane's thread: connected it serves, otherwise it refuses at once and keeps trying.
//!
//! Invariant: the generation is settled before the first operation is sent on a new connection. Knows
//! bytes and replies, nothing of what they mean.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use r2d2::{HandleError, Pool, PooledConnection};

use super::commands::Reply;
use super::connection::{Fault, Identity, Link, Opener};
use super::lane::{Answer, Message, Op, Shared, TIER};
use crate::error::Error;

/// One write and one wake-up a batch; larger ones only make the first caller wait for the last.
const BATCH_OPS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// An idle connection is tried this often, so that a dead one is found before a caller finds it.
const IDLE: Duration = Duration::from_secs(1);
/// How long the thread looks at the pool before it looks at its queue again.
const LOOK: Duration = Duration::from_millis(100);
/// The same while callers may be waiting in the queue.
const SHORT_LOOK: Duration = Duration::from_millis(10);
/// After a lost connection: at once would hammer a server that answers and then fails.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// r2d2 itself retries a failed connect after 400 ms, then every half of this.
const POOL_TIMEOUT: Duration = Duration::from_secs(1);

/// The pool's failures are kept by the opener; r2d2's default would log them.
#[derive(Debug)]
struct Silent;

impl HandleError<Fault> for Silent {
    fn handle_error(&self, _: Fault) {}
}

/// The thread's own state.
pub(super) struct Worker {
    pool: Pool<Watched>,
    opener: Arc<Opener>,
    queue: Receiver<Message>,
    shared: Arc<Shared>,
    identity: Option<Identity>,
    pause: Duration,
    not_before: Instant,
    /// Since when there is no connection, and how many attempts had failed then.
    lost: (Instant, u64),
    out: Vec<u8>,
}

/// The opener, shared between the pool and the thread that asks it why it failed.
struct Watched(Arc<Opener>);

impl r2d2::ManageConnection for Watched {
    type Connection = Link;
    type Error = Fault;

    fn connect(&self) -> Result<Link, Fault> {
        self.0.connect()
    }

    fn is_valid(&self, link: &mut Link) -> Result<(), Fault> {
        self.0.is_valid(link)
    }

    fn has_broken(&self, link: &mut Link) -> bool {
        self.0.has_broken(link)
    }
}

impl Worker {
    pub(super) fn new(opener: Opener, queue: Receiver<Message>, shared: Arc<Shared>) -> Self {
        let opener = Arc::new(opener);
        let pool = Pool::builder()
            // The thread uses one at a time; a second could only be a stale one.
            .max_size(1)
            .min_idle(Some(0))
            .test_on_check_out(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connection_timeout(POOL_TIMEOUT)
            .error_handler(Box::new(Silent))
            .build_unchecked(Watched(Arc::clone(&opener)));
        let now = Instant::now();
        Self {
            pool,
            opener,
            queue,
            shared,
            identity: None,
            pause: FIRST_PAUSE,
            not_before: now,
            lost: (now, 0),
            out: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
        while !self.closed() {
            if let Some(mut link) = self.connect() {
                self.adopt(&link);
                let fault = self.serve(&mut link);
                link.broken = true;
                drop(link);
                if let Some(fault) = fault {
                    self.lose(fault);
                }
            }
        }
        while let Ok(message) = self.queue.try_recv() {
            refuse(message, || Error::Closed);
        }
    }

    fn closed(&self) -> bool {
        self.shared.closed.load(Ordering::SeqCst)
    }

    /// Looks for a connection for a moment; the pool opens it in the background.
    fn connect(&mut self) -> Option<PooledConnection<Watched>> {
        let away = self.shared.away.load(Ordering::SeqCst);
        if away {
            // Whoever slipped in before the flag was up.
            while let Ok(message) = self.queue.try_recv() {
                refuse(message, || self.shared.outage());
            }
            if let Ok(message) = self.queue.recv_deadline(self.not_before) {
                refuse(message, || self.shared.outage());
                return None;
            }
        }
        if let Ok(link) = self.pool.get_timeout(if away { LOOK } else { SHORT_LOOK }) {
            return Some(link);
        }
        let (since, failures) = self.lost;
        if self.opener.failures() > failures {
            let fault = self.opener.last_failure();
            self.go_away(fault.unwrap_or_else(|| Fault::timeout("connecting")));
        } else if since.elapsed() > self.shared.deadline {
            self.go_away(Fault::timeout("connecting"));
        }
        None
    }

    /// Settles the generation: another server, or another life of it, may hold another state.
    fn adopt(&mut self, link: &Link) {
        if self
            .identity
            .as_ref()
            .is_some_and(|last| *last != link.identity)
        {
            let generation = self.shared.generation.fetch_add(1, Ordering::SeqCst) + 1;
            tracing::warn!(tier = TIER, generation, "the server came back different");
        }
        self.identity = Some(link.identity.clone());
        if self.shared.away.swap(false, Ordering::SeqCst) {
            tracing::info!(tier = TIER, "connected again");
        }
    }

    fn lose(&mut self, fault: Fault) {
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.lost = (Instant::now(), self.opener.failures());
        self.go_away(fault);
    }

    fn go_away(&self, fault: Fault) {
        let text = fault.text.clone();
        *self.shared.fault.lock() = Some(fault);
        if !self.shared.away.swap(true, Ordering::SeqCst) {
            tracing::warn!(
                tier = TIER,
                error = text,
                "away; calls fail at once until it is back"
            );
        }
    }

    /// Serves until the connection or the lane ends; `None` when the lane is closed.
    fn serve(&mut self, link: &mut Link) -> Option<Fault> {
        loop {
            let first = match self.queue.recv_timeout(IDLE) {
                Ok(Message::Op(op)) => op,
                Ok(Message::Wake) if self.closed() => return None,
                Ok(Message::Wake) => continue,
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    self.shared.talking(true);
                    let alive = r2d2::ManageConnection::is_valid(&*self.opener, link);
                    self.shared.talking(false);
                    match alive {
                        Ok(()) => continue,
                        Err(fault) => return Some(fault),
                    }
                }
            };
            let batch = self.batch(first);
            if let Err(fault) = self.exchange(link, batch) {
                return Some(fault);
            }
            self.pause = FIRST_PAUSE;
            if self.closed() {
                return None;
            }
        }
    }

    /// What is queued, up to a bound, without what is too late or of another generation.
    fn batch(&self, first: Op) -> Vec<Op> {
        let now = Instant::now();
        let generation = self.shared.generation.load(Ordering::SeqCst);
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(op) = next.take() {
            if op.until <= now {
                let after = self.shared.deadline;
                op.answer
                    .send(Err(Error::Timeout {
                        what: op.what,
                        after,
                    }))
                    .ok();
            } else if op.believed.is_some_and(|b| b != generation) {
                op.answer.send(Ok(Answer::Suspect)).ok();
            } else if !op.answer.is_closed() {
                bytes += op.packed.weight();
                batch.push(op);
            }
            if batch.len() < BATCH_OPS && bytes < BATCH_BYTES {
                next = self.queue.try_iter().find_map(|message| match message {
                    Message::Op(op) => Some(op),
                    Message::Wake => None,
                });
            }
        }
        batch
    }

    /// One write, then the replies one by one; stops at the first failure.
    fn exchange(&mut self, link: &mut Link, batch: Vec<Op>) -> Result<(), Fault> {
        if batch.is_empty() {
            return Ok(());
        }
        self.out.clear();
        self.out.shrink_to(2 * BATCH_BYTES);
        for op in &batch {
            self.out.extend_from_slice(&op.packed.bytes);
        }
        let until = Instant::now() + self.shared.deadline;
        self.shared.talking(true);
        let mut failed = link.send(&self.out).err();
        let mut unfit = None;
        for op in batch {
            if failed.is_none() {
                match replies(link, op.packed.replies, until) {
                    Ok(replies) => {
                        unfit = unfit.or_else(|| replies.iter().find_map(unfitness));
                        op.answer.send(Ok(Answer::Replies(replies))).ok();
                        continue;
                    }
                    Err(fault) => failed = Some(fault),
                }
            }
            if let Some(fault) = &failed {
                op.answer.send(Err(self.interrupted(op.what, fault))).ok();
            }
        }
        self.shared.talking(false);
        failed.or(unfit).map_or(Ok(()), Err)
    }

    fn interrupted(&self, what: &'static str, fault: &Fault) -> Error {
        if fault.timeout {
            Error::Timeout {
                what,
                after: self.shared.deadline,
            }
        } else {
            Error::unavailable(TIER, format!("{what} was interrupted"), fault.clone())
        }
    }
}

fn refuse(message: Message, why: impl FnOnce() -> Error) {
    if let Message::Op(op) = message {
        op.answer.send(Err(why())).ok();
    }
}

fn replies(link: &mut Link, count: usize, until: Instant) -> Result<Vec<Reply>, Fault> {
    let mut replies = Vec::with_capacity(count);
    for _ in 0..count {
        if Instant::now() > until {
            return Err(Fault::timeout("a batch"));
        }
        replies.push(link.receive()?);
    }
    Ok(replies)
}

/// A server that answers so must be asked again who it is: it was demoted, or loads its data.
fn unfitness(reply: &Reply) -> Option<Fault> {
    let refusal = reply.as_ref().err()?;
    let code = refusal.split(' ').next().unwrap_or_default();
    matches!(code, "READONLY" | "LOADING" | "MASTERDOWN" | "NOAUTH")
        .then(|| Fault::refused(refusal))
}
