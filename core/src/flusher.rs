//! Write-behind: makes what was accepted durable, in batches, and lets clean sessions expire.
//!
//! One task owns the work. A round repairs sessions whose entries stand nowhere or were refused, flushes
//! all dirty sessions in few store transactions, and clears the dirty marks of those that have nothing
//! pending. Invariants: a mark is cleared only under the session's turn and with nothing pending; an
//! entry leaves the journal only when the store has it; entries of one session are flushed in order, and
//! nothing is flushed behind an entry that is refused or stands nowhere.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::hot::Place;
use crate::session::call::Call;
use crate::session::cell::{Cell, Replica};
use crate::session::engine::{Engine, count};
use crate::store::{FlushEntry, Flushed, SessionFlush, SessionFlushed};

mod estimates;
mod settle;
mod upkeep;

pub(crate) use estimates::restore;
use settle::settle;
use upkeep::{compact_if_wasteful, retain, retained_from, sweep};

/// Entries of one session in one flush, and their bytes.
const SESSION_BATCH: usize = 512;
const SESSION_BYTES: usize = 256 << 10;

/// Bytes in one flush: the store may need an fsync for each 64 KiB (16 KiB in an old one), and at 100 ms each (a slow disk)
/// is then done within a flush's deadline of 10 s.
const BATCH_BYTES: usize = 1 << 20;
/// About what an entry takes in a store besides its record: its rows in log and indexes.
const ROWS: usize = 600;

/// Sessions repaired at the same time.
const REPAIRS: usize = 32;

/// Rounds after which a flush of everything gives up: others keep moving the sessions.
const FLUSH_ROUNDS: usize = 64;

/// The longest pause after failed flushes: two, since the store may be in a pause of its own at the first, and a flush in 10 s.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// The longest one while the cache closes: there is not much time left.
const STOPPING_BACKOFF_MAX: Duration = Duration::from_millis(100);

/// How often replicas are swept, and how often messages past retention are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

/// How often is looked whether the store wastes disk space: it fills slowly, and a compaction reads it all.
const COMPACT_EVERY: Duration = Duration::from_secs(3600);

/// How often what a policy has learned is kept: a crash costs at most so much of it, and a curve learns for weeks.
const LEARNED_EVERY: Duration = Duration::from_secs(600);

/// Asks the flusher to stop, and by when.
pub(crate) type Stop = watch::Receiver<Option<tokio::time::Instant>>;

/// The task's own state.
pub(crate) struct Flusher {
    pub(crate) engine: Arc<Engine>,
    pub(crate) interval: Duration,
    pub(crate) retention: Option<Duration>,
    pub(crate) stop: Stop,
}

impl Flusher {
    /// Runs until told to stop; then until nothing is left or the deadline has passed.
    pub(crate) async fn run(mut self) {
        let mut backoff = Duration::ZERO;
        let (mut recovered, mut swept, mut retained, mut compacted) = (false, None, None, None);
        // Beside the rounds, which must go on; a close of the store ends it.
        let (mut compacting, mut tidying) = (JoinSet::new(), JoinSet::new());
        let clock = &self.engine.clock;
        let started = (clock.wall_ms(), clock.monotonic());
        let (mut learned, mut kept) = (estimates::Learned::default(), Some(started.1));
        loop {
            self.pause(backoff).await;
            if self.stop.has_changed().is_err() {
                // Dropped without a close: like a crash, the next start replays the journal.
                return;
            }
            if !recovered {
                recovered = recover_marks(&self.engine).await;
            }
            backoff = match round(&self.engine).await {
                Ok(()) => Duration::ZERO,
                Err(e) => {
                    tracing::warn!(error = %e, waiting = self.engine.backlog.appends.load(Relaxed), "flush failed; will retry");
                    (backoff * 2).clamp(Duration::from_millis(50), BACKOFF_MAX)
                }
            };
            let deadline = *self.stop.borrow();
            if let Some(deadline) = deadline {
                // Marks that could not be cleared are found by the next start.
                if tokio::time::Instant::now() >= deadline {
                    return;
                }
                if self.engine.backlog.is_empty() {
                    estimates::keep(&self.engine, &self.engine.cells()).await;
                    learned.keep(&self.engine).await;
                    return;
                }
                continue;
            }
            let now = self.engine.clock.monotonic();
            if self.engine.has_grown() | is_due(&mut swept, now, SWEEP_EVERY) {
                sweep(&self.engine).await;
                tidying.try_join_next();
                if tidying.is_empty() {
                    let engine = Arc::clone(&self.engine);
                    tidying.spawn(async move { engine.tidy_hot().await });
                }
            }
            if is_due(&mut kept, now, LEARNED_EVERY) {
                learned.keep(&self.engine).await;
            }
            compacting.try_join_next();
            if compacting.is_empty() && is_due(&mut compacted, now, COMPACT_EVERY) {
                compacting.spawn(compact_if_wasteful(Arc::clone(&self.engine)));
            }
            if let Some(age) = self.retention
                && is_due(&mut retained, now, RETENTION_EVERY)
                && let Err(e) =
                    retain(&self.engine, retained_from(&self.engine, started, age)).await
            {
                tracing::warn!(error = %e, "looking for messages past retention failed; will retry");
            }
        }
    }

    /// Waits for the interval, a wake-up or the stop; after failures for the back-off at least.
    async fn pause(&mut self, backoff: Duration) {
        let stopping = *self.stop.borrow();
        if let Some(deadline) = stopping {
            let wait = backoff.clamp(Duration::from_millis(1), STOPPING_BACKOFF_MAX);
            tokio::time::sleep_until(deadline.min(tokio::time::Instant::now() + wait)).await;
            return;
        }
        if !backoff.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                _ = self.stop.changed() => {}
            }
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(self.interval) => {}
            () = self.engine.wake.notified() => {}
            _ = self.stop.changed() => {}
        }
    }
}

fn is_due(last: &mut Option<Duration>, now: Duration, every: Duration) -> bool {
    let due = last.is_none_or(|l| now.saturating_sub(l) >= every);
    if due {
        *last = Some(now);
    }
    due
}

/// Looks for this writer's dirty marks of an earlier run; true when done.
async fn recover_marks(engine: &Arc<Engine>) -> bool {
    let marked = match Call::begin(engine).hot.marked(&engine.writer).await {
        Ok(marked) => marked,
        Err(e) => {
            engine.hot_failed(Some(&e));
            return false;
        }
    };
    for address in marked {
        let cell = engine.cell(&address);
        {
            let mut inner = cell.inner.lock();
            if inner.marked {
                continue;
            }
            inner.marked = true;
            inner.reload |= inner.replica.is_none();
        }
        cell.queue(engine);
    }
    true
}

/// One round over the dirty sessions.
pub(crate) async fn round(engine: &Arc<Engine>) -> Result<()> {
    let _one = engine.flushing.lock().await;
    let taken = Taken::from(engine);
    let cells = &taken.cells;
    repair(engine, cells).await;
    let flushed = flush_all(engine, cells).await;
    settle(engine, cells).await;
    drop(taken);
    engine.room.notify_waiters();
    flushed
}

/// The sessions of one round. What is left to do in them goes back to the list, also when the caller of
/// the round went away in the middle of it.
struct Taken<'a> {
    engine: &'a Engine,
    cells: Vec<Arc<Cell>>,
}

impl<'a> Taken<'a> {
    fn from(engine: &'a Engine) -> Self {
        let cells = std::mem::take(&mut *engine.dirty.lock());
        cells.iter().for_each(|c| c.inner.lock().queued = false);
        Self { engine, cells }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for cell in &self.cells {
            let again = {
                let inner = cell.inner.lock();
                inner.may_be_marked() || !inner.pending.is_empty() || inner.is_alone()
            };
            if again {
                cell.queue(self.engine);
            }
        }
    }
}

/// Gives a place to entries that stand nowhere, or whose place the store refused.
async fn repair(engine: &Arc<Engine>, cells: &[Arc<Cell>]) {
    let mut running = JoinSet::new();
    // While the hot tier is away, one session at a time looks whether it is back.
    let mut probe = true;
    for cell in cells {
        let (needed, alone) = {
            let inner = cell.inner.lock();
            let needed =
                inner.reload || inner.unplaced > 0 || inner.pending.iter().any(|p| p.refused);
            (needed, inner.is_alone())
        };
        let try_again = alone && (!engine.hot_is_away() || std::mem::replace(&mut probe, false));
        if !needed && !try_again {
            continue;
        }
        if running.len() >= REPAIRS {
            running.join_next().await;
        }
        let (engine, cell) = (Arc::clone(engine), Arc::clone(cell));
        running.spawn(async move {
            let mut call = Call::begin(&engine);
            let _turn = call.turn(&cell).await;
            if let Err(e) = Box::pin(cell.settle_in(&call)).await {
                tracing::debug!(session = %cell.address, error = %e, "not repaired yet");
            }
        });
    }
    while running.join_next().await.is_some() {}
}

/// Flushes all that can be flushed, in batches.
async fn flush_all(engine: &Engine, cells: &[Arc<Cell>]) -> Result<()> {
    let mut rest: Vec<&Arc<Cell>> = cells.iter().collect();
    while !rest.is_empty() {
        let (mut parts, mut owners, mut bytes) = (Vec::new(), Vec::new(), 0);
        // Who had a turn goes behind who had none.
        let (mut later, mut again) = (Vec::new(), Vec::new());
        for cell in rest {
            if bytes >= BATCH_BYTES {
                later.push(cell);
            } else if let Some((part, more)) = cell.flushable() {
                let each = part.entries.iter().map(|e| e.record.len() + ROWS);
                bytes += each.sum::<usize>();
                if more {
                    again.push(cell);
                }
                parts.push(part);
                owners.push(cell);
            }
        }
        flush_parts(engine, parts, &owners).await?;
        engine.room.notify_waiters();
        later.append(&mut again);
        rest = later;
    }
    Ok(())
}

async fn flush_parts(
    engine: &Engine,
    parts: Vec<SessionFlush>,
    owners: &[&Arc<Cell>],
) -> Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    let parts = Arc::new(parts);
    let batch = Arc::clone(&parts);
    match engine.flushing(move |s| s.flush(&batch)).await {
        Ok(outcomes) => {
            count(&engine.counters.flushes);
            for ((part, outcome), cell) in parts.iter().zip(outcomes).zip(owners) {
                cell.flushed(engine, part, &outcome);
            }
            Ok(())
        }
        Err(e) if e.is_outage() || parts.len() == 1 => Err(e),
        Err(_) => {
            // One session's damage must not hold up the others.
            let mut failed = None;
            for (part, cell) in parts.iter().zip(owners) {
                let one = vec![part.clone()];
                match engine.flushing(move |s| s.flush(&one)).await {
                    Ok(outcomes) => outcomes.iter().for_each(|o| cell.flushed(engine, part, o)),
                    Err(e) => failed = Some(e),
                }
            }
            failed.map_or(Ok(()), Err)
        }
    }
}

impl Cell {
    /// The entries at the head of the queue that stand in one epoch, as many as go together; the second says that there
    /// may be more.
    fn flushable(&self) -> Option<(SessionFlush, bool)> {
        let inner = self.inner.lock();
        let epoch = inner.pending.front()?.place.epoch;
        let fits =
            |p: &&crate::session::cell::Pending| p.place.epoch == epoch && epoch > 0 && !p.refused;
        let mut room = SESSION_BYTES;
        let in_room = |p: &&crate::session::cell::Pending| {
            let had = room > 0;
            room = room.saturating_sub(p.record.len());
            had
        };
        let mut entries: Vec<FlushEntry> = inner
            .pending
            .iter()
            .take_while(fits)
            .take(SESSION_BATCH)
            .take_while(in_room)
            .map(|p| FlushEntry {
                number: p.place.number,
                id: p.id,
                record: p.record.clone(),
            })
            .collect();
        let replica = inner.replica.as_ref().filter(|r| r.epoch == epoch);
        let (cut, cut_at) = replica.map_or_else(Default::default, |r| r.fold.cut());
        entries.sort_unstable_by_key(|e| e.number);
        let settled_to = replica.map_or(0, |r| {
            // The first entry that stays pending bounds it.
            let rest = inner.pending.iter().skip(entries.len());
            let open = rest
                .filter(|p| p.place.epoch == epoch)
                .map(|p| p.place.number - 1)
                .min();
            open.unwrap_or(r.copied_to).min(r.copied_to)
        });
        let session = self.address.clone();
        let more = room == 0 || entries.len() == SESSION_BATCH;
        let part = SessionFlush {
            settled_to,
            session,
            epoch,
            cut,
            cut_at,
            entries,
            estimate: (!inner.kept).then_some(inner.estimate),
        };
        (!part.entries.is_empty()).then_some((part, more))
    }

    /// Takes in what the store said of a flush.
    fn flushed(&self, engine: &Engine, part: &SessionFlush, outcome: &SessionFlushed) {
        let mut gone = std::collections::HashSet::new();
        {
            let mut inner = self.inner.lock();
            let inner = &mut *inner;
            for (entry, how) in part.entries.iter().zip(&outcome.entries) {
                if *how != Flushed::Refused {
                    gone.insert(entry.id);
                    // A duplicate that only the store could tell: the context is put right by a load.
                    let shown = |r: &Replica| r.epoch == part.epoch && r.fold.shows(entry.number);
                    inner.reload |=
                        *how == Flushed::Pruned && inner.replica.as_ref().is_some_and(shown);
                    continue;
                }
                let place = Place::new(part.epoch, entry.number);
                if let Some(p) = inner
                    .pending
                    .iter_mut()
                    .find(|p| p.id == entry.id && p.place == place)
                {
                    p.refused = true;
                    inner.need_epoch = inner.need_epoch.max(outcome.epoch);
                    inner.reload |= outcome.epoch <= part.epoch;
                }
            }
            // Of a newer epoch: another process keeps its own.
            inner.kept |= outcome.epoch > part.epoch || part.estimate == Some(inner.estimate);
            let durable = Place::new(part.epoch, outcome.durable_to);
            if outcome.epoch == part.epoch {
                inner.durable_to = inner.durable_to.max(durable);
                // Nearly all of it is durable: a copy of the store's window is much smaller.
                let outgrown = |r: &Replica| r.epoch == part.epoch && r.extent.is_outgrown();
                inner.reload |= inner.replica.as_ref().is_some_and(outgrown);
            }
        }
        engine
            .counters
            .flushed
            .fetch_add(gone.len() as u64, Relaxed);
        engine.journal.done(gone.iter().copied());
        self.remove(engine, |p| gone.contains(&p.id));
    }

    /// Flushes this session to the end; call under the turn, settled in.
    pub(crate) async fn flush_now(self: &Arc<Self>, engine: &Call<'_>) -> Result<()> {
        while let Some((part, _)) = self.flushable() {
            let before = self.inner.lock().pending.len();
            flush_parts(engine, vec![part], &[self]).await?;
            let (after, refused) = {
                let inner = self.inner.lock();
                (
                    inner.pending.len(),
                    inner.pending.front().is_some_and(|p| p.refused),
                )
            };
            if refused {
                self.settle_in(engine).await?;
            } else if after >= before {
                break;
            }
        }
        Ok(())
    }
}

/// Makes everything accepted before the call durable.
pub(crate) async fn flush(engine: &Arc<Engine>) -> Result<()> {
    let mut left: Vec<(Arc<Cell>, u64)> = Vec::new();
    for cell in engine.cells() {
        let newest = cell.inner.lock().pending.iter().map(|p| p.lsn).max();
        if let Some(lsn) = newest {
            cell.queue(engine);
            left.push((cell, lsn));
        }
    }
    for _ in 0..FLUSH_ROUNDS {
        round(engine).await?;
        left.retain(|(cell, lsn)| !cell.is_durable(*lsn));
        if left.is_empty() {
            return Ok(());
        }
    }
    let what = format!(
        "{} sessions could not be made durable yet; try again",
        left.len()
    );
    Err(Error::away(engine.store.name(), what))
}
