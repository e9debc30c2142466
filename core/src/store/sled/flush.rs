//! What entries do to a session: messages, edits, deletes, states, resets.
//!
//! Invariant: an entry id is stored at most once, a platform id stands at one place at most, and
//! what was deleted never comes back, in whatever order the entries arrive. Knows no fsync.

use std::sync::Arc;

use super::fault::{Fault, Outcome};
use super::session::{Mention, Session, slot, void_if_empty};
use super::table::Txn;
use crate::codec::Codec;
use crate::error::Error;
use crate::fault_point::{Plant, planted};
use crate::message::{Body, Entry, Message, Seq};
use crate::store::{FlushEntry, Flushed, SessionFlush, SessionFlushed};

/// Decodes what is to be stored, before any lock is taken.
pub(super) fn decode(codec: &Codec, flush: &SessionFlush) -> Outcome<Vec<Entry>> {
    let one = |fe: &FlushEntry| {
        let entry = codec.read_entry(&flush.session, &fe.record)?;
        let fields = match &entry.body {
            Body::Messages(slots) => slots.len() as u64,
            _ => 0,
        };
        if entry.id != fe.id || fields > Seq::FIELDS || fe.number == 0 {
            return Err(Error::Invalid(format!(
                "entry {} of {} does not match its record",
                fe.number, flush.session
            )));
        }
        Ok(entry)
    };
    let entries: Result<_, _> = flush.entries.iter().map(one).collect();
    entries.map_err(Fault::Caller)
}

/// Applies one session's part of a flush, or a piece of it after others in `flushed`.
pub(super) fn apply(
    txn: &mut Txn<'_>,
    next_sid: &mut u64,
    flush: &SessionFlush,
    entries: Vec<Entry>,
    flushed: &mut SessionFlushed,
) -> Outcome<()> {
    let mut session = Session::find_or_make(txn, &flush.session, next_sid)?;
    if flush.epoch < session.row.epoch {
        let refused = std::iter::repeat_n(Flushed::Refused, flush.entries.len());
        flushed.entries.extend(refused);
        (flushed.epoch, flushed.durable_to) = (session.row.epoch, session.row.durable_to);
        return Ok(());
    }
    if flush.epoch > session.row.epoch {
        session.row.epoch = flush.epoch;
    }
    session.row.estimate = flush.estimate.or(session.row.estimate);
    let mut refused = flushed.entries.contains(&Flushed::Refused);
    for (given, entry) in flush.entries.iter().zip(entries) {
        let outcome = one(&mut session, flush.epoch, given, entry, refused)?;
        refused |= outcome == Flushed::Refused;
        flushed.entries.push(outcome);
    }
    if !refused {
        let settled = flush.settled_to.min(session.row.last);
        session.row.durable_to = session.row.durable_to.max(settled);
    }
    while session.row.durable_to < session.row.last && session.has(session.row.durable_to + 1)? {
        session.row.durable_to += 1;
    }
    // What moved a context's start may be another writer's and not flushed: if it is lost, what was said before it belongs
    // into the context again. A cut among what is lost would even hide what takes its numbers.
    if flush.cut.number() <= session.row.last && flush.cut_at <= session.row.durable_to {
        session.row.summary.cut = session.row.summary.cut.max(flush.cut);
    }
    let row = session.save()?;
    (flushed.epoch, flushed.durable_to) = (row.epoch, row.durable_to);
    Ok(())
}

fn one(
    session: &mut Session<'_, '_>,
    epoch: u64,
    given: &FlushEntry,
    mut entry: Entry,
    refused: bool,
) -> Outcome<Flushed> {
    let pruned = session.row.erased.apply(epoch, &mut entry);
    if pruned && entry.body == Body::Void {
        return Ok(Flushed::Erased);
    }
    if session.number_of(given.id)?.is_some() {
        return Ok(Flushed::Durable);
    }
    if refused || session.has(given.number)? {
        return Ok(Flushed::Refused);
    }
    note_ids(session, &entry);
    let count = entry.len();
    let changed = pruned | applied(session, given.number, &mut entry)?;
    session.row.summary.note(given.number, &entry);
    // The texts stay in the log alone; a summary kept heavy over a long flush would copy them for each entry.
    session.row.lighten();
    if changed {
        session.put_entry(given.number, &entry)?;
    } else {
        session.put_record(given.number, given.record.clone())?;
    }
    session.put_number(given.id, given.number)?;
    session.row.last = session.row.last.max(given.number);
    Ok(if entry.len() < count {
        Flushed::Pruned
    } else {
        Flushed::Durable
    })
}

/// Notes the platform ids of an entry, also those that turn out to be duplicates.
fn note_ids(session: &mut Session<'_, '_>, entry: &Entry) {
    let ids = &mut session.row.summary.ids;
    match &entry.body {
        Body::Messages(slots) => slots
            .iter()
            .flatten()
            .filter_map(|m| m.id.as_deref())
            .for_each(|id| ids.note(id)),
        Body::Edit { id, .. } | Body::Delete { id } => ids.note(id),
        _ => {}
    }
}

/// Does what the entry says and leaves in it what is to be stored. True when that is less or other.
fn applied(session: &mut Session<'_, '_>, number: u64, entry: &mut Entry) -> Outcome<bool> {
    match &mut entry.body {
        Body::Messages(slots) => {
            let changed = messages(session, number, slots)?;
            void_if_empty(entry);
            Ok(changed)
        }
        Body::Edit {
            id,
            text: Some(text),
            at_ms,
        } => {
            if edit(session, number, id, text, *at_ms)? {
                return Ok(false);
            }
            if let Body::Edit { text, .. } = &mut entry.body {
                *text = None;
            }
            Ok(true)
        }
        Body::Edit { text: None, .. } => {
            // Nothing to apply; as an edit it would stand for a platform id of which nothing is known.
            entry.body = Body::Void;
            Ok(true)
        }
        Body::Delete { id } => {
            delete(session, id)?;
            Ok(false)
        }
        Body::State(state) => {
            let newest = session.row.summary.state.as_ref().map(|s| s.version);
            if newest.is_some_and(|v| v >= state.version) {
                entry.body = Body::Void;
                return Ok(true);
            }
            let older = std::mem::replace(&mut session.row.state_at, number);
            void(session, older)?;
            Ok(false)
        }
        Body::Reset => {
            session.row.reset_at = session.row.reset_at.max(number);
            Ok(false)
        }
        Body::End | Body::Void => Ok(false),
    }
}

/// Empties an entry; 0 is none.
pub(super) fn void(session: &mut Session<'_, '_>, number: u64) -> Outcome<()> {
    if number == 0 {
        return Ok(());
    }
    let mut entry = session.expect(number)?;
    entry.body = Body::Void;
    session.put_entry(number, &entry)
}

fn messages(
    session: &mut Session<'_, '_>,
    number: u64,
    slots: &mut [Option<Arc<Message>>],
) -> Outcome<bool> {
    let mut changed = false;
    for (field, place) in slots.iter_mut().enumerate() {
        let Some(m) = place else { continue };
        if let Some(id) = m.id.clone() {
            match session.mention(&id)? {
                _ if planted(Plant::NoDuplicateCheck) => {}
                Some(Mention::At(_) | Mention::Gone) => {
                    *place = None;
                    changed = true;
                    continue;
                }
                Some(Mention::Ahead(n)) => {
                    take_ahead(session, n, Arc::make_mut(m))?;
                    changed = true;
                }
                None => {}
            }
            session.set_mention(&id, Mention::At(Seq::new(number, field as u64)))?;
        }
        if let Some(author) = &m.author {
            session.note_author(author)?;
        }
        session.row.messages += 1;
    }
    Ok(changed)
}

/// Moves the text of the edit in entry `number` into its message.
fn take_ahead(session: &mut Session<'_, '_>, number: u64, m: &mut Message) -> Outcome<()> {
    if let Some((text, at_ms)) = take_edit(session, number)? {
        rewrite(m, &text, at_ms);
    }
    Ok(())
}

/// Takes the text out of the edit in entry `number`.
fn take_edit(session: &mut Session<'_, '_>, number: u64) -> Outcome<Option<(String, u64)>> {
    let mut entry = session.expect(number)?;
    let Body::Edit { text, at_ms, .. } = &mut entry.body else {
        return Err(Fault::damage("an edit is not where it should be"));
    };
    let taken = text.take().map(|text| (text, *at_ms));
    session.put_entry(number, &entry)?;
    Ok(taken)
}

/// The edit, unless a newer one was applied. Tokens are the window's to count.
fn rewrite(m: &mut Message, text: &str, at_ms: u64) {
    if m.edited_ms.is_none_or(|e| e <= at_ms) {
        text.clone_into(&mut m.text);
        m.tokens = None;
        m.edited_ms = Some(at_ms);
    }
}

/// Applies an edit; true when its text must wait for its message.
fn edit(
    session: &mut Session<'_, '_>,
    number: u64,
    id: &str,
    text: &str,
    at_ms: u64,
) -> Outcome<bool> {
    match session.mention(id)? {
        Some(Mention::Gone) => Ok(false),
        Some(Mention::At(seq)) => {
            let mut entry = session.expect(seq.number())?;
            let Some(Some(m)) = slot(&mut entry, seq) else {
                return Err(Fault::damage("a message is not where it should be"));
            };
            rewrite(Arc::make_mut(m), text, at_ms);
            session.put_entry(seq.number(), &entry)?;
            Ok(false)
        }
        Some(Mention::Ahead(older)) => {
            if let Body::Edit {
                at_ms: standing, ..
            } = session.expect(older)?.body
                && standing > at_ms
            {
                return Ok(false);
            }
            take_edit(session, older)?;
            session.set_mention(id, Mention::Ahead(number))?;
            Ok(true)
        }
        None => {
            session.set_mention(id, Mention::Ahead(number))?;
            Ok(true)
        }
    }
}

fn delete(session: &mut Session<'_, '_>, id: &str) -> Outcome<()> {
    match session.mention(id)? {
        Some(Mention::At(seq)) => {
            session.take_message(seq)?;
        }
        Some(Mention::Ahead(number)) => {
            take_edit(session, number)?;
        }
        Some(Mention::Gone) | None => {}
    }
    session.set_mention(id, Mention::Gone)
}
