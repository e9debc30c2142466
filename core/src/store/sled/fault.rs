//! What goes wrong inside this store, told apart by what the store itself must do about it.
//!
//! Invariant: whatever a caller did wrong is never taken for damage, and damage never for a
//! caller's fault: the one must not poison the store, the other must.

use std::io;

use crate::error::Error;

/// The result of a step inside the store.
pub(super) type Outcome<T> = Result<T, Fault>;

/// Why a step failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// sled said so.
    Engine(::sled::Error),
    /// What was stored cannot be read.
    Damage(Error),
    /// An fsync failed; what was written since the last one may be gone.
    Sync(io::Error),
    /// The caller asked for what cannot be.
    Caller(Error),
}

impl Fault {
    pub(super) fn damage(why: &str) -> Self {
        Self::Damage(Error::decode("a stored value", why))
    }

    /// True when the disk has no room.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Engine(::sled::Error::Io(e)) | Self::Sync(e) => is_full(e),
            _ => false,
        }
    }

    /// What happened, in words without users' text.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Engine(e) => e.to_string(),
            Self::Sync(e) => format!("an fsync failed: {e}"),
            Self::Damage(e) | Self::Caller(e) => e.to_string(),
        }
    }
}

impl From<::sled::Error> for Fault {
    fn from(e: ::sled::Error) -> Self {
        Self::Engine(e)
    }
}

/// True when an error means that the disk or the quota is used up.
pub(super) fn is_full(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) || e.to_string().contains("No space left")
}
