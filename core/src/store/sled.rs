//! The embedded store: sled 0.34.7, used so that it survives a power cut.
//!
//! Owns the data directory's `lock`, `store/` and the files named `store.*` beside it. One tree holds
//! everything, so a step is one atomic batch; an fsync of sled's files follows every step that is
//! answered for (sled's own flush does not survive a power cut). A flush is of as many steps as sled can take without
//! (`steps`). Values are chunked and checksummed.
//!
//! Invariants: no panic of sled gets out; after a panic or a failed write or fsync every call fails until sled was
//! opened again, which it is by itself (`healing`); after damage until the next start, which then checks everything;
//! readers never see half a batch. Knows no tier above it.

use std::collections::HashSet;
use std::fs::File;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ::sled::Db;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

use self::ballast::Ballast;
pub use self::config::{Quarantined, SledConfig};
use self::disk::Engine;
use self::fault::{Fault, Outcome};
use self::healing::Health;
use self::opening::Writer;
use self::session::Session;
use self::table::{Txn, Verified};
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::fault_point;
use crate::key::Address;
use crate::message::{Author, EntryId, Message, Seq};
use crate::store::{
    Checked, Compacted, Erase, Erased, Found, Known, Page, Progress, SessionFlush, SessionFlushed,
    Store, Stored,
};
use crate::ttl::Estimate;

mod ballast;
mod check;
mod compact;
mod config;
mod disk;
mod encryption;
mod erase;
mod fault;
mod flush;
mod healing;
mod keys;
mod log;
mod opening;
mod packed;
mod read;
mod session;
mod steps;
mod table;
#[cfg(test)]
mod tests;

#[cfg(feature = "faults")]
pub(crate) use ::sled::fail::{is_active as pass_fault, set as arm_fault};
#[cfg(any(test, feature = "testing"))]
pub(crate) use session::is_row;

const TIER: &str = "sled";

/// Where the session with this printed key stands, for tests of keys.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn row_key(text: &str) -> Vec<u8> {
    keys::row(text)
}

/// How many epochs are reserved with one fsync.
const EPOCHS: u64 = 1_000;

/// The store.
#[derive(Debug)]
pub struct SledStore {
    config: SledConfig,
    codec: Codec,
    /// One forget at a time destroys keys; taken before all other locks.
    forgetting: Mutex<()>,
    /// Taken before `syncing`, which is taken before `engine`.
    writer: Mutex<Writer>,
    syncing: Mutex<Synced>,
    engine: RwLock<Option<Arc<Engine>>>,
    applied: AtomicU64,
    /// Bytes given to sled, ever, and how many of them an fsync has covered.
    given: AtomicUsize,
    kept: AtomicUsize,
    /// How often sled was opened anew; what was applied before and not synced is unknown then.
    opened: AtomicU64,
    health: Mutex<Health>,
    /// Told when an attempt to open it again has ended.
    reopened: Condvar,
    ballast: Ballast,
    verified: Verified,
    /// One compaction at a time.
    compacting: Mutex<()>,
    /// Sessions that changed since the compaction that runs has copied them.
    touched: Mutex<Option<HashSet<u64>>>,
    lock: Mutex<Option<File>>,
}

/// The last step that is durable.
#[derive(Debug, Default)]
struct Synced {
    step: u64,
    /// An fsync failed: the kernel may have dropped pages and would say yes to the next one. Until it is opened anew.
    failed: Option<ErrorKind>,
}

impl Synced {
    /// An error after an fsync that failed: who waited for it must not ask the same file again. It counts as a failure by
    /// itself: the first one is passed over when it comes while another thread is just done with opening the store again.
    fn check(&self) -> Outcome<()> {
        match self.failed {
            None => Ok(()),
            Some(kind @ ErrorKind::StorageFull) => {
                Err(Fault::Engine(::sled::Error::Io(kind.into())))
            }
            Some(kind) => Err(Fault::Sync(kind.into())),
        }
    }
}

/// A step that was applied: durable once synced.
#[derive(Debug, Clone, Copy)]
struct Applied {
    step: u64,
    opened: u64,
}

impl SledStore {
    /// Opens the store; blocks (0.5 s per million messages, more after damage).
    ///
    /// The second is told when the store that was there could not be used.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process holds the directory, [`Error::Unavailable`] when it cannot be
    /// used or the disk is full, [`Error::Config`] when it is of a newer format.
    pub fn open(config: &SledConfig) -> Result<(Self, Option<Quarantined>)> {
        disk::make_dir(&config.dir)?;
        let lock = disk::lock(&config.dir, config.wait_lock)?;
        let codec = encryption::open(config)?;
        let ballast = Ballast::new(&config.dir, config.ballast_bytes, config.floor_bytes);
        let (engine, writer, quarantined) = match opening::open(config, &codec) {
            Err(e) if disk::check_room(&config.dir).is_err() => {
                // With this it opens once; later it is made again.
                ballast.release();
                opening::open(config, &codec).map_err(|_| e)?
            }
            other => other?,
        };
        let store = Self {
            config: config.clone(),
            codec,
            forgetting: Mutex::default(),
            syncing: Mutex::new(Synced {
                step: writer.step,
                failed: None,
            }),
            applied: AtomicU64::new(writer.step),
            writer: Mutex::new(writer),
            given: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            engine: RwLock::new(Some(Arc::new(engine))),
            opened: AtomicU64::new(0),
            health: Mutex::default(),
            reopened: Condvar::new(),
            ballast,
            verified: Verified::default(),
            compacting: Mutex::default(),
            touched: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        };
        Ok((store, quarantined))
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.config.dir
    }

    /// sled, for one who holds `writer` or `syncing`, so that it is not closed meanwhile.
    fn db(&self) -> Outcome<Db> {
        let engine = self.engine.read();
        let engine = engine.as_ref().ok_or(Fault::Caller(Error::Closed))?;
        Ok(engine.db.clone())
    }

    /// Applies a step in memory; [`Self::sync`] makes it durable.
    fn apply(&self, writer: &mut Writer, mut txn: Txn<'_>) -> Outcome<Applied> {
        let mut stepped = *writer;
        stepped.step(&mut txn)?;
        // A compaction begins and ends under `writer`.
        let changed = match *self.touched.lock() {
            Some(_) => compact::changed(&txn)?,
            None => HashSet::new(),
        };
        fault_point::fault("store.apply").map_err(::sled::Error::Io)?;
        let bytes = txn.bytes();
        self.make_way(bytes)?;
        let batch = txn.into_batch().unwrap_or_default();
        let engine = self.engine.write();
        let engine = engine.as_ref().ok_or(Fault::Caller(Error::Closed))?;
        if let Some(touched) = self.touched.lock().as_mut() {
            touched.extend(changed);
        }
        engine.db.apply_batch(batch)?;
        self.given.fetch_add(bytes, Ordering::SeqCst);
        *writer = stepped;
        self.applied.store(writer.step, Ordering::SeqCst);
        Ok(Applied {
            step: writer.step,
            opened: self.opened.load(Ordering::SeqCst),
        })
    }

    fn applied(&self) -> Applied {
        Applied {
            step: self.applied.load(Ordering::SeqCst),
            opened: self.opened.load(Ordering::SeqCst),
        }
    }

    /// Makes a step durable; calls that wait for each other share one fsync.
    fn sync(&self, wanted: Applied) -> Outcome<()> {
        let mut syncing = self.syncing.lock();
        if self.opened.load(Ordering::SeqCst) != wanted.opened {
            let what = "the store was opened again meanwhile; try again";
            return Err(Fault::Caller(Error::away(TIER, what)));
        }
        if syncing.step >= wanted.step {
            return Ok(());
        }
        syncing.check()?;
        let step = self.applied.load(Ordering::SeqCst);
        let given = self.given.load(Ordering::SeqCst);
        // Not under the engine's lock, so that others read and apply during the fsync; whoever closes sled
        // takes `syncing` first.
        let engine = self.engine.read().clone();
        let engine = engine.ok_or(Fault::Caller(Error::Closed))?;
        syncing.failed = Some(ErrorKind::Other);
        if let Err(fault) = engine.sync(step) {
            if matches!(fault, Fault::Engine(_)) && fault.is_full() {
                // sled had no room; no page is lost by that.
                syncing.failed = Some(ErrorKind::StorageFull);
            }
            return Err(fault);
        }
        syncing.failed = None;
        syncing.step = step;
        self.kept.store(given, Ordering::SeqCst);
        self.ballast.restore();
        Ok(())
    }

    /// The next epoch above `floor`. What must be reserved for it is in `txn`; the second says whether.
    fn epoch(writer: &mut Writer, txn: &mut Txn<'_>, floor: u64) -> Outcome<(u64, Option<u64>)> {
        let epoch = writer.next_epoch.max(floor.saturating_add(1));
        let Some(ceiling) = epoch.checked_add(EPOCHS) else {
            let why = format!("no epoch is left above {floor}");
            return Err(Fault::Caller(Error::Invalid(why)));
        };
        writer.next_epoch = epoch + 1;
        if epoch < writer.ceiling {
            return Ok((epoch, None));
        }
        opening::put_number(txn, "epoch", ceiling)?;
        Ok((epoch, Some(ceiling)))
    }

    /// Applies a step that took an epoch; one that had to reserve more is durable before anyone goes on.
    fn apply_reserving(
        &self,
        mut writer: MutexGuard<'_, Writer>,
        txn: Txn<'_>,
        reserved: Option<u64>,
    ) -> Outcome<Applied> {
        let applied = self.apply(&mut writer, txn)?;
        if let Some(ceiling) = reserved {
            self.sync(applied)?;
            writer.ceiling = ceiling;
        }
        Ok(applied)
    }
}

impl Store for SledStore {
    fn name(&self) -> &'static str {
        TIER
    }

    fn codec(&self) -> Codec {
        self.codec.clone()
    }

    fn allot(&self, session: &Address, above: u64) -> Result<u64> {
        self.run(|| {
            let mut writer = self.writer.lock();
            let db = self.db()?;
            let mut txn = Txn::new(&db, &self.verified, &self.codec);
            let mut found = Session::find_or_make(&mut txn, session, &mut writer.next_sid)?;
            let floor = above.max(found.row.epoch);
            let (epoch, reserved) = Self::epoch(&mut writer, found.txn, floor)?;
            found.row.epoch = epoch;
            found.save()?;
            self.apply_reserving(writer, txn, reserved)?;
            Ok(epoch)
        })
    }

    fn window(&self, session: &Address) -> Result<Option<Stored>> {
        self.read(|txn| read::window(txn, session))
    }

    fn estimate(&self, session: &Address) -> Result<Option<Estimate>> {
        self.read(|txn| read::estimate(txn, session))
    }

    fn keep_learned(&self, name: &str, learned: &[u8]) -> Result<()> {
        self.run(|| {
            let mut writer = self.writer.lock();
            let db = self.db()?;
            let mut txn = Txn::new(&db, &self.verified, &self.codec);
            txn.put(keys::learned(name), Bytes::copy_from_slice(learned))?;
            let applied = self.apply(&mut writer, txn)?;
            drop(db);
            drop(writer);
            self.sync(applied)
        })
    }

    fn learned(&self, name: &str) -> Result<Option<Bytes>> {
        self.read(|txn| txn.get(keys::learned(name)))
    }

    fn known(&self, session: &Address, ids: &[EntryId]) -> Result<Known> {
        let look = || self.read(|txn| Ok((read::known(txn, session, ids)?, self.applied())));
        // Whoever is told that an entry is stored may let go of it.
        let keep = |known: &Known, applied| match known.numbers.iter().any(Option::is_some) {
            true => self.run(|| self.sync(applied)),
            false => Ok(()),
        };
        let (known, applied) = look()?;
        match keep(&known, applied) {
            Ok(()) => Ok(known),
            // Opened again meanwhile: what was read may be gone.
            Err(_) if self.opened.load(Ordering::SeqCst) != applied.opened => {
                let (known, applied) = look()?;
                keep(&known, applied).map(|()| known)
            }
            Err(e) => Err(e),
        }
    }

    fn find(&self, session: &Address, platform_ids: &[&str]) -> Result<Vec<Option<Found>>> {
        self.read(|txn| read::find(txn, session, platform_ids))
    }

    fn flush(&self, batch: &[SessionFlush]) -> Result<Vec<SessionFlushed>> {
        self.run(|| {
            let mut flushed = vec![SessionFlushed::default(); batch.len()];
            let mut pieces = steps::pieces(&self.codec, batch)?.into_iter().peekable();
            while pieces.peek().is_some() {
                // Damage that another call has met meanwhile is noticed: what the next start moves aside is not durable.
                self.usable().map_err(Fault::Caller)?;
                self.flush_step(&mut pieces, &mut flushed)?;
            }
            Ok(flushed)
        })
    }

    fn history(&self, session: &Address, page: Page) -> Result<Vec<(Seq, Message)>> {
        self.read(|txn| read::history(txn, session, page))
    }

    fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<Address>> {
        self.read(|txn| read::sessions(txn, after, limit))
    }

    fn sessions_of(&self, author: &Author) -> Result<Vec<Address>> {
        self.read(|txn| {
            let mut sessions = read::sessions_of(txn, author)?;
            sessions.extend(encryption::unfinished_of(txn, author)?);
            sessions.sort();
            sessions.dedup();
            Ok(sessions)
        })
    }

    fn erase(&self, session: &Address, what: &Erase) -> Result<Erased> {
        self.erase_from(session, what)
    }

    fn check(&self) -> Result<Checked> {
        let mut checked = self.read(|txn| check::run(txn.tree, txn.codec))?;
        checked
            .violations
            .extend(disk::quarantined(&self.config.dir));
        Ok(checked)
    }

    fn compact(&self, progress: &dyn Fn(Progress)) -> Result<Compacted> {
        self.compact_store(progress)
    }

    fn is_wasteful(&self) -> bool {
        let live = self.writer.lock().live;
        live.is_some_and(|live| compact::is_wasteful(&self.config.dir, live))
    }

    fn close(&self) -> Result<()> {
        let closed = self.run(|| self.sync(self.applied()));
        let dropped = {
            let _writer = self.writer.lock();
            let _syncing = self.syncing.lock();
            let engine = self.engine.write().take();
            catch_unwind(AssertUnwindSafe(|| drop(engine)))
        };
        // One that runs notices, and takes its files away while the directory is still ours.
        drop(self.compacting.lock());
        drop(self.lock.lock().take());
        match (closed, dropped) {
            (Err(Error::Closed), _) | (Ok(()), Ok(())) => Ok(()),
            (Err(e), _) => Err(e),
            (_, Err(panic)) => Err(self.poison(opening::words(&*panic))),
        }
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        // The lock goes last, and sled's own panics stay here.
        let engine = self.engine.get_mut().take();
        if catch_unwind(AssertUnwindSafe(|| drop(engine))).is_err() {
            disk::suspect(&self.config.dir);
        }
    }
}
