//! Keys beside the store: opening them, keeping both in step, and what to do when one of them is older.
//!
//! ```text
//! DIR/keys      wrapped keys (see `keyring`); not for backups
//! ```
//! The store notes how many keys there were and how often keys were destroyed, so that a file of keys that is older than the
//! store is refused, and a store that is older than the file of keys (yesterday's copy put back) is cleared of what was
//! forgotten since. Invariants: a forget is durable in the store before its keys are destroyed; from before its step on
//! nothing is sealed with them any more, so that they may be destroyed however late; a forget that was cut short in between
//! is finished with the next one, or at the next open.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use ::sled::Tree;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::disk::{Engine, Failed};
use super::fault::{Fault, Outcome};
use super::opening::{self, Writer};
use super::session::{Mention, Session, slot};
use super::table::{self, Txn, Verified};
use super::{SledConfig, keys, read};
use crate::codec::{self, Codec, Kind};
use crate::error::{Error, Result};
use crate::key::Address;
use crate::keyring::Keyring;
use crate::message::{Author, Body};
use crate::store::Erase;
use crate::summary::author_hash;

/// Where the keys are.
fn path(config: &SledConfig) -> PathBuf {
    config.dir.join("keys")
}

/// How this directory's records are written.
pub(super) fn open(config: &SledConfig) -> Result<Codec> {
    let path = path(config);
    match &config.master {
        Some(master) => {
            let keyring = Keyring::open(&path, master)?;
            Ok(Codec::sealed(Arc::new(keyring)))
        }
        None if path.exists() => Err(Error::Config(vec![format!(
            "{} is encrypted; give its master key",
            config.dir.display()
        )])),
        None => Ok(Codec::plain()),
    }
}

/// Brings store and keys into step, or refuses.
pub(super) fn agree(
    config: &SledConfig,
    engine: &Engine,
    codec: &Codec,
    writer: &mut Writer,
) -> Result<(), Failed> {
    let fault = |fault: Fault| match fault {
        Fault::Caller(e) => Failed::Refused(e),
        other => Failed::Damaged(other.words()),
    };
    let Some(keyring) = codec.keyring() else {
        // A plain store, or one whose file of keys is gone.
        if writer.keys > 0 {
            return Err(Failed::Refused(lost(config)));
        }
        return Ok(());
    };
    if writer.keys > keyring.durable() {
        if !keyring.existed() {
            // It was made just now, and would hide that the real one is missing.
            std::fs::remove_file(path(config)).ok();
        }
        return Err(Failed::Refused(lost(config)));
    }
    if writer.forgets > keyring.forgets() {
        finish(engine, codec).map_err(fault)?;
    } else if writer.forgets < keyring.forgets() {
        tracing::warn!(
            "the store is older than its file of keys: taking out what was forgotten since"
        );
        clear(engine, codec, writer).map_err(fault)?;
    }
    Ok(())
}

fn lost(config: &SledConfig) -> Error {
    Error::Config(vec![format!(
        "{} is missing or older than the encrypted store beside it; put the newest copy of it back",
        path(config).display()
    )])
}

/// What a forget is about to destroy. Part of the stored format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Destroying {
    #[serde(rename = "k")]
    session: String,
    #[serde(rename = "a")]
    author: Option<u128>,
    /// The count of forgets with this one.
    #[serde(rename = "f")]
    pub(super) forgets: u64,
    /// Keys from this number on were made after it. One who wrote none destroyed all there were.
    #[serde(rename = "b", default = "all_keys")]
    below: u64,
    /// Forgets before this one whose keys could not be destroyed yet.
    #[serde(rename = "o", default, skip_serializing_if = "Vec::is_empty")]
    older: Vec<Self>,
}

const fn all_keys() -> u64 {
    u64::MAX
}

const DESTROYING: &str = "destroying";
pub(super) const FORGETS: &str = "forgets";

impl Destroying {
    /// Begins what an erasure destroys: nothing more is sealed with it. Nothing without keys, or when it goes by time.
    pub(super) fn begin(
        txn: &Txn<'_>,
        session: &Address,
        what: &Erase,
        forgets: u64,
    ) -> Outcome<Option<Self>> {
        let author = match what {
            Erase::All => None,
            Erase::Author(author) => Some(author_hash(author)),
            Erase::Before(_) => return Ok(None),
        };
        let Some(keyring) = txn.codec.keyring() else {
            return Ok(None);
        };
        let mut older = unfinished(txn.tree, txn.codec)?;
        let is_same = |d: &Self| d.session == session.as_str() && d.author == author;
        older.retain(|d| !is_same(d));
        Ok(Some(Self {
            session: session.as_str().to_owned(),
            author,
            forgets: forgets.max(keyring.forgets()) + 1,
            below: txn.codec.retire(session, author),
            older,
        }))
    }

    /// Notes in the forget's own step which keys it is about to destroy.
    pub(super) fn announce(&self, txn: &mut Txn<'_>) -> Outcome<()> {
        let note = codec::encode(Kind::Row, 0, self).map_err(Fault::Caller)?;
        txn.put(keys::meta(DESTROYING), note)?;
        opening::put_number(txn, FORGETS, self.forgets)
    }

    /// Destroys the keys, and those of the unfinished forgets before it; durable when it returns.
    pub(super) fn destroy(&self, codec: &Codec) -> Outcome<()> {
        let all = self.older.iter().chain([self]);
        let keys = all.map(|d| (Address::from_text(&d.session), d.author, d.below));
        let keys: Vec<_> = keys.collect();
        codec.destroy(&keys, self.forgets).map_err(Fault::Caller)
    }
}

fn note(tree: &Tree) -> Outcome<Option<Destroying>> {
    let note = table::read(tree, &keys::meta(DESTROYING))?;
    let read = |note: Bytes| codec::decode(Kind::Row, 0, &note).map_err(Fault::Damage);
    note.map(read).transpose()
}

/// The forgets whose keys are not destroyed yet.
fn unfinished(tree: &Tree, codec: &Codec) -> Outcome<Vec<Destroying>> {
    let Some(keyring) = codec.keyring() else {
        return Ok(Vec::new());
    };
    let Some(mut last) = note(tree)?.filter(|last| last.forgets > keyring.forgets()) else {
        return Ok(Vec::new());
    };
    let mut all = std::mem::take(&mut last.older);
    all.push(last);
    Ok(all)
}

/// The sessions in which a forget of this author is not finished, as whoever repeats it must find them.
pub(super) fn unfinished_of(txn: &Txn<'_>, author: &Author) -> Outcome<Vec<Address>> {
    let hash = author_hash(author);
    let concerned = |d: &Destroying| d.author.is_none_or(|author| author == hash);
    let all = unfinished(txn.tree, txn.codec)?.into_iter();
    let found = all.filter(concerned);
    Ok(found.map(|d| Address::from_text(&d.session)).collect())
}

/// Destroys the keys of forgets that were cut short after their steps.
fn finish(engine: &Engine, codec: &Codec) -> Outcome<()> {
    let note = note(&engine.db)?
        .ok_or_else(|| Fault::damage("what a forget was about to destroy is missing"))?;
    note.destroy(codec)
}

/// Takes everything out of the store whose key is destroyed, session by session.
fn clear(engine: &Engine, codec: &Codec, writer: &mut Writer) -> Outcome<()> {
    let verified = Verified::default();
    let (mut after, mut given): (Option<String>, usize) = (None, 0);
    loop {
        let txn = Txn::new(&engine.db, &verified, codec);
        let page = read::sessions(&txn, after.as_deref(), 256)?;
        let Some(last) = page.last() else { break };
        after = Some(last.as_str().to_owned());
        for address in &page {
            let mut txn = Txn::new(&engine.db, &verified, codec);
            if let Some(session) = Session::find(&mut txn, address)? {
                clear_session(session)?;
            }
            given += txn.bytes();
            step(engine, writer, txn)?;
            if given > engine.unsynced() / 2 {
                engine.sync(writer.step)?;
                given = 0;
            }
        }
    }
    let mut txn = Txn::new(&engine.db, &verified, codec);
    let forgets = codec.keyring().map_or(0, Keyring::forgets);
    opening::put_number(&mut txn, FORGETS, forgets)?;
    writer.forgets = forgets;
    step(engine, writer, txn)?;
    engine.sync(writer.step)
}

fn step(engine: &Engine, writer: &mut Writer, mut txn: Txn<'_>) -> Outcome<()> {
    writer.step(&mut txn)?;
    if let Some(batch) = txn.into_batch() {
        engine.db.apply_batch(batch)?;
    }
    Ok(())
}

fn clear_session(mut session: Session<'_, '_>) -> Outcome<()> {
    let (tree, sid, codec) = (session.txn.tree, session.row.sid, session.txn.codec);
    let (mut messages, mut authors, mut stale) = (0, HashSet::new(), false);
    for item in session.log()? {
        let (number, record) = item?;
        let entry = session.read_entry(&record)?;
        messages += entry.len() as u64;
        if let Body::Messages(slots) = &entry.body {
            let by = slots.iter().flatten().filter_map(|m| m.author.as_ref());
            authors.extend(by.map(author_hash));
        }
        if codec.is_stale(&session.address, &record) {
            stale = true;
            session.put_entry(number, &entry)?;
        }
    }
    if !stale {
        return Ok(());
    }
    session.row.messages = messages;
    clear_mentions(&mut session)?;
    for item in table::under(tree, &keys::of_session(keys::SPOKE, sid)) {
        let hash = keys::wide_at(&item?.0, 9).ok_or_else(|| Fault::damage("a key is cut short"))?;
        if !authors.contains(&hash) {
            session.drop_author(hash)?;
        }
    }
    if session.row.state_at > 0 && session.expect(session.row.state_at)?.body == Body::Void {
        session.row.state_at = 0;
        session.row.summary.state = None;
    }
    if let Some((seq, _)) = session.row.summary.system
        && slot(&mut session.expect(seq.number())?, seq).is_none_or(|m| m.is_none())
    {
        session.row.summary.system = None;
    }
    session.save().map(drop)
}

/// Platform ids of what is gone stay known as gone.
fn clear_mentions(session: &mut Session<'_, '_>) -> Outcome<()> {
    let (tree, sid) = (session.txn.tree, session.row.sid);
    for item in table::under(tree, &keys::of_session(keys::PLATFORM, sid)) {
        let (key, record): (Vec<u8>, Bytes) = item?;
        let gone = match Mention::read(&record)? {
            Mention::Gone => false,
            Mention::At(seq) => {
                let mut entry = session.expect(seq.number())?;
                slot(&mut entry, seq).is_none_or(|m| m.is_none())
            }
            Mention::Ahead(number) => session.expect(number)?.body == Body::Void,
        };
        if gone {
            session.put_mention(key, Mention::Gone)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
