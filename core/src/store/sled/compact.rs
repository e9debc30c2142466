//! Compaction: sled never gives space back, so what is live is copied to a fresh sled, which takes its place.
//!
//! Calls go on meanwhile. Sessions are copied one by one without a lock; the steps applied note which sessions
//! they change, and these are copied again until few are left. The rest, the fsync and the swap are under
//! `writer` → `syncing` → `engine`. sled looks at its directory's name only while it opens, so the fresh one
//! goes on under the name it is given, and nothing is opened anew.
//!
//! Invariants: until the swap is on the disk the old store is whole, in use and untouched; a session counts as
//! copied only if no step changed it from before it was read. What is dropped: see `copy`.

use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use self::copy::Copied;
use super::disk::{self, Engine, Failed};
use super::fault::{Fault, Outcome};
use super::session::Row;
use super::table::Txn;
use super::{SledStore, TIER, keys, opening};
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::fault_point::fault;
use crate::store::{Compacted, Progress};

mod copy;
mod swap;

pub(super) use swap::settle;

/// Sessions that may be left for the last pass, under the locks: some milliseconds each at most.
const FEW: usize = 8;

/// After so many passes over what changed meanwhile the rest is copied under the locks, however much it is.
const PASSES: usize = 20;

/// A compaction is worth its work from this waste on, in bytes …
const WASTE: u64 = 64 << 20;

/// … and when the files are this many times what is live: sled's own overhead, measured, is 1.7 to 3.4.
const BLOAT: u64 = 4;

/// True when the files hold much more than the `live` bytes.
pub(super) fn is_wasteful(dir: &Path, live: u64) -> bool {
    let taken = disk::bytes_below(&disk::store_dir(dir));
    taken > live.saturating_mul(BLOAT) && taken - live > WASTE
}

/// The sessions that a step changes.
pub(super) fn changed(txn: &Txn<'_>) -> Outcome<HashSet<u64>> {
    let mut sids = HashSet::new();
    for (key, value) in txn.dirty() {
        let sid = match (key.first(), value) {
            (Some(&keys::META), _) => None,
            (Some(&keys::ROW), row) => row.map(|r| Row::read(None, r)).transpose()?.map(|r| r.sid),
            (Some(&keys::AUTHOR), _) => keys::number_at(key, 17),
            _ => keys::number_at(key, 1),
        };
        sids.extend(sid);
    }
    Ok(sids)
}

impl SledStore {
    /// Copies what is live to a fresh sled and goes on with that.
    pub(super) fn compact_store(&self, progress: &dyn Fn(Progress)) -> Result<Compacted> {
        self.usable()?;
        let Some(_one) = self.compacting.try_lock() else {
            let what = "a compaction is running; try again when it has ended";
            return Err(Error::away(TIER, what));
        };
        let done = catch_unwind(AssertUnwindSafe(|| self.compacted(progress)));
        *self.touched.lock() = None;
        let fault = match done {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(fault)) => fault,
            Err(panic) => Fault::Caller(Error::away(TIER, opening::words(&*panic))),
        };
        if let Err(error) = swap::remove(&swap::fresh_dir(&self.config.dir)) {
            tracing::warn!(%error, "an unfinished compaction's files go at the next start");
        }
        Err(gave_up(fault))
    }

    fn compacted(&self, progress: &dyn Fn(Progress)) -> Outcome<Compacted> {
        let dir = &self.config.dir;
        swap::remove(&swap::fresh_dir(dir)).map_err(Fault::Sync)?;
        swap::remove(&swap::old_dir(dir)).map_err(Fault::Sync)?;
        let bytes_before = disk::bytes_below(&disk::store_dir(dir));
        let (opened, live) = {
            let writer = self.writer.lock();
            *self.touched.lock() = Some(HashSet::new());
            (self.opened.load(Ordering::SeqCst), writer.live)
        };
        let most = live.map_or(bytes_before, |l| (l / 2 * 5).min(bytes_before));
        disk::check_free(dir, most).map_err(Fault::Caller)?;
        fault("compact.create").map_err(Fault::Sync)?;
        let fresh = Engine::open_at(&self.config, &swap::fresh_dir(dir)).map_err(refused)?;
        let mut copied = Copied::new(fresh.db.clone(), self.codec.clone(), &self.config);
        let engine = self.still(opened, self.engine.read().as_ref())?;
        let sids = copy::sessions(&engine.db)?;
        drop(engine);
        let total = sids.len() as u64;
        progress(Progress { done: 0, total });
        for (sid, done) in sids.into_iter().zip(1..) {
            self.copy_one(opened, &mut copied, sid)?;
            progress(Progress { done, total });
        }
        for _ in 0..PASSES {
            copied.write_out()?;
            // All but the last bytes, so that the fsync under the locks is short.
            sync(&fresh, &self.codec)?;
            let again = self.touched.lock().clone().unwrap_or_default();
            if again.len() <= FEW {
                break;
            }
            for sid in again {
                self.copy_one(opened, &mut copied, sid)?;
            }
        }
        let mut done = self.take_over(opened, copied, fresh)?;
        done.bytes_before = bytes_before;
        done.bytes_after = disk::bytes_below(&disk::store_dir(dir));
        Ok(done)
    }

    /// sled, if it is still the one from which was copied so far.
    fn still(&self, opened: u64, engine: Option<&Arc<Engine>>) -> Outcome<Arc<Engine>> {
        let engine = engine.ok_or(Fault::Caller(Error::Closed))?;
        if !self.health.lock().is_fine() || self.opened.load(Ordering::SeqCst) != opened {
            let what = "it failed, or was opened anew; try again";
            return Err(Fault::Caller(Error::away(TIER, what)));
        }
        Ok(Arc::clone(engine))
    }

    /// Copies a session; one that changed meanwhile stays among those to be copied.
    fn copy_one(&self, opened: u64, copied: &mut Copied, sid: u64) -> Outcome<()> {
        let engine = {
            // While this is held no step is half applied.
            let engine = self.engine.read();
            if let Some(touched) = self.touched.lock().as_mut() {
                touched.remove(&sid);
            }
            self.still(opened, engine.as_ref())?
        };
        let done = copied.session(&engine.db, sid);
        let moved = self
            .touched
            .lock()
            .as_ref()
            .is_some_and(|t| t.contains(&sid));
        // What is read from a session while it changes may look like damage.
        if moved { Ok(()) } else { done }
    }

    /// The end, in which writers wait: what is left to copy, the fsync, the swap.
    fn take_over(&self, opened: u64, mut copied: Copied, fresh: Engine) -> Outcome<Compacted> {
        let began = Instant::now();
        let mut writer = self.writer.lock();
        let mut syncing = self.syncing.lock();
        syncing.check()?;
        let old = self.still(opened, self.engine.read().as_ref())?;
        let left = self.touched.lock().take().unwrap_or_default();
        for sid in left {
            copied.session(&old.db, sid)?;
        }
        let counters = copied.counters(&old.db, *writer)?;
        sync(&fresh, &self.codec)?;
        let mut engine = self.engine.write();
        if let Err(failed) = swap::swap(&self.config.dir) {
            return Err(if failed.undone {
                drop((engine, syncing, writer));
                Fault::Sync(failed.error)
            } else {
                // Before the guards go: who waits for them would write to what the next start may remove.
                *engine = None;
                Fault::Caller(self.poison(failed.error.to_string()))
            });
        }
        // It is of today's format now.
        fresh.note(counters.step);
        *engine = Some(Arc::new(fresh));
        *writer = counters;
        syncing.step = counters.step;
        self.verified.lock().clear();
        drop((engine, syncing, writer));
        let stall = began.elapsed();
        drop(old);
        // The next start finishes it, should it fail.
        let removed =
            fault("compact.remove").and_then(|()| swap::remove(&swap::old_dir(&self.config.dir)));
        if let Err(error) = removed {
            tracing::warn!(%error, "cannot remove the store from before the compaction; the next start does");
        }
        Ok(Compacted {
            live_bytes: copied.live,
            rows_copied: copied.rows,
            rows_dropped: copied.dropped(),
            stall_ms: u64::try_from(stall.as_millis()).unwrap_or(u64::MAX),
            ..Compacted::default()
        })
    }
}

/// Makes the copy durable, as [`Engine::sync`] does, without a mark: it is not the store yet.
fn sync(fresh: &Engine, codec: &Codec) -> Outcome<()> {
    let io = |point: &'static str, file: &std::fs::File| {
        fault(point)
            .and_then(|()| file.sync_all())
            .map_err(Fault::Sync)
    };
    fault("compact.flush").map_err(Fault::Sync)?;
    fresh.db.flush()?;
    codec.sync().map_err(Fault::Sync)?;
    io("compact.fsync_file", &fresh.file)?;
    io("compact.fsync_dir", &fresh.dir)
}

fn refused(failed: Failed) -> Fault {
    match failed {
        Failed::Refused(e) => Fault::Caller(e),
        Failed::Damaged(why) => Fault::Caller(Error::away(TIER, why)),
    }
}

/// What a compaction that failed says.
fn gave_up(fault: Fault) -> Error {
    let what = if fault.is_full() {
        "no disk space for the compaction; the store is as it was: free some space and try again"
            .to_owned()
    } else {
        format!(
            "the compaction failed and the store is as it was: {}",
            fault.words()
        )
    };
    match fault {
        Fault::Caller(e) => e,
        Fault::Engine(e) => Error::unavailable(TIER, what, e),
        Fault::Damage(e) => Error::unavailable(TIER, what, e),
        Fault::Sync(e) => Error::unavailable(TIER, what, e),
    }
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        Self::Sync(e)
    }
}

#[cfg(test)]
mod tests;
