//! Hostile input: what must hold of anything that reads what others wrote, whatever the bytes.
//!
//! One function for each reader, which panics when something does not hold. The fuzz targets in `tests/fuzz`
//! and the ordinary suite feed the same functions; both begin with `tests/fuzz/corpus`.

mod config;
mod event;
mod journal;
mod key;
mod mutate;
mod record;
pub mod seeds;
mod split;

pub use config::config;
pub use event::event;
pub use journal::journal;
pub use key::key;
pub use mutate::mutate;
pub use record::record;
pub use split::split;

/// A reader and what must hold of it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, also of its fuzz target and corpus.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub check: fn(&[u8]),
}

/// All readers.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "record",
        check: record,
    },
    Target {
        name: "journal",
        check: journal,
    },
    Target {
        name: "key",
        check: key,
    },
    Target {
        name: "split",
        check: split,
    },
    Target {
        name: "config",
        check: config,
    },
    Target {
        name: "event",
        check: event,
    },
];
