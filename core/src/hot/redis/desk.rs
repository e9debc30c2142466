//! The desk: who talks to the server. One at a time: the lane's thread, or a caller while nobody else waits.
//!
//! A caller that sends its own operation and reads the reply itself saves two wake-ups, which take longer than Redis does.
//! It does so without waiting in the sense of async: it cannot be cancelled in the middle of a reply. Invariants: it keeps the
//! thread it runs on for no longer than [`PATIENCE`], and leaves a reply that has not come by then to the lane's thread,
//! with what has come of it; an operation is answered at most once and only with its own replies.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use r2d2::PooledConnection;
use tokio::sync::oneshot;

use super::commands::{Packed, Reply};
use super::connection::{Fault, Link, Watched};
use super::lane::{Answer, Shared};
use crate::error::Result;

/// How long a caller keeps its thread: twice a round trip in a quick network, ten times one on the same machine, and not
/// noticed by others on that thread.
const PATIENCE: Duration = Duration::from_micros(250);

/// The largest operation that a caller sends itself, with its replies: far below what a socket takes at once.
const SMALL: usize = 16 << 10;

/// After a late reply so many operations go to the thread; after the next twice as many, up to the second.
const DOUBT: u32 = 4;
const DOUBT_MAX: u32 = 256;

/// An operation that was sent, and whose replies have not all come.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) what: &'static str,
    pub(super) expected: usize,
    pub(super) got: Vec<Reply>,
    pub(super) answer: oneshot::Sender<Result<Answer>>,
}

/// What whoever talks to the server needs; whoever holds it has it to himself.
#[derive(Default)]
pub(super) struct Desk {
    /// Of the present generation; `None` without a connection.
    pub(super) link: Option<PooledConnection<Watched>>,
    /// The thread reads its replies before it sends anything.
    pub(super) left: Option<Left>,
    /// A caller found the connection unfit: the thread is to give it up.
    pub(super) fault: Option<Fault>,
    /// When the connection was last known to answer.
    pub(super) used: Option<Instant>,
    doubt: u32,
    skip: u32,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("connected", &self.link.is_some())
            .finish_non_exhaustive()
    }
}

/// What became of an attempt of a caller.
pub(super) enum Tried {
    Answered(Result<Answer>),
    /// It was sent; the thread reads the rest.
    Later(oneshot::Receiver<Result<Answer>>),
    /// Not sent.
    Busy(Packed),
}

impl Shared {
    /// Sends an operation and reads its replies on the caller's own thread, if nobody else is at the desk. The second is
    /// true when the lane's thread has something to do at the desk.
    pub(super) fn attempt(
        &self,
        what: &'static str,
        packed: Packed,
        believed: Option<u64>,
    ) -> (Tried, bool) {
        let Some(mut desk) = self.desk.try_lock().filter(|_| packed.weight() <= SMALL) else {
            return (Tried::Busy(packed), false);
        };
        let desk = &mut *desk;
        if !desk.is_free() {
            return (Tried::Busy(packed), false);
        }
        if believed.is_some_and(|b| b != self.generation.load(Ordering::SeqCst)) {
            return (Tried::Answered(Ok(Answer::Suspect)), false);
        }
        let Some(mut link) = desk.link.take() else {
            return (Tried::Busy(packed), false);
        };
        let began = Instant::now();
        let mut got = Vec::with_capacity(packed.replies);
        // Off the desk meanwhile, and of no use to anybody should this not come to its end.
        link.broken = true;
        let failed = exchange(&mut link, &packed, began + PATIENCE, &mut got).err();
        link.broken = false;
        desk.link = Some(link);
        match failed {
            None => {
                desk.used = Some(began);
                desk.doubt = 0;
                desk.fault = got.iter().find_map(Fault::unfit);
                (
                    Tried::Answered(Ok(Answer::Replies(got))),
                    desk.fault.is_some(),
                )
            }
            Some(fault) if fault.timeout => {
                let (answer, later) = oneshot::channel();
                let expected = packed.replies;
                desk.left = Some(Left {
                    what,
                    expected,
                    got,
                    answer,
                });
                desk.doubt = (desk.doubt * 2).clamp(DOUBT, DOUBT_MAX);
                desk.skip = desk.doubt;
                (Tried::Later(later), true)
            }
            Some(fault) => {
                let error = self.interrupted(what, &fault);
                desk.fault = Some(fault);
                (Tried::Answered(Err(error)), true)
            }
        }
    }
}

fn exchange(
    link: &mut Link,
    packed: &Packed,
    until: Instant,
    got: &mut Vec<Reply>,
) -> Result<(), Fault> {
    link.send(&packed.bytes)?;
    while got.len() < packed.replies {
        // A reply that has come already is read without a look at the clock: there may be many.
        if !got.is_empty() && Instant::now() > until {
            return Err(Fault::timeout("an operation"));
        }
        got.push(link.receive(until)?);
    }
    Ok(())
}

impl Desk {
    /// Gives the connection up, with what was under way on it.
    pub(super) fn clear(&mut self) {
        if let Some(link) = &mut self.link {
            link.broken = true;
        }
        *self = Self::default();
    }

    /// True when a caller may send its operation itself.
    fn is_free(&mut self) -> bool {
        let punctual = self.link.as_ref().is_some_and(|link| link.is_punctual());
        if self.left.is_some() || self.fault.is_some() || !punctual {
            return false;
        }
        let free = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        free
    }
}
