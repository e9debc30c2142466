//! Takes texts out of a session for good.
//!
//! Invariant: after an erasure no text of it stands in any record, and its platform ids stay known as
//! gone, so nothing brings it back. An edit whose message has not come has no known author, so any
//! erasure that could be about it takes it too.

use bytes::Bytes;

use super::fault::{Fault, Outcome};
use super::keys;
use super::session::{Mention, Session, void_if_empty};
use super::table;
use crate::message::{Body, Message, Seq};
use crate::store::{Erase, Erased};
use crate::summary::author_hash;

/// Erases from the log, the indexes and the summary. The epoch and the tombstone are the caller's.
/// The second is true when anything at all was removed.
pub(super) fn texts(session: &mut Session<'_, '_>, what: &Erase) -> Outcome<(Erased, bool)> {
    let mut erased = Erased::default();
    let mut any = false;
    let tree = session.txn.tree;
    for item in table::under(tree, &keys::of_session(keys::LOG, session.row.sid)) {
        let (key, record) = item?;
        let number = keys::number_at(&key, 9).ok_or_else(|| Fault::damage("a key is cut short"))?;
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
