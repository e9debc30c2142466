//! Steps: sled gets only so much between two fsyncs, so what is large is given to it piece by piece.
//!
//! Invariant: whatever a kill or a power cut leaves of the pieces is a sound store; nobody is told that the whole is durable before
//! all of it is. The bound and its reason are [`Engine::unsynced`]'s; one entry that is larger goes by itself.

use std::sync::atomic::Ordering;

#[cfg(doc)]
use super::disk::Engine;
use super::fault::Outcome;
use super::session::Session;
use super::table::Txn;
use super::{SledStore, erase, flush};
use crate::key::Address;
use crate::message::Seq;
use crate::store::{Erase, Erased, SessionFlush, SessionFlushed};

/// What an entry takes in sled besides its record, about: its rows in log and indexes, its session's row.
pub(super) const ROWS: usize = 600;

/// One step of a flush: the parts it takes something of, by their place in the batch.
pub(super) type Step = Vec<(usize, SessionFlush)>;

/// A flush in steps of at most `bytes`, or one entry. What bounds a context and what is settled comes with a
/// part's last entries.
pub(super) fn of(batch: &[SessionFlush], bytes: usize) -> Vec<Step> {
    let (mut steps, mut step, mut room) = (Vec::new(), Step::new(), bytes);
    for (place, part) in batch.iter().enumerate() {
        let mut rest = part.entries.as_slice();
        loop {
            let fit = rest.iter().take_while(|entry| {
                let left = room.checked_sub(entry.record.len() + ROWS);
                room = left.unwrap_or(room);
                left.is_some()
            });
            let fit = fit.count();
            let fit = if step.is_empty() { fit.max(1) } else { fit };
            let (now, later) = rest.split_at(fit.min(rest.len()));
            let is_last = later.is_empty();
            if is_last || !now.is_empty() {
                let piece = SessionFlush {
                    session: part.session.clone(),
                    epoch: part.epoch,
                    cut: if is_last { part.cut } else { Seq::default() },
                    settled_to: if is_last { part.settled_to } else { 0 },
                    entries: now.to_vec(),
                };
                step.push((place, piece));
            }
            if is_last {
                break;
            }
            rest = later;
            steps.push(std::mem::take(&mut step));
            room = bytes;
        }
    }
    steps.push(step);
    steps
}

impl SledStore {
    /// How many bytes sled may get between two fsyncs.
    pub(super) fn most(&self) -> usize {
        self.engine.read().as_ref().map_or(0, |e| e.unsynced())
    }

    /// Makes what sled was given durable before it is given so much more that it may write over what that replaced.
    pub(super) fn make_way(&self, bytes: usize) -> Outcome<()> {
        let unsynced = self.given.load(Ordering::SeqCst) - self.kept.load(Ordering::SeqCst);
        if unsynced > 0 && unsynced + bytes > self.most() {
            self.sync(self.applied())?;
        }
        Ok(())
    }

    /// One step of a flush, durable.
    pub(super) fn flush_step(&self, step: &Step, flushed: &mut [SessionFlushed]) -> Outcome<()> {
        let decode = |(_, piece): &(usize, SessionFlush)| flush::decode(&self.codec, piece);
        let decoded: Outcome<Vec<_>> = step.iter().map(decode).collect();
        let decoded = decoded?;
        let mut writer = self.writer.lock();
        let db = self.db()?;
        let mut txn = Txn::new(&db, &self.verified, &self.codec);
        for ((place, piece), entries) in step.iter().zip(decoded) {
            let Some(done) = flushed.get_mut(*place) else {
                continue;
            };
            flush::apply(&mut txn, &mut writer.next_sid, piece, entries, done)?;
            writer.next_epoch = writer.next_epoch.max(done.epoch.saturating_add(1));
        }
        let applied = self.apply(&mut writer, txn)?;
        drop(db);
        drop(writer);
        self.sync(applied)
    }

    /// Takes away a part of what is to be erased, durably; false when what is left is little enough to go with the
    /// tombstone. One that was cut short was not answered for, and is finished by the next one.
    pub(super) fn erase_step(
        &self,
        session: &Address,
        what: &Erase,
        erased: &mut Erased,
    ) -> Outcome<bool> {
        let mut writer = self.writer.lock();
        let db = self.db()?;
        let mut txn = Txn::new(&db, &self.verified, &self.codec);
        let Some(mut found) = Session::find(&mut txn, session)? else {
            return Ok(false);
        };
        let texts = erase::texts(&mut found, what, self.most() / 2)?;
        if !texts.more {
            return Ok(false);
        }
        found.save()?;
        let applied = self.apply(&mut writer, txn)?;
        drop(db);
        drop(writer);
        self.sync(applied)?;
        erased.messages += texts.erased.messages;
        erased.bytes += texts.erased.bytes;
        Ok(true)
    }
}
