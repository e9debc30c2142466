//! One session of the in-memory store: entries by number and what is known of platform ids.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::codec::{self, Kind};
use crate::error::Result;
use crate::message::{Body, Entry, Message, Role, Seq, State};
use crate::store::{
    Erase, Erased, FlushEntry, Flushed, Found, SessionFlush, SessionFlushed, Stored,
};
use crate::summary::{Erasures, HighWater, Summary, author_hash};
use crate::ttl::Estimate;

#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    pub(super) epoch: u64,
    pub(super) durable_to: u64,
    cut: Seq,
    pub(super) entries: BTreeMap<u64, Entry>,
    pub(super) places: HashMap<String, Place>,
    ids: HighWater,
    pub(super) authors: BTreeSet<u128>,
    /// Where the newest system message of this context stands, unless it was removed since.
    system: Option<Seq>,
    pub(super) erased: Erasures,
    pub(super) estimate: Option<Estimate>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    At(Seq),
    Gone,
    Ahead(u64),
}

impl Log {
    pub(super) fn found(&self, id: &str) -> Option<Found> {
        match self.places.get(id)? {
            Place::At(seq) => Some(Found::At(*seq)),
            Place::Gone => Some(Found::Gone),
            Place::Ahead(n) => match self.entries.get(n).map(|e| e.body.clone()) {
                Some(Body::Edit {
                    text: Some(text),
                    at_ms,
                    ..
                }) => Some(Found::Ahead { text, at_ms }),
                _ => None,
            },
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.entries.keys().next_back().copied().unwrap_or_default()
    }

    pub(super) fn messages(&self) -> impl DoubleEndedIterator<Item = (Seq, &Message)> {
        self.entries.iter().flat_map(|(number, entry)| {
            let slots = match &entry.body {
                Body::Messages(slots) => slots.as_slice(),
                _ => &[],
            };
            let placed = slots.iter().enumerate();
            placed.filter_map(|(f, m)| Some((Seq::new(*number, f as u64), &**m.as_ref()?)))
        })
    }

    fn slot(&mut self, seq: Seq) -> Option<&mut Option<Arc<Message>>> {
        let field = usize::try_from(seq.field()).ok()?;
        match &mut self.entries.get_mut(&seq.number())?.body {
            Body::Messages(slots) => slots.get_mut(field),
            _ => None,
        }
    }

    fn remove(&mut self, seq: Seq) -> Option<Arc<Message>> {
        let taken = self.slot(seq)?.take();
        self.system.take_if(|s| *s == seq);
        self.tidy();
        taken
    }

    /// Entries that hold nothing any more keep only their numbers.
    fn tidy(&mut self) {
        for entry in self.entries.values_mut() {
            if matches!(&entry.body, Body::Messages(slots) if slots.iter().all(Option::is_none)) {
                entry.body = Body::Void;
            }
        }
    }

    /// Takes the text out of an edit that waits for its message.
    fn take_ahead(&mut self, number: u64) -> Option<(String, u64)> {
        match &mut self.entries.get_mut(&number)?.body {
            Body::Edit { text, at_ms, .. } => Some((text.take()?, *at_ms)),
            _ => None,
        }
    }

    fn state(&self) -> Option<State> {
        let states = self.entries.values().filter_map(|e| match &e.body {
            Body::State(state) => Some(state),
            _ => None,
        });
        states.max_by_key(|s| s.version).cloned()
    }

    fn reset_at(&self) -> u64 {
        let resets = self.entries.iter().filter(|(_, e)| e.body == Body::Reset);
        resets.map(|(n, _)| *n).last().unwrap_or_default()
    }

    fn summary(&self) -> Summary {
        let system = self.system.filter(|s| s.number() >= self.reset_at());
        let message = |seq| self.messages().find(|(s, _)| *s == seq);
        Summary {
            cut: self.cut.max(Seq::new(self.reset_at(), 0)),
            state: self.state(),
            system: system.and_then(message).map(|(s, m)| (s, m.clone())),
            ids: self.ids,
        }
    }

    pub(super) fn flush(&mut self, flush: &SessionFlush) -> Result<SessionFlushed> {
        let mut outcomes = vec![Flushed::Refused; flush.entries.len()];
        if flush.epoch >= self.epoch {
            self.epoch = flush.epoch;
            self.estimate = flush.estimate.or(self.estimate);
            let mut refused = false;
            for (given, outcome) in flush.entries.iter().zip(&mut outcomes) {
                *outcome = self.take(flush, given, refused)?;
                refused |= *outcome == Flushed::Refused;
            }
            if !refused {
                self.durable_to = self.durable_to.max(flush.settled_to.min(self.last()));
            }
            while self.entries.contains_key(&(self.durable_to + 1)) {
                self.durable_to += 1;
            }
            if flush.cut.number() <= self.last() && flush.cut_at <= self.durable_to {
                self.cut = self.cut.max(flush.cut);
            }
        }
        Ok(SessionFlushed {
            epoch: self.epoch,
            durable_to: self.durable_to,
            entries: outcomes,
        })
    }

    fn take(&mut self, flush: &SessionFlush, given: &FlushEntry, refused: bool) -> Result<Flushed> {
        let mut entry: Entry = codec::decode(Kind::Entry, flush.session.hash64(), &given.record)?;
        if self.erased.apply(flush.epoch, &mut entry) && entry.body == Body::Void {
            return Ok(Flushed::Erased);
        }
        if self.entries.values().any(|e| e.id == given.id) {
            return Ok(Flushed::Durable);
        }
        if refused || self.entries.contains_key(&given.number) {
            return Ok(Flushed::Refused);
        }
        let count = entry.len();
        entry.body = match entry.body {
            Body::Messages(slots) => self.take_messages(given.number, slots),
            Body::Edit { id, text, at_ms } => self.take_edit(given.number, id, text, at_ms),
            Body::Delete { id } => self.take_delete(id),
            Body::State(state) => match self.state() {
                Some(newest) if newest.version >= state.version => Body::Void,
                _ => Body::State(state),
            },
            other => other,
        };
        let pruned = entry.len() < count;
        self.entries.insert(given.number, entry);
        self.tidy();
        Ok(if pruned {
            Flushed::Pruned
        } else {
            Flushed::Durable
        })
    }

    fn take_messages(&mut self, number: u64, slots: Vec<Option<Arc<Message>>>) -> Body {
        let mut kept = Vec::with_capacity(slots.len());
        for (field, m) in slots.into_iter().enumerate() {
            let seq = Seq::new(number, field as u64);
            let m = m.and_then(|m| self.take_message(seq, m));
            if m.as_ref().is_some_and(|m| m.role == Role::System) {
                self.system = self.system.max(Some(seq));
            }
            kept.push(m);
        }
        Body::Messages(kept)
    }

    fn take_message(&mut self, seq: Seq, mut m: Arc<Message>) -> Option<Arc<Message>> {
        if let Some(id) = &m.id {
            self.ids.note(id);
            match self.places.get(id).cloned() {
                Some(Place::At(_) | Place::Gone) => return None,
                Some(Place::Ahead(n)) => {
                    if let Some((text, at_ms)) = self.take_ahead(n) {
                        edit(Arc::make_mut(&mut m), &text, at_ms);
                    }
                }
                None => {}
            }
            let id = m.id.clone()?;
            self.places.insert(id, Place::At(seq));
        }
        self.authors.extend(m.author.as_ref().map(author_hash));
        Some(m)
    }

    fn take_edit(&mut self, number: u64, id: String, text: Option<String>, at_ms: u64) -> Body {
        self.ids.note(&id);
        let Some(text) = text else { return Body::Void };
        let mut kept = None;
        match self.places.get(&id).cloned() {
            Some(Place::Gone) => {}
            Some(Place::At(seq)) => {
                if let Some(Some(m)) = self.slot(seq) {
                    edit(Arc::make_mut(m), &text, at_ms);
                }
            }
            Some(Place::Ahead(older)) if self.ahead_at(older) > at_ms => {}
            standing => {
                if let Some(Place::Ahead(older)) = standing {
                    self.take_ahead(older);
                }
                self.places.insert(id.clone(), Place::Ahead(number));
                kept = Some(text);
            }
        }
        Body::Edit {
            id,
            text: kept,
            at_ms,
        }
    }

    fn ahead_at(&self, number: u64) -> u64 {
        match self.entries.get(&number).map(|e| &e.body) {
            Some(Body::Edit { at_ms, .. }) => *at_ms,
            _ => 0,
        }
    }

    fn take_delete(&mut self, id: String) -> Body {
        self.ids.note(&id);
        match self.places.insert(id.clone(), Place::Gone) {
            Some(Place::At(seq)) => drop(self.remove(seq)),
            Some(Place::Ahead(n)) => drop(self.take_ahead(n)),
            _ => {}
        }
        Body::Delete { id }
    }

    pub(super) fn window(&self, hash: u64) -> Result<Stored> {
        let summary = self.summary();
        let mut entries = Vec::new();
        let mut told = HashSet::new();
        for (number, entry) in self.entries.range(summary.cut.number()..) {
            match &entry.body {
                Body::Messages(slots) => {
                    told.extend(slots.iter().flatten().filter_map(|m| m.id.as_ref()));
                }
                Body::Edit { id, .. } | Body::Delete { id } => {
                    told.insert(id);
                }
                _ => {}
            }
            entries.push((*number, codec::encode(Kind::Entry, hash, entry)?));
        }
        Ok(Stored {
            epoch: self.epoch,
            last: self.last(),
            durable_to: self.durable_to,
            taken: self
                .entries
                .range(self.durable_to + 1..)
                .map(|(n, _)| *n)
                .collect(),
            complete: told.len() == self.places.len(),
            summary,
            erased: self.erased.clone(),
            entries,
            estimate: self.estimate,
        })
    }

    pub(super) fn erase(&mut self, what: &Erase) -> (Erased, bool) {
        let (mut erased, mut any) = (Erased::default(), false);
        let all: Vec<Seq> = self.messages().map(|(seq, _)| seq).collect();
        for seq in all {
            let Some(m) = self.slot(seq).and_then(|s| s.take_if(|m| hit(what, m))) else {
                continue;
            };
            any = true;
            erased.messages += 1;
            erased.bytes += m.text.len() as u64;
            self.system.take_if(|s| *s == seq);
            if let Some(id) = m.id.clone() {
                self.places.insert(id, Place::Gone);
            }
        }
        for entry in self.entries.values_mut() {
            let late = match (&entry.body, what) {
                (_, Erase::All) => true,
                (Body::Edit { text, at_ms, .. }, Erase::Before(ms)) => text.is_some() && at_ms < ms,
                (Body::Edit { text, .. }, Erase::Author(_)) => text.is_some(),
                _ => false,
            };
            if late {
                if let (Body::Edit { id, .. }, false) = (&entry.body, matches!(what, Erase::All)) {
                    self.places.remove(id);
                }
                entry.body = Body::Void;
                any = true;
            }
        }
        match what {
            Erase::All => {
                self.places.values_mut().for_each(|p| *p = Place::Gone);
                self.authors.clear();
            }
            Erase::Author(author) => {
                self.authors.remove(&author_hash(author));
            }
            Erase::Before(_) => {}
        }
        self.tidy();
        (erased, any)
    }
}

fn edit(m: &mut Message, text: &str, at_ms: u64) {
    if m.edited_ms.is_none_or(|e| e <= at_ms) {
        text.clone_into(&mut m.text);
        m.tokens = None;
        m.edited_ms = Some(at_ms);
    }
}

fn hit(what: &Erase, m: &Message) -> bool {
    match what {
        Erase::All => true,
        Erase::Author(author) => m.author.as_ref().is_some_and(|a| a.same(author)),
        Erase::Before(ms) => m.at_ms < *ms,
    }
}
