//! The journal (`journal.rs`, `journal/sync.rs`: `append`, `synced`, `done`, `rotate`, `run`, `sync_failed`, `rewrite`): at no
//! moment would a power cut take an entry that was acknowledged as synced and is not in the store.
//!
//! The disk is the kernel's: an fsync that fails drops the pages it had to write, and the next one says yes. Removed
//! files are gone at once, the worst there is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use shuttle::rand::Rng as _;
use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
use shuttle::{rand, thread};

use crate::search::{holds, is_found};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// A segment is taken away before what was in it, and was written again, is synced.
    EarlyRemove,
    /// An entry is acknowledged once it is written.
    NoSync,
    /// After a failed fsync the same file is synced again.
    SyncAgain,
    /// A new segment is begun, and called synced up to there, while an fsync of the old one is under way.
    Overtake,
    /// An entry is done with before the store has it.
    EarlyDone,
}

#[derive(Default)]
struct File {
    /// Written, on disk, and lost by a failed fsync.
    written: Vec<u32>,
    synced: BTreeSet<u32>,
    lost: BTreeSet<u32>,
}

/// What a power cut would leave, and what must be left.
#[derive(Default)]
struct Disk {
    files: BTreeMap<u32, File>,
    store: BTreeSet<u32>,
    acknowledged: BTreeSet<u32>,
    /// How many more fsyncs fail.
    failures: u32,
}

impl Disk {
    fn check(&self) {
        for entry in &self.acknowledged {
            let kept = self.files.values().any(|f| f.synced.contains(entry));
            assert!(
                kept || self.store.contains(entry),
                "a power cut takes {entry}"
            );
        }
    }

    /// `before`: what was written when the fsync began.
    fn sync(&mut self, number: u32, before: usize) -> bool {
        let fails = self.failures > 0 && rand::thread_rng().gen_bool(0.5);
        self.failures -= u32::from(fails);
        let Some(file) = self.files.get_mut(&number) else {
            return true;
        };
        let dirty: Vec<u32> = file.written.iter().take(before).copied().collect();
        for entry in dirty {
            if fails && !file.synced.contains(&entry) {
                file.lost.insert(entry);
            } else if !file.lost.contains(&entry) {
                file.synced.insert(entry);
            }
        }
        !fails
    }
}

#[derive(Default)]
struct Writer {
    current: u32,
    /// Segments left behind: how many of their entries are pending, and up to where the journal must be synced
    /// before they go.
    old: BTreeMap<u32, (usize, u64)>,
    /// In which segment a pending entry stands.
    pending: HashMap<u32, u32>,
    open_in_current: usize,
    written: u64,
    synced: u64,
    closing: bool,
    /// Fsyncs that failed: one beside which another failed says nothing.
    failed_syncs: u32,
}

/// Entries in a segment before another one is begun.
const SEGMENT: usize = 2;

struct Journal {
    mistake: Mistake,
    writer: Mutex<Writer>,
    wake: Condvar,
    synced: Mutex<u64>,
    told: Condvar,
    disk: Mutex<Disk>,
}

impl Journal {
    fn new(mistake: Mistake, failures: u32) -> Self {
        let disk = Disk {
            files: [(0, File::default())].into(),
            failures,
            ..Disk::default()
        };
        Self {
            mistake,
            writer: Mutex::default(),
            wake: Condvar::new(),
            synced: Mutex::new(0),
            told: Condvar::new(),
            disk: Mutex::new(disk),
        }
    }

    fn write(&self, writer: &mut Writer, entry: u32) {
        let full = self.disk.lock().unwrap().files[&writer.current]
            .written
            .len()
            >= SEGMENT;
        if full {
            self.rotate(writer);
        }
        let mut disk = self.disk.lock().unwrap();
        disk.files
            .get_mut(&writer.current)
            .unwrap()
            .written
            .push(entry);
        writer.written += 1;
        writer.pending.insert(entry, writer.current);
        writer.open_in_current += 1;
    }

    fn append(&self, entry: u32) -> u64 {
        let mut writer = self.writer.lock().unwrap();
        self.write(&mut writer, entry);
        writer.written
    }

    fn synced(&self, position: u64) {
        drop(self.writer.lock().unwrap());
        self.wake.notify_one();
        if self.mistake == Mistake::NoSync {
            return;
        }
        let mut synced = self.synced.lock().unwrap();
        while *synced < position {
            synced = self.told.wait(synced).unwrap();
        }
    }

    fn advance(&self, writer: &mut Writer, to: u64) {
        writer.synced = writer.synced.max(to);
        let mut synced = self.synced.lock().unwrap();
        *synced = to.max(*synced);
        self.told.notify_all();
    }

    fn done(&self, entry: u32) {
        let mut writer = self.writer.lock().unwrap();
        if let Some(segment) = writer.pending.remove(&entry) {
            if segment == writer.current {
                writer.open_in_current -= 1;
            } else {
                writer.old.get_mut(&segment).unwrap().0 -= 1;
            }
        }
        if writer.open_in_current == 0 {
            self.rotate(&mut writer);
        }
        self.remove_finished(&mut writer);
    }

    fn leave(&self, writer: &mut Writer) {
        let next = writer.current + 1;
        self.disk
            .lock()
            .unwrap()
            .files
            .insert(next, File::default());
        let open = std::mem::take(&mut writer.open_in_current);
        writer.old.insert(writer.current, (open, 0));
        writer.current = next;
    }

    fn rotate(&self, writer: &mut Writer) {
        let bad = writer.current;
        if !self.disk.lock().unwrap().sync(bad, usize::MAX) {
            writer.failed_syncs += 1;
            self.leave(writer);
            self.rewrite(writer, bad);
            return;
        }
        self.leave(writer);
        if self.mistake == Mistake::Overtake {
            self.advance(writer, writer.written);
        }
    }

    fn rewrite(&self, writer: &mut Writer, bad: u32) {
        let mut again: Vec<u32> = writer
            .pending
            .iter()
            .filter(|(_, segment)| **segment == bad)
            .map(|(entry, _)| *entry)
            .collect();
        again.sort_unstable();
        for entry in again {
            self.write(writer, entry);
            let old = writer.old.get_mut(&bad).unwrap();
            *old = (old.0 - 1, writer.written);
        }
        self.remove_finished(writer);
    }

    fn remove_finished(&self, writer: &mut Writer) {
        while let Some(first) = writer.old.first_entry() {
            let (open, until) = *first.get();
            let early = self.mistake == Mistake::EarlyRemove;
            if open > 0 || (until > writer.synced && !early) {
                return;
            }
            let number = first.remove_entry().0;
            let mut disk = self.disk.lock().unwrap();
            disk.files.remove(&number);
            disk.check();
        }
    }

    fn run(&self) {
        let mut writer = self.writer.lock().unwrap();
        loop {
            if writer.written == writer.synced && !writer.closing {
                writer = self.wake.wait(writer).unwrap();
            }
            let closing = writer.closing;
            if writer.written > writer.synced {
                let (upto, number) = (writer.written, writer.current);
                let before = self.disk.lock().unwrap().files[&number].written.len();
                let failed = writer.failed_syncs;
                drop(writer);
                let fine = self.disk.lock().unwrap().sync(number, before);
                thread::yield_now();
                writer = self.writer.lock().unwrap();
                let doubtful = writer.failed_syncs > failed;
                if fine && (!doubtful || self.mistake == Mistake::Overtake) {
                    self.advance(&mut writer, upto);
                    self.remove_finished(&mut writer);
                } else if !fine {
                    self.sync_failed(&mut writer, number);
                }
            }
            if closing && writer.written == writer.synced {
                return;
            }
        }
    }

    fn sync_failed(&self, writer: &mut MutexGuard<'_, Writer>, number: u32) {
        if self.mistake == Mistake::SyncAgain {
            return;
        }
        writer.failed_syncs += 1;
        if writer.current == number {
            self.leave(writer);
        }
        self.rewrite(writer, number);
    }
}

/// Two callers, each with entries that the store takes later or never.
fn model(mistake: Mistake, failures: u32) {
    let journal = Arc::new(Journal::new(mistake, failures));
    let sync = Arc::clone(&journal);
    let sync = thread::spawn(move || sync.run());
    let callers = (0..2_u32).map(|caller| {
        let journal = Arc::clone(&journal);
        thread::spawn(move || {
            for n in 0..3 {
                let entry = caller * 10 + n;
                let position = journal.append(entry);
                journal.synced(position);
                {
                    let mut disk = journal.disk.lock().unwrap();
                    disk.acknowledged.insert(entry);
                    disk.check();
                }
                if n == 2 {
                    return;
                }
                if mistake == Mistake::EarlyDone {
                    journal.done(entry);
                }
                journal.disk.lock().unwrap().store.insert(entry);
                journal.done(entry);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.join().unwrap();
    }
    journal.writer.lock().unwrap().closing = true;
    journal.wake.notify_one();
    sync.join().unwrap();
    journal.disk.lock().unwrap().check();
}

#[test]
fn what_was_acknowledged_as_synced_is_on_disk() {
    holds(|| model(Mistake::None, 0));
}

#[test]
fn it_is_on_disk_whichever_fsyncs_fail() {
    holds(|| model(Mistake::None, 2));
}

#[test]
fn an_acknowledgement_without_an_fsync_is_found() {
    is_found("a power cut takes", || model(Mistake::NoSync, 0));
}

#[test]
fn a_second_fsync_of_a_file_that_failed_is_found() {
    is_found("a power cut takes", || model(Mistake::SyncAgain, 1));
}

#[test]
fn a_segment_removed_before_its_entries_are_elsewhere_is_found() {
    is_found("a power cut takes", || model(Mistake::EarlyRemove, 1));
}

#[test]
fn a_new_segment_that_overtakes_a_failing_fsync_is_found() {
    is_found("a power cut takes", || model(Mistake::Overtake, 1));
}

#[test]
fn an_entry_done_with_before_the_store_has_it_is_found() {
    is_found("a power cut takes", || model(Mistake::EarlyDone, 0));
}
