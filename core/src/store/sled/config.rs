//! How the embedded store is set up, and what is told when it had to begin anew. Knows no file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::keyring::MasterKey;

/// Where the store lives.
#[derive(Debug, Clone)]
pub struct SledConfig {
    pub(super) dir: PathBuf,
    pub(super) wait_lock: Duration,
    pub(super) cache_bytes: u64,
    pub(super) ballast_bytes: u64,
    /// What the ballast leaves free beside itself.
    pub(super) floor_bytes: u64,
    pub(super) master: Option<MasterKey>,
    /// Compactions pack all that is asleep, also what hardly gets smaller: for tests.
    pub(super) pack_all: bool,
}

impl SledConfig {
    /// sled's cache by default: with it 1 M messages stay below 200 MB of memory.
    pub const CACHE_BYTES: u64 = 64 << 20;

    /// The ballast by default: room for sled to be opened again, and to make a full backlog durable.
    pub const BALLAST_BYTES: u64 = 32 << 20;

    /// A data directory; it is created if absent. Holds `store/` (sled) and `journal/`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            wait_lock: Duration::ZERO,
            cache_bytes: Self::CACHE_BYTES,
            ballast_bytes: Self::BALLAST_BYTES,
            floor_bytes: 256 << 20,
            master: None,
            pack_all: false,
        }
    }

    /// How long to wait while another process holds the directory (default: not at all).
    #[must_use]
    pub const fn wait_lock(mut self, wait: Duration) -> Self {
        self.wait_lock = wait;
        self
    }

    /// How much sled may cache, in bytes (default: [`Self::CACHE_BYTES`]; at least 1 MiB).
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes.max(1 << 20);
        self
    }

    /// How large a file `ballast` to keep, which is given up when the disk is full so that what was accepted can still be
    /// made durable, and made again when there is room (default: [`Self::BALLAST_BYTES`]; 0 for none).
    #[must_use]
    pub const fn ballast_bytes(mut self, bytes: u64) -> Self {
        self.ballast_bytes = bytes;
        self
    }

    /// What the ballast leaves free for the journal.
    pub(crate) const fn floor_bytes(mut self, bytes: u64) -> Self {
        self.floor_bytes = bytes;
        self
    }

    /// Lets compactions pack also what is short.
    #[cfg(test)]
    pub(super) const fn pack_all(mut self) -> Self {
        self.pack_all = true;
        self
    }

    /// Encrypts what people say in the store, in the journal and in the hot tier, from now on (default: no). The
    /// keys, wrapped by `master`, are in the file `keys` of the data directory, which is not for backups: a forget
    /// destroys keys, and with them what lies in copies. Session keys, ids and times are not encrypted.
    #[must_use]
    pub fn encrypt(mut self, master: MasterKey) -> Self {
        self.master = Some(master);
        self
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.dir
    }
}

/// A store that could not be used was moved aside, and a new one begun: older history and the index
/// of duplicates are gone with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong with it, without users' text.
    pub why: String,
}
