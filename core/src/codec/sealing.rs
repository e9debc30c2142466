//! Records as a cache writes them: as they are, or, with a keyring, with everything that people said sealed.
//!
//! A sealed record has format version [`SEALED`](super::SEALED) and the same header and checksum. In it a message, an edit
//! or a state is a [`Sealed`] of its own, with the key of its session and author (an edit, a state and what no person
//! said: the session's), bound to format, kind, session, entry id and field, so that none opens anywhere else. A delete
//! names an id and no text, and stays as it is: it must hold when all keys are gone.
//!
//! Invariant: a record that was written plain still reads; what was sealed with a key that is destroyed reads as erased.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Kind, SEALED, VERSION, decode_as, encode_as, version};
use crate::error::{Error, Result};
use crate::key::Address;
use crate::keyring::{Doomed, Keyring, Owner, Sealed};
use crate::message::{Body, Entry, EntryId, Message, Seq, State};
use crate::summary::{HighWater, Snapshot, Summary, author_hash};

/// How a cache's records are written and read.
#[derive(Debug, Clone, Default)]
pub struct Codec {
    keyring: Option<Arc<Keyring>>,
}

/// An entry whose texts are sealed.
#[derive(Debug, Serialize, Deserialize)]
struct SealedEntry {
    #[serde(rename = "i")]
    id: EntryId,
    #[serde(rename = "m")]
    at_ms: u64,
    #[serde(rename = "b")]
    body: SealedBody,
}

#[derive(Debug, Serialize, Deserialize)]
enum SealedBody {
    #[serde(rename = "m")]
    Messages(Vec<Option<Sealed>>),
    /// A whole body: an edit or a state.
    #[serde(rename = "z")]
    Whole(Sealed),
    #[serde(rename = "p")]
    Plain(Body),
}

/// A summary whose texts are sealed.
#[derive(Debug, Serialize, Deserialize)]
struct SealedSummary {
    #[serde(rename = "c")]
    cut: Seq,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    state: Option<Sealed>,
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    system: Option<(Seq, Sealed)>,
    #[serde(rename = "h")]
    ids: HighWater,
}

#[derive(Debug, Serialize, Deserialize)]
struct SealedSnapshot {
    #[serde(rename = "s")]
    summary: SealedSummary,
    #[serde(rename = "e")]
    entries: Vec<(u64, Bytes)>,
    #[serde(rename = "k", default)]
    complete: bool,
}

/// A session's own part of what everything sealed in it is bound to, and of whose key it is.
struct Place<'a> {
    keyring: &'a Keyring,
    session: u128,
    bound: Vec<u8>,
}

/// Fields of a summary, which is no entry.
const STATE: u64 = 0;
const SYSTEM: u64 = 1;
const NO_ENTRY: EntryId = EntryId(0);
/// The field of a body that is sealed whole.
const WHOLE: u64 = u64::MAX;

impl Codec {
    /// Writes records as they are.
    #[must_use]
    pub const fn plain() -> Self {
        Self { keyring: None }
    }

    /// Seals what people said with the keys of this keyring.
    #[must_use]
    pub const fn sealed(keyring: Arc<Keyring>) -> Self {
        Self {
            keyring: Some(keyring),
        }
    }

    /// The keys, when there are any.
    #[must_use]
    pub fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_deref()
    }

    /// Makes the keys of everything written so far durable; call before anyone relies on what was written.
    ///
    /// # Errors
    /// The file of keys cannot be made durable.
    pub fn sync(&self) -> std::io::Result<()> {
        self.keyring().map_or(Ok(()), Keyring::sync)
    }

    /// Encodes an entry of a session.
    ///
    /// # Errors
    /// As [`encode`](super::encode); an outage when a new key cannot be written.
    pub fn entry(&self, session: &Address, entry: &Entry) -> Result<Bytes> {
        let Some(place) = self.place(Kind::Entry, session) else {
            return encode_as(VERSION, Kind::Entry, session.hash64(), entry);
        };
        let sealed = SealedEntry {
            id: entry.id,
            at_ms: entry.at_ms,
            body: place.seal_body(entry)?,
        };
        encode_as(SEALED, Kind::Entry, session.hash64(), &sealed)
    }

    /// Decodes an entry of a session; what was sealed with a destroyed key is absent from it.
    ///
    /// # Errors
    /// [`Error::Decode`] with what is wrong, also when it is sealed and there are no keys.
    pub fn read_entry(&self, session: &Address, record: &[u8]) -> Result<Entry> {
        if version(record) != Some(SEALED) {
            return decode_as(VERSION, Kind::Entry, session.hash64(), record);
        }
        let sealed: SealedEntry = decode_as(SEALED, Kind::Entry, session.hash64(), record)?;
        let place = self.place(Kind::Entry, session).ok_or_else(no_keys)?;
        Ok(Entry {
            id: sealed.id,
            at_ms: sealed.at_ms,
            body: place.open_body(sealed.id, sealed.body)?,
        })
    }

    /// True for a record written before there were keys, when there are some now.
    #[must_use]
    pub fn is_unsealed(&self, record: &[u8]) -> bool {
        self.keyring.is_some() && version(record) == Some(VERSION)
    }

    /// True when something in the record was sealed with a key that is destroyed.
    #[must_use]
    pub fn is_stale(&self, session: &Address, record: &[u8]) -> bool {
        let Some(keyring) = self.keyring().filter(|_| version(record) == Some(SEALED)) else {
            return false;
        };
        let sealed = decode_as::<SealedEntry>(SEALED, Kind::Entry, session.hash64(), record);
        match sealed.map(|entry| entry.body) {
            Ok(SealedBody::Messages(slots)) => {
                slots.iter().flatten().any(|s| keyring.is_destroyed(s))
            }
            Ok(SealedBody::Whole(sealed)) => keyring.is_destroyed(&sealed),
            _ => false,
        }
    }

    /// Encodes a summary of a session.
    ///
    /// # Errors
    /// As [`entry`](Self::entry).
    pub fn summary(&self, session: &Address, summary: &Summary) -> Result<Bytes> {
        match self.place(Kind::Summary, session) {
            None => encode_as(VERSION, Kind::Summary, session.hash64(), summary),
            Some(place) => {
                let sealed = place.seal_summary(summary)?;
                encode_as(SEALED, Kind::Summary, session.hash64(), &sealed)
            }
        }
    }

    /// Decodes a summary of a session.
    ///
    /// # Errors
    /// As [`read_entry`](Self::read_entry).
    pub fn read_summary(&self, session: &Address, record: &[u8]) -> Result<Summary> {
        if version(record) != Some(SEALED) {
            return decode_as(VERSION, Kind::Summary, session.hash64(), record);
        }
        let sealed = decode_as(SEALED, Kind::Summary, session.hash64(), record)?;
        let place = self.place(Kind::Summary, session).ok_or_else(no_keys)?;
        place.open_summary(sealed)
    }

    /// Encodes a snapshot of a session, whose entries are encoded already.
    ///
    /// # Errors
    /// As [`entry`](Self::entry).
    pub fn snapshot(&self, session: &Address, snapshot: &Snapshot) -> Result<Bytes> {
        let Some(place) = self.place(Kind::Snapshot, session) else {
            return encode_as(VERSION, Kind::Snapshot, session.hash64(), snapshot);
        };
        let sealed = SealedSnapshot {
            summary: place.seal_summary(&snapshot.summary)?,
            entries: snapshot.entries.clone(),
            complete: snapshot.complete,
        };
        encode_as(SEALED, Kind::Snapshot, session.hash64(), &sealed)
    }

    /// Decodes a snapshot of a session; its entries stay encoded.
    ///
    /// # Errors
    /// As [`read_entry`](Self::read_entry).
    pub fn read_snapshot(&self, session: &Address, record: &[u8]) -> Result<Snapshot> {
        if version(record) != Some(SEALED) {
            return decode_as(VERSION, Kind::Snapshot, session.hash64(), record);
        }
        let sealed: SealedSnapshot = decode_as(SEALED, Kind::Snapshot, session.hash64(), record)?;
        let place = self.place(Kind::Snapshot, session).ok_or_else(no_keys)?;
        Ok(Snapshot {
            summary: place.open_summary(sealed.summary)?,
            entries: sealed.entries,
            complete: sealed.complete,
        })
    }

    /// Seals nothing more with the keys of a session, or of the author with this [`author_hash`] in it; new ones have
    /// the returned number or a greater one.
    pub(crate) fn retire(&self, session: &Address, author: Option<u128>) -> u64 {
        let retire = |keyring: &Keyring| keyring.retire(session_hash(session), author);
        self.keyring().map_or(0, retire)
    }

    /// Destroys the keys below these numbers, of sessions or of authors in them; the count of forgets becomes `forgets`.
    ///
    /// # Errors
    /// The file of keys cannot be written.
    pub(crate) fn destroy(
        &self,
        keys: &[(Address, Option<u128>, u64)],
        forgets: u64,
    ) -> Result<()> {
        let doomed = |(session, author, below): &(Address, Option<u128>, u64)| Doomed {
            session: session_hash(session),
            author: *author,
            below: *below,
        };
        let doomed: Vec<_> = keys.iter().map(doomed).collect();
        let destroy = |keyring: &Keyring| keyring.destroy(&doomed, forgets);
        self.keyring().map_or(Ok(()), destroy)
    }

    fn place(&self, kind: Kind, session: &Address) -> Option<Place<'_>> {
        let keyring = self.keyring()?;
        let mut bound = vec![SEALED, kind.byte()];
        bound.extend_from_slice(&(session.as_str().len() as u64).to_be_bytes());
        bound.extend_from_slice(session.as_str().as_bytes());
        Some(Place {
            keyring,
            session: session_hash(session),
            bound,
        })
    }
}

impl Place<'_> {
    fn bound(&self, id: EntryId, field: u64) -> Vec<u8> {
        let mut bound = self.bound.clone();
        bound.extend_from_slice(&id.0.to_be_bytes());
        bound.extend_from_slice(&field.to_be_bytes());
        bound
    }

    fn seal(
        &self,
        author: Option<u128>,
        id: EntryId,
        field: u64,
        value: &impl Serialize,
    ) -> Result<Sealed> {
        let owner: Owner = (self.session, author);
        let plain = rmp_serde::to_vec_named(value)
            .map_err(|e| Error::Invalid(format!("cannot encode what is to be encrypted: {e}")))?;
        self.keyring.seal(owner, &self.bound(id, field), &plain)
    }

    fn open<T: DeserializeOwned>(
        &self,
        id: EntryId,
        field: u64,
        sealed: &Sealed,
    ) -> Result<Option<T>> {
        let plain = self.keyring.unseal(&self.bound(id, field), sealed)?;
        let read = |plain: Vec<u8>| rmp_serde::from_slice(&plain);
        plain
            .map(read)
            .transpose()
            .map_err(|e| Error::decode("what was encrypted", e))
    }

    fn seal_body(&self, entry: &Entry) -> Result<SealedBody> {
        match &entry.body {
            Body::Messages(messages) => {
                let one = |(field, slot): (u64, &Option<Arc<Message>>)| {
                    let seal = |m: &Arc<Message>| {
                        let author = m.author.as_ref().map(author_hash);
                        self.seal(author, entry.id, field, m)
                    };
                    slot.as_ref().map(seal).transpose()
                };
                let sealed: Result<_> = (0..).zip(messages).map(one).collect();
                sealed.map(SealedBody::Messages)
            }
            body @ (Body::Edit { .. } | Body::State(_)) => self
                .seal(None, entry.id, WHOLE, body)
                .map(SealedBody::Whole),
            body @ (Body::Delete { .. } | Body::Reset | Body::End | Body::Void) => {
                Ok(SealedBody::Plain(body.clone()))
            }
        }
    }

    fn open_body(&self, id: EntryId, body: SealedBody) -> Result<Body> {
        match body {
            SealedBody::Messages(slots) => {
                let one = |(field, slot): (u64, Option<Sealed>)| match slot {
                    Some(sealed) => self.open(id, field, &sealed),
                    None => Ok(None),
                };
                let messages: Vec<Option<Arc<Message>>> =
                    (0..).zip(slots).map(one).collect::<Result<_>>()?;
                let none = messages.iter().all(Option::is_none);
                Ok(if none {
                    Body::Void
                } else {
                    Body::Messages(messages)
                })
            }
            SealedBody::Whole(sealed) => Ok(self.open(id, WHOLE, &sealed)?.unwrap_or(Body::Void)),
            SealedBody::Plain(body) => Ok(body),
        }
    }

    fn seal_summary(&self, summary: &Summary) -> Result<SealedSummary> {
        let state = summary.state.as_ref();
        let state = state.map(|state| self.seal(None, NO_ENTRY, STATE, state));
        let system = summary.system.as_ref().map(|(seq, m)| {
            let author = m.author.as_ref().map(author_hash);
            self.seal(author, NO_ENTRY, SYSTEM, m)
                .map(|sealed| (*seq, sealed))
        });
        Ok(SealedSummary {
            cut: summary.cut,
            state: state.transpose()?,
            system: system.transpose()?,
            ids: summary.ids,
        })
    }

    fn open_summary(&self, sealed: SealedSummary) -> Result<Summary> {
        let state: Option<State> = match sealed.state {
            Some(state) => self.open(NO_ENTRY, STATE, &state)?,
            None => None,
        };
        let system = match sealed.system {
            Some((seq, m)) => self.open(NO_ENTRY, SYSTEM, &m)?.map(|m| (seq, m)),
            None => None,
        };
        Ok(Summary {
            cut: sealed.cut,
            state,
            system,
            ids: sealed.ids,
        })
    }
}

fn no_keys() -> Error {
    Error::decode("an encrypted record", "no master key was given")
}

/// A stand-in for a session in the file of keys.
fn session_hash(session: &Address) -> u128 {
    let mut head = [0; 16];
    head.iter_mut()
        .zip(Sha256::digest(session.as_str().as_bytes()))
        .for_each(|(to, from)| *to = from);
    u128::from_be_bytes(head)
}

#[cfg(test)]
mod tests;
