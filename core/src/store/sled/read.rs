//! What can be asked of the store. Changes nothing.
//!
//! Invariant: a caller holds the read lock, so that no answer mixes two steps.

use std::collections::HashSet;
use std::sync::Arc;

use ::sled::Tree;

use super::fault::{Fault, Outcome};
use super::session::{Mention, Row, Session};
use super::table::{self, Txn};
use super::{keys, log};
use crate::key::Address;
use crate::message::{Author, Body, Entry, EntryId, Message, Seq};
use crate::store::{Found, Known, Page, Stored};
use crate::summary::author_hash;
use crate::ttl::Estimate;

/// The most messages of one page.
const PAGE: usize = 10_000;

pub(super) fn window(txn: &mut Txn<'_>, address: &Address) -> Outcome<Option<Stored>> {
    let tree = txn.tree;
    let Some(mut session) = Session::find(txn, address)? else {
        return Ok(None);
    };
    let summary = session.full_summary()?;
    let (mut entries, mut ids) = (Vec::new(), HashSet::new());
    for item in log::range(tree, &session.row, summary.cut.number())? {
        let (number, record) = item?;
        let entry = session.read_entry(&record)?;
        if is_spent(&entry.body) {
            continue;
        }
        note_ids(entry, &mut ids);
        entries.push((number, record));
    }
    let above = session.row.durable_to.saturating_add(1);
    let taken = log::range(tree, &session.row, above)?.map(|item| Ok(item?.0));
    let taken = taken.collect::<Outcome<_>>()?;
    Ok(Some(Stored {
        epoch: session.row.epoch,
        last: session.row.last,
        durable_to: session.row.durable_to,
        taken,
        summary,
        erased: session.row.erased,
        complete: ids.len() as u64 == session.row.mentions,
        estimate: session.row.estimate,
        entries,
    }))
}

pub(super) fn estimate(txn: &mut Txn<'_>, address: &Address) -> Outcome<Option<Estimate>> {
    Ok(Session::find(txn, address)?.and_then(|session| session.row.estimate))
}

/// True for what says nothing more to a context: edits that their messages hold already, states (the summary has the
/// newest), what was erased, an end. Left out lest a session in which nobody speaks had a window without bound.
const fn is_spent(body: &Body) -> bool {
    use Body::{Edit, End, State, Void};
    matches!(body, Edit { text: None, .. } | State(_) | Void | End)
}

fn note_ids(entry: Entry, ids: &mut HashSet<String>) {
    match entry.body {
        Body::Messages(slots) => {
            ids.extend(slots.into_iter().flatten().filter_map(|m| m.id.clone()))
        }
        Body::Edit { id, .. } | Body::Delete { id } => {
            ids.insert(id);
        }
        _ => {}
    }
}

pub(super) fn known(txn: &mut Txn<'_>, address: &Address, ids: &[EntryId]) -> Outcome<Known> {
    let Some(mut session) = Session::find(txn, address)? else {
        return Ok(Known {
            numbers: vec![None; ids.len()],
            ..Known::default()
        });
    };
    let numbers: Outcome<_> = ids.iter().map(|id| session.number_of(*id)).collect();
    Ok(Known {
        numbers: numbers?,
        epoch: session.row.epoch,
        erased: session.row.erased,
    })
}

pub(super) fn find(
    txn: &mut Txn<'_>,
    address: &Address,
    ids: &[&str],
) -> Outcome<Vec<Option<Found>>> {
    let Some(mut session) = Session::find(txn, address)? else {
        return Ok(vec![None; ids.len()]);
    };
    ids.iter().map(|id| found(&mut session, id)).collect()
}

fn found(session: &mut Session<'_, '_>, id: &str) -> Outcome<Option<Found>> {
    Ok(match session.mention(id)? {
        None => None,
        Some(Mention::At(seq)) => Some(Found::At(seq)),
        Some(Mention::Gone) => Some(Found::Gone),
        Some(Mention::Ahead(number)) => match session.expect(number)?.body {
            Body::Edit {
                text: Some(text),
                at_ms,
                ..
            } => Some(Found::Ahead { text, at_ms }),
            _ => return Err(Fault::damage("an edit is not where it should be")),
        },
    })
}

pub(super) fn history(
    txn: &mut Txn<'_>,
    address: &Address,
    page: Page,
) -> Outcome<Vec<(Seq, Message)>> {
    let tree = txn.tree;
    let Some(session) = Session::find(txn, address)? else {
        return Ok(Vec::new());
    };
    let limit = page.limit.clamp(1, PAGE);
    let before = page.before.unwrap_or(Seq(u64::MAX));
    let mut newest = Vec::new();
    // The entry at `before` itself may hold messages of lower fields.
    for item in log::newest_first(tree, &session.row, before.number()) {
        let (number, record) = item?;
        let entry = session.read_entry(&record)?;
        let Body::Messages(slots) = entry.body else {
            continue;
        };
        for (field, m) in slots.into_iter().enumerate().rev() {
            let seq = Seq::new(number, field as u64);
            if let Some(m) = m.filter(|_| seq < before && newest.len() < limit) {
                newest.push((seq, Arc::unwrap_or_clone(m)));
            }
        }
        if newest.len() == limit {
            break;
        }
    }
    newest.reverse();
    Ok(newest)
}

pub(super) fn sessions(txn: &Txn<'_>, after: Option<&str>, limit: usize) -> Outcome<Vec<Address>> {
    let mut from = after.map_or_else(|| vec![keys::ROW], keys::row);
    if after.is_some() {
        // Past the first chunk of that row; further ones are passed over.
        from.extend_from_slice(&[0, 1]);
    }
    table::scan(txn.tree, &from, &[keys::ROW + 1])
        .take(limit)
        .map(|item| Ok(Address::from_text(&Row::read(None, &item?.1)?.key)))
        .collect()
}

pub(super) fn sessions_of(txn: &Txn<'_>, author: &Author) -> Outcome<Vec<Address>> {
    let mut found = Vec::new();
    for item in table::under(txn.tree, &keys::of_author(author_hash(author))) {
        let sid =
            keys::number_at(&item?.0, 17).ok_or_else(|| Fault::damage("a key is cut short"))?;
        found.push(name(txn.tree, sid)?);
    }
    found.sort();
    Ok(found)
}

/// The session with this number.
pub(super) fn name(tree: &Tree, sid: u64) -> Outcome<Address> {
    let name = table::read(tree, &keys::name(sid))?
        .ok_or_else(|| Fault::damage("a session has no name"))?;
    let text = std::str::from_utf8(&name).map_err(|_| Fault::damage("a name is not UTF-8"))?;
    Ok(Address::from_text(text))
}
