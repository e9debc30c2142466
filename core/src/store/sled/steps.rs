//! Steps: sled gets only so much between two fsyncs, so a large flush is given to it piece by piece.
//!
//! Invariant: whatever a kill or a power cut leaves of the steps is a sound store; nobody is told that the whole is durable
//! before all of it is. The bound and its reason are [`Engine::unsynced`]'s.

use std::iter::Peekable;
use std::sync::atomic::Ordering;
use std::vec::IntoIter;

#[cfg(doc)]
use super::disk::Engine;
use super::fault::Outcome;
use super::table::Txn;
use super::{SledStore, flush};
use crate::codec::Codec;
use crate::message::{Body, Entry, Seq};
use crate::store::{FlushEntry, SessionFlush, SessionFlushed};

/// How many entries are looked at together: few, since one may rewrite a large one that is stored; and their bytes.
const TOGETHER: usize = 8;
const BYTES: usize = 8 << 10;

/// The bytes of an entry that changes another one: that may stand in a block, of which rows are made again.
const CHANGES: usize = BYTES / 2;

/// A piece of one session's part of a flush.
pub(super) struct Piece {
    /// The part's place in the flush.
    place: usize,
    part: SessionFlush,
    entries: Vec<Entry>,
}

/// The pieces of a flush, in order, decoded before any lock is taken. What bounds a context and what is settled comes with
/// a part's last entries.
pub(super) fn pieces(codec: &Codec, flush: &[SessionFlush]) -> Outcome<Vec<Piece>> {
    let mut pieces = Vec::new();
    for (place, part) in flush.iter().enumerate() {
        let mut rest = part.entries.as_slice();
        let mut decoded = flush::decode(codec, part)?.into_iter();
        loop {
            let mut bytes = 0;
            let fits = |(given, entry): &(&FlushEntry, &Entry)| {
                let had = bytes < BYTES;
                bytes += weight(given, entry);
                had
            };
            let both = rest.iter().zip(decoded.as_slice());
            let together = both.take(TOGETHER).take_while(fits).count();
            let (now, later) = rest.split_at(together);
            let is_last = later.is_empty();
            let part = SessionFlush {
                session: part.session.clone(),
                epoch: part.epoch,
                cut: if is_last { part.cut } else { Seq::default() },
                cut_at: part.cut_at,
                settled_to: if is_last { part.settled_to } else { 0 },
                entries: now.to_vec(),
                estimate: part.estimate.filter(|_| is_last),
            };
            pieces.push(Piece {
                place,
                part,
                entries: decoded.by_ref().take(together).collect(),
            });
            if is_last {
                break;
            }
            rest = later;
        }
    }
    Ok(pieces)
}

fn weight(given: &FlushEntry, entry: &Entry) -> usize {
    let changes = match entry.body {
        Body::Edit { .. } | Body::Delete { .. } | Body::State(_) => CHANGES,
        Body::Messages(_) | Body::Reset | Body::End | Body::Void => 0,
    };
    given.record.len() + changes
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
    pub(super) fn flush_step(
        &self,
        pieces: &mut Peekable<IntoIter<Piece>>,
        flushed: &mut [SessionFlushed],
    ) -> Outcome<()> {
        // Others may give something meanwhile.
        let most = self.most() / 2;
        let mut writer = self.writer.lock();
        let db = self.db()?;
        let mut txn = Txn::new(&db, &self.verified, &self.codec);
        while txn.bytes() <= most
            && let Some(piece) = pieces.next()
        {
            let Some(done) = flushed.get_mut(piece.place) else {
                continue;
            };
            flush::apply(
                &mut txn,
                &mut writer.next_sid,
                &piece.part,
                piece.entries,
                done,
            )?;
            writer.next_epoch = writer.next_epoch.max(done.epoch.saturating_add(1));
        }
        let applied = match txn.bytes() {
            // All of it stood there: who flushes again what was too slow gets on.
            0 => self.applied(),
            _ => self.apply(&mut writer, txn)?,
        };
        drop(db);
        drop(writer);
        self.sync(applied)
    }
}
