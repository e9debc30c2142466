//! What store and file of keys promise together when a forget or the power is cut short.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::keyring::MasterKey;
use crate::message::{Author, Entry, EntryId, Message, Seq};
use crate::store::sled::SledStore;
use crate::store::{FlushEntry, Page, SessionFlush, Store};

fn open(dir: &Path, master: &MasterKey) -> SledStore {
    let config = SledConfig::new(dir).wait_lock(Duration::from_secs(10));
    let opened = SledStore::open(&config.encrypt(master.clone()));
    let (store, quarantined) = opened.unwrap();
    assert_eq!(quarantined, None);
    store
}

fn at(channel: u64) -> Address {
    Address::from_text(&format!("x/bot/channel={channel}"))
}

fn ann() -> Author {
    Author::new("x", 1)
}

fn sealed(store: &SledStore, channel: u64, number: u64) -> FlushEntry {
    let m = Message::user(ann(), "text").id(number);
    let entry = Entry {
        id: EntryId(number.into()),
        at_ms: number,
        body: Body::Messages(vec![Some(m.into())]),
    };
    FlushEntry {
        number,
        id: entry.id,
        record: store.codec().entry(&at(channel), &entry).unwrap(),
    }
}

fn put(store: &SledStore, channel: u64, entry: FlushEntry) {
    let part = SessionFlush {
        session: at(channel),
        epoch: store.allot(&at(channel), 0).unwrap(),
        cut: Seq::default(),
        cut_at: 0,
        settled_to: 0,
        entries: vec![entry],
        estimate: None,
    };
    store.flush(&[part]).unwrap();
}

fn count(store: &SledStore, channel: u64) -> usize {
    let page = Page {
        before: None,
        limit: 100,
    };
    store.history(&at(channel), page).unwrap().len()
}

fn opens(store: &SledStore, channel: u64, entry: &FlushEntry) -> bool {
    let read = store.codec().read_entry(&at(channel), &entry.record);
    read.unwrap().body != Body::Void
}

/// While it lies there no file of keys is written anew.
struct Obstacle(PathBuf);

impl Obstacle {
    fn new(dir: &TempDir) -> Self {
        let path = dir.path().join("keys.new");
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Obstacle {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).unwrap();
    }
}

#[test]
fn what_is_said_after_a_forget_that_could_not_destroy_its_keys_survives_their_destruction() {
    let (dir, master) = (TempDir::new().unwrap(), MasterKey::generate());
    let store = open(dir.path(), &master);
    let before = sealed(&store, 1, 1);
    put(&store, 1, before.clone());
    let obstacle = Obstacle::new(&dir);
    store.erase(&at(1), &Erase::All).unwrap_err();
    assert!(opens(&store, 1, &before), "its key is still there");
    let after = sealed(&store, 1, 2);
    put(&store, 1, after.clone());
    drop((store, obstacle));
    let store = open(dir.path(), &master);
    assert!(!opens(&store, 1, &before));
    assert!(opens(&store, 1, &after));
    assert_eq!(count(&store, 1), 1);
    assert!(store.check().unwrap().violations.is_empty());
}

#[test]
fn forgets_that_could_not_destroy_their_keys_are_finished_by_the_next_one() {
    let (dir, master) = (TempDir::new().unwrap(), MasterKey::generate());
    let store = open(dir.path(), &master);
    let said: Vec<_> = (1..=3).map(|n| sealed(&store, n, n)).collect();
    for (channel, entry) in (1..).zip(&said) {
        put(&store, channel, entry.clone());
    }
    let obstacle = Obstacle::new(&dir);
    let by_ann = Erase::Author(ann());
    store.erase(&at(1), &by_ann).unwrap_err();
    store.erase(&at(2), &Erase::All).unwrap_err();
    drop(obstacle);
    // Who repeats it finds the sessions again, though nothing of the author stands there any more.
    assert_eq!(store.sessions_of(&ann()).unwrap(), [at(1), at(2), at(3)]);
    store.erase(&at(3), &by_ann).unwrap();
    for (channel, entry) in (1..).zip(&said) {
        assert!(!opens(&store, channel, entry), "session {channel}");
    }
    assert!(store.sessions_of(&ann()).unwrap().is_empty());
}

#[test]
fn unfinished_forgets_are_all_finished_by_the_next_open() {
    let (dir, master) = (TempDir::new().unwrap(), MasterKey::generate());
    let store = open(dir.path(), &master);
    let said = [sealed(&store, 1, 1), sealed(&store, 2, 2)];
    put(&store, 1, said[0].clone());
    put(&store, 2, said[1].clone());
    let obstacle = Obstacle::new(&dir);
    store.erase(&at(1), &Erase::All).unwrap_err();
    store.erase(&at(2), &Erase::Author(ann())).unwrap_err();
    drop((store, obstacle));
    let store = open(dir.path(), &master);
    assert!(!opens(&store, 1, &said[0]) && !opens(&store, 2, &said[1]));
}

#[test]
fn the_note_of_an_older_program_still_reads() {
    #[derive(Serialize)]
    struct Old {
        k: &'static str,
        a: Option<u128>,
        f: u64,
    }
    let old = Old {
        k: "x",
        a: None,
        f: 3,
    };
    let note = codec::encode(Kind::Row, 0, &old).unwrap();
    let read: Destroying = codec::decode(Kind::Row, 0, &note).unwrap();
    assert_eq!(
        (read.below, read.forgets, read.older),
        (u64::MAX, 3, vec![])
    );
}

#[test]
fn a_step_tells_of_durable_keys_only_so_that_a_power_cut_refuses_no_start() {
    let (dir, master) = (TempDir::new().unwrap(), MasterKey::generate());
    let store = open(dir.path(), &master);
    put(&store, 1, sealed(&store, 1, 1));
    let durable = std::fs::read(dir.path().join("keys")).unwrap();
    let lost = sealed(&store, 2, 2);
    store.allot(&at(3), 0).unwrap();
    store.close().unwrap();
    drop(store);
    std::fs::write(dir.path().join("keys"), durable).unwrap();
    let store = open(dir.path(), &master);
    assert_eq!(count(&store, 1), 1);
    // A journal or a hot tier may hold what was sealed with it: it says nothing, and breaks nothing.
    assert!(!opens(&store, 2, &lost));
    put(&store, 2, lost);
    put(&store, 2, sealed(&store, 2, 3));
    assert_eq!(count(&store, 2), 1);
}

#[test]
fn keys_are_durable_before_the_step_that_holds_what_they_sealed_is_applied() {
    let (dir, master) = (TempDir::new().unwrap(), MasterKey::generate());
    let store = open(dir.path(), &master);
    let codec = store.codec();
    let durable = || codec.keyring().unwrap().durable();
    let before = durable();
    let entry = sealed(&store, 1, 1);
    assert_eq!(durable(), before);
    let mut writer = store.writer.lock();
    let db = store.db().unwrap();
    let mut txn = Txn::new(&db, &store.verified, &store.codec);
    let mut session = Session::find_or_make(&mut txn, &at(1), &mut writer.next_sid).unwrap();
    session.put_record(1, entry.record).unwrap();
    session.save().unwrap();
    let step = writer.step(&mut txn);
    step.unwrap();
    assert!(durable() > before);
}
