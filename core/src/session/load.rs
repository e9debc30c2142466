//! Loading: making a session's replica current, from the hot tier or from the store.
//!
//! Three ways, all under the session's turn. *Catch up* reads what is newer. *Adopt* takes over a log
//! that another hydration published. *Hydrate* makes a new epoch: the store allots it, the fence
//! announces it, the store's window and what an older log holds beyond it are merged, and the copy
//! replaces the log if nothing moved meanwhile. When the hot tier is away the same is done without it
//! (*degrade*) and made good by a hydration once it is back.
//!
//! Invariant: after any of them every pending entry either stands in the replica's epoch, or stands
//! nowhere and is certainly neither in the log nor in the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::fold::Fold;
use crate::hot::{LogEntry, Place, Read, Record};
use crate::message::{Body, Entry, EntryId};
use crate::session::call::Call;
use crate::session::cell::{Cell, Replica};
use crate::session::engine::Engine;
use crate::session::log::Log;
use crate::store::Known;
use crate::summary::Erasures;

/// How often a load starts again when others keep moving the session.
pub(super) const ATTEMPTS: usize = 16;

/// What a catch-up found.
enum Caught {
    Current,
    Load,
}

impl Cell {
    /// Makes the replica fit to append to and to read from; call under the turn. Returns true when the
    /// hot tier is away and the replica is this process's own.
    pub(crate) async fn ready(&self, engine: &Call<'_>, mut away: bool) -> Result<bool> {
        for _ in 0..ATTEMPTS {
            let (load, look) = {
                let inner = self.inner.lock();
                let fit = inner.replica.as_ref().is_some_and(|r| {
                    r.epoch >= inner.need_epoch
                        && !inner.reload
                        && if r.published {
                            r.generation == engine.hot.generation()
                        } else {
                            away
                        }
                });
                (!fit, inner.has_unanswered())
            };
            if away {
                Box::pin(self.degrade(engine)).await?;
                return Ok(true);
            }
            let result = match (load, look) {
                (false, false) => return Ok(false),
                // Boxed, as all that is rare below: they would make every append's future large.
                (true, _) => Box::pin(self.load(engine)).await,
                (false, true) => Box::pin(self.catch_up(engine)).await,
            };
            match result {
                Ok(()) => engine.hot_failed(None),
                Err(e) if e.is_outage() => {
                    engine.hot_failed(Some(&e));
                    away = true;
                }
                Err(e) => return Err(e),
            }
        }
        Err(Error::away(
            engine.hot.name(),
            "others keep changing the session; try again",
        ))
    }

    /// Reads what is newer than the replica; forgets the replica when that needs a load.
    pub(crate) async fn catch_up(&self, engine: &Call<'_>) -> Result<()> {
        let Some((at, generation)) = self
            .inner
            .lock()
            .replica
            .as_ref()
            .map(|r| (Place::new(r.epoch, r.fold.last), r.generation))
        else {
            return Ok(());
        };
        let read = engine.hot.read(&self.address, Some(at), generation).await?;
        let Read::Entries(entries) = read else {
            return self.load(engine).await;
        };
        match self.take_newer(engine, at, &entries)? {
            Caught::Current => Ok(()),
            // Published while the tier was the same as when this replica was checked: not an older state.
            Caught::Load if entries.last().is_some_and(|e| e.at.epoch > at.epoch) => {
                self.load_in(engine, generation, true).await
            }
            Caught::Load => self.load(engine).await,
        }
    }

    /// Takes newer entries into the replica, if they follow it without a gap.
    fn take_newer(&self, engine: &Engine, at: Place, entries: &[LogEntry]) -> Result<Caught> {
        let mut decoded = Vec::with_capacity(entries.len());
        for (e, number) in entries.iter().zip(at.number + 1..) {
            let Record::Entry(record) = &e.record else {
                return Ok(Caught::Load);
            };
            if e.at != Place::new(at.epoch, number) {
                return Ok(Caught::Load);
            }
            let entry: Entry = engine.codec.read_entry(&self.address, record)?;
            decoded.push((number, entry, e.bytes()));
        }
        engine.grown(decoded.iter().map(|(_, _, bytes)| bytes).sum());
        let mut inner = self.inner.lock();
        for (number, entry, bytes) in &decoded {
            inner.place(entry.id, Place::new(at.epoch, *number), entry, *bytes);
        }
        // What was sent and is not there never arrived: it may be sent again.
        let mut dropped = Vec::new();
        if inner.has_unanswered() {
            for p in inner
                .pending
                .iter_mut()
                .filter(|p| p.sent && p.is_unplaced())
            {
                p.sent = false;
                if p.conditional {
                    dropped.push(p.id);
                }
            }
        }
        drop(inner);
        dropped
            .into_iter()
            .try_for_each(|id| self.withdraw(engine, id))?;
        Ok(Caught::Current)
    }

    /// Loads the replica anew.
    async fn load(&self, engine: &Call<'_>) -> Result<()> {
        let generation = engine.hot.generation();
        self.load_in(engine, generation, engine.hot.trusted()).await
    }

    /// The same; a log that is believed is taken over, not replaced.
    async fn load_in(&self, engine: &Call<'_>, generation: u64, believed: bool) -> Result<()> {
        let (need, reload) = {
            let inner = self.inner.lock();
            (inner.need_epoch, inner.reload)
        };
        if believed
            && !reload
            && let Some(log) = self.read_log(engine, generation).await?
            && log.whole
            && log.last.epoch >= need
        {
            return self.adopt(engine, log, generation).await;
        }
        self.hydrate(engine).await
    }

    pub(super) async fn read_log(&self, engine: &Call<'_>, generation: u64) -> Result<Option<Log>> {
        match engine.hot.read(&self.address, None, generation).await? {
            Read::Entries(entries) if !entries.is_empty() => {
                Log::decode(&engine.codec, &self.address, &entries).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Takes over the log that stands in the hot tier.
    pub(super) async fn adopt(&self, engine: &Engine, log: Log, generation: u64) -> Result<()> {
        let known = self.known_pending(engine).await?;
        let window = Arc::clone(&engine.window);
        let mut fold = match log.carried {
            Some((number, summary)) => Fold::carried(window, summary, number),
            None => Fold::new(window, log.summary, 0, log.complete),
        };
        let mut places = HashMap::new();
        for d in log.entries {
            fold.apply(d.number, &d.entry);
            places.insert(d.entry.id, d.number);
        }
        fold.last = log.last.number;
        let epoch = log.last.epoch;
        self.resolve(engine, epoch, &places, &known)?;
        {
            // Another log than the one the mark was set for: nothing proves that it still is.
            let mut inner = self.inner.lock();
            inner.unsure |= std::mem::take(&mut inner.marked);
        }
        let replica = Replica {
            epoch,
            generation,
            fold,
            published: true,
            extent: log.extent,
            copied_to: 0,
        };
        self.install(engine, replica);
        if self.inner.lock().estimate.touches == 0 {
            // Boxed: only a process that has dropped the session while it was hot, or never had it, comes here.
            Box::pin(self.recall(engine)).await;
        }
        Ok(())
    }

    /// Asks the store what policies remember of the session; without an answer they begin anew.
    async fn recall(&self, engine: &Engine) {
        const PATIENCE: Duration = Duration::from_millis(100);
        let address = self.address.clone();
        let asked = engine.blocking(move |s| s.estimate(&address));
        if let Ok(Ok(stored)) = tokio::time::timeout(PATIENCE, asked).await {
            self.remember(stored);
        }
    }

    pub(super) fn install(&self, engine: &Engine, replica: Replica) {
        engine.grown(replica.fold.weight());
        let mut inner = self.inner.lock();
        if inner.durable_to.epoch != replica.epoch {
            inner.durable_to = Place::default();
        }
        inner.replica = Some(replica);
        inner.reload = false;
    }

    pub(super) fn pending_ids(&self) -> Vec<EntryId> {
        self.inner.lock().pending.iter().map(|p| p.id).collect()
    }

    /// What the store knows of the pending entries.
    pub(super) async fn known_pending(&self, engine: &Engine) -> Result<(Vec<EntryId>, Known)> {
        let ids = self.pending_ids();
        if ids.is_empty() {
            return Ok((ids, Known::default()));
        }
        let known = engine.known(&self.address, ids.clone()).await?;
        Ok((ids, known))
    }

    /// Settles what became of each pending entry, now that the log and the store have been read.
    pub(super) fn resolve(
        &self,
        engine: &Engine,
        epoch: u64,
        places: &HashMap<EntryId, u64>,
        (ids, known): &(Vec<EntryId>, Known),
    ) -> Result<()> {
        let stored: HashSet<EntryId> = ids
            .iter()
            .zip(&known.numbers)
            .filter(|(_, n)| n.is_some())
            .map(|(id, _)| *id)
            .collect();
        let erased = self.erase_pending(engine, &known.erased)?;
        let gone = self.remove(engine, |p| stored.contains(&p.id) || erased.contains(&p.id));
        engine.journal.done(gone);
        let (mut dropped, mut placed) = (Vec::new(), Vec::new());
        {
            let mut inner = self.inner.lock();
            let mut unplaced = 0;
            for p in &mut inner.pending {
                // Its caller was told that the outcome is unknown; absent means that it never happened.
                let conditional = p.conditional && p.sent;
                p.sent = false;
                p.refused = false;
                p.place = places
                    .get(&p.id)
                    .map_or(Place::default(), |n| Place::new(epoch, *n));
                if p.place.epoch > 0 {
                    p.born = epoch;
                    p.conditional = false;
                    placed.push(p.id);
                } else {
                    unplaced += 1;
                    if conditional {
                        dropped.push(p.id);
                    }
                }
            }
            inner.unplaced = unplaced;
            inner.reorder();
        }
        placed
            .into_iter()
            .try_for_each(|id| engine.journal.placed(id, epoch))?;
        dropped
            .into_iter()
            .try_for_each(|id| self.withdraw(engine, id))
    }

    /// Takes what was erased out of the pending entries; returns those of which nothing is left.
    ///
    /// An entry that has never stood anywhere (born in epoch 0) is younger than any erasure.
    fn erase_pending(&self, engine: &Engine, erased: &Erasures) -> Result<HashSet<EntryId>> {
        let mut gone = HashSet::new();
        let mut inner = self.inner.lock();
        for p in inner.pending.iter_mut().filter(|p| p.born > 0) {
            if p.born < erased.all_below || !erased.authors_below.is_empty() {
                let mut entry = engine.codec.read_entry(&self.address, &p.record)?;
                if erased.apply(p.born, &mut entry) {
                    let record = engine.codec.entry(&self.address, &entry)?;
                    engine.backlog.replace(p.record.len(), record.len());
                    p.record = record;
                    p.entry = None;
                    if entry.body == Body::Void {
                        gone.insert(p.id);
                    }
                }
            }
        }
        Ok(gone)
    }
}
