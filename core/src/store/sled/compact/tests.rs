//! A compaction changes nothing that can be asked, gives space back, and takes erased texts out of the files (P14).

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::codec::{self, Kind};
use crate::error::{Error, Result};
use crate::key::Address;
use crate::message::{Author, Body, Entry, EntryId, Message, Seq};
use crate::store::sled::session::Mention;
use crate::store::sled::{SledConfig, SledStore, disk};
use crate::store::{
    Checked, Compacted, Erase, Erased, FlushEntry, Flushed, Found, Known, Page, Progress,
    SessionFlush, SessionFlushed, Store, Stored,
};

#[cfg(feature = "faults")]
mod kills;
mod million;
mod model;
mod packing;

fn open(dir: &Path) -> SledStore {
    // A child process that another test is just starting holds a copy of the lock until its exec.
    let config = SledConfig::new(dir).wait_lock(Duration::from_secs(10));
    open_as(&config.pack_all())
}

fn open_as(config: &SledConfig) -> SledStore {
    let (store, quarantined) = SledStore::open(config).unwrap();
    assert_eq!(quarantined, None);
    store
}

fn fresh() -> (SledStore, TempDir) {
    let dir = TempDir::new().unwrap();
    (open(dir.path()), dir)
}

fn at(channel: u64) -> Address {
    Address::from_text(&format!("x/bot/channel={channel}"))
}

fn ann() -> Author {
    Author::new("x", "ann")
}

fn compact(store: &dyn Store) -> Compacted {
    store.compact(&|_| {}).unwrap()
}

fn sound(store: &dyn Store) {
    assert_eq!(store.check().unwrap().violations, Vec::<String>::new());
}

/// Ids as the cache makes them: one origin, rising.
fn id(channel: u64, number: u64) -> EntryId {
    EntryId((0x5eed_u128 << 64) | u128::from(number * 2_000 + channel))
}

fn entry(channel: u64, number: u64, body: Body) -> FlushEntry {
    let entry = Entry {
        id: id(channel, number),
        at_ms: number,
        body,
    };
    FlushEntry {
        number,
        id: entry.id,
        record: codec::encode(Kind::Entry, at(channel).hash64(), &entry).unwrap(),
    }
}

fn said(id: u64, text: &str) -> Body {
    let author = Author::new("x", ["ann", "bob"][usize::from(id.is_multiple_of(2))]);
    let said = Message::user(author, text).id(id).at_ms(id);
    Body::Messages(vec![Some(said.into())])
}

fn delete(id: u64) -> Body {
    Body::Delete { id: id.to_string() }
}

fn part(channel: u64, epoch: u64, entries: Vec<FlushEntry>) -> SessionFlush {
    SessionFlush {
        session: at(channel),
        epoch,
        cut: Seq::default(),
        cut_at: 0,
        settled_to: 0,
        entries,
        estimate: None,
    }
}

/// Flushes bodies, numbered from `first` on, in epoch 1.
fn put(store: &dyn Store, channel: u64, first: u64, bodies: Vec<Body>) -> Vec<Flushed> {
    let entries = bodies.into_iter().zip(first..);
    let entries = entries.map(|(b, n)| entry(channel, n, b)).collect();
    let done = store.flush(&[part(channel, 1, entries)]).unwrap();
    done.into_iter().flat_map(|d| d.entries).collect()
}

fn texts(store: &dyn Store, channel: u64) -> Vec<String> {
    let page = Page {
        before: None,
        limit: 10_000,
    };
    let history = store.history(&at(channel), page).unwrap();
    history.into_iter().map(|(_, m)| m.text).collect()
}

/// True when any file below `dir` holds `text`.
fn holds(dir: &Path, text: &str) -> bool {
    let found = std::fs::read_dir(dir).unwrap().try_for_each(|entry| {
        let path = entry.unwrap().path();
        let hit = if path.is_dir() {
            holds(&path, text)
        } else {
            let bytes = std::fs::read(&path).unwrap();
            bytes.windows(text.len()).any(|w| w == text.as_bytes())
        };
        if hit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    found.is_break()
}

/// A store that compacts itself after every write.
#[derive(Debug)]
struct Restless(SledStore);

impl Store for Restless {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn allot(&self, session: &Address, above: u64) -> Result<u64> {
        self.0.allot(session, above)
    }
    fn window(&self, session: &Address) -> Result<Option<Stored>> {
        self.0.window(session)
    }
    fn known(&self, session: &Address, ids: &[EntryId]) -> Result<Known> {
        self.0.known(session, ids)
    }
    fn find(&self, session: &Address, platform_ids: &[&str]) -> Result<Vec<Option<Found>>> {
        self.0.find(session, platform_ids)
    }
    fn flush(&self, batch: &[SessionFlush]) -> Result<Vec<SessionFlushed>> {
        let done = self.0.flush(batch)?;
        compact(&self.0);
        Ok(done)
    }
    fn keep_learned(&self, name: &str, learned: &[u8]) -> Result<()> {
        self.0.keep_learned(name, learned)?;
        compact(&self.0);
        Ok(())
    }
    fn learned(&self, name: &str) -> Result<Option<bytes::Bytes>> {
        self.0.learned(name)
    }
    fn history(&self, session: &Address, page: Page) -> Result<Vec<(Seq, Message)>> {
        self.0.history(session, page)
    }
    fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<Address>> {
        self.0.sessions(after, limit)
    }
    fn sessions_of(&self, author: &Author) -> Result<Vec<Address>> {
        self.0.sessions_of(author)
    }
    fn erase(&self, session: &Address, what: &Erase) -> Result<Erased> {
        let done = self.0.erase(session, what)?;
        compact(&self.0);
        Ok(done)
    }
    fn check(&self) -> Result<Checked> {
        self.0.check()
    }
    fn close(&self) -> Result<()> {
        self.0.close()
    }
}

mod with_a_compaction_after_every_write {
    use super::{Restless, fresh};

    fn restless() -> (Restless, tempfile::TempDir) {
        let (store, dir) = fresh();
        (Restless(store), dir)
    }

    crate::store_contract!(restless());
}

#[test]
fn deleted_entries_go_and_neither_they_nor_their_messages_come_back() {
    let (store, dir) = fresh();
    let first: Vec<Body> = (1..=300).map(|n| said(n, "x")).collect();
    put(&store, 1, 1, first.clone());
    let second: Vec<Body> = (1..=290).map(delete).collect();
    put(&store, 1, 301, second.clone());
    let edit = Body::Edit {
        id: "300".into(),
        text: Some("y".into()),
        at_ms: 1,
    };
    put(&store, 1, 591, vec![edit.clone(), said(1000, "last")]);
    let done = compact(&store);
    assert_eq!(done.rows_dropped, 290 + 290 + 1);
    let check = |store: &SledStore| {
        sound(store);
        assert_eq!(put(store, 1, 1, first.clone()), vec![Flushed::Durable; 300]);
        assert_eq!(
            put(store, 1, 301, second.clone()),
            vec![Flushed::Durable; 290]
        );
        assert_eq!(put(store, 1, 591, vec![edit.clone()]), [Flushed::Durable]);
        let ids: Vec<_> = (1..=592).map(|n| id(1, n)).collect();
        let known = store.known(&at(1), &ids).unwrap().numbers;
        assert_eq!(known, (1..=592).map(Some).collect::<Vec<_>>());
        for n in 1..=290 {
            let found = store.find(&at(1), &[&n.to_string()]).unwrap();
            assert_eq!(found, [Some(Found::Gone)]);
        }
        let mut left = vec!["x".to_owned(); 9];
        left.extend(["y".to_owned(), "last".to_owned()]);
        assert_eq!(texts(store, 1), left);
    };
    check(&store);
    // Another entry under a number that was given up, and a message with an id that is gone.
    let other = entry(2, 5, said(2000, "other"));
    let refused = store.flush(&[part(
        1,
        1,
        vec![FlushEntry {
            record: re_addressed(&other),
            ..other
        }],
    )]);
    assert_eq!(refused.unwrap()[0].entries, [Flushed::Refused]);
    assert_eq!(
        put(&store, 1, 593, vec![said(7, "again")]),
        [Flushed::Pruned]
    );
    assert_eq!(put(&store, 1, 594, vec![delete(7)]), [Flushed::Durable]);
    compact(&store);
    check(&store);
    drop(store);
    check(&open(dir.path()));
}

/// The same entry as a record of session 1.
fn re_addressed(of: &FlushEntry) -> bytes::Bytes {
    let entry: Entry = codec::decode(Kind::Entry, at(2).hash64(), &of.record).unwrap();
    codec::encode(Kind::Entry, at(1).hash64(), &entry).unwrap()
}

#[test]
fn erased_texts_leave_the_files_with_a_compaction() {
    let (store, dir) = fresh();
    let marker = "the quick brown marker";
    put(&store, 1, 1, (1..=50).map(|n| said(n, marker)).collect());
    put(
        &store,
        2,
        1,
        (1..=50).map(|n| said(n, "stays here")).collect(),
    );
    store.erase(&at(1), &Erase::All).unwrap();
    assert!(texts(&store, 1).is_empty());
    assert!(
        holds(dir.path(), marker),
        "sled keeps what is erased until then"
    );
    compact(&store);
    assert!(!holds(dir.path(), marker));
    assert_eq!(texts(&store, 2).len(), 50);
    sound(&store);
    drop(store);
    assert_eq!(texts(&open(dir.path()), 2).len(), 50);
    assert!(!holds(dir.path(), marker));
}

#[test]
fn a_new_epoch_is_above_all_allotted_before() {
    let (store, dir) = fresh();
    let before = store.allot(&at(1), 0).unwrap();
    compact(&store);
    let after = store.allot(&at(2), 0).unwrap();
    assert!(after > before);
    drop(store);
    assert!(open(dir.path()).allot(&at(1), 0).unwrap() > after);
}

#[test]
fn an_empty_store_and_an_unfinished_one_are_compacted() {
    let (store, dir) = fresh();
    compact(&store);
    put(&store, 1, 1, vec![said(1, "a")]);
    // Above what is durable everything stays as it is.
    put(&store, 1, 3, vec![delete(9), said(2, "b")]);
    let before = store.window(&at(1)).unwrap().unwrap();
    assert_eq!(compact(&store).rows_dropped, 0);
    let after = store.window(&at(1)).unwrap().unwrap();
    assert_eq!((after.taken, after.entries), (before.taken, before.entries));
    put(&store, 1, 2, vec![delete(1)]);
    assert_eq!(compact(&store).rows_dropped, 2 + 1);
    drop(store);
    let store = open(dir.path());
    assert_eq!(texts(&store, 1), ["b"]);
    sound(&store);
}

#[test]
fn a_second_compaction_and_a_closed_store_are_told_so() {
    let (store, dir) = fresh();
    put(&store, 1, 1, vec![said(1, "a")]);
    let again = AtomicBool::new(false);
    let within = |_: Progress| {
        let refused = store.compact(&|_| {}).is_err_and(|e| e.is_outage());
        again.fetch_or(refused, Ordering::Relaxed);
    };
    store.compact(&within).unwrap();
    assert!(again.into_inner());
    // Closed in the middle: the close waits until nothing is written any more.
    let closer = std::sync::Barrier::new(2);
    std::thread::scope(|s| {
        s.spawn(|| {
            closer.wait();
            store.close().unwrap();
        });
        let failed = store.compact(&|p| {
            if p.done == 0 {
                closer.wait();
                while store.window(&at(1)).is_ok() {
                    std::thread::yield_now();
                }
            }
        });
        assert!(failed.is_err_and(|e| matches!(e, Error::Closed)));
    });
    assert!(!dir.path().join("store.compacting").exists());
    assert_eq!(texts(&open(dir.path()), 1), ["a"]);
}

#[test]
fn what_is_gone_is_read_as_it_used_to_be_written() {
    let written = codec::encode(Kind::Row, 0, &Mention::Gone).unwrap();
    assert!(written.len() > 18);
    for record in [written.as_ref(), &[]] {
        assert_eq!(Mention::read(record).unwrap(), Mention::Gone);
    }
}

#[test]
fn without_room_for_a_copy_nothing_is_begun() {
    let dir = TempDir::new().unwrap();
    let refused = disk::check_free(dir.path(), u64::MAX);
    assert!(matches!(refused, Err(Error::DiskLow { .. })));
    disk::check_free(dir.path(), 0).unwrap();
}

#[test]
fn a_panic_in_the_middle_leaves_the_store_in_use() {
    let (store, dir) = fresh();
    put(&store, 1, 1, vec![said(1, "a")]);
    let failed = store.compact(&|p| assert!(p.done == 0, "planted"));
    assert!(failed.is_err());
    assert!(!dir.path().join("store.compacting").exists());
    put(&store, 1, 2, vec![said(2, "b")]);
    compact(&store);
    assert_eq!(texts(&store, 1), ["a", "b"]);
}

/// A small generator, so that a failing round can be run again.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}
