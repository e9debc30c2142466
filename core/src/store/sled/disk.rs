//! The data directory: lock, opening, fsync, quarantine.
//!
//! ```text
//! DIR/lock                         held while the store is open
//! DIR/store/                       sled's files
//! DIR/store.compacting/ store.old/ while a compaction runs; see `compact/swap.rs`
//! DIR/store.mark                   format and last step known to be durable, checked at open
//! DIR/store.suspect                present after a panic, damage or a failed fsync: write anew and check all at open
//! DIR/ballast                      takes up room, to be given up when the disk is full
//! DIR/store.quarantined-<millis>/  a store that could not be used, kept for whoever wants to look
//! ```
//! Invariant: what [`Engine::sync`] has answered for survives a power cut; a store that lost some of
//! it is noticed at open (the mark is ahead of it) instead of being served.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::sled::Db;

use super::ballast::free;
use super::fault::{Fault, Outcome, is_full};
use super::{Quarantined, SledConfig, TIER};
use crate::error::{Error, Result};
use crate::fault_point::{Plant, fault, planted};

/// The version of keys, rows and chunks; a store of a newer one is refused. Since 2 entries may stand in blocks ([`log`]),
/// which who knows only 1 would not see.
///
/// [`log`]: super::log
pub(super) const FORMAT: u8 = 2;

/// Below this many free bytes sled is not opened: it could not write its first segments.
const ROOM: u64 = 16 << 20;

/// Of a new store: so that a step of a flush, and a message of 1 MiB, are well below it. sled's own default is 512 KiB.
const SEGMENT: usize = 2 << 20;

/// What sled takes; it panics at anything else.
const SEGMENTS: std::ops::RangeInclusive<usize> = 256..=1 << 24;

/// How long sled may hold its file after it was closed.
const LETTING_GO: Duration = Duration::from_secs(5);

/// The ending of a file's copy while it is written anew.
const ANEW: &str = ".anew";

/// The version the mark states, its step, its checksum.
const MARK: usize = 1 + 8 + 4;

/// sled and the files that must be fsynced with it.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) db: Db,
    pub(super) file: File,
    pub(super) dir: File,
    mark: File,
    segment_bytes: usize,
}

/// Why a store did not open.
#[derive(Debug)]
pub(super) enum Failed {
    /// It must be left as it is.
    Refused(Error),
    /// It cannot be used.
    Damaged(String),
}

pub(super) fn store_dir(dir: &Path) -> PathBuf {
    dir.join("store")
}

/// Creates the data directory, for its owner only.
pub(super) fn make_dir(dir: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let made = fault("store.dir").and_then(|()| builder.create(dir));
    made.map_err(|e| unusable(dir, e))
}

pub(super) fn unusable(path: &Path, e: io::Error) -> Error {
    let what = format!(
        "cannot use {}; make it a directory that this user can read and write, or set another one",
        path.display()
    );
    Error::unavailable(TIER, what, e)
}

/// Takes the directory for this process, waiting at most `wait`.
pub(super) fn lock(dir: &Path, wait: Duration) -> Result<File> {
    let path = dir.join("lock");
    fault("store.lock").map_err(|e| unusable(&path, e))?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| unusable(&path, e))?;
    let deadline = Instant::now().checked_add(wait);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(e)) => return Err(unusable(&path, e)),
            Err(fs::TryLockError::WouldBlock) => {}
        }
        if deadline.is_some_and(|d| Instant::now() >= d) {
            return Err(Error::Locked {
                path: dir.to_owned(),
            });
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Marks the store as one to be checked in full at the next open. Best effort: the disk may be what failed.
pub(super) fn suspect(dir: &Path) {
    let marked = fault("store.suspect").and_then(|()| File::create(dir.join("store.suspect")));
    if let Err(error) = marked.and_then(|f| f.sync_all()) {
        tracing::warn!(%error, "cannot mark the store as suspect");
    }
}

pub(super) fn is_suspect(dir: &Path) -> bool {
    dir.join("store.suspect").exists()
}

pub(super) fn trusted(dir: &Path) -> Result<()> {
    let removed = fault("store.trust").and_then(|()| remove(&dir.join("store.suspect")));
    removed.map_err(|e| unusable(dir, e))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// An error when there is too little room for sled to work.
pub(super) fn check_room(dir: &Path) -> Result<()> {
    if free(dir) < ROOM {
        return Err(no_room(dir));
    }
    Ok(())
}

pub(super) fn no_room(dir: &Path) -> Error {
    let mib = ROOM >> 20;
    Error::away(
        TIER,
        format!(
            "no disk space under {}; free at least {mib} MiB, it goes on by itself",
            dir.display()
        ),
    )
}

/// Moves the store aside.
pub(super) fn quarantine(dir: &Path, why: String) -> Result<Quarantined> {
    let millis = crate::clock::system().wall_ms();
    let named = |n: u64| dir.join(format!("store.quarantined-{n}"));
    let free = (millis..).find(|n| !named(*n).exists());
    let path = named(free.unwrap_or(millis));
    let moved = fault("store.quarantine")
        .and_then(|()| fs::rename(store_dir(dir), &path))
        .and_then(|()| fault("store.unmark"))
        .and_then(|()| remove(&dir.join("store.mark")))
        .and_then(|()| File::open(dir)?.sync_all());
    moved.map_err(|e| unusable(dir, e))?;
    tracing::error!(path = %path.display(), %why, "the store cannot be used and was moved aside");
    Ok(Quarantined { path, why })
}

/// The step that the mark says is durable; 0 when there is no readable mark.
///
/// # Errors
/// When it is of a newer format.
pub(super) fn read_mark(dir: &Path) -> Result<u64, Failed> {
    let mut bytes = Vec::new();
    match File::open(dir.join("store.mark")).and_then(|mut f| f.read_to_end(&mut bytes)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(Failed::Refused(unusable(dir, e))),
        Ok(_) => {}
    }
    if let Some(format) = bytes.first().filter(|f| **f > FORMAT) {
        return Err(Failed::Refused(newer(dir, *format)));
    }
    let sound = bytes
        .split_last_chunk::<4>()
        .filter(|(head, crc)| bytes.len() == MARK && crc32fast::hash(head).to_be_bytes() == **crc);
    Ok(sound
        .and_then(|(head, _)| super::keys::number_at(head, 1))
        .unwrap_or_default())
}

pub(super) fn newer(dir: &Path, format: u8) -> Error {
    Error::Config(vec![format!(
        "the store under {} has format version {format}, this program knows up to {FORMAT}; use a newer program \
         or another directory",
        dir.display()
    )])
}

impl Engine {
    /// Opens sled and makes all it has on disk durable, so that nothing read later can be lost.
    pub(super) fn open(config: &SledConfig) -> Result<Self, Failed> {
        Self::open_at(config, &store_dir(&config.dir))
    }

    /// The same with sled's files in `store`, which lies in the data directory.
    pub(super) fn open_at(config: &SledConfig, store: &Path) -> Result<Self, Failed> {
        let dir = &config.dir;
        let refuse = |e| Failed::Refused(unusable(store, e));
        check_room(dir).map_err(Failed::Refused)?;
        remove_leftovers(store).map_err(refuse)?;
        let synced = || {
            let synced = fault("store.open-sync").and_then(|()| sync_all(store));
            // Another fsync would say yes: the next attempt writes it anew.
            synced.inspect_err(|_| suspect(dir)).map_err(refuse)
        };
        if store.exists() {
            // After a kill sled goes by what may not be on the disk yet, and clears what that has replaced.
            synced()?;
        }
        let db = open_sled(config, store).map_err(|e| classify(dir, e))?;
        synced()?;
        fault("store.open-mark").map_err(refuse)?;
        let mark = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("store.mark"))
            .map_err(refuse)?;
        File::open(dir).and_then(|d| d.sync_all()).map_err(refuse)?;
        Ok(Self {
            db,
            file: File::open(store.join("db")).map_err(refuse)?,
            dir: File::open(store).map_err(refuse)?,
            mark,
            segment_bytes: segment_bytes(store).map_err(refuse)?,
        })
    }

    /// How many bytes sled may get between two fsyncs.
    ///
    /// It takes for durable what it gave to `sync_file_range`, and writes over segments whose pages stand elsewhere by then. But a
    /// file that has grown is not so long on the disk yet, and a drive may hold back what it was sent: after a power cut neither
    /// the old page nor the new one was there. Between a page's move and the next use of the segment that it left lies at
    /// least a whole segment of sled's log, so it is enough that an fsync falls into each. Of 128 KiB that it was given sled made at
    /// most 0.45 MiB of log in 4,500 fsyncs, once 1.5 MiB; of 32 KiB (the bound where segments are of 512 KiB) 0.37 MiB in 21,000.
    pub(super) const fn unsynced(&self) -> usize {
        self.segment_bytes / 16
    }

    /// Makes everything applied so far durable, and notes `step` as the last of it.
    pub(super) fn sync(&self, step: u64) -> Outcome<()> {
        // sled's own flush writes its buffers but does not wait for the disk in full.
        fault("store.flush").map_err(Fault::Sync)?;
        self.db.flush()?;
        if !planted(Plant::PlainSledFlush) {
            fault("store.file-sync").map_err(Fault::Sync)?;
            self.file.sync_all().map_err(Fault::Sync)?;
            fault("store.dir-sync").map_err(Fault::Sync)?;
            self.dir.sync_all().map_err(Fault::Sync)?;
        }
        self.note(step);
        Ok(())
    }

    /// Notes the last step that is durable.
    pub(super) fn note(&self, step: u64) {
        let mut mark = vec![FORMAT];
        mark.extend_from_slice(&step.to_be_bytes());
        mark.extend_from_slice(&crc32fast::hash(&mark).to_be_bytes());
        let mut file = &self.mark;
        // Not synced: a mark that is behind misses a loss, one that is ahead would invent one.
        fault("store.mark")
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(&mark))
            .unwrap_or_else(|error| tracing::warn!(%error, "cannot write the store's mark"));
    }
}

/// Opens sled; waits while an earlier one in this process, closed just now, still lets go of its file, which
/// it does on threads of its own. Other processes are kept out by our own lock.
pub(super) fn open_sled(config: &SledConfig, store: &Path) -> ::sled::Result<Db> {
    let deadline = Instant::now() + LETTING_GO;
    loop {
        let opened = ::sled::Config::new()
            .path(store)
            .segment_size(segment_bytes(store)?)
            .cache_capacity(config.cache_bytes)
            .flush_every_ms(None)
            .open();
        match opened {
            Err(::sled::Error::Io(e)) if is_held(&e) && Instant::now() < deadline => {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// How large the segments of sled's log are: of a new store [`SEGMENT`], of one that is there as it says itself.
///
/// # Errors
/// It cannot be told now: with another size a sound store would be refused.
fn segment_bytes(store: &Path) -> io::Result<usize> {
    let conf = match fs::read(store.join("conf")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(SEGMENT),
        other => other?,
    };
    let conf = String::from_utf8_lossy(&conf);
    let line = conf.lines().find_map(|l| l.strip_prefix("segment_size: "));
    let stated = line.and_then(|bytes| bytes.parse().ok());
    let sound = |bytes: &usize| bytes.is_power_of_two() && SEGMENTS.contains(bytes);
    Ok(stated.filter(sound).unwrap_or(SEGMENT))
}

fn is_held(e: &io::Error) -> bool {
    e.to_string().contains("could not acquire lock")
}

/// A kill while sled writes a snapshot leaves a file with which it never opens again; one while the store is written
/// anew leaves half a copy.
fn remove_leftovers(store: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(store) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_half_snapshot = name.starts_with("snap.") && name.ends_with(".generating");
        if is_half_snapshot || name.ends_with(ANEW) {
            fault("store.clean")?;
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Writes every file of the closed store anew and fsyncs the copies. After a failed fsync the kernel takes the pages that
/// it could not write for written: the file still reads as it should, and would not be the same after a power cut.
pub(super) fn rewrite(dir: &Path) -> Result<()> {
    let store = store_dir(dir);
    let refuse = |e: io::Error| {
        if is_full(&e) {
            return no_room(dir);
        }
        unusable(&store, e)
    };
    remove_leftovers(&store).map_err(refuse)?;
    let entries = match fs::read_dir(&store) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(refuse)?,
    };
    for entry in entries {
        let path = entry.map_err(refuse)?.path();
        if path.is_file() {
            copy_over(&path).map_err(refuse)?;
        }
    }
    let synced = fault("store.rewrite-dir-sync").and_then(|()| File::open(&store)?.sync_all());
    synced.map_err(refuse)
}

fn copy_over(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(ANEW);
    let copy = PathBuf::from(name);
    fault("store.rewrite")?;
    fs::copy(path, &copy)?;
    fault("store.rewrite-sync")?;
    File::open(&copy)?.sync_all()?;
    fault("store.rewrite-rename")?;
    fs::rename(&copy, path)
}

/// Fsyncs every file below `dir`, and the directories.
fn sync_all(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()
}

pub(super) fn failing(dir: &Path, e: io::Error) -> Error {
    let what = format!(
        "cannot read or write the store in {}; check the disk and try again; if the store is lost, move it away: a new \
         one is begun",
        store_dir(dir).display()
    );
    Error::unavailable(TIER, what, e)
}

pub(super) fn classify(dir: &Path, e: ::sled::Error) -> Failed {
    match e {
        ::sled::Error::Io(e) if is_full(&e) => Failed::Refused(no_room(dir)),
        ::sled::Error::Io(e) if is_held(&e) => Failed::Refused(Error::Locked {
            path: dir.to_owned(),
        }),
        ::sled::Error::Io(e)
            if matches!(
                e.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::IsADirectory
            ) =>
        {
            Failed::Refused(unusable(dir, e))
        }
        // The disk failed, not what is on it: it may be readable the next time.
        ::sled::Error::Io(e)
            if e.raw_os_error().is_some()
                && !matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
                ) =>
        {
            Failed::Refused(failing(dir, e))
        }
        #[cfg(feature = "faults")]
        ::sled::Error::FailPoint => {
            Failed::Refused(failing(dir, io::Error::other("injected inside sled")))
        }
        other => Failed::Damaged(other.to_string()),
    }
}

/// What the files below a directory take on the disk, as far as they can be looked at.
pub(super) fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let one = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => taken(&found),
        Err(_) => 0,
    };
    entries.map(one).sum()
}

#[cfg(unix)]
fn taken(file: &fs::Metadata) -> u64 {
    // Blocks are of 512 bytes, whatever the file system's own are.
    std::os::unix::fs::MetadataExt::blocks(file) * 512
}

#[cfg(not(unix))]
fn taken(file: &fs::Metadata) -> u64 {
    file.len()
}

/// An error when fewer bytes are free than `need`, besides what sled itself must find.
pub(super) fn check_free(dir: &Path, need: u64) -> Result<()> {
    let floor_bytes = need.saturating_add(ROOM);
    match rustix::fs::statvfs(dir).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize)) {
        Ok(free_bytes) if free_bytes < floor_bytes => Err(Error::DiskLow {
            path: dir.to_owned(),
            free_bytes,
            floor_bytes,
        }),
        _ => Ok(()),
    }
}

/// A line for each store that was moved aside and still lies in the data directory.
pub(super) fn quarantined(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    let aside = names.filter(|name| name.starts_with("store.quarantined"));
    let line = |name| {
        format!(
            "an earlier store could not be read and lies in {name}: what is not in this one is only there; \
            restore the data directory from a backup, or remove {name} when it is not wanted"
        )
    };
    aside.map(line).collect()
}
