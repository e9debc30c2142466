//! What becomes of a store whose disk failed: it is opened again by itself; one that is damaged is not used again.
//!
//! Invariants: after a failed write or fsync nothing that sled holds in memory is trusted, and no page that the kernel
//! may have dropped: the files are written anew before they are opened ([`disk::rewrite`]). What was not durable by
//! then is still in the journal. One caller opens, the others are told so at once. Knows no keys.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::fault::{Fault, Outcome};
use super::table::Txn;
use super::{SledStore, TIER, disk, opening};
use crate::error::{Error, Result};

/// The pauses between two attempts to open it again, from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long a read waits for somebody who opens the store again: a call may make three, and fails within a second.
const REOPENING: Duration = Duration::from_millis(300);

/// How the store is.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: State,
    /// When it may be opened again.
    next: Option<Instant>,
    pause: Duration,
}

#[derive(Debug, Clone, Default)]
enum State {
    #[default]
    Fine,
    /// The disk was full; what sled had made durable is sound.
    Full,
    /// A write, an fsync or sled itself failed; whether everything must be read before it is used again.
    Failed { why: String, check: bool },
    /// Somebody opens it.
    Opening,
    /// Something in it cannot be read: the next start checks everything and moves it aside.
    Damaged(String),
}

impl SledStore {
    /// Runs one call: no panic gets out, and a store that cannot be trusted any more is not used again.
    pub(super) fn run<T>(&self, op: impl FnOnce() -> Outcome<T>) -> Result<T> {
        self.usable()?;
        self.guarded(op)
    }

    /// Runs one call that changes nothing; a full disk does not keep it from reading.
    pub(super) fn read<T>(&self, op: impl FnOnce(&mut Txn<'_>) -> Outcome<T>) -> Result<T> {
        let is_full = {
            let mut health = self.health.lock();
            let opening = |health: &mut Health| matches!(health.state, State::Opening);
            // Not for longer than a caller waits; who writes is told at once, and tries again by itself.
            self.reopened
                .wait_while_for(&mut health, opening, REOPENING);
            matches!(health.state, State::Full)
        };
        if !(is_full && self.engine.read().is_some()) {
            self.usable()?;
        }
        self.guarded(|| {
            let engine = self.engine.read();
            let engine = engine.as_ref().ok_or(Fault::Caller(Error::Closed))?;
            op(&mut Txn::new(&engine.db, &self.verified, &self.codec))
        })
    }

    fn guarded<T>(&self, op: impl FnOnce() -> Outcome<T>) -> Result<T> {
        match catch_unwind(AssertUnwindSafe(op)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(fault)) => Err(self.failed(fault)),
            Err(panic) => {
                if disk::check_room(&self.config.dir).is_err() {
                    return Err(self.full());
                }
                Err(self.fell(opening::words(&*panic), true))
            }
        }
    }

    /// An error when it cannot be used now.
    pub(super) fn usable(&self) -> Result<()> {
        let was = {
            let mut health = self.health.lock();
            match &health.state {
                State::Fine => return Ok(()),
                State::Damaged(why) => return Err(damaged(why)),
                State::Opening => return Err(failing("it is being opened again")),
                State::Full if disk::check_room(&self.config.dir).is_err() => {
                    self.ballast.release();
                    return Err(disk::no_room(&self.config.dir));
                }
                State::Failed { why, .. } if health.next.is_some_and(|n| Instant::now() < n) => {
                    return Err(failing(why));
                }
                State::Full | State::Failed { .. } => {}
            }
            std::mem::replace(&mut health.state, State::Opening)
        };
        let opened = self.reopen(&was);
        self.opened_with(was, opened)
    }

    fn failed(&self, fault: Fault) -> Error {
        match fault {
            Fault::Caller(e) => e,
            Fault::Engine(_) if fault.is_full() => self.full(),
            Fault::Damage(e) => {
                self.poison(e.to_string());
                e
            }
            Fault::Engine(::sled::Error::Corruption { .. }) => self.poison(fault.words()),
            other => {
                // What the system reports is the disk's fault; what sled makes of its files may be damage.
                let is_disk = match &other {
                    Fault::Sync(_) => true,
                    Fault::Engine(::sled::Error::Io(e)) => e.raw_os_error().is_some(),
                    _ => false,
                };
                self.fell(other.words(), !is_disk)
            }
        }
    }

    fn full(&self) -> Error {
        self.ballast.release();
        let mut health = self.health.lock();
        if matches!(health.state, State::Fine) {
            health.state = State::Full;
        }
        disk::no_room(&self.config.dir)
    }

    /// It failed, and will be opened again.
    fn fell(&self, why: String, check: bool) -> Error {
        disk::suspect(&self.config.dir);
        let error = failing(&why);
        let mut health = self.health.lock();
        if matches!(health.state, State::Fine | State::Full) {
            tracing::error!(%why, "the store failed; opening it again");
            health.state = State::Failed { why, check };
            health.wait();
        }
        error
    }

    /// It is damaged: not used again by this process.
    pub(super) fn poison(&self, why: String) -> Error {
        disk::suspect(&self.config.dir);
        tracing::error!(%why, "the store cannot be used until the program is started again");
        let error = damaged(&why);
        self.health.lock().state = State::Damaged(why);
        error
    }

    /// Opens sled anew: its errors last, but what it had made durable is sound.
    fn reopen(&self, was: &State) -> Result<(), disk::Failed> {
        let mut writer = self.writer.lock();
        let mut syncing = self.syncing.lock();
        let mut engine = self.engine.write();
        if self.lock.lock().is_none() {
            return Err(disk::Failed::Refused(Error::Closed));
        }
        if catch_unwind(AssertUnwindSafe(|| drop(engine.take()))).is_err() {
            tracing::warn!("sled panicked while it was closed");
        }
        self.opened.fetch_add(1, Ordering::SeqCst);
        let (rewrite, check) = match was {
            State::Failed { check, .. } => (true, *check),
            _ => (false, false),
        };
        if rewrite {
            disk::rewrite(&self.config.dir).map_err(disk::Failed::Refused)?;
        }
        let (fresh, counters) =
            opening::attempt(&self.config, &self.codec, check, writer.next_epoch)?;
        (syncing.step, syncing.failed) = (counters.step, None);
        self.applied.store(counters.step, Ordering::SeqCst);
        *writer = counters;
        self.verified.lock().clear();
        *engine = Some(Arc::new(fresh));
        if rewrite {
            disk::trusted(&self.config.dir).map_err(disk::Failed::Refused)?;
        }
        Ok(())
    }

    fn opened_with(&self, was: State, opened: Result<(), disk::Failed>) -> Result<()> {
        let result = self.noted(was, opened);
        self.reopened.notify_all();
        result
    }

    fn noted(&self, was: State, opened: Result<(), disk::Failed>) -> Result<()> {
        match opened {
            Ok(()) => {
                tracing::info!("the store is open again");
                *self.health.lock() = Health::default();
                Ok(())
            }
            Err(disk::Failed::Refused(error)) => {
                tracing::warn!(%error, "the store could not be opened again; will retry");
                let mut health = self.health.lock();
                health.state = was;
                health.wait();
                Err(error)
            }
            Err(disk::Failed::Damaged(why)) => Err(self.poison(why)),
        }
    }
}

impl Health {
    /// True when nothing failed since it was opened.
    pub(super) const fn is_fine(&self) -> bool {
        matches!(self.state, State::Fine)
    }

    /// Puts off the next attempt, each time for longer.
    fn wait(&mut self) {
        self.next = Instant::now().checked_add(self.pause);
        self.pause = (self.pause * 2).clamp(PAUSES.0, PAUSES.1);
    }
}

fn failing(why: &str) -> Error {
    Error::away(
        TIER,
        format!(
            "the store failed ({why}); it is opened again by itself; check the disk if it lasts"
        ),
    )
}

fn damaged(why: &str) -> Error {
    Error::away(
        TIER,
        format!(
            "the store failed ({why}); restart the program: it checks the store and, if it is damaged, moves it aside \
             and goes on"
        ),
    )
}
