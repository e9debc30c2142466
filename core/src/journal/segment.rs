//! One file of the journal.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Result, Write};
use std::path::{Path, PathBuf};

use crate::fault_point::{Plant, fault, planted};

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// A half-written record stands at the end: what is written behind it would be taken for part of it.
    pub(super) torn: bool,
    file: File,
}

impl Segment {
    /// Creates a segment with this number or a later one (an attempt that failed half-way may have left its file), its
    /// name durable in the directory.
    pub(super) fn create(dir: &Path, number: u64) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.create_new(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        fault("journal.create")?;
        let mut number = number;
        let (path, file) = loop {
            let path = dir.join(format!("{number:012}.journal"));
            match options.open(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => number += 1,
                other => break (path, other?),
            }
        };
        fault("journal.dir-sync")
            .and_then(|()| File::open(dir)?.sync_all())
            .inspect_err(|_| {
                // Empty: it holds up nothing should it stay.
                let _ = std::fs::remove_file(&path);
            })?;
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
        if self.torn {
            self.cut()?;
        }
        if let Err(e) = fault("journal.write").and_then(|()| self.file.write_all(bytes)) {
            self.torn = true;
            // What was written in part is cut off. Should that fail too, nothing more is written behind it: at the end
            // of a file it is told from damage.
            if let Err(cut) = self.cut() {
                tracing::warn!(error = %cut, "journal: cannot cut off a half-written record");
            }
            return Err(e);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn cut(&mut self) -> Result<()> {
        fault("journal.truncate").and_then(|()| self.file.set_len(self.bytes))?;
        self.torn = false;
        Ok(())
    }

    /// True while a half-written record is at its end.
    pub(super) const fn is_torn(&self) -> bool {
        self.torn
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
