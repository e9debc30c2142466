//! The lane's thread: connected it serves the queue and what callers left at the desk, otherwise it refuses at once and keeps trying.
//!
//! Invariant: the generation is settled before the first operation is sent on a new connection. Knows
//! bytes and replies, nothing of what they mean.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use r2d2::{HandleError, Pool, PooledConnection};

use super::commands::Reply;
use super::connection::{Fault, Identity, Link, Opener, Watched};
use super::desk::{Desk, Left};
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
            if let Some(link) = self.connect() {
                self.adopt(&link);
                self.shared.desk.lock().link = Some(link);
                let fault = self.serve();
                self.shared.desk.lock().clear();
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
    fn serve(&mut self) -> Option<Fault> {
        let shared = Arc::clone(&self.shared);
        loop {
            let first = match self.queue.recv_timeout(IDLE) {
                Ok(Message::Op(op)) => Some(op),
                Ok(Message::Wake) | Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return None,
            };
            if first.is_none() && self.closed() {
                return None;
            }
            // From here on nobody else sends: what is taken from the queue below goes out before anything that is asked later.
            let mut desk = shared.desk.lock();
            if let Err(fault) = self.attend(&mut desk, first) {
                // Before anybody else comes to the desk: there may be replies on it that are nobody's.
                desk.clear();
                return Some(fault);
            }
            self.pause = FIRST_PAUSE;
            if self.closed() {
                return None;
            }
        }
    }

    /// What is to be done at the desk: first what a caller left there.
    fn attend(&mut self, desk: &mut Desk, first: Option<Op>) -> Result<(), Fault> {
        let until = Instant::now() + self.shared.deadline;
        let idle = desk.used.is_none_or(|used| used.elapsed() >= IDLE);
        let Some(link) = &mut desk.link else {
            return Err(Fault::timeout("the connection"));
        };
        let mut fault = desk.fault.take();
        if let Some(left) = desk.left.take() {
            self.shared.talking(true);
            fault = fault.or(self.finish(link, left, until).err());
            self.shared.talking(false);
        }
        if let Some(fault) = fault {
            if let Some(op) = first {
                let error = self.shared.interrupted(op.what, &fault);
                op.answer.send(Err(error)).ok();
            }
            return Err(fault);
        }
        match first {
            Some(first) => {
                let batch = self.batch(first);
                self.exchange(link, batch)?;
            }
            None if idle => {
                self.shared.talking(true);
                let alive = self.opener.check(link);
                self.shared.talking(false);
                alive?;
            }
            None => return Ok(()),
        }
        desk.used = Some(Instant::now());
        Ok(())
    }

    /// Reads the replies that a caller had no time for.
    fn finish(&self, link: &mut Link, left: Left, until: Instant) -> Result<(), Fault> {
        let mut got = left.got;
        let missing = left.expected.saturating_sub(got.len());
        match replies(link, missing, until) {
            Ok(mut rest) => {
                got.append(&mut rest);
                let unfit = got.iter().find_map(Fault::unfit);
                left.answer.send(Ok(Answer::Replies(got))).ok();
                unfit.map_or(Ok(()), Err)
            }
            Err(fault) => {
                let error = self.shared.interrupted(left.what, &fault);
                left.answer.send(Err(error)).ok();
                Err(fault)
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
                        unfit = unfit.or_else(|| replies.iter().find_map(Fault::unfit));
                        op.answer.send(Ok(Answer::Replies(replies))).ok();
                        continue;
                    }
                    Err(fault) => failed = Some(fault),
                }
            }
            if let Some(fault) = &failed {
                op.answer
                    .send(Err(self.shared.interrupted(op.what, fault)))
                    .ok();
            }
        }
        self.shared.talking(false);
        failed.or(unfit).map_or(Ok(()), Err)
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
        replies.push(link.receive(until)?);
    }
    Ok(replies)
}
