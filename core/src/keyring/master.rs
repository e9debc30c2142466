//! The master key: the one secret that the operator keeps.

use std::fmt;
use std::path::Path;

use chacha20poly1305::aead::{KeyInit, OsRng};
use chacha20poly1305::{Key, XChaCha20Poly1305};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Bytes of a master key.
const LENGTH: usize = 32;

/// 32 random bytes that wrap all other keys; nothing prints it, and it is wiped when dropped.
///
/// Without it nothing that was encrypted can be read again.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; LENGTH]>);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(***)")
    }
}

impl MasterKey {
    /// A new one from the operating system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self(Zeroizing::new(
            XChaCha20Poly1305::generate_key(&mut OsRng).into(),
        ))
    }

    /// Reads 64 hexadecimal digits; white space around them does not matter.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else; the error does not repeat it.
    pub fn from_hex(text: &str) -> Result<Self> {
        let bad = || Error::Invalid("a master key is 64 hexadecimal digits".to_owned());
        let text = text.trim().as_bytes();
        let mut key = Zeroizing::new([0; LENGTH]);
        if text.len() != LENGTH * 2 {
            return Err(bad());
        }
        for (byte, pair) in key.iter_mut().zip(text.chunks(2)) {
            *byte = pair
                .iter()
                .try_fold(0, |sum, c| Some(sum << 4 | digit(*c)?))
                .ok_or_else(bad)?;
        }
        Ok(Self(key))
    }

    /// Reads a file that holds 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::Config`] when it cannot be read or holds anything else.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fault =
            |why: String| Error::Config(vec![format!("the key file {}: {why}", path.display())]);
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        Self::from_hex(&text.map_err(|e| fault(e.to_string()))?).map_err(|e| fault(e.to_string()))
    }

    /// 64 hexadecimal digits, for the file in which the operator keeps it.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
        let digits = self.0.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]);
        Zeroizing::new(digits.collect())
    }

    /// The cipher that wraps.
    pub(super) fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(Key::from_slice(self.0.as_slice()))
    }

    /// What tells one master key from another without telling anything of it.
    pub(super) fn print(&self) -> [u8; 8] {
        let mut digest = Sha256::new();
        digest.update(b"scrollback master key print");
        digest.update(self.0.as_slice());
        let mut print = [0; 8];
        print
            .iter_mut()
            .zip(digest.finalize())
            .for_each(|(to, from)| *to = from);
        print
    }
}

fn digit(c: u8) -> Option<u8> {
    char::from(c)
        .to_digit(16)
        .and_then(|d| u8::try_from(d).ok())
}
