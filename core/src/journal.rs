//! The journal: a local, append-only, checksummed file of what was accepted and is not durable yet.
//!
//! Invariants: an entry is written here before it is acknowledged; a segment is deleted only when
//! everything in it is durable in the store (or was withdrawn), or fsynced in a later one; after a failed fsync that file is
//! never fsynced again, and what is pending is written to a new one; a journal of a newer version is refused
//! and not touched. Knows sessions by address and entries as bytes; knows no tier.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::fault_point::fault;
#[cfg(feature = "faults")]
use crate::fault_point::{Plant, planted};
use crate::key::Address;
use crate::message::EntryId;

mod old;
mod pending;
pub(crate) mod record;
mod segment;
mod sync;

use old::read_old;
use pending::{Pending, PendingEntries};
pub(crate) use record::Replayed;
use record::{Frame, frame, with_frame};
use segment::Segment;

/// A new segment is begun when the current one is this large, so that space comes back soon.
const SEGMENT_BYTES: u64 = 16 << 20;

/// A current segment in which nothing is pending is left behind from this size on.
const RETIRE_BYTES: u64 = 1 << 20;

/// How long after the last fsync began the next one does, at level `Journaled`. What a power cut can take is the longer of
/// this and the last fsync, and the next fsync: under 250 ms while fsyncs take less than 125 ms.
const SYNC_EVERY: Duration = Duration::from_millis(100);

/// How long an append at level `Synced` waits for its fsync: a disk that does not answer is an error, within a second for
/// the whole call.
const SYNC_WITHIN: Duration = Duration::from_millis(750);

/// Bounds of a journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most bytes all segments may have.
    pub(crate) journal_bytes: u64,
    /// The least free space the file system must have.
    pub(crate) free_floor_bytes: u64,
}

impl Limits {
    /// From which size on a segment is left behind; several fit into a journal of any size.
    fn segment_bytes(&self) -> u64 {
        SEGMENT_BYTES.min(self.journal_bytes / 4)
    }

    /// From which size on one in which nothing is pending is.
    fn retire_bytes(&self) -> u64 {
        RETIRE_BYTES.min(self.journal_bytes / 4)
    }
}

impl Default for Limits {
    /// 1 GiB of journal, and 256 MiB left on the disk for everybody else.
    fn default() -> Self {
        Self {
            journal_bytes: 1 << 30,
            free_floor_bytes: 256 << 20,
        }
    }
}

/// The journal of one cache.
#[derive(Debug)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    limits: Limits,
    /// Its keys must be durable before what is sealed with them.
    codec: Codec,
    writer: Mutex<Writer>,
    wake: Condvar,
    synced: watch::Sender<u64>,
}

#[derive(Debug)]
struct Writer {
    current: Segment,
    /// Segments left behind, with how many of their entries are still pending.
    old: BTreeMap<u64, Old>,
    pending: PendingEntries,
    open_in_current: usize,
    /// Bytes ever written; a position in the journal.
    written: u64,
    total_bytes: u64,
    urgent: bool,
    closing: bool,
    disk_low: Option<u64>,
    /// Segments whose fsync failed and which still hold something pending: it must be written again.
    unsafe_in: BTreeSet<u64>,
    /// How many fsyncs have failed: an error is told once, so one that said yes meanwhile proves nothing.
    failed_syncs: u64,
    /// Up to where everything is fsynced.
    synced: u64,
}

#[derive(Debug)]
struct Old {
    path: PathBuf,
    bytes: u64,
    open: usize,
    /// Up to where the journal must be fsynced before this goes: what was in it was written again.
    until: u64,
}

impl Journal {
    /// Opens the journal in `dir` (created if absent) and reads what an earlier process left.
    pub(crate) fn open(dir: &Path, limits: Limits, codec: Codec) -> Result<(Self, Vec<Replayed>)> {
        let failed = |e: std::io::Error| io_error(dir, "open the journal", e);
        fault("journal.dir")
            .and_then(|()| std::fs::create_dir_all(dir))
            .map_err(failed)?;
        let (mut old, entries) = read_old(dir)?;
        let total_bytes = old.values().map(|o| o.bytes).sum();
        let number = old.last_key_value().map_or(1, |(n, _)| n + 1);
        let current = Segment::create(dir, number).map_err(failed)?;
        let mut pending = PendingEntries::default();
        for e in &entries {
            old.entry(e.segment).and_modify(|o| o.open += 1);
            let record = e.record.clone();
            let p = Pending {
                segment: e.segment,
                session: e.session.clone(),
                epoch: e.epoch,
                record,
            };
            pending.insert_stranger(e.id, p);
        }
        let writer = Writer {
            current,
            old,
            pending,
            open_in_current: 0,
            written: 0,
            total_bytes,
            urgent: false,
            closing: false,
            disk_low: None,
            unsafe_in: BTreeSet::new(),
            failed_syncs: 0,
            synced: 0,
        };
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            limits,
            codec,
            writer: Mutex::new(writer),
            wake: Condvar::new(),
            synced: watch::Sender::new(0),
        });
        shared.writer.lock().remove_finished();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("scrollback-journal".into())
            .spawn(move || for_thread.run())
            .map_err(failed)?;
        Ok((
            Self {
                shared,
                thread: Mutex::new(Some(thread)),
            },
            entries,
        ))
    }

    /// Writes an entry; returns the position up to which it must be synced to survive a power cut.
    pub(crate) fn append(
        &self,
        session: &Address,
        id: EntryId,
        epoch: u64,
        record: &Bytes,
    ) -> Result<u64> {
        #[cfg(feature = "faults")]
        if planted(Plant::AcknowledgeBeforeJournal) {
            let (shared, session) = (Arc::clone(&self.shared), session.clone());
            let record = record.clone();
            std::thread::spawn(move || {
                std::thread::park_timeout(Duration::from_millis(50));
                shared.append(&session, id, epoch, &record)
            });
            return Ok(0);
        }
        self.shared.append(session, id, epoch, record)
    }

    /// Notes that a pending entry now stands in another epoch than the one it was written with.
    pub(crate) fn placed(&self, id: EntryId, epoch: u64) -> Result<()> {
        let mut writer = self.shared.writer.lock();
        if writer.pending.get(id).is_none_or(|p| p.epoch == epoch) {
            return Ok(());
        }
        self.shared
            .write(&mut writer, &frame(&Frame::Placed { id, epoch }))?;
        if let Some(p) = writer.pending.get_mut(id) {
            p.epoch = epoch;
        }
        Ok(())
    }

    /// Notes that an entry was refused, so that a replay does not bring it back.
    pub(crate) fn abort(&self, id: EntryId) -> Result<()> {
        let mut writer = self.shared.writer.lock();
        if writer.pending.get(id).is_none() {
            return Ok(());
        }
        self.shared
            .write(&mut writer, &frame(&Frame::Abort { id }))?;
        writer.finish(id);
        Ok(())
    }

    /// Notes that entries are durable in the store; removes segments that are finished.
    pub(crate) fn done(&self, ids: impl IntoIterator<Item = EntryId>) {
        let mut writer = self.shared.writer.lock();
        ids.into_iter().for_each(|id| writer.finish(id));
        if writer.open_in_current == 0 && writer.current.bytes >= self.shared.limits.retire_bytes()
        {
            self.shared.rotate(&mut writer);
        }
        writer.remove_finished();
    }

    /// Leaves the current segment behind, so that it goes as soon as nothing in it is pending.
    pub(crate) fn retire(&self) {
        let mut writer = self.shared.writer.lock();
        if writer.current.bytes > 0 {
            self.shared.rotate(&mut writer);
        }
        writer.remove_finished();
    }

    /// Completes when everything up to `position` has been fsynced; many callers share one fsync.
    pub(crate) async fn synced(&self, position: u64) -> Result<()> {
        let mut synced = self.shared.synced.subscribe();
        {
            self.shared.writer.lock().urgent = true;
            self.shared.wake.notify_one();
        }
        let done = tokio::time::timeout(SYNC_WITHIN, synced.wait_for(|at| *at >= position)).await;
        match done {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::Timeout {
                what: "an fsync of the journal",
                after: SYNC_WITHIN,
            }),
        }
    }

    /// The names of segments that were found damaged and still lie here.
    pub(crate) fn damaged(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.shared.dir)
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.filter_map(|e| e.file_name().into_string().ok());
        names.filter(|name| name.ends_with(".damaged")).collect()
    }

    /// How many entries are not durable yet.
    pub(crate) fn pending(&self) -> usize {
        self.shared.writer.lock().pending.len()
    }

    /// Fsyncs, ends the thread and removes what is finished.
    pub(crate) fn close(&self) {
        self.shared.writer.lock().closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("journal: the sync thread had panicked");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn append(&self, session: &Address, id: EntryId, epoch: u64, record: &Bytes) -> Result<u64> {
        let what = Frame::Append {
            session,
            id,
            epoch,
            record,
        };
        // Framed before the writer is held: others want it too.
        with_frame(&what, |bytes| {
            self.append_framed(bytes, session, id, epoch, record)
        })
    }

    fn append_framed(
        &self,
        bytes: &[u8],
        session: &Address,
        id: EntryId,
        epoch: u64,
        record: &Bytes,
    ) -> Result<u64> {
        let mut writer = self.writer.lock();
        if writer.closing {
            // The file may be gone already.
            return Err(Error::Closed);
        }
        self.check_room(&writer, bytes.len())?;
        if writer.unsafe_in.contains(&writer.current.number) {
            let why = std::io::Error::other("an fsync failed, and no new file can be begun");
            return Err(io_error(&self.dir, "write to the journal", why));
        }
        self.write(&mut writer, bytes)?;
        let segment = writer.current.number;
        writer.open_in_current += 1;
        let p = Pending {
            segment,
            session: session.clone(),
            epoch,
            record: record.clone(),
        };
        if let Some(before) = writer.pending.insert(id, p) {
            // It was sealed again: the copy before this one counts no more.
            writer.one_less(before.segment);
        }
        Ok(writer.written)
    }

    fn check_room(&self, writer: &Writer, more: usize) -> Result<()> {
        if let Some(free_bytes) = writer.disk_low {
            let floor_bytes = self.limits.free_floor_bytes;
            return Err(Error::DiskLow {
                path: self.dir.clone(),
                free_bytes,
                floor_bytes,
            });
        }
        let waiting = writer.total_bytes + more as u64;
        if waiting > self.limits.journal_bytes {
            let limit = self.limits.journal_bytes;
            return Err(Error::Backpressure {
                waiting,
                limit,
                unit: "bytes",
            });
        }
        Ok(())
    }

    fn write(&self, writer: &mut Writer, bytes: &[u8]) -> Result<()> {
        if writer.current.bytes >= self.limits.segment_bytes() || writer.current.is_torn() {
            self.rotate(writer);
        }
        writer
            .current
            .append(bytes)
            .map_err(|e| io_error(&self.dir, "write to the journal", e))?;
        writer.written += bytes.len() as u64;
        writer.total_bytes += bytes.len() as u64;
        Ok(())
    }
}

impl Writer {
    fn finish(&mut self, id: EntryId) {
        if let Some(p) = self.pending.remove(id) {
            self.one_less(p.segment);
        }
    }

    /// One entry less is pending in a segment.
    fn one_less(&mut self, segment: u64) {
        if segment == self.current.number {
            self.open_in_current = self.open_in_current.saturating_sub(1);
        } else if let Some(old) = self.old.get_mut(&segment) {
            old.open = old.open.saturating_sub(1);
        }
    }

    fn note_unsafe(&mut self, segment: u64) {
        self.failed_syncs += 1;
        self.unsafe_in.insert(segment);
    }

    fn leave(&mut self, next: Segment) {
        let last = std::mem::replace(&mut self.current, next);
        let open = std::mem::take(&mut self.open_in_current);
        self.old.insert(
            last.number,
            Old {
                path: last.path,
                bytes: last.bytes,
                open,
                until: 0,
            },
        );
    }

    /// Deletes old segments in which nothing is pending, oldest first: an abort or a placement is only
    /// forgotten together with everything older.
    fn remove_finished(&mut self) {
        while let Some(first) = self.old.first_entry() {
            if first.get().open > 0 || first.get().until > self.synced {
                return;
            }
            if let Err(e) = segment::remove(&first.get().path) {
                // It stays, with all that is younger: a replay must not find an entry without its abort.
                tracing::debug!(error = %e, "journal: cannot remove a finished segment; will retry");
                return;
            }
            let (number, old) = first.remove_entry();
            self.unsafe_in.remove(&number);
            self.total_bytes = self.total_bytes.saturating_sub(old.bytes);
        }
    }
}

fn io_error(dir: &Path, what: &str, e: std::io::Error) -> Error {
    let advice = match e.kind() {
        std::io::ErrorKind::StorageFull => "free some disk space",
        std::io::ErrorKind::PermissionDenied => "make the directory writable for this user",
        _ => "check the disk",
    };
    Error::unavailable(
        "journal",
        format!("cannot {what} in {}; {advice}", dir.display()),
        e,
    )
}

#[cfg(test)]
mod tests;
