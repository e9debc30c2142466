//! Keys for encryption at rest: one for each session and author, wrapped by a master key, in a file of their own.
//!
//! Destroying a key makes everything sealed with it unreadable at once, wherever copies of it lie: in the store's
//! files, in the journal, in Redis, in backups. So the file is not for backups.
//!
//! Invariants: a key is in the file before anything is sealed with it, and durable ([`Keyring::sync`]) before anyone
//! relies on what was sealed; a key's number is never given twice, so a number that is gone means "destroyed" (or lost
//! in a power cut, with what was not relied on yet), and a number that was never given means that the file is older than
//! what was sealed. Who seals or opens waits for no fsync. Knows no store and no message.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use parking_lot::{Mutex, MutexGuard, RwLock};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

mod file;
mod master;

use file::{BLOCK, KeyFile, Wrapped};
pub use master::MasterKey;

/// Bytes of a nonce, which stands before what was sealed.
const NONCE: usize = 24;

/// How long a new key waits for a file that is being written: half of a call's deadline.
const PATIENCE: Duration = Duration::from_secs(1);

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

/// Keys that a forget destroys: of a session, or of one author in it, with numbers below a bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doomed {
    pub(crate) session: u128,
    pub(crate) author: Option<u128>,
    pub(crate) below: u64,
}

impl Doomed {
    fn takes(&self, number: u64, owner: Owner) -> bool {
        number < self.below
            && owner.0 == self.session
            && (self.author.is_none() || owner.1 == self.author)
    }
}

/// The keys of one data directory.
pub struct Keyring {
    /// One fsync or one new file at a time: of two fsyncs only one is told that it failed. Taken before `file`.
    syncing: Mutex<()>,
    /// Held while it is written, not while it is fsynced. Taken before `state`.
    file: Mutex<KeyFile>,
    /// Held for no I/O; keys come and go under `file` only.
    state: RwLock<State>,
    /// All keys made with a smaller number are durable.
    durable: AtomicU64,
    /// The first part of every nonce of this process; the second counts.
    origin: [u8; 16],
    nonces: AtomicU64,
    existed: bool,
    has_retired: AtomicBool,
}

struct State {
    master: MasterKey,
    next: u64,
    /// How often keys were destroyed.
    forgets: u64,
    /// Which key seals for whom.
    numbers: HashMap<Owner, u64>,
    keys: HashMap<u64, Key>,
}

struct Key {
    owner: Owner,
    cipher: XChaCha20Poly1305,
    wrapped: Wrapped,
    /// A forget is about to destroy it: it opens, and seals nothing more.
    retired: bool,
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
            master: master.clone(),
            // The last process may have given as many whose keys a power cut took.
            next: match content.existed {
                true => content.next.saturating_add(BLOCK),
                false => content.next,
            },
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
            syncing: Mutex::default(),
            file: Mutex::new(file),
            state: RwLock::new(state),
            durable: AtomicU64::new(content.next),
            origin,
            nonces: AtomicU64::new(0),
            existed: content.existed,
            has_retired: AtomicBool::new(false),
        })
    }

    /// False when [`open`](Self::open) made the file.
    #[must_use]
    pub const fn existed(&self) -> bool {
        self.existed
    }

    /// Above the numbers of all keys that are durable: a file that tells of fewer is an older one.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.durable.load(SeqCst)
    }

    /// How often keys were destroyed.
    #[must_use]
    pub fn forgets(&self) -> u64 {
        self.state.read().forgets
    }

    /// True when a key was destroyed, or was to be, since this was opened.
    pub(crate) fn has_destroyed(&self) -> bool {
        self.has_retired.load(Relaxed)
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
        let Some(key) = state.keys.get(&number) else {
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
    fn number(&self, owner: Owner) -> Result<u64> {
        let known = self.state.read().numbers.get(&owner).copied();
        if let Some(number) = known {
            return Ok(number);
        }
        let mut file = self.appendable()?;
        let key = XChaCha20Poly1305::generate_key(&mut OsRng);
        let (number, wrapped) = {
            let mut state = self.state.write();
            if let Some(number) = state.numbers.get(&owner) {
                return Ok(*number);
            }
            let number = state.next;
            // Before the number is used for anything; also when writing fails half-way it is never used again.
            state.next += 1;
            (number, Wrapped::new(number, owner, &key, &state.master)?)
        };
        file.append(&wrapped)?;
        let cipher = XChaCha20Poly1305::new(&key);
        self.state.write().take(cipher, wrapped);
        Ok(number)
    }

    /// The file, sound and with a number reserved.
    fn appendable(&self) -> Result<MutexGuard<'_, KeyFile>> {
        let busy = || Error::away("keys", "the file of keys is being written; try again");
        let file = self.file.try_lock_for(PATIENCE).ok_or_else(busy)?;
        if file.has_room(self.state.read().next, 1) {
            return Ok(file);
        }
        drop(file);
        let _one = self.syncing.try_lock_for(PATIENCE).ok_or_else(busy)?;
        let mut file = self.file.try_lock_for(PATIENCE).ok_or_else(busy)?;
        if !file.has_room(self.state.read().next, 1) {
            self.write_anew(&mut file)?;
        }
        Ok(file)
    }

    /// Puts a file with all keys in the place of the one there is; for who holds `syncing`.
    fn write_anew(&self, file: &mut KeyFile) -> Result<()> {
        let (master, next, forgets, all) = self.snapshot(|_, _| true);
        file.rewrite(&master, next, forgets, &all)?;
        self.durable.fetch_max(next, SeqCst);
        Ok(())
    }

    /// What a file with those keys says; the same until `file` is let go.
    fn snapshot(&self, kept: impl Fn(u64, Owner) -> bool) -> (MasterKey, u64, u64, Vec<Wrapped>) {
        let state = self.state.read();
        let kept = state.keys.iter().filter(|(n, key)| kept(**n, key.owner));
        let kept = kept.map(|(_, key)| key.wrapped.clone()).collect();
        (state.master.clone(), state.next, state.forgets, kept)
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

    /// True when the key was destroyed, or a forget is about to.
    pub(crate) fn is_destroyed(&self, sealed: &Sealed) -> bool {
        let state = self.state.read();
        match state.keys.get(&sealed.key) {
            Some(key) => key.retired,
            None => sealed.key < state.next,
        }
    }

    /// Seals nothing more with a session's keys, or one author's in it: new ones have the returned number or a greater
    /// one, so a [destruction](Self::destroy) of those below takes nothing that is sealed from now on, however late it is.
    pub(crate) fn retire(&self, session: u128, author: Option<u128>) -> u64 {
        // A key that is being made has its number, and is not among the keys yet.
        let _making = self.file.lock();
        let mut state = self.state.write();
        let below = state.next;
        let doomed = Doomed {
            session,
            author,
            below,
        };
        state.numbers.retain(|owner, n| !doomed.takes(*n, *owner));
        for (number, key) in &mut state.keys {
            key.retired |= doomed.takes(*number, key.owner);
        }
        self.has_retired.store(true, Relaxed);
        below
    }

    /// Destroys keys; durable when it returns. The count of forgets becomes `forgets`.
    ///
    /// # Errors
    /// The file cannot be written; then they open what they sealed for as long as this process runs.
    pub(crate) fn destroy(&self, doomed: &[Doomed], forgets: u64) -> Result<()> {
        let _one = self.syncing.lock();
        let mut file = self.file.lock();
        let gone = |number, owner| doomed.iter().any(|d| d.takes(number, owner));
        let (master, next, before, kept) = self.snapshot(|number, owner| !gone(number, owner));
        let forgets = forgets.max(before);
        file.rewrite(&master, next, forgets, &kept)?;
        self.durable.fetch_max(next, SeqCst);
        self.has_retired.store(true, Relaxed);
        let mut state = self.state.write();
        state.forgets = forgets;
        state.numbers.retain(|owner, n| !gone(*n, *owner));
        state.keys.retain(|number, key| !gone(*number, key.owner));
        Ok(())
    }

    /// Wraps every key by another master key, which opens the file from now on; what is sealed stays as it is.
    ///
    /// # Errors
    /// The file cannot be written; then the old master key still holds.
    pub fn rotate(&self, master: &MasterKey) -> Result<()> {
        let _one = self.syncing.lock();
        let mut file = self.file.lock();
        let (old, next, forgets, all) = self.snapshot(|_, _| true);
        let again = |key: &Wrapped| key.rewrap(&old, master);
        let fresh: Vec<_> = all.iter().map(again).collect::<Result<_>>()?;
        file.rewrite(master, next, forgets, &fresh)?;
        self.durable.fetch_max(next, SeqCst);
        let mut state = self.state.write();
        state.master = master.clone();
        for wrapped in fresh {
            if let Some(key) = state.keys.get_mut(&wrapped.number) {
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
        let is_done = |file: &KeyFile| !file.is_broken() && file.made() <= self.durable();
        if is_done(&self.file.lock()) {
            return Ok(());
        }
        let _one = self.syncing.lock();
        let (handle, made) = {
            let mut file = self.file.lock();
            if is_done(&file) {
                return Ok(());
            }
            // Numbers are reserved here, where one may block, before a new key has to.
            if !file.has_room(self.state.read().next, BLOCK / 2) {
                return self.write_anew(&mut file).map_err(std::io::Error::other);
            }
            (file.handle()?, file.made())
        };
        let synced = file::sync(&handle);
        if let Err(error) = synced {
            // Nothing is known of that file any more: a new one takes its place.
            tracing::warn!(%error, "keys: fsync failed; writing the file anew");
            let mut file = self.file.lock();
            file.set_broken();
            return self.write_anew(&mut file).map_err(std::io::Error::other);
        }
        self.durable.fetch_max(made, SeqCst);
        Ok(())
    }
}

impl State {
    fn take(&mut self, cipher: XChaCha20Poly1305, wrapped: Wrapped) {
        let (number, owner) = (wrapped.number, wrapped.owner);
        // Of an owner's keys the newest one seals.
        let newest = self.numbers.entry(owner).or_default();
        *newest = number.max(*newest);
        let key = Key {
            owner,
            cipher,
            wrapped,
            retired: false,
        };
        self.keys.insert(number, key);
    }
}

#[cfg(test)]
mod tests;
