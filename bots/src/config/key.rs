//! Where the master key comes from, and how one is made. Prints none.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use scrollback::{Error, MasterKey};
use scrollback_kit::Secret;

use super::Settings;
use crate::exit::Failed;

/// Where the master key is.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    /// In a file.
    File(PathBuf),
    /// In a variable, or in the configuration file.
    Given(Secret),
}

impl Key {
    /// The key of flags and variables, else of the file; in each a key file before a key. An empty one means none.
    pub(super) fn merge(over: &Settings, under: &Settings) -> Option<Self> {
        let of = |settings: &Settings| {
            let file = settings
                .key_file
                .clone()
                .filter(|file| !file.as_os_str().is_empty());
            let given = settings.key.clone().filter(|key| !key.expose().is_empty());
            file.map(Self::File).or(given.map(Self::Given))
        };
        of(over).or_else(|| of(under))
    }

    /// The master key.
    ///
    /// # Errors
    /// The file cannot be read, or it is no master key.
    pub(crate) fn master(&self) -> Result<MasterKey, Error> {
        match self {
            Self::File(path) => MasterKey::from_file(path),
            Self::Given(secret) => MasterKey::from_hex(secret.expose()),
        }
    }
}

/// Makes a new master key in a file that only its owner can read.
///
/// # Errors
/// The file is there already, or cannot be written.
pub(crate) fn generate(path: &Path) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Failed::usage(format!(
                "{} is there already and may be needed; name another file",
                path.display()
            )));
        }
        other => other.with_context(|| format!("cannot make {}", path.display()))?,
    };
    let key = MasterKey::generate().to_hex();
    file.write_all(key.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_reads_back_is_nobody_elses_and_is_never_overwritten() {
        let dir = std::env::temp_dir().join(format!("scrollback-key-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("key");
        generate(&path).unwrap();
        let key = Key::File(path.clone());
        let hex = key.master().unwrap().to_hex();
        assert_eq!(hex.len(), 64);
        assert!(!format!("{key:?} {:?}", key.master()).contains(hex.as_str()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(generate(&path).is_err());
        assert_eq!(
            Key::Given(Secret::new(hex.as_str()))
                .master()
                .unwrap()
                .to_hex(),
            hex
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_no_key_is_named_and_not_repeated() {
        let error = Key::Given(Secret::new("canary")).master().unwrap_err();
        assert!(error.to_string().contains("64 hexadecimal"));
        assert!(!error.to_string().contains("canary"));
        let error = Key::File("/nowhere/key".into()).master().unwrap_err();
        assert!(error.to_string().contains("/nowhere/key"));
    }
}
