//! The file of wrapped keys.
//!
//! ```text
//! "SBK2" · print of the master key 8 · next number u64 · forgets u64 · keys u64 · crc32 u32
//! number u64 · session u128 · has author u8 · author u128 · nonce 24 · wrapped key 48 · crc32 u32      (a key; repeated)
//! ```
//! Integers are big-endian. New keys are appended; a destruction or a rotation writes the file anew beside it, fsyncs and
//! renames. Numbers are given up to [`BLOCK`] above the head's next one, so that one whose key a power cut took is not
//! given a second time. The head tells with how many keys the file was written, so that one which lost some of them is
//! refused: what they sealed would look forgotten. (A file that begins with "SBK1" does not tell; it is read all the same.)
//!
//! Invariants: nothing is cut off before something is appended; what is cut off in the middle of an append was used for
//! nothing that is durable; a file of which a write, an fsync or its rename failed half-way is not used again, a new one
//! takes its place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::{MasterKey, Owner};
use crate::error::{Error, Result};
use crate::fault_point::fault;

const MAGIC: [u8; 4] = *b"SBK2";
const HEAD: usize = 4 + 8 + 8 + 8 + 8 + 4;
/// Without the count of keys.
const OLD_MAGIC: [u8; 4] = *b"SBK1";
const OLD_HEAD: usize = HEAD - 8;
const RECORD: usize = 8 + 16 + 1 + 16 + NONCE + WRAPPED + 4;
const NONCE: usize = 24;
/// A key and its authentication tag.
const WRAPPED: usize = 32 + 16;
/// How many numbers are reserved with one new file: a small file is written quickly, a large one is worth that many keys.
pub(super) const BLOCK: u64 = 1_000;

/// A key as it stands in the file.
#[derive(Debug, Clone)]
pub(super) struct Wrapped {
    pub(super) number: u64,
    pub(super) owner: Owner,
    nonce: [u8; NONCE],
    wrapped: Vec<u8>,
}

impl Wrapped {
    pub(super) fn new(number: u64, owner: Owner, key: &Key, master: &MasterKey) -> Result<Self> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let bound = bound(number, owner);
        let payload = Payload {
            msg: key.as_slice(),
            aad: &bound,
        };
        let wrapped = master.cipher().encrypt(&nonce, payload);
        Ok(Self {
            number,
            owner,
            nonce: nonce.into(),
            wrapped: wrapped.map_err(|_| Error::Invalid("a key cannot be wrapped".to_owned()))?,
        })
    }

    fn key(&self, master: &MasterKey) -> Result<Zeroizing<Vec<u8>>> {
        let bound = bound(self.number, self.owner);
        let payload = Payload {
            msg: &self.wrapped,
            aad: &bound,
        };
        let key = master
            .cipher()
            .decrypt(XNonce::from_slice(&self.nonce), payload);
        key.map(Zeroizing::new).map_err(|_| {
            Error::Config(vec![
                "the file of keys was changed by somebody else; restore it".to_owned(),
            ])
        })
    }

    /// The cipher of the key.
    pub(super) fn unwrap(&self, master: &MasterKey) -> Result<XChaCha20Poly1305> {
        XChaCha20Poly1305::new_from_slice(&self.key(master)?)
            .map_err(|_| Error::decode("a wrapped key", "its length is wrong"))
    }

    /// The same key wrapped by another master key.
    pub(super) fn rewrap(&self, old: &MasterKey, new: &MasterKey) -> Result<Self> {
        let key = self.key(old)?;
        Self::new(self.number, self.owner, Key::from_slice(&key), new)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = bound(self.number, self.owner);
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&self.wrapped);
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out
    }

    fn decode(record: &[u8]) -> Option<Self> {
        let mut rest = sealed(record)?;
        let number = u64::from_be_bytes(take(&mut rest)?);
        let session = u128::from_be_bytes(take(&mut rest)?);
        let [has] = take(&mut rest)?;
        let author = u128::from_be_bytes(take(&mut rest)?);
        Some(Self {
            number,
            owner: (session, (has == 1).then_some(author)),
            nonce: take(&mut rest)?,
            wrapped: rest.to_vec(),
        })
    }
}

/// What a wrapped key is bound to, which is also how its record begins.
fn bound(number: u64, (session, author): Owner) -> Vec<u8> {
    let mut out = Vec::with_capacity(RECORD);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&session.to_be_bytes());
    out.push(u8::from(author.is_some()));
    out.extend_from_slice(&author.unwrap_or_default().to_be_bytes());
    out
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// What stands before a checksum that is right.
fn sealed(bytes: &[u8]) -> Option<&[u8]> {
    let (head, crc) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(head).to_be_bytes() == *crc).then_some(head)
}

/// What a file of keys holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) existed: bool,
    /// Above all numbers that it tells of.
    pub(super) next: u64,
    pub(super) forgets: u64,
    pub(super) keys: Vec<Wrapped>,
}

/// The file, open for appending.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    file: File,
    length: u64,
    /// Its keys and the next number in its head tell that all below were given.
    made: u64,
    /// Numbers from here on are not reserved.
    ceiling: u64,
    /// Behind `length` stands what an append left in part.
    torn: bool,
    /// After a failure it is not known what of it a power cut leaves.
    broken: bool,
}

impl KeyFile {
    pub(super) fn open(path: &Path, master: &MasterKey) -> Result<(Self, Content)> {
        let bytes = match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Self::create(path, master),
            other => other.map_err(|e| failed(path, "read", e))?,
        };
        let (content, sound) = read(path, &bytes, master)?;
        let file = OpenOptions::new().append(true).open(path);
        let file = file.map_err(|e| failed(path, "open", e))?;
        // Who was killed may have left the name not durable.
        file.sync_all()
            .and_then(|()| sync_dir(path))
            .map_err(|e| failed(path, "repair", e))?;
        let opened = Self {
            path: path.to_owned(),
            file,
            length: sound as u64,
            made: content.next,
            // How many the last process gave above that is not known.
            ceiling: content.next,
            torn: sound < bytes.len(),
            broken: false,
        };
        Ok((opened, content))
    }

    fn create(path: &Path, master: &MasterKey) -> Result<(Self, Content)> {
        let head = whole(master, 1, 0, &[]);
        let placed = || {
            let file = write_beside(path, &head)?;
            rename(path)?;
            sync_dir(path)?;
            Ok(file)
        };
        let created = Self {
            path: path.to_owned(),
            file: placed().map_err(|e| failed(path, "write", e))?,
            length: HEAD as u64,
            made: 1,
            ceiling: 1 + BLOCK,
            torn: false,
            broken: false,
        };
        let content = Content {
            next: 1,
            ..Content::default()
        };
        Ok((created, content))
    }

    /// Above the last key that was appended.
    pub(super) const fn made(&self) -> u64 {
        self.made
    }

    /// True when `spare` numbers from `next` on are reserved, and it is sound; else it must be written anew.
    pub(super) const fn has_room(&self, next: u64, spare: u64) -> bool {
        !self.broken && next.saturating_add(spare) <= self.ceiling
    }

    /// Appends a key; not durable yet. There must be [room](Self::has_room).
    pub(super) fn append(&mut self, wrapped: &Wrapped) -> Result<()> {
        let bytes = wrapped.encode();
        if self.torn {
            // It was used for nothing, and nobody has refused the file for it.
            let cut = self.file.set_len(self.length);
            cut.map_err(|e| failed(&self.path, "repair", e))?;
            self.torn = false;
        }
        let written = fault("keys.write").and_then(|()| self.file.write_all(&bytes));
        if let Err(e) = written {
            // Cut off what was written in part, so that what follows can be read.
            if let Err(cut) = self.file.set_len(self.length) {
                tracing::warn!(error = %cut, "keys: cannot cut off a half-written key; writing the file anew");
                self.broken = true;
            }
            return Err(failed(&self.path, "write", e));
        }
        self.length += bytes.len() as u64;
        self.made = wrapped.number + 1;
        Ok(())
    }

    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// After a failed fsync a second one would say yes to what is gone.
    pub(super) const fn set_broken(&mut self) {
        self.broken = true;
    }

    /// The file, to be given to [`sync`] without holding this.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Puts a file with these keys in the place of this one; durable when it returns.
    pub(super) fn rewrite(
        &mut self,
        master: &MasterKey,
        next: u64,
        forgets: u64,
        keys: &[Wrapped],
    ) -> Result<()> {
        let bytes = whole(master, next, forgets, keys);
        self.replace(&bytes)
            .map_err(|e| failed(&self.path, "write", e))?;
        self.made = next;
        self.ceiling = next.saturating_add(BLOCK);
        self.broken = false;
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fresh = write_beside(&self.path, bytes)?;
        // Until the directory is fsynced either of the two may be the one that a power cut leaves.
        self.broken = true;
        rename(&self.path)?;
        self.file = fresh;
        self.length = bytes.len() as u64;
        self.torn = false;
        sync_dir(&self.path)
    }
}

/// Fsyncs what was appended.
pub(super) fn sync(file: &File) -> io::Result<()> {
    fault("keys.sync").and_then(|()| file.sync_data())
}

/// A whole file.
fn whole(master: &MasterKey, next: u64, forgets: u64, keys: &[Wrapped]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&master.print());
    bytes.extend_from_slice(&next.to_be_bytes());
    bytes.extend_from_slice(&forgets.to_be_bytes());
    bytes.extend_from_slice(&(keys.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    keys.iter()
        .for_each(|key| bytes.extend_from_slice(&key.encode()));
    bytes
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Writes a file beside the one at `path`; durable when it returns, but for its name.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let fresh = beside(path);
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.create_new(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    fault("keys.create")?;
    let mut file = options.open(&fresh)?;
    fault("keys.write")?;
    file.write_all(bytes)?;
    fault("keys.sync")?;
    file.sync_all()?;
    Ok(file)
}

fn rename(path: &Path) -> io::Result<()> {
    fault("keys.rename")?;
    fs::rename(beside(path), path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    fault("keys.dir-sync")?;
    path.parent()
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// Reads a file; the second is how much of it is sound (a torn end is not).
fn read(path: &Path, bytes: &[u8], master: &MasterKey) -> Result<(Content, usize)> {
    let refuse =
        |why: &str| Error::Config(vec![format!("the file of keys {}: {why}", path.display())]);
    let damaged = || {
        refuse(
            "it is damaged: keys are missing from it, and what they open would look forgotten; put the newest copy of it back",
        )
    };
    let old = bytes.starts_with(&OLD_MAGIC);
    let head = if old { OLD_HEAD } else { HEAD };
    let (head, mut rest) = bytes.split_at_checked(head).ok_or_else(damaged)?;
    let mut fields = sealed(head).ok_or_else(damaged)?;
    if !matches!(take(&mut fields), Some(MAGIC | OLD_MAGIC)) {
        return Err(refuse("it is none, or of a newer program"));
    }
    if take(&mut fields) != Some(master.print()) {
        return Err(refuse(
            "the master key is not the one that it was written with",
        ));
    }
    let (Some(next), Some(forgets)) = (take(&mut fields), take(&mut fields)) else {
        return Err(damaged());
    };
    let written = take(&mut fields).map_or(0, u64::from_be_bytes);
    let mut content = Content {
        existed: true,
        next: u64::from_be_bytes(next),
        forgets: u64::from_be_bytes(forgets),
        keys: Vec::new(),
    };
    while let Some((record, after)) = rest.split_at_checked(RECORD) {
        let Some(wrapped) = Wrapped::decode(record) else {
            // A power cut may keep the length of what was appended last, and not the bytes.
            if after
                .chunks_exact(RECORD)
                .any(|r| Wrapped::decode(r).is_some())
            {
                return Err(damaged());
            }
            break;
        };
        content.next = content.next.max(wrapped.number.saturating_add(1));
        content.keys.push(wrapped);
        rest = after;
    }
    if (content.keys.len() as u64) < written {
        return Err(damaged());
    }
    Ok((content, bytes.len() - rest.len()))
}

fn failed(path: &Path, what: &str, e: io::Error) -> Error {
    let advice = match e.kind() {
        io::ErrorKind::StorageFull => "free some disk space",
        io::ErrorKind::PermissionDenied => "make it readable and writable for this user",
        _ => "check the disk",
    };
    Error::unavailable(
        "keys",
        format!("cannot {what} {}; {advice}", path.display()),
        e,
    )
}

#[cfg(test)]
#[cfg(feature = "faults")]
mod tests;
