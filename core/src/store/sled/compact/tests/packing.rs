//! Sessions that are asleep lie in blocks, and nobody who asks can tell (P13, P14, P16).

use bytes::Bytes;

use super::model::{Chat, same};
use super::*;
use crate::clock::{self, millis};
use crate::keyring::MasterKey;
use crate::store::sled::table::{Txn, Verified};
use crate::store::sled::{keys, log, table};
use crate::testing::memory_store::MemoryStore;
use crate::ttl::Estimate;

/// A store that packs only what is worth it, as all do.
fn usual(dir: &Path) -> SledStore {
    open_as(&SledConfig::new(dir).wait_lock(Duration::from_secs(10)))
}

/// How many entries of a store stand in rows, and how many blocks there are.
fn kinds(store: &SledStore) -> (usize, usize) {
    let db = store.db().unwrap();
    let count = |kind| table::under(&db, &[kind]).count();
    (count(keys::LOG), count(keys::PACKED))
}

/// True when anything that is stored, in a row or in a block, holds `text`.
fn lives(store: &SledStore, text: &str) -> bool {
    let db = store.db().unwrap();
    let mut all = table::scan(&db, &[], &[u8::MAX]).map(Result::unwrap);
    let holds = |value: &[u8]| value.windows(text.len()).any(|w| w == text.as_bytes());
    all.any(|(key, value)| match key[0] {
        keys::LOG | keys::PACKED => log::opened(&key, &value)
            .unwrap()
            .iter()
            .any(|(_, r)| holds(r)),
        _ => holds(&value),
    })
}

fn words(n: u64) -> String {
    format!("message {n}, which says this and that, as messages do, and ends")
}

fn many(numbers: std::ops::RangeInclusive<u64>) -> Vec<Body> {
    numbers.map(|n| said(n, &words(n))).collect()
}

fn edit(id: u64, text: &str) -> Body {
    Body::Edit {
        id: id.to_string(),
        text: Some(text.into()),
        at_ms: 1_000_000,
    }
}

/// An entry that was accepted just now.
fn entry_now(channel: u64, number: u64, body: Body) -> FlushEntry {
    let entry = Entry {
        id: id(channel, number),
        at_ms: clock::system().wall_ms(),
        body,
    };
    FlushEntry {
        number,
        id: entry.id,
        record: codec::encode(Kind::Entry, at(channel).hash64(), &entry).unwrap(),
    }
}

#[test]
fn what_is_asleep_lies_in_blocks_and_is_read_as_before() {
    let dir = TempDir::new().unwrap();
    let store = usual(dir.path());
    for channel in 1..=20 {
        put(&store, channel, 1, many(1..=100));
    }
    // Too little to pack.
    put(&store, 21, 1, many(1..=2));
    let model = MemoryStore::new();
    (1..=20).for_each(|channel| drop(put(&model, channel, 1, many(1..=100))));
    put(&model, 21, 1, many(1..=2));
    let live = |store: &SledStore| store.writer.lock().live.unwrap();
    let before = live(&store);
    compact(&store);
    let (rows, blocks) = kinds(&store);
    assert!(
        rows == 2 && (20..=40).contains(&blocks),
        "{rows} rows, {blocks} blocks"
    );
    assert!(live(&store) * 2 < before, "{} of {before}", live(&store));
    let read = |store: &SledStore| {
        sound(store);
        (1..=21).for_each(|channel| same([store, &model], channel, 100));
        let pages = |before| store.history(&at(3), Page { before, limit: 7 }).unwrap();
        let mut page = pages(None);
        assert_eq!(page.last().unwrap().1.text, words(100));
        for n in (1..=93).rev().step_by(7) {
            page = pages(Some(page[0].0));
            assert_eq!(page.last().unwrap().1.text, words(n));
        }
    };
    read(&store);
    compact(&store);
    assert_eq!(kinds(&store), (rows, blocks));
    drop(store);
    read(&usual(dir.path()));
}

#[test]
fn what_was_touched_within_the_hour_stays_in_rows() {
    let dir = TempDir::new().unwrap();
    let store = usual(dir.path());
    put(&store, 1, 1, many(1..=50));
    put(&store, 2, 1, many(1..=50));
    let read_lately = SessionFlush {
        estimate: Some(Estimate {
            last_ms: clock::system().wall_ms(),
            ..Estimate::default()
        }),
        ..part(1, 1, vec![])
    };
    let said_lately = part(2, 1, vec![entry_now(2, 51, said(51, "still here"))]);
    store.flush(&[read_lately, said_lately]).unwrap();
    compact(&store);
    assert_eq!(kinds(&store), (101, 0));
    // A clock that was far ahead keeps it awake, and no more.
    let hours_ago = clock::system().wall_ms() - millis(Duration::from_secs(2 * 60 * 60));
    let touched = SessionFlush {
        estimate: Some(Estimate {
            last_ms: hours_ago,
            ..Estimate::default()
        }),
        ..part(1, 1, vec![])
    };
    store.flush(&[touched]).unwrap();
    compact(&store);
    assert_eq!(kinds(&store).0, 51);
    sound(&store);
}

#[test]
fn what_is_said_behind_a_block_leaves_it_and_sleeps_beside_it() {
    let dir = TempDir::new().unwrap();
    let store = usual(dir.path());
    put(&store, 1, 1, many(1..=50));
    compact(&store);
    assert_eq!(kinds(&store), (0, 1));
    for n in 51..=60 {
        let done = store.flush(&[part(1, 1, vec![entry_now(1, n, said(n, &words(n)))])]);
        assert_eq!(done.unwrap()[0].entries, [Flushed::Durable]);
    }
    assert_eq!(kinds(&store), (10, 1));
    // Awake again: what has slept on stays where it is.
    compact(&store);
    assert_eq!(kinds(&store), (10, 1));
    // A change in it makes rows of it.
    let done = store.flush(&[part(1, 1, vec![entry_now(1, 61, edit(7, "edited"))])]);
    assert_eq!(done.unwrap()[0].entries, [Flushed::Durable]);
    assert_eq!(kinds(&store), (61, 0));
    let mut wanted: Vec<_> = (1..=60).map(words).collect();
    wanted[6] = "edited".to_owned();
    assert_eq!(texts(&store, 1), wanted);
    sound(&store);
    // The edit, of which nothing is left, stays as the last entry.
    compact(&store);
    assert_eq!(kinds(&store), (61, 0));
}

#[test]
fn an_entry_that_comes_late_into_a_gap_of_a_block_takes_its_place() {
    let (store, _dir) = fresh();
    let model = MemoryStore::new();
    for store in [&store as &dyn Store, &model] {
        let early = [1, 2, 5, 6, 9].map(|n| entry(1, n, said(n, &words(n))));
        let settled = SessionFlush {
            settled_to: 9,
            ..part(1, 1, early.to_vec())
        };
        store.flush(&[settled]).unwrap();
    }
    compact(&store);
    assert_eq!(kinds(&store), (0, 1));
    for store in [&store as &dyn Store, &model] {
        assert_eq!(
            put(store, 1, 5, vec![said(55, "another")]),
            [Flushed::Durable]
        );
        let other = entry(2, 6, said(66, "refused"));
        let other = FlushEntry {
            record: re_addressed(&other),
            ..other
        };
        let done = store.flush(&[part(1, 1, vec![other])]).unwrap();
        assert_eq!(done[0].entries, [Flushed::Refused]);
        assert_eq!(
            put(store, 1, 4, vec![said(4, &words(4))]),
            [Flushed::Durable]
        );
    }
    assert_eq!(texts(&store, 1), [1, 2, 4, 5, 6, 9].map(words));
    same([&store, &model], 1, 10);
    sound(&store);
    compact(&store);
    same([&store, &model], 1, 10);
    sound(&store);
}

#[test]
fn what_is_erased_edited_or_deleted_is_in_no_row_and_no_block() {
    let marked = |n: u64| format!("{} with a marker", words(n));
    let erasures = [Erase::All, Erase::Author(ann()), Erase::Before(61)];
    for what in erasures.map(Some).into_iter().chain([None]) {
        let dir = TempDir::new().unwrap();
        let store = usual(dir.path());
        // Ann says what is odd.
        let text = |n: u64| match n <= 60 && !n.is_multiple_of(2) {
            true => marked(n),
            false => words(n),
        };
        put(&store, 1, 1, (1..=300).map(|n| said(n, &text(n))).collect());
        put(&store, 2, 1, many(1..=60));
        compact(&store);
        assert_eq!(kinds(&store).0, 0);
        assert!(lives(&store, "with a marker"));
        match &what {
            Some(what) => {
                store.erase(&at(1), what).unwrap();
            }
            None => {
                let change = |n| match n % 4 {
                    1 => delete(n),
                    _ => edit(n, "edited"),
                };
                put(&store, 1, 301, (1..60).step_by(2).map(change).collect());
            }
        }
        assert!(!lives(&store, "with a marker"), "{what:?}");
        sound(&store);
        // Nothing of the other session was opened.
        assert!(kinds(&store).1 >= 1);
        assert_eq!(texts(&store, 2).len(), 60);
        compact(&store);
        assert!(!lives(&store, "with a marker") && !holds(dir.path(), "with a marker"));
        sound(&store);
        drop(store);
        sound(&usual(dir.path()));
    }
}

#[test]
fn what_lies_beside_what_is_erased_is_written_in_steps_of_its_own() {
    let dir = TempDir::new().unwrap();
    let store = usual(dir.path());
    let text = |n: u64| format!("{} {}", words(n), "and so on ".repeat(20));
    for from in (1..=3000).step_by(500) {
        put(
            &store,
            1,
            from,
            (from..from + 500).map(|n| said(n, &text(n))).collect(),
        );
    }
    compact(&store);
    let blocks = kinds(&store).1;
    assert!(blocks > 30);
    let before = (store.applied().step, store.given.load(Ordering::SeqCst));
    // Hers is every other one, so all blocks are opened.
    assert_eq!(
        store.erase(&at(1), &Erase::Author(ann())).unwrap().messages,
        1500
    );
    assert_eq!(kinds(&store), (3000, 0));
    let steps = usize::try_from(store.applied().step - before.0).unwrap();
    let given = store.given.load(Ordering::SeqCst) - before.1;
    assert!(
        steps > 5 && steps * store.most() > given / 2,
        "{steps} steps of {given}"
    );
    assert_eq!(texts(&store, 1).len(), 1500);
    sound(&store);
}

#[test]
fn what_is_edited_all_over_a_long_session_is_flushed_in_steps_that_sled_can_take() {
    let dir = TempDir::new().unwrap();
    let store = usual(dir.path());
    put(&store, 1, 1, many(1..=2000));
    compact(&store);
    let before = (store.applied().step, store.given.load(Ordering::SeqCst));
    let edits: Vec<_> = (1..=2000).step_by(50).map(|n| edit(n, "edited")).collect();
    let count = edits.len();
    assert_eq!(put(&store, 1, 2001, edits), vec![Flushed::Durable; count]);
    let steps = usize::try_from(store.applied().step - before.0).unwrap();
    let given = store.given.load(Ordering::SeqCst) - before.1;
    assert!(given / steps <= store.most(), "{steps} steps of {given}");
    assert_eq!(
        texts(&store, 1).iter().filter(|t| *t == "edited").count(),
        count
    );
    sound(&store);
}

#[test]
fn a_packed_store_and_one_that_is_not_tell_the_same() {
    let seed = std::env::var("SEED").map_or(0x5ac4, |s| s.parse().unwrap());
    println!("SEED={seed}");
    let rounds = std::env::var("ROUNDS").map_or(4, |r| r.parse().unwrap());
    for round in 0..rounds {
        let ((packed, dir), (plain, _plain)) = (fresh(), fresh());
        let mut chat = Chat {
            stores: [&packed, &plain],
            random: Seeded(seed + round * 7919 + 1),
            channels: 0..3,
            at: vec![(0, [1, 1]); 3],
        };
        let mut most = 0;
        for step in 0..150 {
            chat.step();
            if chat.random.below(6) == 0 {
                compact(&packed);
                most = most.max(kinds(&packed).1);
            }
            if step % 10 == 0 {
                sound(&packed);
            }
            (0..3).zip(&chat.at).for_each(|(channel, (last, _))| {
                same([&packed, &plain], channel, *last);
            });
        }
        let lasts = chat.at;
        assert!(most > 0 && kinds(&plain).1 == 0, "round {round}");
        drop(packed);
        let packed = open(dir.path());
        sound(&packed);
        for (channel, (last, _)) in (0..3).zip(lasts) {
            same([&packed, &plain], channel, last);
        }
    }
}

#[test]
fn a_damaged_block_is_told_and_found_by_the_next_start() {
    let dir = TempDir::new().unwrap();
    let store = usual(dir.path());
    put(&store, 1, 1, many(1..=60));
    put(&store, 2, 1, many(1..=60));
    compact(&store);
    {
        let db = store.db().unwrap();
        let key = table::chunk_key(&keys::packed(1, 1), 0);
        let mut value = db.get(&key).unwrap().unwrap().to_vec();
        value[100] ^= 4;
        db.insert(&key, value).unwrap();
    }
    assert!(!store.check().unwrap().violations.is_empty());
    let page = Page {
        before: None,
        limit: 100,
    };
    let failed = store.history(&at(1), page).unwrap_err();
    assert!(matches!(failed, Error::Decode { .. }), "{failed}");
    drop(store);
    let config = SledConfig::new(dir.path()).wait_lock(Duration::from_secs(10));
    let (_store, quarantined) = SledStore::open(&config).unwrap();
    assert!(quarantined.is_some());
}

#[test]
fn what_is_encrypted_stays_in_rows_and_what_was_packed_before_becomes_so() {
    let (dir, master) = (TempDir::new().unwrap(), MasterKey::generate());
    let config = SledConfig::new(dir.path()).wait_lock(Duration::from_secs(10));
    let store = open_as(&config);
    put(&store, 1, 1, many(1..=60));
    compact(&store);
    assert_eq!(kinds(&store), (0, 1));
    drop(store);
    let store = open_as(&config.encrypt(master).pack_all());
    assert_eq!(texts(&store, 1).len(), 60);
    let sealed = (1..=60).map(|n| {
        let entry = Entry {
            id: id(2, n),
            at_ms: n,
            body: said(n, &words(n)),
        };
        FlushEntry {
            number: n,
            id: entry.id,
            record: store.codec().entry(&at(2), &entry).unwrap(),
        }
    });
    let sealed: Vec<_> = sealed.collect();
    assert!(lives(&store, "this and that"));
    store.flush(&[part(2, 1, sealed)]).unwrap();
    compact(&store);
    assert_eq!(kinds(&store), (120, 0));
    assert!(!lives(&store, "this and that"));
    assert_eq!((texts(&store, 1).len(), texts(&store, 2).len()), (60, 60));
    sound(&store);
}

/// Whether a program that knows formats up to 1 refuses the store, by what it looks at: the mark, then the store's own word.
fn older_refuses(store: &SledStore, dir: &Path) -> (bool, bool) {
    let mark = std::fs::read(dir.join("store.mark")).unwrap();
    let db = store.db().unwrap();
    let format = table::read(&db, &keys::meta("format")).unwrap().unwrap();
    (mark[0] > 1, format[0] > 1)
}

#[test]
fn a_store_of_the_format_before_opens_and_is_refused_by_an_older_program_once_it_is_packed() {
    let dir = TempDir::new().unwrap();
    let store = usual(dir.path());
    put(&store, 1, 1, many(1..=60));
    {
        let mut writer = store.writer.lock();
        let (db, verified) = (store.db().unwrap(), Verified::default());
        let mut txn = Txn::new(&db, &verified, &store.codec);
        txn.put(keys::meta("format"), Bytes::from_static(&[1, 1]))
            .unwrap();
        let applied = store.apply(&mut writer, txn).unwrap();
        drop(writer);
        store.sync(applied).unwrap();
    }
    drop(store);
    let path = dir.path().join("store.mark");
    let mut mark = std::fs::read(&path).unwrap();
    mark.truncate(9);
    mark[0] = 1;
    mark.extend_from_slice(&crc32fast::hash(&mark).to_be_bytes());
    std::fs::write(&path, mark).unwrap();
    let store = usual(dir.path());
    assert_eq!(older_refuses(&store, dir.path()), (false, false));
    assert_eq!(texts(&store, 1).len(), 60);
    compact(&store);
    assert_eq!(kinds(&store), (0, 1));
    assert_eq!(older_refuses(&store, dir.path()), (true, true));
    drop(store);
    assert_eq!(texts(&usual(dir.path()), 1).len(), 60);
}
