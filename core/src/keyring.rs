//! Keys for encryption at rest: one for each session and author, wrapped by a master key, in a file of their own.
//!
//! Destroying a key makes everything sealed with it unreadable at once, wherever copies of it lie: in the store's
//! files, in the journal, in Redis, in backups. So the file is not for backups.
//!
//! Invariants: a key is in the file before anything is sealed with it, and durable ([`Keyring::sync`]) before what
//! was sealed is; a key's number is never given twice, so a number that is gone means "destroyed", and a number that
//! was never given means that the file is older than what was sealed. Knows no store and no message.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

mod file;
mod master;

use file::{KeyFile, Wrapped};
pub use master::MasterKey;

/// Bytes of a nonce, which stands before what was sealed.
const NONCE: usize = 24;

/// Whose key: a stand-in for the session, and for the author; `None` for what no person said.
pub(crate) type Owner = (u128, Option<u128>);

/// Something sealed: with which key, and nonce and ciphertext.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    #[serde(rename = "k")]
    key: u64,
    #[serde(rename = "c")]
    bytes: bytes::Bytes,
}

/// The keys of one data directory.
pub struct Keyring {
    state: RwLock<State>,
    /// The first part of every nonce of this process; the second counts.
    origin: [u8; 16],
    nonces: AtomicU64,
    existed: bool,
    has_destroyed: AtomicBool,
}

struct State {
    file: KeyFile,
    master: MasterKey,
    next: u64,
    /// How often keys were destroyed.
    forgets: u64,
    numbers: HashMap<Owner, u64>,
    keys: HashMap<u64, Key>,
}

struct Key {
    owner: Owner,
    cipher: XChaCha20Poly1305,
    wrapped: Wrapped,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").finish_non_exhaustive()
    }
}

impl Keyring {
    /// Opens the file of keys, or makes an empty one.
    ///
    /// # Errors
    /// [`Error::Config`] when the master key is not the file's, or the file is damaged; an outage when it cannot be
    /// read or written.
    pub fn open(path: &Path, master: &MasterKey) -> Result<Self> {
        let (file, content) = KeyFile::open(path, master)?;
        let mut state = State {
            file,
            master: master.clone(),
            next: content.next,
            forgets: content.forgets,
            numbers: HashMap::new(),
            keys: HashMap::new(),
        };
        for wrapped in content.keys {
            let cipher = wrapped.unwrap(master)?;
            state.take(cipher, wrapped);
        }
        let mut origin = [0; 16];
        let random = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        origin
            .iter_mut()
            .zip(random)
            .for_each(|(to, from)| *to = from);
        Ok(Self {
            state: RwLock::new(state),
            origin,
            nonces: AtomicU64::new(0),
            existed: content.existed,
            has_destroyed: AtomicBool::new(false),
        })
    }

    /// False when [`open`](Self::open) made the file.
    #[must_use]
    pub const fn existed(&self) -> bool {
        self.existed
    }

    /// How many keys were ever made, plus one: every key in use has a smaller number.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.state.read().next
    }

    /// How often keys were destroyed.
    #[must_use]
    pub fn forgets(&self) -> u64 {
        self.state.read().forgets
    }

    /// True when a key was destroyed since this was opened.
    pub(crate) fn has_destroyed(&self) -> bool {
        self.has_destroyed.load(Relaxed)
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.read().keys.len()
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Seals with the owner's key, made if there is none. `bound` is what it is bound to: it opens with the same only.
    pub(crate) fn seal(&self, owner: Owner, bound: &[u8], plain: &[u8]) -> Result<Sealed> {
        let mut nonce = [0; NONCE];
        let count = self.nonces.fetch_add(1, Relaxed).to_be_bytes();
        let parts = self.origin.iter().chain(&count);
        nonce
            .iter_mut()
            .zip(parts)
            .for_each(|(to, from)| *to = *from);
        let number = self.number(owner)?;
        let state = self.state.read();
        let Some((number, key)) = number.and_then(|n| state.keys.get(&n).map(|key| (n, key)))
        else {
            return Err(Error::away(
                "keys",
                "a key was destroyed while it was used; try again",
            ));
        };
        let payload = Payload {
            msg: plain,
            aad: bound,
        };
        let sealed = key.cipher.encrypt(XNonce::from_slice(&nonce), payload);
        let sealed =
            sealed.map_err(|_| Error::Invalid("it is too large to be encrypted".to_owned()))?;
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed);
        Ok(Sealed {
            key: number,
            bytes: bytes.into(),
        })
    }

    /// The number of the owner's key, made if there is none.
    fn number(&self, owner: Owner) -> Result<Option<u64>> {
        let known = self.state.read().numbers.get(&owner).copied();
        if known.is_some() {
            return Ok(known);
        }
        let mut state = self.state.write();
        if let Some(number) = state.numbers.get(&owner) {
            return Ok(Some(*number));
        }
        let number = state.next;
        let key = XChaCha20Poly1305::generate_key(&mut OsRng);
        let wrapped = Wrapped::new(number, owner, &key, &state.master)?;
        // Before the number is used for anything; also when writing fails half-way it is never used again.
        state.next += 1;
        state.file.append(&wrapped)?;
        state.take(XChaCha20Poly1305::new(&key), wrapped);
        Ok(Some(number))
    }

    /// Opens what was sealed; `None` when its key was destroyed.
    ///
    /// # Errors
    /// [`Error::Decode`] when it was tampered with, belongs elsewhere, or its key was never in this file.
    pub(crate) fn unseal(&self, bound: &[u8], sealed: &Sealed) -> Result<Option<Vec<u8>>> {
        let bad = |why: &str| Error::decode("what is encrypted", why);
        let state = self.state.read();
        let Some(key) = state.keys.get(&sealed.key) else {
            if sealed.key < state.next {
                return Ok(None);
            }
            return Err(bad(
                "its key is not in the file of keys, which is older or another one",
            ));
        };
        let (nonce, ciphertext) = sealed
            .bytes
            .split_at_checked(NONCE)
            .ok_or_else(|| bad("it is cut short"))?;
        let payload = Payload {
            msg: ciphertext,
            aad: bound,
        };
        let plain = key.cipher.decrypt(XNonce::from_slice(nonce), payload);
        plain
            .map(Some)
            .map_err(|_| bad("it was changed, or belongs to another place"))
    }

    /// True when the key was destroyed.
    pub(crate) fn is_destroyed(&self, sealed: &Sealed) -> bool {
        let state = self.state.read();
        sealed.key < state.next && !state.keys.contains_key(&sealed.key)
    }

    /// Destroys a session's keys, or one author's in it; durable when it returns. The count of forgets becomes `forgets`.
    ///
    /// # Errors
    /// The file cannot be written; then nothing was destroyed.
    pub(crate) fn destroy(&self, session: u128, author: Option<u128>, forgets: u64) -> Result<()> {
        let mut state = self.state.write();
        let gone = |owner: &Owner| owner.0 == session && (author.is_none() || owner.1 == author);
        let kept: Vec<_> = state
            .keys
            .values()
            .filter(|key| !gone(&key.owner))
            .map(|key| key.wrapped.clone())
            .collect();
        let forgets = forgets.max(state.forgets);
        let (master, next) = (state.master.clone(), state.next);
        state.file.rewrite(&master, next, forgets, &kept)?;
        state.forgets = forgets;
        self.has_destroyed.store(true, Relaxed);
        state.numbers.retain(|owner, _| !gone(owner));
        state.keys.retain(|_, key| !gone(&key.owner));
        Ok(())
    }

    /// Wraps every key by another master key, which opens the file from now on; what is sealed stays as it is.
    ///
    /// # Errors
    /// The file cannot be written; then the old master key still holds.
    pub fn rotate(&self, master: &MasterKey) -> Result<()> {
        let mut state = self.state.write();
        let old = state.master.clone();
        let again = |key: &Key| key.wrapped.rewrap(&old, master).map(|w| (w.number, w));
        let fresh: HashMap<u64, Wrapped> = state.keys.values().map(again).collect::<Result<_>>()?;
        let all: Vec<_> = fresh.values().cloned().collect();
        let (next, forgets) = (state.next, state.forgets);
        state.file.rewrite(master, next, forgets, &all)?;
        state.master = master.clone();
        for (number, wrapped) in fresh {
            if let Some(key) = state.keys.get_mut(&number) {
                key.wrapped = wrapped;
            }
        }
        Ok(())
    }

    /// Makes every key made so far durable; costs nothing when none is new.
    ///
    /// # Errors
    /// The file can neither be fsynced nor written anew.
    pub fn sync(&self) -> std::io::Result<()> {
        if !self.state.read().file.is_dirty() {
            return Ok(());
        }
        let mut state = self.state.write();
        if state.file.sync() {
            return Ok(());
        }
        // After a failed fsync nothing is known of that file: a new one takes its place.
        let all: Vec<_> = state.keys.values().map(|key| key.wrapped.clone()).collect();
        let (master, next, forgets) = (state.master.clone(), state.next, state.forgets);
        let written = state.file.rewrite(&master, next, forgets, &all);
        written.map_err(|e| std::io::Error::other(e.to_string()))
    }
}

impl State {
    fn take(&mut self, cipher: XChaCha20Poly1305, wrapped: Wrapped) {
        let (number, owner) = (wrapped.number, wrapped.owner);
        self.next = self.next.max(number + 1);
        self.numbers.insert(owner, number);
        self.keys.insert(
            number,
            Key {
                owner,
                cipher,
                wrapped,
            },
        );
    }
}

#[cfg(test)]
mod tests;
