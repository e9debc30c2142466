//! A file that only takes up room, to be given up when the disk is full: what was accepted can then still be made durable,
//! and sled be opened again, which it cannot without room.
//!
//! Invariant: it is made only where enough stays free beside it, and never fails a call. Knows no store.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::fault_point::fault;

/// How often it is looked at whether it can be made.
const EVERY: Duration = Duration::from_secs(1);

/// The file `ballast` in a data directory.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
    /// What stays free beside it.
    floor_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    there: bool,
    /// When to look next.
    next: Option<Instant>,
}

impl Ballast {
    /// Takes over the file that is there; makes none yet. No bytes for none ever.
    pub(super) fn new(dir: &Path, bytes: u64, floor_bytes: u64) -> Self {
        let path = dir.join("ballast");
        let there = fs::metadata(&path).is_ok();
        Self {
            path,
            bytes,
            floor_bytes,
            state: Mutex::new(State {
                there,
                // Not at once: what lives for a moment needs none.
                next: Instant::now().checked_add(EVERY),
            }),
        }
    }

    /// Gives the room up.
    pub(super) fn release(&self) {
        let mut state = self.state.lock();
        if !state.there {
            return;
        }
        match fault("ballast.remove").and_then(|()| fs::remove_file(&self.path)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(error = %e, "cannot give up the ballast");
            }
            _ => {
                tracing::warn!(bytes = self.bytes, "the disk is full: gave up the ballast");
                state.there = false;
            }
        }
        state.next = Instant::now().checked_add(EVERY);
    }

    /// Makes it when it is not there and there is room, looked for now and then.
    pub(super) fn restore(&self) {
        let mut state = self.state.lock();
        let is_due = state.next.is_none_or(|next| Instant::now() >= next);
        if state.there || self.bytes == 0 || !is_due {
            return;
        }
        state.next = Instant::now().checked_add(EVERY);
        // Twice: not given up and made again by turns.
        let needed = self
            .bytes
            .saturating_mul(2)
            .saturating_add(self.floor_bytes);
        if self.path.parent().is_none_or(|dir| free(dir) < needed) {
            return;
        }
        match self.make() {
            Ok(()) => state.there = true,
            Err(error) => {
                tracing::debug!(%error, "cannot make the ballast");
                let _ = fs::remove_file(&self.path);
            }
        }
    }

    fn make(&self) -> io::Result<()> {
        let mut options = File::options();
        options.create(true).truncate(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        fault("ballast.create")?;
        let file = options.open(&self.path)?;
        fault("ballast.write")?;
        take_room(&file, self.bytes)
    }
}

#[cfg(target_os = "linux")]
fn take_room(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP) => zeros(file, bytes),
        other => Ok(other?),
    }
}

#[cfg(not(target_os = "linux"))]
fn take_room(file: &File, bytes: u64) -> io::Result<()> {
    zeros(file, bytes)
}

fn zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
    Ok(())
}

/// Free bytes for this user; unknown counts as plenty.
pub(super) fn free(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}
