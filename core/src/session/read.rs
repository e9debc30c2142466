//! Reading: context, state and history, from the replica where it is current, with what is not durable
//! yet laid over what the store holds.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::fold::Fold;
use crate::hot::{LogEntry, Place, Read, Record, Settle};
use crate::message::{Body, Entry, EntryId, Message, Seq, State};
use crate::session::Context;
use crate::session::call::Call;
use crate::session::cell::{Cell, Due};
use crate::session::engine::{Engine, Told, count};
use crate::store::{Found, Page};

/// A page's largest size, so that no caller reads a whole history into memory by accident.
const PAGE_LIMIT: usize = 10_000;

/// How often a page is put together when entries become durable meanwhile.
const OVERLAYS: usize = 16;

/// Up to here an entry's id is a place that a replica remembers; ids of entries are far above.
const REMEMBERED: EntryId = EntryId(u64::MAX as u128);

/// What the hot tier or this process holds and the store may not yet.
type Overlay = Vec<(u64, Entry)>;

/// An entry's place, the epoch that erasures are compared with, and its record.
type Raw = (Place, u64, Bytes);

impl Cell {
    /// What `take` takes from the replica once it is up to what the hot tier holds; true when the tier could not be
    /// asked. Taken under the turn: afterwards a writer may have to load the session, and there is no replica meanwhile.
    async fn refreshed<T>(
        &self,
        engine: &Engine,
        take: impl FnOnce(&Fold) -> T,
    ) -> Result<(bool, T)> {
        let mut call = Call::begin(engine);
        let _turn = call.turn(self).await;
        let engine = &call;
        count(&engine.counters.touches);
        let had = self.inner.lock().replica.is_some();
        let mut away = self.settle_in(engine).await?;
        if had && !away {
            match self.catch_up(engine).await {
                Ok(()) => {
                    engine.hot_failed(None);
                    // A log that was evicted is loaded without what only this process holds.
                    away = self.settle_in(engine).await?;
                }
                Err(e) if e.is_outage() => {
                    engine.hot_failed(Some(&e));
                    away = true;
                }
                Err(e) => return Err(e),
            }
        }
        self.arm(engine, away).await;
        if self.inner.lock().replica.is_none() {
            // An erasure that was done late took it.
            away = self.settle_in(engine).await?;
        }
        let inner = self.inner.lock();
        let replica = inner.replica.as_ref();
        let taken = replica
            .map(|r| take(&r.fold))
            .ok_or_else(|| Error::away("the session", "it is being loaded anew; try again"))?;
        Ok((away, taken))
    }

    /// A read for a responder is a touch: tells the hot tier how long to keep a clean session when that has changed by
    /// an eighth. That it failed costs at most a miss later.
    async fn arm(&self, engine: &Call<'_>, away: bool) {
        let (due, ttl_ms) = {
            let mut inner = self.inner.lock();
            Self::touch(&mut inner, engine);
            let now = inner.used;
            let due = inner.due(now).filter(|_| !away && inner.is_idle());
            let Some(due) = due else { return };
            (due, inner.arm(now))
        };
        let told = match (due, ttl_ms) {
            (Due::Lengthen, Some(ttl_ms)) => engine.hot.touch(&self.address, ttl_ms).await,
            _ => {
                let session = self.address.clone();
                let settle = Settle { session, ttl_ms };
                engine.hot.settle(&engine.writer, vec![settle]).await
            }
        };
        if let Err(e) = told {
            tracing::debug!(error = %e, "could not change a time to live");
        }
    }

    /// The context after asking for what is newer.
    pub(crate) async fn context(self: &Arc<Self>, engine: &Engine) -> Result<Context> {
        let (stale, messages) = self.refreshed(engine, Fold::context).await?;
        self.queue_if_needed(engine);
        Ok(Context {
            messages,
            stale: stale && engine.hot_name() != "memory",
        })
    }

    /// A load sets a dirty mark that only the flusher takes away.
    fn queue_if_needed(self: &Arc<Self>, engine: &Engine) {
        let wanted = {
            let inner = self.inner.lock();
            inner.may_be_marked() || !inner.pending.is_empty()
        };
        if wanted {
            self.queue(engine);
        }
    }

    /// The context as this process knows it, if it knows the session.
    pub(crate) fn context_cached(&self) -> Option<Context> {
        let inner = self.inner.lock();
        inner.replica.as_ref().map(|r| Context {
            messages: r.fold.context(),
            stale: true,
        })
    }

    /// The state after asking for what is newer.
    pub(crate) async fn state(self: &Arc<Self>, engine: &Engine) -> Result<Option<State>> {
        let state = |fold: &Fold| fold.summary.state.clone();
        let (_, state) = self.refreshed(engine, state).await?;
        self.queue_if_needed(engine);
        Ok(state)
    }

    /// A page of history.
    pub(crate) async fn history(&self, engine: &Engine, page: Page) -> Result<Vec<(Seq, Message)>> {
        Ok(self.page(&mut Call::begin(engine), page).await?.0)
    }

    /// A page of history; the second is false when there is certainly nothing before it.
    async fn page<'a>(
        &'a self,
        engine: &mut Call<'a>,
        page: Page,
    ) -> Result<(Vec<(Seq, Message)>, bool)> {
        let limit = page.limit.clamp(1, PAGE_LIMIT);
        let before = page.before;
        if self.inner.lock().unplaced > 0 {
            // Places would change from page to page while entries wait for theirs.
            let _turn = engine.turn(self).await;
            if let Err(e) = self.settle_in(engine).await
                && !e.is_outage()
            {
                return Err(e);
            }
        }
        let (mut overlay, mut loose, mut rows, mut found);
        let mut tries = 0;
        loop {
            // Before the store is read: what becomes durable in between is then in both, not in neither.
            (overlay, loose) = self.overlay(engine).await?;
            let address = self.address.clone();
            rows = engine
                .blocking(move |s| s.history(&address, Page { before, limit }))
                .await?;
            let laid = || overlay.iter().map(|(_, e)| e).chain(&loose);
            let named = laid().flat_map(Entry::platform_ids).collect();
            found = engine.found(&self.address, named).await?;
            let ids: Vec<EntryId> = laid().map(|e| e.id).collect();
            tries += 1;
            if ids.is_empty() || tries == OVERLAYS {
                break;
            }
            // In both, but perhaps in another place, or with an edit that the overlay does not know: look again.
            let known = engine.known(&self.address, ids).await?;
            if known.numbers.iter().all(Option::is_none) {
                break;
            }
        }
        // The session may have moved to another epoch since.
        loose.extend(
            overlay
                .extract_if(.., |(number, entry)| clashes(&rows, *number, entry))
                .map(|(_, entry)| entry),
        );
        if !loose.is_empty() {
            // After the page was read: above everything in it.
            let newest = Page {
                before: None,
                limit: 1,
            };
            let address = self.address.clone();
            let newest = engine
                .blocking(move |s| s.history(&address, newest))
                .await?;
            let stored = newest.last().map_or(0, |(seq, _)| seq.number());
            let top = overlay.last().map_or(0, |(number, _)| *number).max(stored);
            overlay.extend((top + 1..).zip(loose));
        }
        apply_found(&found, &mut overlay);
        let mut more = rows.len() >= limit;
        lay_over(&mut rows, &overlay, before);
        let excess = rows.len().saturating_sub(limit);
        more |= excess > 0;
        rows.drain(..excess);
        Ok((rows, more))
    }

    /// Everything that is not certainly in the store, in order; apart what holds no number of the store's
    /// epoch: others may hold its number by now.
    async fn overlay(&self, engine: &Call<'_>) -> Result<(Overlay, Vec<Entry>)> {
        let (mut raw, pending) = self.not_durable(engine).await?;
        // This process's own come after others', in the order in which it accepted them.
        raw.extend(pending);
        if raw.is_empty() {
            return Ok(Default::default());
        }
        let mut places: HashMap<EntryId, Place> = HashMap::new();
        let mut entries = Vec::with_capacity(raw.len());
        for (place, born, record) in raw.into_iter().rev() {
            let entry: Entry = engine.codec.read_entry(&self.address, &record)?;
            match places.entry(entry.id) {
                Slot::Vacant(slot) => {
                    slot.insert(place);
                    entries.push((place, born, entry));
                }
                Slot::Occupied(mut slot) => *slot.get_mut() = place.max(*slot.get()),
            }
        }
        entries.reverse();
        for (place, _, entry) in &mut entries {
            *place = places.get(&entry.id).copied().unwrap_or_default();
        }
        let ids = entries.iter().map(|(_, _, e)| e.id).collect();
        let known = engine.known(&self.address, ids).await?;
        let mut numbers = known.numbers.into_iter();
        entries.retain(|_| numbers.next().flatten().is_none());
        // In a later epoch it may stand elsewhere: only an id tells it again then.
        entries.retain(|(place, _, e)| {
            let told = || e.platform_ids().next().is_some();
            e.id > REMEMBERED || place.epoch == known.epoch || told()
        });
        for (_, born, entry) in entries.iter_mut().filter(|(_, born, _)| *born > 0) {
            known.erased.apply(*born, entry);
        }
        let (placed, mut loose): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .map(|(place, _, entry)| (place, entry))
            .partition(|(place, _)| place.epoch == known.epoch && place.number > 0);
        let mut overlay: Overlay = placed.into_iter().map(|(p, e)| (p.number, e)).collect();
        overlay.sort_unstable_by_key(|(number, _)| *number);
        loose.sort_by_key(|(place, _)| (place.epoch == 0, *place));
        let loose = loose.into_iter().map(|(_, e)| e).collect();
        Ok((overlay, loose))
    }

    /// What the hot tier holds beyond what is known to be durable, and what is pending here.
    async fn not_durable(&self, engine: &Call<'_>) -> Result<(Vec<Raw>, Vec<Raw>)> {
        // Each with its place and the epoch that erasures are compared with.
        let (pending, after) = {
            let inner = self.inner.lock();
            let pending = inner.pending.iter().filter(|p| !p.conditional);
            let pending: Vec<_> = pending
                .map(|p| (p.place, p.born, p.record.clone()))
                .collect();
            let durable = inner.replica.as_ref().filter(|r| {
                r.published
                    && r.generation == engine.hot.generation()
                    && r.epoch == inner.durable_to.epoch
            });
            (pending, durable.map(|_| inner.durable_to))
        };
        let generation = engine.hot.generation();
        let raw = match engine.hot.read(&self.address, after, generation).await {
            Ok(Read::Entries(entries)) => self.unfold(engine, entries)?,
            Ok(Read::Missing | Read::Suspect) => Vec::new(),
            Err(e) if e.is_outage() => {
                engine.hot_failed(Some(&e));
                self.remembered(engine)?
            }
            Err(e) => return Err(e),
        };
        Ok((raw, pending))
    }

    /// What the replica shows beside what is pending here, for when the tier cannot be asked: what another
    /// process has not flushed, also what both said and only its entry was kept of, is nowhere else in reach.
    fn remembered(&self, engine: &Engine) -> Result<Vec<Raw>> {
        let inner = self.inner.lock();
        let Some(r) = &inner.replica else {
            return Ok(Vec::new());
        };
        let own: HashSet<Place> = inner.pending.iter().map(|p| p.place).collect();
        let mut raw = Vec::new();
        for (seq, m) in r.fold.placed() {
            let place = Place::new(r.epoch, seq.number());
            if own.contains(&place) {
                continue;
            }
            let mut messages = vec![None; usize::try_from(seq.field()).unwrap_or_default()];
            messages.push(Some(Arc::clone(m)));
            let entry = Entry {
                id: EntryId(seq.0.into()),
                at_ms: m.at_ms,
                body: Body::Messages(messages),
            };
            let record = engine.codec.entry(&self.address, &entry)?;
            raw.push((place, r.epoch, record));
        }
        Ok(raw)
    }

    /// A log's entries, also those that its snapshot holds, whose writers may not have flushed them yet.
    fn unfold(&self, engine: &Engine, log: Vec<LogEntry>) -> Result<Vec<Raw>> {
        let mut raw = Vec::with_capacity(log.len());
        for e in log {
            match e.record {
                Record::Entry(record) => raw.push((e.at, e.at.epoch, record)),
                Record::Snapshot(bytes) => {
                    let snapshot = engine.codec.read_snapshot(&self.address, &bytes)?;
                    let place = |number| Place::new(e.at.epoch, number);
                    let entries = snapshot.entries.into_iter();
                    raw.extend(entries.map(|(n, record)| (place(n), e.at.epoch, record)));
                }
            }
        }
        Ok(raw)
    }

    /// Every message, oldest first.
    pub(crate) async fn export(&self, engine: &Engine) -> Result<Vec<(Seq, Message)>> {
        let mut call = Call::begin(engine);
        let mut pages = Vec::new();
        let mut before = None;
        loop {
            let (page, more) = self
                .page(
                    &mut call,
                    Page {
                        before,
                        limit: 1000,
                    },
                )
                .await?;
            let Some((first, _)) = page.first() else {
                break;
            };
            before = Some(*first);
            pages.push(page);
            // Not one more look for an empty page: a message that moves meanwhile would be seen twice.
            if !more {
                break;
            }
        }
        Ok(pages.into_iter().rev().flatten().collect())
    }
}

/// Gives messages that are not durable the texts of edits that are, and leaves out those that were
/// deleted: a log that came back older, or an entry that still waits, may hold them.
fn apply_found(found: &Told, overlay: &mut Overlay) {
    for (_, entry) in overlay.iter_mut() {
        let Body::Messages(messages) = &mut entry.body else {
            continue;
        };
        for slot in messages {
            let id = slot.as_ref().and_then(|m| m.id.as_ref());
            match (id.and_then(|id| found.get(id)?.as_ref()), slot.as_mut()) {
                (Some(Found::Gone), _) => *slot = None,
                (Some(Found::Ahead { text, at_ms }), Some(m))
                    if m.edited_ms.is_none_or(|e| e <= *at_ms) =>
                {
                    let m = Arc::make_mut(m);
                    m.text.clone_from(text);
                    m.edited_ms = Some(*at_ms);
                }
                _ => {}
            }
        }
    }
}

/// True when a row holds another message in the entry's place.
fn clashes(rows: &[(Seq, Message)], number: u64, entry: &Entry) -> bool {
    let Body::Messages(messages) = &entry.body else {
        return false;
    };
    let same = |row: &Message, m: &Message| {
        let unedited = row.edited_ms.is_none();
        (&row.id, row.at_ms, row.role) == (&m.id, m.at_ms, m.role)
            && (row.text == m.text || !unedited)
    };
    (0..).zip(messages).any(|(field, m)| {
        let seq = Seq::new(number, field);
        let row = rows.iter().find(|(s, _)| *s == seq);
        matches!((row, m), (Some((_, row)), Some(m)) if !same(row, m))
    })
}

/// Applies entries that are not in the store to rows that are.
fn lay_over(rows: &mut Vec<(Seq, Message)>, overlay: &Overlay, before: Option<Seq>) {
    let in_page = |seq: Seq| before.is_none_or(|b| seq < b);
    for (number, entry) in overlay {
        let Body::Messages(messages) = &entry.body else {
            continue;
        };
        for (field, m) in messages.iter().enumerate() {
            let seq = Seq::new(*number, field as u64);
            let twin = |other: &Message| {
                m.as_ref()
                    .is_some_and(|m| m.id.is_some() && m.id == other.id)
            };
            if let Some(m) = m
                && in_page(seq)
                && !rows.iter().any(|(s, other)| *s == seq || twin(other))
            {
                rows.push((seq, Message::clone(m)));
            }
        }
    }
    for (_, entry) in overlay {
        match &entry.body {
            Body::Edit {
                id,
                text: Some(text),
                at_ms,
            } => {
                for (_, m) in rows.iter_mut().filter(|(_, m)| m.id.as_ref() == Some(id)) {
                    if m.edited_ms.is_none_or(|e| e <= *at_ms) {
                        m.text.clone_from(text);
                        m.edited_ms = Some(*at_ms);
                    }
                }
            }
            Body::Delete { id } => rows.retain(|(_, m)| m.id.as_ref() != Some(id)),
            _ => {}
        }
    }
    rows.sort_by_key(|(seq, _)| *seq);
}
