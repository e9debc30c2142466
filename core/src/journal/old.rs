//! What an earlier process left: its segments, the entries in them, and what cannot be read.

use std::collections::BTreeMap;
use std::path::Path;

use super::record::{Replay, Replayed};
use super::{Old, io_error, segment};
use crate::error::{Error, Result};
use crate::fault_point::fault;

/// The segments that an earlier process left, and the entries in them.
pub(super) fn read_old(dir: &Path) -> Result<(BTreeMap<u64, Old>, Vec<Replayed>)> {
    let failed = |e: std::io::Error| io_error(dir, "open the journal", e);
    let mut replay = Replay::default();
    let mut old = BTreeMap::new();
    let mut damaged = Vec::new();
    for (segment, path) in segment::list(dir).map_err(failed)? {
        let bytes = fault("journal.read")
            .and_then(|()| std::fs::read(&path))
            .map_err(failed)?;
        let damaged_bytes = replay.read(segment, &bytes).map_err(|e| refused(dir, &e))?;
        if damaged_bytes > 0 {
            damaged.push((segment, path.clone(), damaged_bytes));
        }
        old.insert(
            segment,
            Old {
                path,
                bytes: bytes.len() as u64,
                open: 0,
                until: 0,
            },
        );
    }
    // Only now that nothing is refused: what is refused is not touched.
    for (segment, path, damaged_bytes) in damaged {
        // Kept for whoever wants to look: what was acknowledged in it may be nowhere else.
        let kept = path.with_extension("damaged");
        fault("journal.keep")
            .and_then(|()| std::fs::copy(&path, &kept))
            .map_err(failed)?;
        tracing::warn!(
            segment,
            damaged_bytes,
            kept = %kept.display(),
            "journal: unreadable part skipped"
        );
    }
    Ok((old, replay.finish()))
}

/// A journal that a newer program wrote.
fn refused(dir: &Path, why: &Error) -> Error {
    Error::Config(vec![format!(
        "the journal in {} is of a newer version ({why}); use a newer program or another directory",
        dir.display()
    )])
}
