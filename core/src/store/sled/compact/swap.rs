//! The renames that put a compacted store in the place of the old one.
//!
//! ```text
//! DIR/store.compacting/   the copy, until it is whole and fsynced; then it becomes DIR/store/
//! DIR/store.old/          the store from before, from the first rename until it is removed
//! ```
//! Invariant: at any point one of `store/` and `store.old/` is whole and holds all that was answered for.
//! Without `store/` it is `store.old/`; with both it is `store/`. [`settle`] runs before anything is opened,
//! so that nothing else is ever made in a place that is empty for a moment.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::disk;
use crate::error::Result;
use crate::fault_point::fault;

/// Why there was no swap.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: io::Error,
    /// The old store is in its place; otherwise only the next start can tell which one is.
    pub(super) undone: bool,
}

pub(super) fn fresh_dir(dir: &Path) -> PathBuf {
    dir.join("store.compacting")
}

pub(super) fn old_dir(dir: &Path) -> PathBuf {
    dir.join("store.old")
}

/// Finishes, or undoes, what a compaction was doing when its process died.
pub(in super::super) fn settle(dir: &Path) -> Result<()> {
    let settled = || {
        let (store, old) = (disk::store_dir(dir), old_dir(dir));
        if old.try_exists()? && !store.try_exists()? {
            fault("compact.settle_rename")?;
            fs::rename(&old, &store)?;
            fault("compact.settle_fsync")?;
            sync(dir)?;
        }
        fault("compact.settle_remove")?;
        remove(&old)?;
        remove(&fresh_dir(dir))
    };
    settled().map_err(|e| disk::unusable(dir, e))
}

/// Removes a directory with all in it, if it is there.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Puts the copy, which is whole and fsynced, in the store's place.
pub(super) fn swap(dir: &Path) -> Result<(), Failed> {
    let (store, old, fresh) = (disk::store_dir(dir), old_dir(dir), fresh_dir(dir));
    let away = fault("compact.rename_old").and_then(|()| fs::rename(&store, &old));
    away.map_err(|error| Failed {
        error,
        undone: true,
    })?;
    // Not on every file system do two renames reach the disk in order.
    let into = fault("compact.fsync_between")
        .and_then(|()| sync(dir))
        .and_then(|()| fault("compact.rename_new"))
        .and_then(|()| fs::rename(&fresh, &store));
    into.map_err(|error| {
        // Whichever name reaches the disk, `settle` takes the old store: the new one has none it would take.
        let undone = fs::rename(&old, &store).is_ok();
        Failed { error, undone }
    })?;
    let on_disk = fault("compact.fsync_parent").and_then(|()| sync(dir));
    // A power cut may now find either: nothing more may be written to one of them alone.
    on_disk.map_err(|error| Failed {
        error,
        undone: false,
    })
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
