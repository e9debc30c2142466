//! One session inside a step: its row, its log, its indexes, kept in agreement.
//!
//! Invariant: row, log and indexes change together or not at all, since they are one batch. Knows
//! how things are stored and not what entries do to them; that is `flush` and `erase`.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Outcome};
use super::log::{self, Numbered};
use super::table::{self, Txn};
use super::{keys, packed};
use crate::codec::{self, Kind};
use crate::error::Error;
use crate::key::Address;
use crate::message::{Author, Body, Entry, EntryId, Message, Role, Seq, State};
use crate::summary::{Erasures, Summary, author_hash};
use crate::ttl::Estimate;

/// What is stored of a session besides log and indexes. Part of the stored format.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Row {
    /// The printed session key.
    #[serde(rename = "k")]
    pub(super) key: String,
    /// The session's number in the keys of log and indexes.
    #[serde(rename = "n")]
    pub(super) sid: u64,
    #[serde(rename = "e")]
    pub(super) epoch: u64,
    #[serde(rename = "l")]
    pub(super) last: u64,
    /// Every entry of this epoch up to this number is stored.
    #[serde(rename = "d")]
    pub(super) durable_to: u64,
    /// The summary, without the texts, which stand in the log.
    #[serde(rename = "s")]
    pub(super) summary: Summary,
    /// The number of the entry that holds the newest state; 0 for none.
    #[serde(rename = "t", default)]
    pub(super) state_at: u64,
    /// The number of the newest reset; 0 for none.
    #[serde(rename = "r", default)]
    pub(super) reset_at: u64,
    #[serde(rename = "x")]
    pub(super) erased: Erasures,
    /// Messages in the log.
    #[serde(rename = "m")]
    pub(super) messages: u64,
    /// The sum of the prints of all in log and indexes.
    #[serde(rename = "c")]
    pub(super) sum: u64,
    /// Platform ids of which something is known.
    #[serde(rename = "p")]
    pub(super) mentions: u64,
    /// Entries up to this number may have been dropped from the log: no other is stored under their numbers.
    #[serde(rename = "w", default)]
    pub(super) dropped_to: u64,
    /// True when some entry ids and gone platform ids stand in blocks.
    #[serde(rename = "b", default)]
    pub(super) packed: bool,
    /// No entry above this number stands in a block with others; 0 when none does.
    #[serde(rename = "z", default, skip_serializing_if = "is_zero")]
    pub(super) packed_to: u64,
    /// What policies remember of the session.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub(super) estimate: Option<Estimate>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "this is how serde asks for it"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Row {
    /// Reads a row as stored, and checks that it is of the session whose printed key is `key`.
    pub(super) fn read(key: Option<&str>, record: &[u8]) -> Outcome<Self> {
        let row: Self = codec::decode(Kind::Row, 0, record).map_err(Fault::Damage)?;
        if key.is_some_and(|key| key != row.key) {
            return Err(Fault::damage("a row is of another session"));
        }
        Ok(row)
    }

    /// Takes the texts out of the summary: the log has them, so that erasing them there is enough.
    pub(super) fn lighten(&mut self) {
        if let Some(state) = &mut self.summary.state {
            state.value = Bytes::new();
        }
        let reset_at = self.reset_at;
        self.summary.system.take_if(|(s, _)| s.number() < reset_at);
        if let Some((_, m)) = &mut self.summary.system {
            *m = Message::new(Role::System, "");
        }
    }
}

/// What is known of a platform id. Part of the stored format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mention {
    #[serde(rename = "a")]
    At(Seq),
    #[serde(rename = "g")]
    Gone,
    /// The entry that holds the edit.
    #[serde(rename = "h")]
    Ahead(u64),
}

impl Mention {
    /// Reads one; nothing at all stands for [`Self::Gone`], which used to be written out.
    pub(super) fn read(record: &[u8]) -> Outcome<Self> {
        if record.is_empty() {
            return Ok(Self::Gone);
        }
        codec::decode(Kind::Row, 0, record).map_err(Fault::Damage)
    }
}

/// Whether a record can be read as a session's row, and as a [`Mention`].
#[cfg(any(test, feature = "testing"))]
pub(crate) fn is_row(record: &[u8]) -> (bool, bool) {
    (
        Row::read(None, record).is_ok(),
        Mention::read(record).is_ok(),
    )
}

/// A session inside a step.
#[derive(Debug)]
pub(super) struct Session<'a, 't> {
    pub(super) txn: &'a mut Txn<'t>,
    pub(super) row: Row,
    pub(super) address: Address,
}

impl<'a, 't> Session<'a, 't> {
    pub(super) fn find(txn: &'a mut Txn<'t>, address: &Address) -> Outcome<Option<Self>> {
        let Some(record) = txn.get(keys::row(address.as_str()))? else {
            return Ok(None);
        };
        let row = Row::read(Some(address.as_str()), &record)?;
        verify(txn, &row)?;
        Ok(Some(Self {
            txn,
            row,
            address: address.clone(),
        }))
    }

    /// The session, made with a number from `next_sid` where there is none.
    pub(super) fn find_or_make(
        txn: &'a mut Txn<'t>,
        address: &Address,
        next_sid: &mut u64,
    ) -> Outcome<Self> {
        let key = address.as_str();
        let row = match txn.get(keys::row(key))? {
            Some(record) => {
                let row = Row::read(Some(key), &record)?;
                verify(txn, &row)?;
                row
            }
            None => {
                let sid = *next_sid;
                txn.verified.lock().insert(sid);
                *next_sid += 1;
                let next = Bytes::copy_from_slice(&next_sid.to_be_bytes());
                txn.put(keys::meta("sid"), next)?;
                txn.put(keys::name(sid), Bytes::copy_from_slice(key.as_bytes()))?;
                Row {
                    key: key.to_owned(),
                    sid,
                    ..Row::default()
                }
            }
        };
        Ok(Self {
            txn,
            row,
            address: address.clone(),
        })
    }

    /// Writes the row back.
    pub(super) fn save(mut self) -> Outcome<Row> {
        self.row.lighten();
        let record = codec::encode(Kind::Row, 0, &self.row).map_err(Fault::Caller)?;
        self.txn.put(keys::row(&self.row.key), record)?;
        Ok(self.row)
    }

    /// Writes something of the log or an index, and keeps their sum.
    fn put(&mut self, key: Vec<u8>, value: Bytes) -> Outcome<()> {
        self.uncount(&key)?;
        self.row.sum = self.row.sum.wrapping_add(table::print(&key, &value));
        self.txn.put(key, value)
    }

    fn remove(&mut self, key: Vec<u8>) -> Outcome<()> {
        self.uncount(&key)?;
        self.txn.remove(key)
    }

    fn uncount(&mut self, key: &[u8]) -> Outcome<()> {
        if let Some(was) = self.txn.get(key.to_vec())? {
            self.row.sum = self.row.sum.wrapping_sub(table::print(key, &was));
        }
        Ok(())
    }

    /// True when an entry stands, or stood, under this number.
    pub(super) fn has(&mut self, number: u64) -> Outcome<bool> {
        if number <= self.row.dropped_to {
            return Ok(true);
        }
        Ok(self.record(number)?.is_some())
    }

    /// The record under this number, in a row of its own or in a block.
    fn record(&mut self, number: u64) -> Outcome<Option<Bytes>> {
        if let Some(record) = self.txn.get(keys::log(self.row.sid, number))? {
            return Ok(Some(record));
        }
        let block = self.block(number)?;
        let mut entries = block.into_iter().flat_map(|(_, entries)| entries);
        Ok(entries
            .find(|(n, _)| *n == number)
            .map(|(_, record)| record))
    }

    /// The block, with its key, between whose ends this number lies, unless this step has opened it.
    fn block(&mut self, number: u64) -> Outcome<Option<(Vec<u8>, Vec<Numbered>)>> {
        let Some(key) = log::around(self.txn.tree, &self.row, number)? else {
            return Ok(None);
        };
        let Some(value) = self.txn.get(key.clone())? else {
            return Ok(None);
        };
        let entries = log::opened(&key, &value)?;
        Ok(Some((key, entries)))
    }

    /// Makes rows again of the block around this number, if there is one.
    pub(super) fn open_around(&mut self, number: u64) -> Outcome<()> {
        if let Some((key, entries)) = self.block(number)? {
            self.remove(key)?;
            for (number, record) in entries {
                self.put(keys::log(self.row.sid, number), record)?;
            }
        }
        Ok(())
    }

    /// All entries of the log with their numbers, as they stood before this step.
    pub(super) fn log(&self) -> Outcome<impl Iterator<Item = Outcome<Numbered>> + use<'t>> {
        log::range(self.txn.tree, &self.row, 0)
    }

    pub(super) fn entry(&mut self, number: u64) -> Outcome<Option<Entry>> {
        let record = self.record(number)?;
        record.map(|r| self.read_entry(&r)).transpose()
    }

    /// Decodes an entry's record.
    pub(super) fn read_entry(&self, record: &[u8]) -> Outcome<Entry> {
        let entry = self.txn.codec.read_entry(&self.address, record);
        entry.map_err(Fault::Damage)
    }

    /// The entry that the row or an index says is there.
    pub(super) fn expect(&mut self, number: u64) -> Outcome<Entry> {
        self.entry(number)?
            .ok_or_else(|| Fault::Damage(Error::decode("an entry", "it is missing from the log")))
    }

    pub(super) fn put_entry(&mut self, number: u64, entry: &Entry) -> Outcome<()> {
        let record = self.txn.codec.entry(&self.address, entry);
        let record = record.map_err(Fault::Caller)?;
        self.put_record(number, record)
    }

    pub(super) fn put_record(&mut self, number: u64, record: Bytes) -> Outcome<()> {
        self.open_around(number)?;
        self.put(keys::log(self.row.sid, number), record)
    }

    /// The number of the entry with this id.
    pub(super) fn number_of(&mut self, id: EntryId) -> Outcome<Option<u64>> {
        match self.txn.get(keys::id(self.row.sid, id))? {
            Some(v) => keys::number_at(&v, 0)
                .ok_or_else(|| Fault::damage("it is no number"))
                .map(Some),
            None if self.row.packed => packed::number_of(self.txn.tree, self.row.sid, id),
            None => Ok(None),
        }
    }

    pub(super) fn put_number(&mut self, id: EntryId, number: u64) -> Outcome<()> {
        let value = Bytes::copy_from_slice(&number.to_be_bytes());
        self.put(keys::id(self.row.sid, id), value)
    }

    pub(super) fn mention(&mut self, id: &str) -> Outcome<Option<Mention>> {
        match self.txn.get(keys::platform(self.row.sid, id))? {
            Some(record) => Mention::read(&record).map(Some),
            None => Ok(self.is_packed(id)?.then_some(Mention::Gone)),
        }
    }

    /// True when a platform id stands in a block: it is gone, and stays so.
    fn is_packed(&self, id: &str) -> Outcome<bool> {
        let hash = keys::short_hash(id);
        Ok(self.row.packed && packed::is_gone(self.txn.tree, self.row.sid, hash)?)
    }

    pub(super) fn set_mention(&mut self, id: &str, mention: Mention) -> Outcome<()> {
        let key = keys::platform(self.row.sid, id);
        if self.txn.get(key.clone())?.is_none() {
            if self.is_packed(id)? {
                return Ok(());
            }
            self.row.mentions += 1;
        }
        self.put_mention(key, mention)
    }

    pub(super) fn put_mention(&mut self, key: Vec<u8>, mention: Mention) -> Outcome<()> {
        let record = match mention {
            Mention::Gone => Bytes::new(),
            other => codec::encode(Kind::Row, 0, &other).map_err(Fault::Caller)?,
        };
        self.put(key, record)
    }

    pub(super) fn drop_mention(&mut self, id: &str) -> Outcome<()> {
        let key = keys::platform(self.row.sid, id);
        if self.txn.get(key.clone())?.is_some() {
            self.row.mentions = self.row.mentions.saturating_sub(1);
        }
        self.remove(key)
    }

    pub(super) fn note_author(&mut self, author: &Author) -> Outcome<()> {
        let (hash, sid) = (author_hash(author), self.row.sid);
        if self.txn.get(keys::spoke(sid, hash))?.is_none() {
            self.put(keys::spoke(sid, hash), Bytes::new())?;
            self.txn.put(keys::author(hash, sid), Bytes::new())?;
        }
        Ok(())
    }

    pub(super) fn drop_author(&mut self, hash: u128) -> Outcome<()> {
        let sid = self.row.sid;
        self.remove(keys::spoke(sid, hash))?;
        self.txn.remove(keys::author(hash, sid))
    }

    /// Takes the message at a place out of its record.
    pub(super) fn take_message(&mut self, seq: Seq) -> Outcome<Option<Arc<Message>>> {
        let mut entry = self.expect(seq.number())?;
        let taken = slot(&mut entry, seq).and_then(Option::take);
        if taken.is_some() {
            self.row.messages = self.row.messages.saturating_sub(1);
            self.row.summary.system.take_if(|(s, _)| *s == seq);
            void_if_empty(&mut entry);
            self.put_entry(seq.number(), &entry)?;
        }
        Ok(taken)
    }

    /// The summary with its texts.
    pub(super) fn full_summary(&mut self) -> Outcome<Summary> {
        let mut summary = self.row.summary.clone();
        if let Some(State { version, .. }) = summary.state {
            summary.state = match self.expect(self.row.state_at)?.body {
                Body::State(state) if state.version == version => Some(state),
                _ => return Err(Fault::damage("the newest state is not where it should be")),
            };
        }
        if let Some((seq, _)) = summary.system {
            let mut entry = self.expect(seq.number())?;
            summary.system = match slot(&mut entry, seq).and_then(Option::take) {
                Some(m) => Some((seq, Arc::unwrap_or_clone(m))),
                None => {
                    return Err(Fault::damage(
                        "the system message is not where it should be",
                    ));
                }
            };
        }
        Ok(summary)
    }
}

/// Compares log and indexes of a session with the sum in its row, once after each opening.
fn verify(txn: &Txn<'_>, row: &Row) -> Outcome<()> {
    if txn.verified.lock().contains(&row.sid) {
        return Ok(());
    }
    let prefixes = keys::OWN.map(|kind| keys::of_session(kind, row.sid));
    if table::sum_under(txn.tree, &prefixes)? != row.sum {
        return Err(Fault::damage("a session has lost some of what it held"));
    }
    txn.verified.lock().insert(row.sid);
    Ok(())
}

/// The slot of an entry's messages at a place.
pub(super) fn slot(entry: &mut Entry, seq: Seq) -> Option<&mut Option<Arc<Message>>> {
    let field = usize::try_from(seq.field()).ok()?;
    match &mut entry.body {
        Body::Messages(slots) => slots.get_mut(field),
        _ => None,
    }
}

/// An entry whose messages are all gone keeps only its number.
pub(super) fn void_if_empty(entry: &mut Entry) {
    if let Body::Messages(slots) = &entry.body
        && slots.iter().all(Option::is_none)
    {
        entry.body = Body::Void;
    }
}
