//! One file of the journal.

use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::path::{Path, PathBuf};

use crate::fault_point::{Plant, fault, planted};

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// A half-written record could not be cut off: what is written behind it would be taken for part of it.
    pub(super) torn: bool,
    file: File,
}

impl Segment {
    /// Creates segment `number`, its name durable in the directory.
    pub(super) fn create(dir: &Path, number: u64) -> Result<Self> {
        let path = dir.join(format!("{number:012}.journal"));
        let mut options = OpenOptions::new();
        options.create_new(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        fault("journal.create")?;
        let file = options.open(&path)?;
        fault("journal.dir-sync")?;
        File::open(dir)?.sync_all()?;
        Ok(Self {
            number,
            path,
            bytes: 0,
            torn: false,
            file,
        })
    }

    /// Appends all of `bytes`, or nothing.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(e) = fault("journal.write").and_then(|()| self.file.write_all(bytes)) {
            // What was written in part is cut off; should that fail too, a reader skips it.
            let cut = fault("journal.truncate").and_then(|()| self.file.set_len(self.bytes));
            if let Err(cut) = cut {
                tracing::warn!(error = %cut, "journal: cannot cut off a half-written record");
                self.torn = true;
            }
            return Err(e);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Another handle on the file, to fsync it without holding the writer.
    pub(super) fn handle(&self) -> Result<File> {
        self.file.try_clone()
    }

    pub(super) fn sync(&self) -> Result<()> {
        sync(&self.file)
    }

    /// Removes the file, which holds nothing pending.
    pub(super) fn remove(&self) {
        if let Err(e) = remove(&self.path) {
            tracing::debug!(error = %e, "journal: cannot remove the last segment");
        }
    }
}

/// Removes a segment in which nothing is pending.
pub(super) fn remove(path: &Path) -> Result<()> {
    fault("journal.remove")?;
    std::fs::remove_file(path)
}

/// Makes what was written to a segment durable.
pub(super) fn sync(file: &File) -> Result<()> {
    if planted(Plant::SkippedFsync) {
        return Ok(());
    }
    fault("journal.sync")?;
    file.sync_data()
}

/// The segments in a directory, by number.
pub(super) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_suffix(".journal"));
        if let Some(number) = number.and_then(|n| n.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}
