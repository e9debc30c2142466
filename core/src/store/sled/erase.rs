//! Takes texts out of a session for good.
//!
//! Invariant: after an erasure no text of it stands in any record, and its platform ids stay known as
//! gone, so nothing brings it back. An edit whose message has not come has no known author, so any
//! erasure that could be about it takes it too.

use bytes::Bytes;

use super::fault::{Fault, Outcome};
use super::session::{Mention, Session, void_if_empty};
use super::table::{self, Txn};
use super::{SledStore, encryption, keys, log};
use crate::error::Result;
use crate::key::Address;
use crate::message::{Body, Entry, Message, Seq};
use crate::store::{Erase, Erased};
use crate::summary::author_hash;

impl SledStore {
    /// Erases from a session, in one step; keys are destroyed after it.
    pub(super) fn erase_from(&self, session: &Address, what: &Erase) -> Result<Erased> {
        let _one = self.forgetting.lock();
        self.run(|| {
            if let Some(erased) = self.erase_step(session, what, self.most())? {
                return Ok(erased);
            }
            self.open_blocks(session, what)?;
            let erased = self.erase_step(session, what, usize::MAX)?;
            Ok(erased.unwrap_or_default())
        })
    }

    /// The step; none yet when it is of more than `most` bytes and blocks may be what makes it so large.
    fn erase_step(&self, session: &Address, what: &Erase, most: usize) -> Outcome<Option<Erased>> {
        let mut writer = self.writer.lock();
        let db = self.db()?;
        let mut txn = Txn::new(&db, &self.verified, &self.codec);
        let Some(mut found) = Session::find(&mut txn, session)? else {
            return Ok(Some(Erased::default()));
        };
        let (mut erased, any) = texts(&mut found, what)?;
        erased.epoch = found.row.epoch;
        if !any && matches!(what, Erase::Before(_)) {
            return Ok(Some(erased));
        }
        // Where everything goes nothing has to be written beside it.
        let beside = found.row.packed_to > 0 && !matches!(what, Erase::All);
        if beside && found.txn.bytes() > most {
            return Ok(None);
        }
        let (epoch, reserved) = Self::epoch(&mut writer, found.txn, found.row.epoch)?;
        match what {
            Erase::All => {
                found.row.erased.erase_all(epoch);
                // When somebody spoke is forgotten with what they said.
                found.row.estimate = None;
                // What others had not flushed yet is dead as well.
                found.row.durable_to = found.row.last;
            }
            Erase::Author(author) => found.row.erased.erase_author(author, epoch),
            Erase::Before(_) => {}
        }
        erased.epoch = epoch;
        found.row.epoch = epoch;
        found.save()?;
        let forgets = writer.forgets;
        let destroying = encryption::Destroying::begin(&txn, session, what, forgets)?;
        if let Some(destroying) = &destroying {
            destroying.announce(&mut txn)?;
            writer.forgets = destroying.forgets;
        }
        let applied = self.apply_reserving(writer, txn, reserved)?;
        drop(db);
        self.sync(applied)?;
        destroying.map_or(Ok(()), |d| d.destroy(&self.codec))?;
        Ok(Some(erased))
    }

    /// Makes rows of the blocks that hold something to be erased, in steps of their own, which change nothing that is told:
    /// the erasure itself is one step, and would have to write anew all that lies in them beside it.
    fn open_blocks(&self, session: &Address, what: &Erase) -> Outcome<()> {
        let mut next = Some(0);
        while let Some(from) = next {
            let mut writer = self.writer.lock();
            let db = self.db()?;
            let mut txn = Txn::new(&db, &self.verified, &self.codec);
            let Some(mut found) = Session::find(&mut txn, session)? else {
                return Ok(());
            };
            next = blocks(&mut found, what, from, self.most() / 2)?;
            if found.txn.bytes() > 0 {
                found.save()?;
                self.apply(&mut writer, txn)?;
            }
        }
        Ok(())
    }
}

/// Opens blocks that hold something to be erased, from the number `from` on, until that is `most` bytes; where to go on.
fn blocks(
    session: &mut Session<'_, '_>,
    what: &Erase,
    from: u64,
    most: usize,
) -> Outcome<Option<u64>> {
    for block in log::blocks(session.txn.tree, &session.row, from) {
        let (first, entries) = block?;
        if session.txn.bytes() > most {
            return Ok(Some(first));
        }
        for (number, record) in entries {
            if is_concerned(what, &session.read_entry(&record)?) {
                session.open_around(number)?;
                break;
            }
        }
    }
    Ok(None)
}

fn is_concerned(what: &Erase, entry: &Entry) -> bool {
    match &entry.body {
        Body::Messages(slots) => slots.iter().flatten().any(|m| concerns(what, m)),
        Body::Edit {
            text: Some(_),
            at_ms,
            ..
        } => takes_waiting(what, *at_ms),
        _ => false,
    }
}

/// Erases from the log, the indexes and the summary. The epoch and the tombstone are the caller's.
/// The second is true when anything at all was removed.
pub(super) fn texts(session: &mut Session<'_, '_>, what: &Erase) -> Outcome<(Erased, bool)> {
    let mut erased = Erased::default();
    let mut any = false;
    for item in session.log()? {
        let (number, record) = item?;
        any |= one(session, number, &record, what, &mut erased)?;
    }
    match what {
        Erase::All => all_indexes(session)?,
        Erase::Author(author) => session.drop_author(author_hash(author))?,
        Erase::Before(_) => {}
    }
    Ok((erased, any))
}

fn one(
    session: &mut Session<'_, '_>,
    number: u64,
    record: &Bytes,
    what: &Erase,
    erased: &mut Erased,
) -> Outcome<bool> {
    let mut entry = session.read_entry(record)?;
    let before = entry.clone();
    match &mut entry.body {
        Body::Messages(slots) => {
            for (field, place) in slots.iter_mut().enumerate() {
                if let Some(m) = place.take_if(|m| concerns(what, m)) {
                    erased.messages += 1;
                    erased.bytes += m.text.len() as u64;
                    session.row.messages = session.row.messages.saturating_sub(1);
                    let seq = Seq::new(number, field as u64);
                    session.row.summary.system.take_if(|(s, _)| *s == seq);
                    if let Some(id) = &m.id {
                        session.set_mention(id, Mention::Gone)?;
                    }
                }
            }
            void_if_empty(&mut entry);
        }
        Body::Edit {
            id,
            text: Some(_),
            at_ms,
        } if takes_waiting(what, *at_ms) => {
            session.drop_mention(id)?;
            entry.body = Body::Void;
        }
        _ => {}
    }
    if matches!(what, Erase::All) {
        entry.body = Body::Void;
    }
    let changed = entry != before;
    if changed {
        session.put_entry(number, &entry)?;
    }
    Ok(changed)
}

/// True when an edit that waits for its message goes too; [`Erase::All`] keeps its id as gone instead.
const fn takes_waiting(what: &Erase, at_ms: u64) -> bool {
    match what {
        Erase::All => false,
        Erase::Author(_) => true,
        Erase::Before(ms) => at_ms < *ms,
    }
}

fn concerns(what: &Erase, m: &Message) -> bool {
    match what {
        Erase::All => true,
        Erase::Author(author) => m.author.as_ref().is_some_and(|a| a.same(author)),
        Erase::Before(ms) => m.at_ms < *ms,
    }
}

/// Everything is gone: ids, authors, state, system message.
fn all_indexes(session: &mut Session<'_, '_>) -> Outcome<()> {
    let (tree, sid) = (session.txn.tree, session.row.sid);
    for item in table::under(tree, &keys::of_session(keys::PLATFORM, sid)) {
        session.put_mention(item?.0, Mention::Gone)?;
    }
    for item in table::under(tree, &keys::of_session(keys::SPOKE, sid)) {
        let hash = keys::wide_at(&item?.0, 9).ok_or_else(|| Fault::damage("a key is cut short"))?;
        session.drop_author(hash)?;
    }
    let row = &mut session.row;
    row.state_at = 0;
    row.summary.state = None;
    row.summary.system = None;
    Ok(())
}
