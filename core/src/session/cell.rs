//! A session as one process holds it: the replica, and what was accepted and is not durable yet.
//!
//! Two locks. `turn` puts writers (and whoever repairs) in order and may be held across an await;
//! `inner` guards the values, is held for moments and never across an await.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::millis;
use crate::error::{Error, Result};
use crate::fold::Fold;
use crate::hot::Place;
use crate::key::Address;
use crate::message::{Entry, EntryId};
use crate::session::engine::Engine;
use crate::session::extent::Extent;
use crate::ttl::{Estimate, Kind, Touch, Ttl};

/// How soon, and at last how often, who waits for durability asks for another round of the flusher.
const ASK_AGAIN: Duration = Duration::from_millis(20);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// Room for so many pending entries is kept by a session that has none.
const PENDING_KEPT: usize = 4;

/// A process's local copy of a session's window.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) epoch: u64,
    /// The hot tier's generation in which it was checked.
    pub(crate) generation: u64,
    pub(crate) fold: Fold,
    /// False while the hot tier does not know of this epoch: it was away.
    pub(crate) published: bool,
    /// How much of the log stands in the hot tier.
    pub(crate) extent: Extent,
    /// For the maker of this epoch's copy, its last number: up to there everything that is not pending
    /// here is durable or stands for nothing. 0 for who took the copy over.
    pub(crate) copied_to: u64,
}

/// An entry that was accepted and is not durable yet.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    /// Rises in the order of acceptance in this process.
    pub(crate) lsn: u64,
    /// When it was accepted (or replayed, or taken over), on the monotonic clock.
    pub(crate) since: Duration,
    pub(crate) id: EntryId,
    /// Where it stands; epoch 0: nowhere yet.
    pub(crate) place: Place,
    /// The last epoch in which it stood, 0 when it never did: what an erasure is compared with.
    pub(crate) born: u64,
    /// Rises in the order in which entries are placed, and placed again: others have read them so.
    pub(crate) order: u64,
    /// It was sent to the hot tier and no answer came: look for it before sending it again.
    pub(crate) sent: bool,
    /// It may only be placed by the call that made it (a state's compare-and-set not yet answered).
    pub(crate) conditional: bool,
    /// The store refused it: its place is void.
    pub(crate) refused: bool,
    pub(crate) record: Bytes,
    pub(crate) entry: Option<Arc<Entry>>,
}

impl Pending {
    /// True when it stands nowhere.
    pub(crate) const fn is_unplaced(&self) -> bool {
        self.place.epoch == 0
    }

    /// An entry that stands nowhere yet.
    pub(crate) const fn new(id: EntryId, record: Bytes) -> Self {
        Self {
            lsn: 0,
            since: Duration::ZERO,
            id,
            place: Place::new(0, 0),
            born: 0,
            order: 0,
            sent: false,
            conditional: false,
            refused: false,
            record,
            entry: None,
        }
    }
}

/// What [`Cell`] guards.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) replica: Option<Replica>,
    /// By rising lsn.
    pub(crate) pending: VecDeque<Pending>,
    /// How many of them stand nowhere: spares every append a look through all.
    pub(crate) unplaced: usize,
    next_lsn: u64,
    last_order: u64,
    /// This writer's dirty mark is known to be set in the hot tier.
    pub(crate) marked: bool,
    /// It may be set: a call that sets or clears it got no answer.
    pub(crate) unsure: bool,
    /// The cell is in the flusher's list.
    pub(crate) queued: bool,
    /// The replica's epoch must be at least this: the store has refused an older one.
    pub(crate) need_epoch: u64,
    /// Load the session again from the store before anything else.
    pub(crate) reload: bool,
    /// In `epoch`, everything up to `number` is durable.
    pub(crate) durable_to: Place,
    /// Who talks in it.
    pub(crate) kind: Kind,
    pub(crate) estimate: Estimate,
    /// The store has the estimate as it is.
    pub(crate) kept: bool,
    pub(crate) ttl: Ttl,
    /// Until when the hot tier keeps the session, as it was last told; `None`: without end.
    armed: Option<Duration>,
    /// Let it leave the hot tier as soon as it is clean.
    pub(crate) ending: bool,
    pub(crate) used: Duration,
}

/// How the time for which the hot tier keeps a session has to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// It is to stay longer.
    Lengthen,
    /// It is to leave earlier, or never.
    Set,
}

/// One session in this process.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) address: Address,
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    pub(crate) inner: Mutex<Inner>,
    /// How long those who had the turn have waited for the hot tier, ever.
    pub(crate) waited_us: AtomicU64,
    /// Everything with a smaller lsn is durable (or was erased or withdrawn).
    durable: watch::Sender<u64>,
}

impl Cell {
    pub(crate) fn new(address: Address, kind: Kind) -> Self {
        let inner = Inner {
            replica: None,
            pending: VecDeque::new(),
            unplaced: 0,
            next_lsn: 1,
            last_order: 0,
            marked: false,
            unsure: false,
            queued: false,
            need_epoch: 0,
            reload: false,
            durable_to: Place::default(),
            kind,
            estimate: Estimate::default(),
            kept: true,
            ttl: Ttl::Pinned,
            armed: Some(Duration::ZERO),
            ending: false,
            used: Duration::ZERO,
        };
        Self {
            address,
            turn: Arc::default(),
            inner: Mutex::new(inner),
            waited_us: AtomicU64::new(0),
            durable: watch::Sender::new(1),
        }
    }

    /// Puts the cell into the flusher's list.
    pub(crate) fn queue(self: &Arc<Self>, engine: &Engine) {
        let first = !std::mem::replace(&mut self.inner.lock().queued, true);
        if first {
            engine.dirty.lock().push(Arc::clone(self));
        }
    }

    /// Adds an accepted entry, not placed yet; returns its lsn.
    pub(crate) fn push(&self, engine: &Engine, mut pending: Pending) -> u64 {
        engine.backlog.appends.fetch_add(1, Relaxed);
        engine
            .backlog
            .bytes
            .fetch_add(pending.record.len() as u64, Relaxed);
        pending.since = engine.clock.monotonic();
        let mut inner = self.inner.lock();
        let lsn = inner.next_lsn;
        inner.next_lsn += 1;
        pending.lsn = lsn;
        pending.order = inner.next_order();
        inner.unplaced += usize::from(pending.is_unplaced());
        inner.pending.push_back(pending);
        lsn
    }

    /// Takes entries out of the pending ones: they are durable, erased or withdrawn.
    pub(crate) fn remove(&self, engine: &Engine, gone: impl Fn(&Pending) -> bool) -> Vec<EntryId> {
        let mut ids = Vec::new();
        let mut bytes = 0;
        let next = {
            let mut inner = self.inner.lock();
            let mut unplaced = inner.unplaced;
            inner.pending.retain(|p| {
                let out = gone(p);
                if out {
                    ids.push(p.id);
                    bytes += p.record.len() as u64;
                    unplaced -= usize::from(p.is_unplaced());
                }
                !out
            });
            inner.unplaced = unplaced;
            if inner.pending.is_empty() {
                // Most sessions say nothing more for a while, and there are many.
                inner.pending.shrink_to(PENDING_KEPT);
            }
            inner.pending.front().map_or(inner.next_lsn, |p| p.lsn)
        };
        engine.backlog.appends.fetch_sub(ids.len() as u64, Relaxed);
        engine.backlog.bytes.fetch_sub(bytes, Relaxed);
        // Never back: who computed it earlier may tell it later.
        self.durable
            .send_if_modified(|at| std::mem::replace(at, next.max(*at)) < next);
        ids
    }

    /// Takes out one entry that was refused to its caller, with a record that keeps it from coming back.
    pub(crate) fn withdraw(&self, engine: &Engine, id: EntryId) -> Result<()> {
        engine.journal.abort(id)?;
        self.remove(engine, |p| p.id == id);
        Ok(())
    }

    /// Replaces what a pending entry says by less.
    pub(crate) fn replace(&self, engine: &Engine, id: EntryId, record: Bytes) {
        let mut inner = self.inner.lock();
        let Some(p) = inner.find_mut(id) else { return };
        engine.backlog.replace(p.record.len(), record.len());
        p.record = record;
        p.entry = None;
    }

    /// True when the entry with this lsn, and everything before it, is durable.
    pub(crate) fn is_durable(&self, lsn: u64) -> bool {
        *self.durable.borrow() > lsn
    }

    /// Completes when the entry with this lsn is durable.
    pub(crate) async fn durable(&self, engine: &Engine, lsn: u64, wait: Duration) -> Result<()> {
        let mut durable = self.durable.subscribe();
        if *durable.borrow() > lsn {
            return Ok(());
        }
        let flushed = async {
            let mut pause = ASK_AGAIN;
            loop {
                // One round may not do: the store can refuse an entry's place, and the next round gives it another.
                engine.wake.notify_one();
                let done = durable.wait_for(|next| *next > lsn);
                match tokio::time::timeout(pause, done).await {
                    Ok(Ok(_)) => return Ok(()),
                    Ok(Err(_)) => return Err(Error::Closed),
                    Err(_) => pause = (pause * 2).min(ASK_AGAIN_MAX),
                }
            }
        };
        let late = |_| Error::Timeout {
            what: "making an entry durable",
            after: wait,
        };
        tokio::time::timeout(wait, flushed).await.map_err(late)?
    }

    /// A touch: asks the policy for the time to live.
    pub(crate) fn touch(inner: &mut Inner, engine: &Engine) {
        inner.used = engine.clock.monotonic();
        let touch = Touch {
            now: engine.since_epoch(inner.used),
            bytes: inner.replica.as_ref().map_or(0, |r| r.fold.text_bytes()),
            kind: inner.kind,
        };
        let ttl = engine.ttl.touch(&mut inner.estimate, touch);
        inner.ttl = engine.ttl_bounds.apply(ttl);
        inner.kept = false;
    }

    /// Takes over what the store keeps of the policies' memory, unless this process knows the session's later touches.
    pub(crate) fn remember(&self, stored: Option<Estimate>) {
        let mut inner = self.inner.lock();
        if let Some(stored) = stored.filter(|s| s.last_ms > inner.estimate.last_ms) {
            inner.estimate = stored;
            inner.kept = true;
        }
        // Whatever was kept: the session is just becoming hot.
        inner.estimate.hot_since = None;
    }

    /// Forgets the replica; the next touch loads the session.
    pub(crate) fn forget_replica(&self) {
        self.inner.lock().replica = None;
    }
}

impl Inner {
    /// A pending entry; the newest are looked at first.
    pub(crate) fn find(&self, id: EntryId) -> Option<&Pending> {
        self.pending.iter().rev().find(|p| p.id == id)
    }

    pub(crate) fn find_mut(&mut self, id: EntryId) -> Option<&mut Pending> {
        self.pending.iter_mut().rev().find(|p| p.id == id)
    }

    fn next_order(&mut self) -> u64 {
        self.last_order += 1;
        self.last_order
    }

    /// Puts the pending entries in the order of a log that was loaded: those that stand in it by their
    /// numbers, then the others as they were.
    pub(crate) fn reorder(&mut self) {
        let key = |p: &Pending| (p.is_unplaced(), p.place, p.order);
        let mut order: Vec<_> = self
            .pending
            .iter()
            .enumerate()
            .map(|(i, p)| (key(p), i))
            .collect();
        order.sort_unstable();
        for (_, i) in order {
            let next = self.next_order();
            if let Some(p) = self.pending.get_mut(i) {
                p.order = next;
            }
        }
    }

    /// True when some entry was sent and no answer came.
    pub(crate) fn has_unanswered(&self) -> bool {
        self.unplaced > 0 && self.pending.iter().any(|p| p.sent && p.is_unplaced())
    }

    /// Places an entry, which takes `bytes` of the log, and takes it into the replica.
    pub(crate) fn place(&mut self, id: EntryId, place: Place, entry: &Entry, bytes: usize) {
        let mut was_unplaced = false;
        if let Some(p) = self.find_mut(id) {
            was_unplaced = p.is_unplaced();
            p.place = place;
            p.born = place.epoch;
            p.sent = false;
            p.refused = false;
            p.conditional = false;
            p.entry = None;
        }
        self.unplaced -= usize::from(was_unplaced);
        if let Some(replica) = &mut self.replica {
            replica.fold.apply(place.number, entry);
            if replica.published {
                replica.extent.push(place.number, bytes);
            }
        }
    }

    /// True unless this writer's dirty mark is certainly not set.
    pub(crate) const fn may_be_marked(&self) -> bool {
        self.marked || self.unsure
    }

    /// True when the hot tier does not know of this replica's epoch: others go on without what was said
    /// in it, also once it is durable, until this process publishes.
    pub(crate) fn is_alone(&self) -> bool {
        self.replica.as_ref().is_some_and(|r| !r.published)
    }

    /// Until when the hot tier is to keep the session.
    fn until(&self) -> Option<Duration> {
        let ttl = Duration::from_millis(self.ttl.millis()?);
        Some(self.used.saturating_add(ttl))
    }

    /// Notes that the hot tier is told how long to keep the session from now on: this long, in milliseconds.
    pub(crate) fn arm(&mut self, now: Duration) -> Option<u64> {
        self.armed = self.until();
        let left = self.armed?.saturating_sub(now);
        Some(millis(left).max(1))
    }

    /// How the time for which the hot tier keeps a clean session has to change, if by more than an eighth of its time to live.
    pub(crate) fn due(&self, now: Duration) -> Option<Due> {
        let Some(until) = self.until() else {
            return self.armed.map(|_| Due::Set);
        };
        let eighth = until.saturating_sub(now) / 8;
        match self.armed {
            Some(armed) if armed.saturating_add(eighth) < until => Some(Due::Lengthen),
            Some(armed) if armed <= until.saturating_add(eighth) => None,
            _ => Some(Due::Set),
        }
    }

    /// True when its time to live is over.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        self.until().is_some_and(|until| now > until)
    }

    /// True when nothing here is this process's alone.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && !self.may_be_marked()
            && !self.queued
            && !self.reload
            && !self.is_alone()
    }
}
