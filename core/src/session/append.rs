//! Appending: journal, compare-and-append, acknowledgement.
//!
//! One call at a time per session and process (the turn). An append that succeeds in the hot tier proves
//! that the replica is current, so the context is served from it. Everything that can be decided only
//! on a current replica (duplicates, a state's version) is decided again each time somebody else was ahead.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Error, Result};
use crate::fault_point::{Plant, planted};
use crate::message::{Body, Entry, EntryId, Messages, Seq};
use crate::session::call::Call;
use crate::session::cell::{Cell, Inner, Pending};
use crate::session::draft::Draft;
use crate::session::engine::{Engine, Room, count};
use crate::session::judge::Verdict;
use crate::session::place::Placing;
use crate::session::{Level, Receipt};

/// How often an append starts again when others keep writing first.
pub(super) const ATTEMPTS: usize = 64;

/// An append that was accepted, or was there already.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) receipt: Receipt,
    pub(crate) context: Messages,
    /// What to wait for until it is durable; 0 when nothing waits.
    pub(crate) lsn: u64,
    /// The epoch in which the session was then.
    pub(crate) epoch: u64,
}

/// How far one append has come.
#[derive(Debug, Default)]
struct Course<'a> {
    /// The room that it was let in for, until its entry takes it.
    room: Option<Room<'a>>,
    /// Its entry and lsn, once it is journaled.
    mine: Option<(EntryId, u64)>,
    /// The hot tier went away on the way: it is not asked again.
    away: bool,
    /// How many messages it adds.
    messages: u64,
}

impl Cell {
    /// Appends a draft: all of the write path.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        engine: &Engine,
        draft: Draft,
    ) -> Result<Accepted> {
        let mut course = Course {
            room: Some(engine.admit(draft.bytes()).await?),
            ..Course::default()
        };
        let mut call = Call::begin(engine);
        let _turn = call.turn(self).await;
        self.inner.lock().ending = false;
        count(&engine.counters.touches);
        for attempt in 0..ATTEMPTS {
            let mine = course.mine.map(|(id, _)| id);
            let tried = match self.give_way(&call, attempt, course.away, mine).await {
                Ok(()) => self.attempt(&call, &draft, &mut course).await,
                Err(e) => Err(e),
            };
            match tried {
                Ok(Some(accepted)) => return Ok(accepted),
                Ok(None) => {}
                Err(e) => return Err(self.give_up(engine, &course, e)),
            }
        }
        let e = Error::away(
            engine.hot_name(),
            "others keep writing to the session; try again",
        );
        Err(self.give_up(engine, &course, e))
    }

    /// One attempt; `None` when somebody else was ahead, or when it is to be looked at what became of it.
    async fn attempt(
        self: &Arc<Self>,
        engine: &Call<'_>,
        draft: &Draft,
        course: &mut Course<'_>,
    ) -> Result<Option<Accepted>> {
        course.away = self.ready(engine, course.away).await?;
        if let Some((id, lsn)) = course.mine
            && let Some(accepted) = self.accepted(engine, id, lsn, course.away).await?
        {
            engine.counters.appended.fetch_add(course.messages, Relaxed);
            return Ok(Some(accepted));
        }
        // What an older epoch holds goes first, in order, before anything new is decided.
        let mine = course.mine.map(|(id, _)| id);
        match self.place_pending(engine, mine, course.away).await? {
            Placing::Done => {}
            Placing::Again => return Ok(None),
            Placing::Away => {
                course.away = true;
                return Ok(None);
            }
        }
        let body = match self.judge(engine, draft, course.away).await? {
            Verdict::Append(body) => body,
            verdict => return Box::pin(self.unwanted(engine, verdict, course)).await,
        };
        course.messages = if let Body::Messages(m) = &body {
            m.len() as u64
        } else {
            0
        };
        let (id, _) = match course.mine {
            Some(mine) => {
                self.revise(engine, mine.0, body)?;
                mine
            }
            None => {
                let (mine, position) = self.enqueue(engine, body)?;
                course.mine = Some(mine);
                course.room = None;
                self.synced(engine, mine.0, position).await?;
                mine
            }
        };
        match self.place_one(engine, id, course.away).await? {
            Placing::Done | Placing::Again => {}
            Placing::Away if matches!(draft, Draft::State { .. }) => {
                let what = "whether the state was set is unknown; read it again";
                return Err(Error::away(engine.hot.name(), what));
            }
            Placing::Away => course.away = true,
        }
        Ok(None)
    }

    /// Ends a call whose entry is not to be appended, or not any more.
    async fn unwanted(
        self: &Arc<Self>,
        engine: &Call<'_>,
        verdict: Verdict,
        course: &Course<'_>,
    ) -> Result<Option<Accepted>> {
        if let Some((id, lsn)) = course.mine {
            let known = engine.known(&self.address, vec![id]).await?;
            if known.numbers.iter().any(Option::is_some) {
                // Another process took it over and made it durable meanwhile.
                engine.journal.done(self.remove(engine, |p| p.id == id));
                return self.accepted(engine, id, lsn, course.away).await;
            }
            self.withdraw(engine, id)?;
        }
        let Verdict::Duplicate(seq) = verdict else {
            return Err(Error::Forgotten);
        };
        count(&engine.counters.duplicates);
        Ok(Some(self.duplicate(engine, seq)))
    }

    /// Withdraws the entry of a call that fails, unless it may stand in the hot tier: then it stays
    /// pending until that is known (a state's is dropped if it is not there).
    fn give_up(&self, engine: &Engine, course: &Course<'_>, error: Error) -> Error {
        let Some((id, _)) = course.mine else {
            return error;
        };
        let nowhere = self
            .inner
            .lock()
            .find(id)
            .is_some_and(|p| p.is_unplaced() && !p.sent);
        match nowhere.then(|| self.withdraw(engine, id)) {
            Some(Err(failed)) => failed,
            _ => error,
        }
    }

    /// Writes the journal and queues the entry, not placed yet; returns its place in the journal as well.
    fn enqueue(self: &Arc<Self>, engine: &Engine, body: Body) -> Result<((EntryId, u64), u64)> {
        let entry = Entry {
            id: engine.ids.next(),
            at_ms: engine.now_ms(),
            body,
        };
        let conditional = matches!(entry.body, Body::State(_));
        let id = entry.id;
        let record = engine.codec.entry(&self.address, &entry)?;
        let epoch = self.inner.lock().epoch();
        let position = match engine.level {
            Level::Cached => 0,
            _ if planted(Plant::RedisOnlyAcknowledge) => 0,
            Level::Journaled | Level::Synced => {
                engine.journal.append(&self.address, id, epoch, &record)?
            }
        };
        // Pending before anything is awaited: a caller that goes away leaves nothing behind unknown.
        let pending = Pending {
            conditional,
            entry: Some(Arc::new(entry)),
            ..Pending::new(id, record)
        };
        let lsn = self.push(engine, pending);
        self.queue(engine);
        Ok(((id, lsn), position))
    }

    /// Somebody was ahead since the entry was made: it is to say what is judged now. A message that has come by
    /// another way meanwhile would else move to this entry's place if that is flushed first.
    fn revise(&self, engine: &Engine, id: EntryId, body: Body) -> Result<()> {
        let waiting = self.inner.lock().find(id).and_then(|p| {
            let waits = p.is_unplaced() && !p.sent;
            waits.then(|| (p.born, p.entry.clone(), p.record.clone()))
        });
        let Some((born, entry, record)) = waiting else {
            return Ok(());
        };
        let entry = match entry {
            Some(entry) => entry,
            None => Arc::new(engine.codec.read_entry(&self.address, &record)?),
        };
        if entry.body == body {
            return Ok(());
        }
        let (id, at_ms) = (entry.id, entry.at_ms);
        let record = engine
            .codec
            .entry(&self.address, &Entry { id, at_ms, body })?;
        if engine.level != Level::Cached {
            engine.journal.append(&self.address, id, born, &record)?;
        }
        self.replace(engine, id, record);
        Ok(())
    }

    /// At level Synced, waits for the fsync of an entry; one that fails is withdrawn.
    async fn synced(&self, engine: &Engine, id: EntryId, position: u64) -> Result<()> {
        if engine.level == Level::Synced
            && let Err(e) = Box::pin(engine.journal.synced(position)).await
        {
            self.withdraw(engine, id)?;
            return Err(e);
        }
        Ok(())
    }

    /// The outcome of an own entry that stands somewhere, or is durable already; `None`: not yet.
    async fn accepted(
        &self,
        engine: &Call<'_>,
        id: EntryId,
        lsn: u64,
        away: bool,
    ) -> Result<Option<Accepted>> {
        let place = self.inner.lock().find(id).map(|p| p.place);
        let number = match place {
            Some(place) if place.epoch == 0 => return Ok(None),
            Some(place) => place.number,
            None => {
                // Another process took it over and made it durable: the replica may be older than that.
                self.forget_replica();
                self.ready(engine, away).await?;
                let known = Box::pin(engine.known(&self.address, vec![id])).await?;
                let number = known.numbers.into_iter().next().flatten();
                number.ok_or_else(|| {
                    Error::away("the session", "the entry was erased while it was appended")
                })?
            }
        };
        let mut inner = self.inner.lock();
        Self::touch(&mut inner, engine);
        let (context, epoch) = (inner.context(), inner.epoch());
        drop(inner);
        let receipt = Receipt {
            entry: id,
            seq: Seq::new(number, 0),
            level: engine.level,
            duplicate: false,
            degraded: away,
        };
        Ok(Some(Accepted {
            receipt,
            context,
            lsn,
            epoch,
        }))
    }

    fn duplicate(&self, engine: &Engine, seq: Seq) -> Accepted {
        let mut inner = self.inner.lock();
        Self::touch(&mut inner, engine);
        let level = engine.level;
        let receipt = Receipt {
            entry: EntryId(0),
            seq,
            level,
            duplicate: true,
            degraded: engine.hot_is_away(),
        };
        Accepted {
            receipt,
            context: inner.context(),
            // The first one may still be waiting here.
            lsn: inner.pending.back().map_or(0, |p| p.lsn),
            epoch: inner.epoch(),
        }
    }
}

impl Inner {
    /// The epoch of the replica, 0 without one.
    pub(crate) fn epoch(&self) -> u64 {
        self.replica.as_ref().map_or(0, |r| r.epoch)
    }

    /// The context as this process knows it.
    pub(crate) fn context(&self) -> Messages {
        self.replica
            .as_ref()
            .map(|r| r.fold.context())
            .unwrap_or_default()
    }
}

/// The number of appends not durable yet.
pub(crate) fn waiting(engine: &Engine) -> u64 {
    engine.backlog.appends.load(Relaxed)
}
