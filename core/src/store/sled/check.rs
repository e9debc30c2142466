//! Reads everything and says what does not fit together, without users' text.
//!
//! Two passes: over the raw tree (chunks, checksums, keys of sessions that do not exist), then session
//! by session (log against indexes, both ways). Changes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use ::sled::Tree;
use bytes::Bytes;

use super::fault::{Fault, Outcome};
use super::session::{Mention, Row, Session};
use super::table::{self, CHUNK, Txn, Verified};
use super::{keys, packed};
use crate::codec::Codec;
use crate::key::Address;
use crate::message::{Body, Seq};
use crate::store::Checked;
use crate::summary::author_hash;

/// More violations than this are not told.
const TOLD: usize = 100;

pub(super) fn run(tree: &Tree, codec: &Codec) -> Outcome<Checked> {
    let mut checked = Checked::default();
    let mut sids = HashSet::new();
    let mut rows = Vec::new();
    for item in table::under(tree, &[keys::ROW]) {
        let row = item.and_then(|(_, record)| Row::read(None, &record));
        if let Some(row) = told(&mut checked, "a row", row)? {
            if !sids.insert(row.sid) {
                tell(&mut checked, &row.key, "shares its number with another");
            }
            rows.push((row.key, row.sid));
        }
    }
    raw(tree, &sids, &mut checked)?;
    for (key, _) in rows {
        checked.sessions += 1;
        let done = session(tree, codec, &key, &mut checked);
        told(&mut checked, &key, done)?;
    }
    Ok(checked)
}

fn tell(checked: &mut Checked, whose: &str, what: &str) {
    if checked.violations.len() < TOLD {
        checked.violations.push(format!("{whose}: {what}"));
    }
}

/// Damage becomes a violation; any other fault ends the check.
fn told<T>(checked: &mut Checked, whose: &str, outcome: Outcome<T>) -> Outcome<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(fault @ (Fault::Damage(_) | Fault::Engine(::sled::Error::Corruption { .. }))) => {
            tell(checked, whose, &fault.words());
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// Every key is of a known kind and session, every chunk small and in its place.
fn raw(tree: &Tree, sids: &HashSet<u64>, checked: &mut Checked) -> Outcome<()> {
    let mut open: Option<(Vec<u8>, u16)> = None;
    for item in tree.iter() {
        let Some((raw, value)) = told(checked, "the tree", item.map_err(Fault::from))? else {
            break;
        };
        let Some((key, chunk)) = raw.split_last_chunk::<2>() else {
            tell(checked, "the tree", "a key is too short");
            continue;
        };
        let chunk = u16::from_be_bytes(*chunk);
        let due = match open.take() {
            Some((of, next)) if of == key => chunk == next,
            Some(_) => false,
            None => chunk == 0,
        };
        if !due || value.len() > CHUNK {
            tell(
                checked,
                "the tree",
                "a value has a part too many, too few or too long",
            );
        }
        if value.len() == CHUNK {
            open = Some((key.to_vec(), chunk.saturating_add(1)));
        }
        if !is_of_a_session(key, sids) {
            tell(checked, "the tree", "a key belongs to no session");
        }
    }
    if open.is_some() {
        tell(checked, "the tree", "the last value has no end");
    }
    Ok(())
}

fn is_of_a_session(key: &[u8], sids: &HashSet<u64>) -> bool {
    let at = match key.first() {
        Some(&(keys::META | keys::ROW)) => return true,
        Some(&keys::NAME) => 1,
        Some(kind) if keys::OWN.contains(kind) => 1,
        Some(&keys::AUTHOR) => 17,
        _ => return false,
    };
    keys::number_at(key, at).is_some_and(|sid| sids.contains(&sid))
}

/// What the log of one session says should be in the indexes.
#[derive(Debug, Default)]
struct Seen {
    last: u64,
    messages: u64,
    entries: u64,
    places: HashMap<Vec<u8>, Seq>,
    waiting: HashMap<Vec<u8>, u64>,
    numbers: BTreeMap<u64, ()>,
    authors: HashSet<u128>,
}

fn session(tree: &Tree, codec: &Codec, key: &str, checked: &mut Checked) -> Outcome<()> {
    let verified = Verified::default();
    let mut txn = Txn::new(tree, &verified, codec);
    let Some(mut session) = Session::find(&mut txn, &Address::from_text(key))? else {
        return Err(Fault::damage("its row stands under another key"));
    };
    if super::read::name(tree, session.row.sid)?.as_str() != key {
        tell(checked, key, "its number names another session");
    }
    let mut seen = Seen::default();
    for item in session.log()? {
        let read = item.and_then(|(n, record)| entry(&mut session, n, &record, &mut seen));
        if let Some(Some(what)) = told(checked, key, read)? {
            tell(checked, key, what);
        }
    }
    checked.messages += seen.messages;
    let row = session.row.clone();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            tell(checked, key, what);
        }
    };
    must(
        row.last == seen.last,
        "its last number is not that of its log",
    );
    must(
        row.messages == seen.messages,
        "its count of messages is wrong",
    );
    must(
        row.durable_to <= row.last,
        "its durable number is above its last",
    );
    let sid = row.sid;
    let (ids, mentions, authors) = indexes(tree, sid, &seen)?;
    must(
        ids == seen.entries,
        "its index of entry ids and its log differ",
    );
    must(
        mentions == Some(row.mentions),
        "its index of platform ids and its log differ",
    );
    must(authors, "its index of authors and its log differ");
    let summary = session.full_summary().map(|_| ());
    told(checked, key, summary).map(|_| ())
}

/// Reads one entry; what is wrong with it, if anything.
fn entry(
    session: &mut Session<'_, '_>,
    number: u64,
    record: &Bytes,
    seen: &mut Seen,
) -> Outcome<Option<&'static str>> {
    let entry = session.read_entry(record)?;
    if number <= seen.last {
        return Ok(Some("an entry of its log is not in its place"));
    }
    seen.last = seen.last.max(number);
    seen.entries += 1;
    seen.numbers.insert(number, ());
    let sid = session.row.sid;
    if session.number_of(entry.id)? != Some(number) {
        return Ok(Some("an entry is not in the index of entry ids"));
    }
    match entry.body {
        Body::Messages(slots) => {
            for (field, m) in slots.into_iter().enumerate() {
                let Some(m) = m else { continue };
                seen.messages += 1;
                seen.authors.extend(m.author.as_ref().map(author_hash));
                let place = Seq::new(number, field as u64);
                if let Some(id) = &m.id
                    && seen.places.insert(keys::platform(sid, id), place).is_some()
                {
                    return Ok(Some("a platform id stands at two places"));
                }
            }
        }
        Body::Edit {
            id, text: Some(_), ..
        } => {
            seen.waiting.insert(keys::platform(sid, &id), number);
        }
        _ => {}
    }
    Ok(None)
}

/// Counts of entry ids and (if they agree with the log) platform ids; whether every author is indexed.
fn indexes(tree: &Tree, sid: u64, seen: &Seen) -> Outcome<(u64, Option<u64>, bool)> {
    let mut ids = 0;
    for item in table::under(tree, &keys::of_session(keys::ID, sid)) {
        let number = keys::number_at(&item?.1, 0);
        ids += u64::from(number.is_some_and(|n| seen.numbers.contains_key(&n)));
    }
    for item in table::under(tree, &keys::of_session(keys::KNOWN, sid)) {
        let (key, block) = item?;
        let known = packed::read_known(&key, &block)?;
        ids += known
            .iter()
            .filter(|(_, number)| seen.numbers.contains_key(number))
            .count() as u64;
    }
    let (mut mentions, mut standing, mut agree) = (0, 0, true);
    for item in table::under(tree, &keys::of_session(keys::PLATFORM, sid)) {
        let (key, record) = item?;
        mentions += 1;
        agree &= match Mention::read(&record)? {
            Mention::At(seq) => {
                standing += 1;
                seen.places.get(&key) == Some(&seq)
            }
            Mention::Ahead(number) => {
                standing += 1;
                seen.waiting.get(&key) == Some(&number)
            }
            Mention::Gone => true,
        };
    }
    for item in table::under(tree, &keys::of_session(keys::GONE, sid)) {
        mentions += packed::read_gone(&item?.1)?.len() as u64;
    }
    agree &= standing == seen.places.len() + seen.waiting.len();
    let mut authors = 0;
    for item in table::under(tree, &keys::of_session(keys::SPOKE, sid)) {
        let hash = keys::wide_at(&item?.0, 9).unwrap_or_default();
        if table::read(tree, &keys::author(hash, sid))?.is_some() {
            authors += usize::from(seen.authors.contains(&hash));
        }
    }
    Ok((
        ids,
        agree.then_some(mentions),
        authors == seen.authors.len(),
    ))
}
