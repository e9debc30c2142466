//! Placing: giving pending entries their numbers, in the hot tier or, without it, here.
//!
//! Invariant: pending entries of an older epoch are placed again, in order, before anything new; an entry
//! of which it is unknown whether it arrived is never sent a second time before it was looked for.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::hot::{Append, Appended, Place};
use crate::keyring::Keyring;
use crate::message::{Entry, EntryId};
use crate::session::Level;
use crate::session::append::ATTEMPTS;
use crate::session::call::Call;
use crate::session::cell::{Cell, Inner, Pending};
use crate::session::engine::Engine;

/// How an attempt to place everything ended.
pub(super) enum Placing {
    Done,
    /// Somebody else was ahead, or the tier changed: look again.
    Again,
    /// The hot tier went away: go on without it.
    Away,
}

/// After this many attempts another process does not only append: it places again all that waits there, faster than one
/// can ask where the log ends.
const RACES: usize = 8;

impl Cell {
    /// Before an attempt that follows others which lost: gives way to who places again all it holds; the pauses of all attempts
    /// take half of a call's deadline. Then it looks where the log ends now: who has paused and does not look is behind for
    /// certain when the other goes on writing. Whose entry `mine` stands by now has not lost: what others said meanwhile might
    /// push it out of its own context.
    pub(super) async fn give_way(
        &self,
        engine: &Call<'_>,
        attempt: usize,
        away: bool,
        mine: Option<EntryId>,
    ) -> Result<()> {
        const PAUSE: Duration = Duration::from_millis(2);
        let stands = |id| self.inner.lock().find(id).is_none_or(|p| !p.is_unplaced());
        if attempt < RACES || away || mine.is_some_and(stands) {
            return Ok(());
        }
        engine.hot.pause(PAUSE).await;
        match Box::pin(self.catch_up(engine)).await {
            Err(e) if e.is_outage() => engine.hot_failed(Some(&e)),
            caught => caught?,
        }
        Ok(())
    }

    /// Makes the replica current and places everything; call under the turn. True when away.
    pub(crate) async fn settle_in(&self, engine: &Call<'_>) -> Result<bool> {
        let mut away = false;
        for attempt in 0..ATTEMPTS {
            self.give_way(engine, attempt, away, None).await?;
            away = self.ready(engine, away).await?;
            match self.place_pending(engine, None, away).await? {
                Placing::Done => return Ok(away),
                Placing::Again => {}
                Placing::Away => away = true,
            }
        }
        Err(Error::away(
            engine.hot.name(),
            "others keep writing to the session; try again",
        ))
    }

    /// Places, in order, every pending entry but `except` that stands nowhere.
    pub(super) async fn place_pending(
        &self,
        engine: &Call<'_>,
        except: Option<EntryId>,
        away: bool,
    ) -> Result<Placing> {
        let order = self.inner.lock().to_place(except);
        if order.is_empty() {
            return Ok(Placing::Done);
        }
        Box::pin(self.place_in_order(engine, order, away)).await
    }

    async fn place_in_order(
        &self,
        engine: &Call<'_>,
        order: Vec<EntryId>,
        away: bool,
    ) -> Result<Placing> {
        let waiting = self.waiting(engine, &order)?;
        // Asked of all that wait at once: a call of the store for each would take what is left of the deadline, of this
        // call and of those that wait behind it.
        let ids = waiting
            .iter()
            .flat_map(|(_, entry, _)| entry.platform_ids());
        let mut told = self.told(engine, ids).await?;
        for (id, entry, conditional) in waiting {
            if self.inner.lock().find(id).is_none() {
                continue;
            }
            let left = if conditional {
                None
            } else {
                self.still(engine, entry.clone(), &mut told).await?
            };
            if !conditional && left.as_ref() != Some(&entry) && self.is_stored(engine, id).await? {
                // Another process took it over and made it durable: the replica is older than that, and what comes
                // next would be shown right after what stood before it.
                engine.journal.done(self.remove(engine, |p| p.id == id));
                self.forget_replica();
                return Ok(Placing::Again);
            }
            let Some(left) = left else {
                self.withdraw(engine, id)?;
                continue;
            };
            if left != entry {
                let record = engine.codec.entry(&self.address, &left)?;
                self.replace(engine, id, record);
            }
            match self.place_one(engine, id, away).await? {
                // It stands now; what the store said of it before that is old.
                Placing::Done => entry.platform_ids().for_each(|id| drop(told.remove(&id))),
                other => return Ok(other),
            }
        }
        Ok(Placing::Done)
    }

    /// Pending entries as they are now, and whether each is conditional.
    fn waiting(&self, engine: &Engine, order: &[EntryId]) -> Result<Vec<(EntryId, Entry, bool)>> {
        let pending: Vec<_> = {
            let inner = self.inner.lock();
            let found = order.iter().filter_map(|id| inner.find(*id));
            found
                .map(|p| (p.id, p.record.clone(), p.conditional))
                .collect()
        };
        let entries = pending.into_iter().map(|(id, record, conditional)| {
            let entry = engine.codec.read_entry(&self.address, &record)?;
            Ok((id, entry, conditional))
        });
        entries.collect()
    }

    /// True when an entry is durable already; a store that does not answer holds nobody up.
    async fn is_stored(&self, engine: &Engine, id: EntryId) -> Result<bool> {
        match engine.known(&self.address, vec![id]).await {
            Ok(known) => Ok(known.numbers.iter().any(Option::is_some)),
            Err(e) if e.is_outage() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Sends one entry to the hot tier, or, without one, gives it the next number here.
    pub(super) async fn place_one(
        &self,
        engine: &Call<'_>,
        id: EntryId,
        away: bool,
    ) -> Result<Placing> {
        self.seal_again(engine, id)?;
        let Some((append, entry)) = self.next_append(engine, id, away)? else {
            return Ok(Placing::Again);
        };
        let place = append.at;
        let trim = append.trim_below;
        let marks = append.mark.is_some();
        let bytes = append.entry.len() + append.carry.as_ref().map_or(0, bytes::Bytes::len);
        if !away {
            match engine.hot.append(&self.address, append).await {
                Ok(Appended::Done) => {}
                Ok(Appended::Behind) => {
                    self.not_sent(id);
                    let caught = Box::pin(self.catch_up(engine)).await;
                    return Self::outage(engine, caught);
                }
                Ok(Appended::Missing | Appended::Suspect) => {
                    self.not_sent(id);
                    self.forget_replica();
                    return Ok(Placing::Again);
                }
                Err(e) => return Self::outage(engine, Err(e)),
            }
        }
        // Unknown to the journal under this epoch only after a reload: rare.
        engine.journal.placed(id, place.epoch)?;
        let mut inner = self.inner.lock();
        inner.place(id, place, &entry, bytes);
        inner.marked |= marks;
        if let (Some(below), Some(r)) = (trim, &mut inner.replica) {
            r.extent.trim(below);
            r.fold.forget_ids_below(below);
        }
        drop(inner);
        engine.grown(bytes);
        Ok(Placing::Done)
    }

    /// An entry that stands nowhere yet is younger than any erasure; a key that one destroyed since it was sealed
    /// must not take it along.
    fn seal_again(&self, engine: &Engine, id: EntryId) -> Result<()> {
        if !engine.codec.keyring().is_some_and(Keyring::has_destroyed) {
            return Ok(());
        }
        let waiting = self.inner.lock().find(id).and_then(|p| {
            let waits = p.is_unplaced() && !p.sent && p.born == 0;
            let entry = p.entry.clone().filter(|_| waits);
            entry.map(|entry| (p.record.clone(), entry))
        });
        let Some((record, entry)) = waiting else {
            return Ok(());
        };
        if !engine.codec.is_stale(&self.address, &record) {
            return Ok(());
        }
        let record = engine.codec.entry(&self.address, &entry)?;
        if engine.level != Level::Cached {
            engine.journal.append(&self.address, id, 0, &record)?;
        }
        let mut inner = self.inner.lock();
        if let Some(p) = inner.find_mut(id) {
            engine.backlog.replace(p.record.len(), record.len());
            p.record = record;
        }
        Ok(())
    }

    /// The tier refused it: it is certainly not there.
    pub(super) fn not_sent(&self, id: EntryId) {
        if let Some(p) = self.inner.lock().find_mut(id) {
            p.sent = false;
        }
    }

    pub(super) fn outage(engine: &Engine, result: Result<()>) -> Result<Placing> {
        match result {
            Ok(()) => Ok(Placing::Again),
            Err(e) if e.is_outage() => {
                engine.hot_failed(Some(&e));
                Ok(Placing::Away)
            }
            Err(e) => Err(e),
        }
    }

    /// The append of a pending entry at the end of the replica's log.
    pub(super) fn next_append(
        &self,
        engine: &Engine,
        id: EntryId,
        away: bool,
    ) -> Result<Option<(Append, Arc<Entry>)>> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let Some(p) = inner
            .pending
            .iter_mut()
            .rev()
            .find(|p| p.id == id && p.is_unplaced())
        else {
            return Ok(None);
        };
        let Some(r) = &inner.replica else {
            return Ok(None);
        };
        let entry = match &p.entry {
            Some(entry) => Arc::clone(entry),
            None => Arc::new(engine.codec.read_entry(&self.address, &p.record)?),
        };
        p.sent = !away;
        inner.unsure |= !away && !inner.marked;
        let durable = if inner.durable_to.epoch == r.epoch {
            inner.durable_to.number + 1
        } else {
            0
        };
        let below = r.fold.summary.cut.number().min(durable);
        // Without the hot tier there is no log to trim, but the same ids to forget.
        let trims = r.extent.trims(below);
        let carry = || engine.codec.summary(&self.address, &r.fold.summary);
        let append = Append {
            at: Place::new(r.epoch, r.fold.last + 1),
            entry: p.record.clone(),
            carry: if trims && !away { Some(carry()?) } else { None },
            trim_below: trims.then_some(below),
            mark: (!away && !inner.marked).then(|| engine.writer.clone()),
            generation: r.generation,
        };
        Ok(Some((append, entry)))
    }
}

impl Inner {
    /// The entries that stand nowhere, but `except`, in the order in which they are to be placed.
    fn to_place(&self, except: Option<EntryId>) -> Vec<EntryId> {
        let own = except
            .and_then(|id| self.find(id))
            .is_some_and(Pending::is_unplaced);
        if self.unplaced == usize::from(own) {
            return Vec::new();
        }
        let waiting = self
            .pending
            .iter()
            .filter(|p| p.is_unplaced() && Some(p.id) != except);
        let mut order: Vec<_> = waiting.map(|p| (p.order, p.id)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, id)| id).collect()
    }
}
