//! What this store promises beyond the contract: files, locks, damage (P2, P7, P10, P16).

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::codec::{self, Codec, Kind};
use crate::message::{Body, Entry, Seq};
use crate::store::{FlushEntry, Flushed};

fn open(dir: &Path) -> (SledStore, Option<Quarantined>) {
    // A child process that another test is just starting holds a copy of the lock until its exec.
    let wait = Duration::from_secs(10);
    SledStore::open(&SledConfig::new(dir).wait_lock(wait)).unwrap()
}

fn fresh() -> (SledStore, TempDir) {
    let dir = TempDir::new().unwrap();
    let (store, quarantined) = open(dir.path());
    assert_eq!(quarantined, None);
    (store, dir)
}

crate::store_contract!(fresh());

fn at(channel: u64) -> Address {
    Address::from_text(&format!("x/bot/channel={channel}"))
}

fn message(at: &Address, number: u64, text: &str) -> FlushEntry {
    let m = Message::user(Author::new("x", number % 7), text).id(number);
    let entry = Entry {
        id: EntryId(number.into()),
        at_ms: number,
        body: Body::Messages(vec![Some(m.into())]),
    };
    FlushEntry {
        number,
        id: entry.id,
        record: codec::encode(Kind::Entry, at.hash64(), &entry).unwrap(),
    }
}

/// Flushes messages whose texts follow from session and number.
fn put(store: &SledStore, channel: u64, numbers: std::ops::RangeInclusive<u64>) -> Result<()> {
    let at = at(channel);
    let entries = numbers
        .map(|n| message(&at, n, &text(channel, n)))
        .collect();
    let part = SessionFlush {
        session: at,
        epoch: 1,
        cut: Seq::default(),
        cut_at: 0,
        settled_to: 0,
        entries,
        estimate: None,
    };
    let done = store.flush(&[part])?;
    assert!(done[0].entries.iter().all(|e| *e == Flushed::Durable));
    Ok(())
}

fn text(channel: u64, number: u64) -> String {
    format!("{channel}:{number} ").repeat(usize::try_from(number).unwrap() % 50 * 20 + 1)
}

fn all(store: &SledStore, channel: u64) -> Result<Vec<String>> {
    let page = Page {
        before: None,
        limit: 10_000,
    };
    let history = store.history(&at(channel), page)?;
    Ok(history.into_iter().map(|(_, m)| m.text).collect())
}

#[test]
fn a_flush_of_many_steps_is_answered_as_one() {
    let (store, _dir) = fresh();
    let part = |channel, entries| SessionFlush {
        session: at(channel),
        epoch: 1,
        cut: Seq::new(90, 0),
        cut_at: 0,
        settled_to: 100,
        entries,
        estimate: None,
    };
    let taken = FlushEntry {
        number: 60,
        ..message(&at(1), 999, "another's")
    };
    store.flush(&[part(1, vec![taken])]).unwrap();
    let long = "x".repeat(16 << 10);
    let many = |channel| {
        let numbers = 1..=100;
        numbers.map(|n| message(&at(channel), n, &long)).collect()
    };
    let batch = [part(1, many(1)), part(2, many(2))];
    let before = store.applied().step;
    let done = store.flush(&batch).unwrap();
    let most = store.engine.read().as_ref().unwrap().unsynced() / 2;
    let bytes = 160 * long.len();
    let steps = store.applied().step - before;
    assert!(
        usize::try_from(steps).unwrap() > bytes / most / 2,
        "{steps} steps"
    );
    // Once more there is nothing to do, and no fsync.
    let again = store.flush(&batch).unwrap();
    assert_eq!(again[1].entries, done[1].entries);
    assert_eq!(store.applied().step - before, steps);
    // From the number that another has on, whatever step it is in.
    let durable = done[0].entries.iter().filter(|e| **e == Flushed::Durable);
    assert_eq!((done[0].entries.len(), durable.count()), (100, 59));
    assert!(done[0].entries[59..].iter().all(|e| *e == Flushed::Refused));
    assert_eq!((done[0].durable_to, done[1].durable_to), (60, 100));
    assert_eq!(done[1].entries, vec![Flushed::Durable; 100]);
    let cut = |channel| store.window(&at(channel)).unwrap().unwrap().summary.cut;
    assert_eq!((cut(1), cut(2)), (Seq::default(), Seq::new(90, 0)));
    assert_eq!(
        (all(&store, 1).unwrap().len(), all(&store, 2).unwrap().len()),
        (60, 100)
    );
}

fn expected(channel: u64, last: u64) -> Vec<String> {
    (1..=last).map(|n| text(channel, n)).collect()
}

#[test]
fn everything_is_there_after_reopening_and_epochs_go_on() {
    let (store, dir) = fresh();
    let epoch = store.allot(&at(9), 0).unwrap();
    put(&store, 1, 1..=100).unwrap();
    put(&store, 2, 1..=3).unwrap();
    drop(store);
    let (store, quarantined) = open(dir.path());
    assert_eq!(quarantined, None);
    assert_eq!(all(&store, 1).unwrap(), expected(1, 100));
    assert_eq!(all(&store, 2).unwrap(), expected(2, 3));
    assert!(store.allot(&at(9), 0).unwrap() > epoch);
    assert!(store.check().unwrap().violations.is_empty());
    store.close().unwrap();
    assert!(open(dir.path()).1.is_none());
}

#[test]
fn a_second_opener_is_told_so_and_gets_in_when_the_first_is_gone() {
    let (store, dir) = fresh();
    let config = SledConfig::new(dir.path());
    assert!(matches!(
        SledStore::open(&config),
        Err(Error::Locked { .. })
    ));
    std::thread::scope(|s| {
        let second =
            s.spawn(|| SledStore::open(&config.clone().wait_lock(Duration::from_secs(30))));
        store.close().unwrap();
        assert!(second.join().unwrap().is_ok());
    });
}

#[test]
fn a_half_written_snapshot_is_survived() {
    let (store, dir) = fresh();
    put(&store, 1, 1..=50).unwrap();
    drop(store);
    std::fs::write(
        dir.path().join("store/snap.0000000000001234.generating"),
        b"",
    )
    .unwrap();
    let (store, quarantined) = open(dir.path());
    assert_eq!(quarantined, None);
    assert_eq!(all(&store, 1).unwrap(), expected(1, 50));
}

/// sled as it stands in a data directory.
fn raw(dir: &Path) -> Db {
    disk::open_sled(&SledConfig::new(dir), &disk::store_dir(dir)).unwrap()
}

#[test]
fn no_value_given_to_sled_is_above_its_safe_size() {
    let (store, dir) = fresh();
    let long = "x".repeat(100_000);
    let entries = vec![message(&at(1), 1, &long)];
    let part = SessionFlush {
        session: at(1),
        epoch: 1,
        cut: Seq::default(),
        cut_at: 0,
        settled_to: 0,
        entries,
        estimate: None,
    };
    store.flush(&[part]).unwrap();
    drop(store);
    let db = raw(dir.path());
    let sizes: Vec<usize> = db.iter().map(|item| item.unwrap().1.len()).collect();
    assert!(sizes.len() > 25 && sizes.iter().all(|len| *len <= 4096));
    drop(db);
    let blobs = std::fs::read_dir(dir.path().join("store/blobs"));
    assert_eq!(blobs.map_or(0, Iterator::count), 0);
}

fn bytes_below(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(bytes_below(&path));
        } else {
            out.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    out.sort();
    out
}

#[test]
fn a_store_of_a_newer_format_is_refused_and_not_touched() {
    let (store, dir) = fresh();
    put(&store, 1, 1..=5).unwrap();
    drop(store);
    let mark = dir.path().join("store.mark");
    let sound = std::fs::read(&mark).unwrap();
    let mut newer = sound.clone();
    newer[0] = disk::FORMAT + 1;
    std::fs::write(&mark, newer).unwrap();
    let before = bytes_below(dir.path());
    let refused = SledStore::open(&SledConfig::new(dir.path()));
    assert!(matches!(refused, Err(Error::Config(_))));
    assert_eq!(bytes_below(dir.path()), before);

    // The row inside says so too, should the mark be lost.
    std::fs::write(&mark, sound).unwrap();
    let db = raw(dir.path());
    let verified = Verified::default();
    let codec = Codec::plain();
    let mut txn = Txn::new(&db, &verified, &codec);
    let format = Bytes::from_static(&[disk::FORMAT + 1, 1]);
    txn.put(keys::meta("format"), format).unwrap();
    db.apply_batch(txn.into_batch().unwrap()).unwrap();
    drop(db);
    let refused = SledStore::open(&SledConfig::new(dir.path()));
    assert!(matches!(refused, Err(Error::Config(_))));
    assert!(dir.path().join("store").exists());
}

/// A small generator, so that a failing round can be run again.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }
}

fn damage(path: &Path, random: &mut Seeded) -> &'static str {
    let mut bytes = std::fs::read(path).unwrap();
    let len = bytes.len();
    let what = match random.below(3) {
        0 => {
            bytes.truncate(random.below(len));
            "cut"
        }
        1 => {
            for _ in 0..=random.below(40) {
                let at = random.below(len);
                bytes[at] ^= 1 << random.below(8);
            }
            "flipped"
        }
        _ => {
            let page = random.below(len / 4096) * 4096;
            bytes[page..page + 4096].fill(0);
            "zeroed"
        }
    };
    std::fs::write(path, bytes).unwrap();
    what
}

/// Reads everything; damage may be an error, but never a panic and never other data.
fn right_or_refused(store: &SledStore, round: &str) -> bool {
    for (channel, last) in [(1, 400), (2, 100)] {
        match all(store, channel) {
            Ok(texts) => assert!(texts == expected(channel, last), "{round}: wrong data"),
            Err(e) => {
                assert!(
                    matches!(e, Error::Decode { .. } | Error::Unavailable { .. }),
                    "{round}: {e}"
                );
                return false;
            }
        }
    }
    true
}

#[test]
fn a_damaged_file_ends_in_right_data_or_quarantine() {
    let (store, whole) = fresh();
    for i in 0..20 {
        put(&store, 1, i * 20 + 1..=i * 20 + 20).unwrap();
        put(&store, 2, i * 5 + 1..=i * 5 + 5).unwrap();
    }
    drop(store);
    let files = bytes_below(whole.path());
    let (mut right, mut moved) = (0, 0);
    let rounds = std::env::var("ROUNDS").map_or(24, |r| r.parse().unwrap());
    for seed in 1_u64..=rounds {
        let dir = TempDir::new().unwrap();
        for (path, bytes) in &files {
            let to = dir.path().join(path.strip_prefix(whole.path()).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::write(to, bytes).unwrap();
        }
        let mut random = Seeded(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // The first round is the control: copied and not damaged, so it must be right.
        let what = match seed {
            1 => "whole",
            _ => damage(&dir.path().join("store/db"), &mut random),
        };
        let round = format!("seed {seed}, {what}");
        let (mut store, mut quarantined) = open(dir.path());
        if quarantined.is_none() && !right_or_refused(&store, &round) {
            // Poisoned: the next start must find it.
            assert!(store.allot(&at(1), 0).is_err(), "{round}");
            drop(store);
            (store, quarantined) = open(dir.path());
            assert!(
                quarantined.is_some(),
                "{round}: not found at the next start"
            );
        }
        if let Some(Quarantined { path, why }) = quarantined {
            moved += 1;
            println!("{round}: {why}");
            assert!(path.join("db").exists(), "{round}");
            assert!(all(&store, 1).unwrap().is_empty(), "{round}");
            put(&store, 1, 1..=3).unwrap();
        } else {
            right += 1;
        }
    }
    println!("{rounds} rounds: {right} right, {moved} in quarantine");
    assert!(right > 0 && moved > 0);
}

#[test]
fn a_store_that_lost_its_newest_steps_is_noticed() {
    let (store, dir) = fresh();
    put(&store, 1, 1..=5).unwrap();
    drop(store);
    let older = bytes_below(&dir.path().join("store"));
    let (store, _) = open(dir.path());
    put(&store, 1, 6..=9).unwrap();
    drop(store);
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    for (path, bytes) in older {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let (store, quarantined) = open(dir.path());
    assert!(quarantined.unwrap().why.contains("lost"));
    // Epochs of the new store are above all that the lost one can have allotted.
    assert!(store.allot(&at(1), 0).unwrap() > 1_000_000);
}

#[test]
fn a_panic_is_an_outage_and_the_store_is_checked_and_goes_on() {
    let (store, dir) = fresh();
    put(&store, 1, 1..=5).unwrap();
    let failed = store.run(|| -> Outcome<()> { panic!("planted") });
    assert!(failed.is_err_and(|e| e.is_outage()));
    assert!(dir.path().join("store.suspect").exists());
    put(&store, 1, 6..=9).unwrap();
    assert!(!dir.path().join("store.suspect").exists());
    assert_eq!(all(&store, 1).unwrap(), expected(1, 9));
}

#[test]
fn what_failed_and_was_not_opened_again_is_checked_by_the_next_start() {
    let (store, dir) = fresh();
    put(&store, 1, 1..=5).unwrap();
    let failed = store.run(|| -> Outcome<()> { panic!("planted") });
    assert!(failed.is_err_and(|e| e.is_outage()));
    drop(store);
    let (store, quarantined) = open(dir.path());
    assert_eq!(quarantined, None);
    assert!(!dir.path().join("store.suspect").exists());
    assert_eq!(all(&store, 1).unwrap(), expected(1, 5));
}

#[test]
fn a_full_disk_is_an_outage_that_ends_by_itself() {
    let (store, _dir) = fresh();
    put(&store, 1, 1..=5).unwrap();
    let full = || Fault::Engine(::sled::Error::Io(ErrorKind::StorageFull.into()));
    let failed = store.run(|| -> Outcome<()> { Err(full()) });
    assert!(failed.unwrap_err().to_string().contains("no disk space"));
    put(&store, 1, 6..=9).unwrap();
    assert_eq!(all(&store, 1).unwrap(), expected(1, 9));
}

#[cfg(unix)]
#[test]
fn a_file_whose_fsync_failed_is_written_anew_before_it_is_fsynced_again() {
    use std::os::unix::fs::MetadataExt as _;
    let (store, dir) = fresh();
    put(&store, 1, 1..=5).unwrap();
    let inode = || {
        std::fs::metadata(dir.path().join("store/db"))
            .unwrap()
            .ino()
    };
    let before = inode();
    let fault = || Fault::Sync(ErrorKind::StorageFull.into());
    assert!(store.run(|| -> Outcome<()> { Err(fault()) }).is_err());
    put(&store, 1, 6..=9).unwrap();
    assert_ne!(inode(), before);
    assert_eq!(all(&store, 1).unwrap(), expected(1, 9));
}

#[test]
fn a_full_disk_during_open_moves_nothing_aside() {
    let io = |code| ::sled::Error::Io(std::io::Error::from_raw_os_error(code));
    let dir = TempDir::new().unwrap();
    // ENOSPC, EIO.
    for code in [28, 5] {
        let failed = disk::classify(dir.path(), io(code));
        assert!(matches!(failed, disk::Failed::Refused(_)), "{failed:?}");
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_named_with_advice() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let failed = SledStore::open(&SledConfig::new(&file))
        .unwrap_err()
        .to_string();
    assert!(
        failed.contains("file") && failed.contains("make it a directory"),
        "{failed}"
    );
}

#[cfg(unix)]
#[test]
fn the_data_directory_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("a/b");
    drop(open(&data));
    let mode = std::fs::metadata(data).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn who_waited_for_an_fsync_that_failed_does_not_ask_the_same_file_again() {
    let (store, _dir) = fresh();
    // Whoever had asked first told of it while the store was just being opened again, and was passed over.
    store.syncing.lock().failed = Some(ErrorKind::Other);
    let refused = store.allot(&at(1), 5_000).unwrap_err();
    assert!(refused.is_outage(), "{refused}");
    // So it counts now, and the store is opened anew.
    let (_never, pause) = std::sync::mpsc::channel::<()>();
    let opened = (0..500).any(|_| {
        let done = store.allot(&at(1), 5_000).is_ok();
        done || pause.recv_timeout(Duration::from_millis(20)).is_ok()
    });
    assert!(opened);
}
