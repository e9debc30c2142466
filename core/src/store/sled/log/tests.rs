//! Blocks come back as they were packed, from any place and either way round; a damaged one is an error.

use ::sled::{Batch, Db};
use tempfile::TempDir;

use super::*;

const SID: u64 = 7;

fn record(number: u64) -> Bytes {
    format!("{number}: what somebody said, and what somebody said again").into()
}

/// Runs of numbers with gaps between them, and whether each stands in blocks.
const RUNS: [(bool, std::ops::RangeInclusive<u64>); 5] = [
    (false, 3..=9),
    (true, 10..=700),
    (false, 701..=705),
    (true, 800..=860),
    (false, 900..=910),
];

fn numbers() -> Vec<u64> {
    RUNS.into_iter().flat_map(|(_, run)| run).collect()
}

fn block(numbers: impl Iterator<Item = u64>) -> Stored {
    let mut gathered = Gathered::new(SID, false);
    let done: Vec<_> = numbers.flat_map(|n| gathered.add(n, record(n))).collect();
    assert!(done.is_empty());
    gathered.close().remove(0)
}

/// A log, and the row that tells of it; another session's lies on either side.
fn written() -> (Db, Row, TempDir) {
    let dir = TempDir::new().unwrap();
    let db = ::sled::open(dir.path()).unwrap();
    let mut batch = Batch::default();
    let mut row = Row {
        sid: SID,
        ..Row::default()
    };
    for sid in [SID - 1, SID, SID + 1] {
        let mut gathered = Gathered::new(sid, false);
        let mut all = Vec::new();
        for (packs, run) in RUNS {
            for number in run {
                match packs {
                    true => all.extend(gathered.add(number, record(number))),
                    false => all.push((keys::log(sid, number), record(number))),
                }
            }
            all.extend(gathered.close());
        }
        row.packed_to = gathered.packed_to;
        for (key, value) in all {
            table::write_chunks(&mut batch, &key, &value);
        }
    }
    db.apply_batch(batch).unwrap();
    (db, row, dir)
}

#[test]
fn every_range_is_told_in_order_either_way_round() {
    let (db, row, _dir) = written();
    assert_eq!(row.packed_to, 860);
    assert!(blocks(&db, &row, 0).count() > 2);
    let all: Vec<Numbered> = numbers().into_iter().map(|n| (n, record(n))).collect();
    let bounds = [
        0, 3, 9, 10, 11, 350, 700, 701, 702, 750, 800, 801, 860, 861, 899, 910, 911,
    ];
    for at in bounds.into_iter().chain([u64::MAX]) {
        let told = range(&db, &row, at).unwrap().collect::<Outcome<Vec<_>>>();
        let wanted: Vec<_> = all.iter().filter(|(n, _)| *n >= at).cloned().collect();
        assert_eq!(told.unwrap(), wanted, "from {at}");
        let told = newest_first(&db, &row, at).collect::<Outcome<Vec<_>>>();
        let wanted = all.iter().filter(|(n, _)| *n <= at).rev();
        assert_eq!(
            told.unwrap(),
            wanted.cloned().collect::<Vec<_>>(),
            "to {at}"
        );
    }
    let stored = stored(&db, SID).map(|item| item.and_then(|(k, v)| opened(&k, &v)));
    let stored: Vec<_> = stored.collect::<Outcome<Vec<_>>>().unwrap().concat();
    assert_eq!(stored, all);
}

#[test]
fn a_block_is_found_by_any_number_between_its_ends_and_by_no_other() {
    let (db, row, _dir) = written();
    for number in 0..920 {
        let in_one = (10..=700).contains(&number) || (800..=860).contains(&number);
        let found = around(&db, &row, number).unwrap();
        assert_eq!(found.is_some(), in_one, "{number}");
    }
}

#[test]
fn what_is_long_shares_no_block_and_what_is_too_long_has_none() {
    let mut gathered = Gathered::new(SID, false);
    let long = |bytes: usize| Bytes::from(vec![b'a'; bytes]);
    let mut done = Vec::new();
    for (number, bytes) in [
        (1, 2000),
        (2, 100_000),
        (3, 2000),
        (4, MOST),
        (5, MOST - EACH),
    ] {
        done.extend(gathered.add(number, long(bytes)));
    }
    done.extend(gathered.close());
    let firsts = |kind| {
        let keys = done.iter().filter(move |(key, _)| key[0] == kind);
        keys.map(|(key, _)| keys::number_at(key, 9).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(firsts(keys::PACKED), [1, 2, 3, 5]);
    assert_eq!(firsts(keys::LOG), [4]);
    let back = done.iter().flat_map(|(k, v)| opened(k, v).unwrap());
    let lengths: Vec<_> = back.map(|(_, record)| record.len()).collect();
    assert_eq!(lengths, [2000, 100_000, 2000, MOST, MOST - EACH]);
}

#[test]
fn what_is_short_or_does_not_get_smaller_stays_in_rows() {
    let mut gathered = Gathered::new(SID, false);
    assert!(gathered.add(1, record(1)).is_empty());
    assert_eq!(gathered.close(), [(keys::log(SID, 1), record(1))]);
    assert_eq!(gathered.packed_to, 0);
    let mut gathered = Gathered::new(SID, true);
    gathered.add(1, record(1));
    assert_eq!(gathered.close()[0].0, keys::packed(SID, 1));
}

#[test]
fn a_head_that_lies_is_damage_and_no_room_is_made_for_it() {
    let (key, value) = block(1..=40);
    assert_eq!(opened(&key, &value).unwrap().len(), 40);
    let length = u32::from_be_bytes(value[8..12].try_into().unwrap());
    let with = |last: u64, length: u32| {
        Bytes::from(
            [
                &last.to_be_bytes(),
                length.to_be_bytes().as_slice(),
                &value[12..],
            ]
            .concat(),
        )
    };
    assert!(opened(&key, &with(40, length)).is_ok());
    for lies in [
        with(40, u32::MAX),
        with(40, u32::try_from(MOST).unwrap() + 1),
        with(40, length + 1),
        with(40, length - 1),
        with(40, 0),
        with(39, length),
        with(41, length),
        value.slice(..value.len() - 1),
        value.slice(..12),
        value.slice(..7),
        Bytes::new(),
    ] {
        assert!(matches!(opened(&key, &lies), Err(Fault::Damage(_))));
    }
    assert!(opened(&keys::packed(SID, 2), &value).is_err());
    // Entries out of order, and none at all.
    let mut raw = Vec::new();
    for number in [1_u64, 3, 2, 4] {
        pack::put(&mut raw, &number.to_be_bytes());
    }
    for raw in [raw, Vec::new()] {
        let length = u32::try_from(raw.len()).unwrap().to_be_bytes();
        let packed = pack::squeeze(&raw).unwrap();
        let value = [&4_u64.to_be_bytes(), length.as_slice(), &packed].concat();
        assert!(opened(&keys::packed(SID, 1), &value.into()).is_err());
    }
}

#[test]
fn any_flipped_bit_of_a_block_is_noticed() {
    let dir = TempDir::new().unwrap();
    let db = ::sled::open(dir.path()).unwrap();
    let (key, value) = block(1..=40);
    let row = Row {
        sid: SID,
        packed_to: 40,
        ..Row::default()
    };
    let mut batch = Batch::default();
    assert_eq!(table::write_chunks(&mut batch, &key, &value), 1);
    db.apply_batch(batch).unwrap();
    let stored = table::chunk_key(&key, 0);
    let sound = db.get(&stored).unwrap().unwrap();
    for bit in 0..sound.len() * 8 {
        let mut bad = sound.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        db.insert(&stored, bad.clone()).unwrap();
        for mut told in [
            range(&db, &row, 0)
                .into_iter()
                .flatten()
                .collect::<Vec<_>>(),
            newest_first(&db, &row, u64::MAX).collect(),
        ] {
            assert!(
                told.len() <= 1 && told.pop().is_none_or(|e| e.is_err()),
                "bit {bit}"
            );
        }
        // Should the checksum fit all the same: whatever it says, it ends.
        let _ = opened(&key, &Bytes::from(bad));
    }
}
