//! Fsyncs: the thread that makes them, the change of segments, and what to do when one fails.

use std::time::Instant;

use parking_lot::MutexGuard;

use super::pending::Pending;
use super::record::{Frame, frame};
use super::segment::{self, Segment};
use super::{SYNC_EVERY, Shared, Writer};
use crate::message::EntryId;

impl Shared {
    /// Begins a new segment; on failure goes on with the current one.
    pub(super) fn rotate(&self, writer: &mut Writer) {
        let next = match Segment::create(&self.dir, writer.current.number + 1) {
            Ok(next) => next,
            Err(e) => {
                tracing::warn!(error = %e, "journal: cannot begin a new segment; going on with this one");
                return;
            }
        };
        if let Err(e) = self.codec.sync().and_then(|()| writer.current.sync()) {
            tracing::warn!(error = %e, "journal: fsync failed; writing what is pending again");
            writer.note_unsafe(writer.current.number);
            writer.leave(next);
            self.rewrite(writer);
            return;
        }
        // Only the sync thread answers for it: its own fsync, under way now, may have been told of an error that this
        // one was not.
        writer.leave(next);
    }

    fn advance(&self, writer: &mut Writer, to: u64) {
        writer.synced = writer.synced.max(to);
        self.synced
            .send_if_modified(|at| std::mem::replace(at, to.max(*at)) < to);
    }

    /// After a failed fsync: the pages may be gone though a second fsync would say yes. Everything
    /// pending there is written again to the current file; what cannot be now, later.
    pub(super) fn rewrite(&self, writer: &mut Writer) {
        let current = writer.current.number;
        let mut again: Vec<(EntryId, Pending)> = writer
            .pending
            .iter()
            .filter(|(_, p)| p.segment != current && writer.unsafe_in.contains(&p.segment))
            .map(|(id, p)| (id, p.clone()))
            .collect();
        // A process's ids rise in the order of acceptance.
        again.sort_unstable_by_key(|(id, _)| *id);
        for (id, p) in again {
            let bytes = frame(&Frame::Append {
                session: &p.session,
                id,
                epoch: p.epoch,
                record: &p.record,
            });
            if let Err(e) = self.write(writer, &bytes) {
                tracing::error!(error = %e, "journal: a pending entry could not be written again; will retry");
                return;
            }
            let segment = writer.current.number;
            if let Some(p) = writer.pending.get_mut(id) {
                p.segment = segment;
            }
            writer.open_in_current += 1;
            // What an earlier fsync of the bad one had kept is safe in it alone until this one is fsynced.
            let until = writer.written;
            writer.old.entry(p.segment).and_modify(|o| {
                o.open = o.open.saturating_sub(1);
                o.until = until;
            });
        }
        let current = writer.current.number;
        writer.unsafe_in.retain(|number| *number == current);
        writer.remove_finished();
    }

    /// The sync thread: fsyncs at once when somebody waits, else [`SYNC_EVERY`] after the last one began: what is
    /// written during a slow fsync has waited long when it ends.
    pub(super) fn run(&self) {
        let mut writer = self.writer.lock();
        let mut next = Instant::now();
        loop {
            if !writer.urgent && !writer.closing {
                self.wake.wait_until(&mut writer, next);
            }
            next = Instant::now() + SYNC_EVERY;
            writer.urgent = false;
            let closing = writer.closing;
            if !self.sync(&mut writer) && closing {
                // What was written again is not fsynced yet; more than once is not tried.
                self.sync(&mut writer);
            }
            self.watch_disk(&mut writer);
            if closing {
                writer.remove_finished();
                if writer.pending.is_empty() {
                    writer.current.remove();
                }
                return;
            }
        }
    }

    /// Fsyncs what is not yet, without holding the writer; false when that failed.
    fn sync(&self, writer: &mut MutexGuard<'_, Writer>) -> bool {
        if !self.is_mended(writer) {
            return false;
        }
        if writer.written <= writer.synced {
            return true;
        }
        let file = match writer.current.handle() {
            Ok(file) => file,
            Err(e) => {
                tracing::warn!(error = %e, "journal: cannot sync");
                return false;
            }
        };
        let (upto, number) = (writer.written, writer.current.number);
        let before = writer.failed_syncs;
        let result = MutexGuard::unlocked(writer, || {
            self.codec.sync()?;
            segment::sync(&file)
        });
        match result {
            // Of two fsyncs of one file only one is told that it failed.
            Ok(()) if writer.failed_syncs > before => false,
            Ok(()) => {
                self.advance(writer, upto);
                writer.remove_finished();
                true
            }
            Err(e) => {
                self.sync_failed(writer, number, &e);
                false
            }
        }
    }

    pub(super) fn sync_failed(&self, writer: &mut Writer, number: u64, error: &std::io::Error) {
        tracing::warn!(%error, "journal: fsync failed; writing what is pending to a new file");
        writer.note_unsafe(number);
        self.is_mended(writer);
    }

    /// True when no file whose fsync failed holds something pending; else tries to write it to a new one.
    fn is_mended(&self, writer: &mut Writer) -> bool {
        if writer.unsafe_in.is_empty() {
            return true;
        }
        // The segment may have been left meanwhile by a fsync that said yes after this no.
        if writer.unsafe_in.contains(&writer.current.number) {
            match Segment::create(&self.dir, writer.current.number + 1) {
                Ok(fresh) => writer.leave(fresh),
                Err(e) => {
                    tracing::error!(error = %e, "journal: cannot begin a new file; will retry");
                    return false;
                }
            }
        }
        self.rewrite(writer);
        writer.unsafe_in.is_empty()
    }

    pub(super) fn watch_disk(&self, writer: &mut Writer) {
        let Ok(stat) = rustix::fs::statvfs(&self.dir) else {
            return;
        };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let low = (free < self.limits.free_floor_bytes).then_some(free);
        if low.is_some() != writer.disk_low.is_some() {
            tracing::warn!(
                free_bytes = free,
                low = low.is_some(),
                "journal: free disk space"
            );
        }
        writer.disk_low = low;
    }
}
