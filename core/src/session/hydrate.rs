//! Hydrating: a new epoch from the store's window and what an older log holds beyond it; and the same
//! without a hot tier.
//!
//! Invariants: a copy is published only over the log that was merged into it and only under its own
//! fence; nothing that an older log holds and the store does not is dropped, unless it was erased.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fold::Fold;
use crate::hot::{Place, Publish, Published};
use crate::message::{Body, Entry, EntryId};
use crate::session::call::Call;
use crate::session::cell::{Cell, Pending, Replica};
use crate::session::engine::{Engine, count};
use crate::session::extent::Extent;
use crate::session::load::ATTEMPTS;
use crate::session::log::{Decoded, Log};
use crate::store::{Found, Stored};
use crate::summary::Snapshot;

/// Gives the extras their numbers in the copy: their own while those are free (so that what two writers
/// said by turns keeps its order though only one of them has flushed), from the first clash on new ones. What stood
/// before an extra and is stored under a higher number (its writer went on without the hot tier) stays before it.
fn renumber(stored: &Stored, extras: &mut [Decoded]) {
    let own = extras.iter().map(|d| d.number).max().unwrap_or_default();
    let mut next = stored.last.max(own) + 1;
    let (mut clash, mut before) = (false, stored.durable_to);
    for d in extras {
        clash |= d.number <= before.max(d.after) || stored.taken.contains(&d.number);
        if clash {
            d.number = next;
            next += 1;
        }
        before = d.number;
    }
}

/// A copy, the number of its last entry, and its entries decoded.
type Merged = (Snapshot, u64, Vec<(u64, Entry)>);

impl Cell {
    /// Makes a new epoch from the store's window and what an older log holds beyond it.
    pub(super) async fn hydrate(&self, engine: &Call<'_>) -> Result<()> {
        count(&engine.counters.misses);
        let began = engine.clock.monotonic();
        self.hydrate_anew(engine).await?;
        let took = engine.clock.monotonic().saturating_sub(began);
        let bytes = self
            .inner
            .lock()
            .replica
            .as_ref()
            .map_or(0, |r| r.fold.text_bytes());
        engine.ttl.loaded(took, bytes);
        Ok(())
    }

    async fn hydrate_anew(&self, engine: &Call<'_>) -> Result<()> {
        let alone = self.inner.lock().is_alone();
        if alone || engine.hot_is_away() {
            // One that answers and refuses writes (it is full) must not cost an epoch at each touch: what is flushed
            // meanwhile would be refused for it. A fence of no epoch only makes another hydration start again.
            engine.hot.fence(&self.address, 0).await?;
        }
        for _ in 0..ATTEMPTS {
            let generation = engine.hot.generation();
            let seen = self
                .read_log(engine, generation)
                .await?
                .map_or(0, |log| log.last.epoch);
            let above = seen.max(self.inner.lock().need_epoch.saturating_sub(1));
            let address = self.address.clone();
            let epoch = engine.blocking(move |s| s.allot(&address, above)).await?;
            engine.hot.fence(&self.address, epoch).await?;
            let address = self.address.clone();
            let stored = engine
                .blocking(move |s| s.window(&address))
                .await?
                .unwrap_or_default();
            if stored.epoch != epoch {
                continue;
            }
            let old = self.read_log(engine, generation).await?;
            if let Some(log) = old.as_ref().filter(|log| log.last.epoch >= epoch) {
                if log.whole
                    && let Some(log) = old
                {
                    return self.adopt(engine, log, generation).await;
                }
                continue;
            }
            if self.publish(engine, epoch, generation, stored, old).await? {
                return Ok(());
            }
        }
        Err(Error::away(
            engine.hot.name(),
            "others keep changing the session; try again",
        ))
    }

    /// Publishes the copy; false when something moved and the hydration must start again.
    pub(super) async fn publish(
        &self,
        engine: &Call<'_>,
        epoch: u64,
        generation: u64,
        stored: Stored,
        old: Option<Log>,
    ) -> Result<bool> {
        let over = old.as_ref().map(|log| log.last);
        let mut extras = self.beyond(engine, &stored, old).await?;
        renumber(&stored, &mut extras);
        let (snapshot, last, decoded) = self.merge(engine, &stored, &extras)?;
        let place = Place::new(epoch, last);
        let publish = Publish {
            at: place,
            snapshot: engine.codec.snapshot(&self.address, &snapshot)?,
            over,
            mark: Some(engine.writer.clone()),
            ttl_ms: None,
            generation,
        };
        let copy_bytes = publish.snapshot.len();
        self.inner.lock().unsure = true;
        if engine.hot.publish(&self.address, publish).await? != Published::Done {
            return Ok(false);
        }
        let mut fold = Fold::new(
            Arc::clone(&engine.window),
            snapshot.summary,
            0,
            snapshot.complete,
        );
        let mut places = HashMap::new();
        for (number, entry) in &decoded {
            fold.apply(*number, entry);
            places.insert(entry.id, *number);
        }
        fold.last = last;
        let known = self.known_pending(engine).await?;
        self.resolve(engine, epoch, &places, &known)?;
        self.keep_extras(engine, epoch, &extras, &places)?;
        self.inner.lock().reorder();
        let replica = Replica {
            epoch,
            generation,
            fold,
            published: true,
            extent: Extent::of_copy(last, copy_bytes),
            copied_to: last,
        };
        self.install(engine, replica);
        self.remember(stored.estimate);
        let mut inner = self.inner.lock();
        inner.marked = true;
        let durable = extras.iter().map(|d| d.number - 1).min().unwrap_or(last);
        inner.durable_to = inner.durable_to.max(Place::new(epoch, durable));
        Ok(true)
    }

    /// What an older log holds and the store does not, without what was erased.
    pub(super) async fn beyond(
        &self,
        engine: &Engine,
        stored: &Stored,
        old: Option<Log>,
    ) -> Result<Vec<Decoded>> {
        let Some(log) = old else {
            return Ok(Vec::new());
        };
        let epoch = log.last.epoch;
        let mut extras = log.entries;
        let known = engine
            .known(&self.address, extras.iter().map(|d| d.entry.id).collect())
            .await?;
        let mut numbers = known.numbers.into_iter();
        let mut after = 0;
        extras.retain_mut(|d| {
            let stored = numbers.next().flatten();
            after = after.max(stored.unwrap_or_default());
            d.after = after;
            stored.is_none()
        });
        // A log that came back older may hold what was deleted, or said again, since.
        let ids = extras.iter().flat_map(|d| d.entry.platform_ids()).collect();
        let found = engine.found(&self.address, ids).await?;
        let settled = |id: &str| matches!(found.get(id), Some(Some(Found::At(_) | Found::Gone)));
        for d in &mut extras {
            let erased = stored.erased.apply(epoch, &mut d.entry);
            if d.entry.strip(settled) || erased {
                d.record = engine.codec.entry(&self.address, &d.entry)?;
            }
        }
        // What was erased keeps its number, if that is free, so that no hole is left.
        let free = |n: u64| n > stored.durable_to && !stored.taken.contains(&n);
        extras.retain(|d| d.entry.body != Body::Void || free(d.number));
        Ok(extras)
    }

    /// The copy: the store's window and the extras, by number.
    pub(super) fn merge(
        &self,
        engine: &Engine,
        stored: &Stored,
        extras: &[Decoded],
    ) -> Result<Merged> {
        let mut all = Vec::with_capacity(stored.entries.len() + extras.len());
        for (number, record) in &stored.entries {
            let entry: Entry = engine.codec.read_entry(&self.address, record)?;
            all.push((*number, record.clone(), entry));
        }
        all.extend(
            extras
                .iter()
                .map(|d| (d.number, d.record.clone(), d.entry.clone())),
        );
        all.sort_by_key(|(number, _, _)| *number);
        let last = all
            .last()
            .map_or(stored.last, |(number, _, _)| *number)
            .max(stored.last);
        let entries = all
            .iter()
            .map(|(number, record, _)| (*number, record.clone()))
            .collect();
        let decoded = all
            .into_iter()
            .map(|(number, _, entry)| (number, entry))
            .collect();
        let (summary, complete) = (stored.summary.clone(), stored.complete);
        Ok((
            Snapshot {
                summary,
                entries,
                complete,
            },
            last,
            decoded,
        ))
    }

    /// Extras that are not this process's own become pending here too: their writer may be gone.
    pub(super) fn keep_extras(
        &self,
        engine: &Engine,
        epoch: u64,
        extras: &[Decoded],
        places: &HashMap<EntryId, u64>,
    ) -> Result<()> {
        let own: HashSet<EntryId> = self.inner.lock().pending.iter().map(|p| p.id).collect();
        for d in extras.iter().filter(|d| !own.contains(&d.entry.id)) {
            let Some(number) = places.get(&d.entry.id) else {
                continue;
            };
            // Its own writer's journal has it too; a full disk here must not fail a read.
            let journal = &engine.journal;
            if let Err(e) = journal.append(&self.address, d.entry.id, epoch, &d.record) {
                tracing::warn!(error = %e, "an adopted entry is not in this journal");
            }
            let place = Place::new(epoch, *number);
            let pending = Pending {
                place,
                born: epoch,
                ..Pending::new(d.entry.id, d.record.clone())
            };
            self.push(engine, pending);
        }
        Ok(())
    }

    /// Goes on without the hot tier: an epoch of the store's, known to this process only.
    pub(super) async fn degrade(&self, engine: &Engine) -> Result<()> {
        let (own, epoch, need) = {
            let inner = self.inner.lock();
            let r = inner.replica.as_ref();
            (
                r.is_some_and(|r| !r.published && r.epoch >= inner.need_epoch),
                r.map_or(0, |r| r.epoch),
                inner.need_epoch,
            )
        };
        if own {
            return Ok(());
        }
        match self
            .degrade_from_store(engine, epoch.max(need.saturating_sub(1)))
            .await
        {
            Ok(()) => Ok(()),
            Err(e) if e.is_outage() => {
                // Neither tier answers: go on with what is here, if anything is.
                let mut inner = self.inner.lock();
                let Some(replica) = &mut inner.replica else {
                    return Err(e);
                };
                replica.published = false;
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    pub(super) async fn degrade_from_store(&self, engine: &Engine, above: u64) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let ids = self.pending_ids();
            let (address, asked) = (self.address.clone(), ids.clone());
            // In this order: what is flushed before the epoch is allotted is then both known and in the window, else it
            // would be placed a second time; after it the store refuses what is flushed under an older one.
            let (epoch, mut known, stored) = engine
                .blocking(move |s| {
                    let epoch = s.allot(&address, above)?;
                    let known = s.known(&address, &asked)?;
                    Ok((epoch, known, s.window(&address)?.unwrap_or_default()))
                })
                .await?;
            if stored.epoch != epoch {
                continue;
            }
            let (snapshot, last, decoded) = self.merge(engine, &stored, &[])?;
            let mut fold = Fold::new(
                Arc::clone(&engine.window),
                snapshot.summary,
                0,
                snapshot.complete,
            );
            decoded
                .iter()
                .for_each(|(number, entry)| fold.apply(*number, entry));
            fold.last = last;
            known.erased = stored.erased;
            self.remember(stored.estimate);
            self.resolve(engine, epoch, &HashMap::new(), &(ids, known))?;
            let replica = Replica {
                epoch,
                generation: 0,
                fold,
                published: false,
                extent: Extent::default(),
                copied_to: last,
            };
            self.install(engine, replica);
            return Ok(());
        }
        Err(Error::away(
            engine.store.name(),
            "others keep changing the session; try again",
        ))
    }
}
