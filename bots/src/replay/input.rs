//! Input files: plain or gzip, told apart by their first bytes, and standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::progress::Progress;
use crate::exit::Failed;
use crate::lines::Lines;

/// One file, or standard input.
#[derive(Debug)]
pub(crate) struct Input {
    path: PathBuf,
    size: Option<u64>,
}

impl Input {
    /// Looks at every file before the first is read, so that a wrong name is told at once.
    pub(crate) fn check_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Self>> {
        paths.iter().map(|path| Self::check(path)).collect()
    }

    fn check(path: &Path) -> anyhow::Result<Self> {
        let size = if path.as_os_str() == "-" {
            None
        } else {
            let usage = |error| Failed::usage(format!("{}: {error}", path.display()));
            let about = File::open(path)
                .and_then(|file| file.metadata())
                .map_err(usage)?;
            if about.is_dir() {
                return Err(usage(io::Error::from(io::ErrorKind::IsADirectory)));
            }
            Some(about.len()).filter(|_| about.is_file())
        };
        let path = path.to_owned();
        Ok(Self { path, size })
    }

    /// The size in bytes as stored, when known.
    pub(crate) const fn size(&self) -> Option<u64> {
        self.size
    }

    /// The name to use in messages.
    pub(crate) fn name(&self) -> String {
        if self.path.as_os_str() == "-" {
            "stdin".to_owned()
        } else {
            self.path.display().to_string()
        }
    }

    /// Opens it for reading lines.
    pub(crate) fn open(&self, progress: Progress) -> io::Result<Lines> {
        let raw: Box<dyn Read> = if self.path.as_os_str() == "-" {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(&self.path)?)
        };
        let mut raw = BufReader::with_capacity(64 * 1024, Counted { raw, progress });
        let gzip = raw.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let text: Box<dyn BufRead> = if gzip {
            Box::new(BufReader::with_capacity(
                64 * 1024,
                MultiGzDecoder::new(raw),
            ))
        } else {
            Box::new(raw)
        };
        Ok(Lines::new(text))
    }
}

/// Tells the progress bar what was read.
struct Counted {
    raw: Box<dyn Read>,
    progress: Progress,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.raw.read(into)?;
        self.progress.read(u64::try_from(read).unwrap_or_default());
        Ok(read)
    }
}
