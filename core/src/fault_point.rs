//! Where tests make an operation on a file fail, and the faults that they plant to test themselves.
//!
//! Invariant: without the feature `faults` nothing of this is compiled in. Knows no file.
#![cfg_attr(
    not(feature = "faults"),
    expect(
        dead_code,
        unreachable_pub,
        reason = "only the feature shows what can be planted, and plants it"
    )
)]

/// A mistake planted on purpose, so that the fault campaign can show that it would find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A flush of the store trusts sled's own.
    PlainSledFlush,
    /// An append is acknowledged before the journal is written.
    AcknowledgeBeforeJournal,
    /// An append is acknowledged when Redis has it: the journal is never written.
    RedisOnlyAcknowledge,
    /// The journal's fsync is left out.
    SkippedFsync,
    /// A message that was seen before is taken in again.
    NoDuplicateCheck,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::PlainSledFlush,
        Self::AcknowledgeBeforeJournal,
        Self::RedisOnlyAcknowledge,
        Self::SkippedFsync,
        Self::NoDuplicateCheck,
    ];

    /// The name under which it is planted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PlainSledFlush => "plain-sled-flush",
            Self::AcknowledgeBeforeJournal => "acknowledge-before-journal",
            Self::RedisOnlyAcknowledge => "redis-only-acknowledge",
            Self::SkippedFsync => "skipped-fsync",
            Self::NoDuplicateCheck => "no-duplicate-check",
        }
    }
}

/// Every point of this crate at which an operation can be made to fail.
#[cfg(feature = "faults")]
pub const POINTS: &[&str] = &[
    "keys.create",
    "keys.write",
    "keys.sync",
    "keys.rename",
    "keys.dir-sync",
    "journal.dir",
    "journal.read",
    "journal.keep",
    "journal.create",
    "journal.write",
    "journal.truncate",
    "journal.sync",
    "journal.dir-sync",
    "journal.remove",
    "writer.create",
    "writer.write",
    "writer.sync",
    "writer.rename",
    "writer.dir-sync",
    "store.dir",
    "store.lock",
    "store.clean",
    "store.open-sync",
    "store.open-mark",
    "store.apply",
    "store.flush",
    "store.file-sync",
    "store.dir-sync",
    "store.mark",
    "store.suspect",
    "store.trust",
    "store.rewrite",
    "store.rewrite-sync",
    "store.rewrite-rename",
    "store.rewrite-dir-sync",
    "store.quarantine",
    "store.unmark",
    "ballast.create",
    "ballast.write",
    "ballast.remove",
];

#[cfg(feature = "faults")]
mod armed {
    use std::collections::BTreeSet;
    use std::io::{Error, ErrorKind, Result};
    use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

    use parking_lot::Mutex;

    use super::Plant;

    static FAILED: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    static PLANTED: AtomicU8 = AtomicU8::new(0);

    const fn bit(plant: Plant) -> u8 {
        1 << plant as u8
    }

    /// Plants a fault in this process, for good.
    pub fn plant(plant: Plant) {
        PLANTED.fetch_or(bit(plant), SeqCst);
    }

    pub(crate) fn planted(plant: Plant) -> bool {
        PLANTED.load(SeqCst) & bit(plant) != 0
    }

    /// Fails when the point was told to: `return` (or `return(eio)`) for an I/O error, `return(enospc)` for a full
    /// disk, `return(abort)` to die on the spot as of kill -9.
    pub(crate) fn fault(point: &'static str) -> Result<()> {
        fail::fail_point!(point, |kind| {
            FAILED.lock().insert(point);
            Err(match kind.as_deref() {
                Some("abort") => std::process::abort(),
                Some("enospc" | "full") => Error::from(ErrorKind::StorageFull),
                _ => Error::other("injected at a fault point"),
            })
        });
        Ok(())
    }

    /// The points at which something has failed in this process.
    #[must_use]
    pub fn failed() -> Vec<&'static str> {
        FAILED.lock().iter().copied().collect()
    }
}

#[cfg(not(feature = "faults"))]
mod armed {
    use super::Plant;

    pub(crate) const fn planted(_: Plant) -> bool {
        false
    }

    #[expect(clippy::unnecessary_wraps, reason = "it can fail with the feature")]
    pub(crate) const fn fault(_: &'static str) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "faults")]
pub use armed::{failed, plant};
pub(crate) use armed::{fault, planted};
