//! Where the control socket lies, and the limits of socket paths.
//!
//! A socket's path holds at most 107 bytes on Linux and 103 on macOS. A longer one is reached on Linux
//! through the open directory's entry in `/proc/self/fd`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The socket's name in the data directory.
pub(super) const NAME: &str = "control.sock";

/// The longest path that every Unix takes (macOS: 104 with the closing zero).
const LONGEST: usize = 103;

/// A path to a name in a directory, short enough for a socket while this value lives.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    _dir: Option<File>,
}

impl Place {
    /// The path of `name` in `dir`.
    ///
    /// # Errors
    /// The directory cannot be opened, or its path is too long for a socket on this system.
    pub(super) fn new(dir: &Path, name: &str) -> io::Result<Self> {
        let path = dir.join(name);
        if path.as_os_str().as_bytes().len() <= LONGEST {
            return Ok(Self { path, _dir: None });
        }
        let open = File::open(dir)?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        if !short.exists() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{} is too long for a socket; use a shorter --data",
                    path.display()
                ),
            ));
        }
        Ok(Self {
            path: short.join(name),
            _dir: Some(open),
        })
    }

    /// The path; valid while `self` lives.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_directory_gets_a_short_path() {
        let dir = std::env::temp_dir().join(format!("{}{}", "d".repeat(150), std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        if Path::new("/proc/self/fd").exists() {
            let place = Place::new(&dir, NAME).unwrap();
            assert!(place.path().as_os_str().len() <= LONGEST);
            std::fs::write(place.path(), "x").unwrap();
            assert!(dir.join(NAME).exists());
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
