//! What the journal promises by itself.

use super::*;

fn address() -> Address {
    Address::from_text("x/1/channel=7")
}

fn open(dir: &Path) -> (Journal, Vec<Replayed>) {
    Journal::open(
        dir,
        Limits {
            journal_bytes: 1 << 20,
            free_floor_bytes: 0,
        },
        Codec::plain(),
    )
    .unwrap()
}

fn record(n: u128) -> Bytes {
    Bytes::from(format!("entry {n}"))
}

fn ids(replayed: &[Replayed]) -> Vec<u128> {
    replayed.iter().map(|r| r.id.0).collect()
}

#[test]
fn what_is_pending_comes_back_in_order_without_what_is_done_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    for n in 1..=5 {
        journal
            .append(&address(), EntryId(n), 3, &record(n))
            .unwrap();
    }
    journal.abort(EntryId(2)).unwrap();
    journal.placed(EntryId(4), 9).unwrap();
    drop(journal);
    let (journal, replayed) = open(dir.path());
    assert_eq!(ids(&replayed), [1, 3, 4, 5]);
    assert_eq!(
        replayed.iter().map(|r| r.epoch).collect::<Vec<_>>(),
        [3, 3, 9, 3]
    );
    assert!(
        replayed
            .iter()
            .all(|r| r.session == address() && r.record == record(r.id.0))
    );
    journal.done([1, 3, 4, 5].map(EntryId));
    drop(journal);
    let (_, replayed) = open(dir.path());
    assert!(replayed.is_empty());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_refused_entry_stays_refused_while_older_segments_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    journal
        .append(&address(), EntryId(1), 1, &record(1))
        .unwrap();
    journal
        .append(&address(), EntryId(2), 1, &record(2))
        .unwrap();
    journal.retire();
    journal.abort(EntryId(2)).unwrap();
    journal.retire();
    drop(journal);
    assert_eq!(ids(&open(dir.path()).1), [1]);
}

#[test]
fn a_torn_end_and_a_damaged_middle_cost_only_what_they_hit() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    for n in 1..=3 {
        journal
            .append(&address(), EntryId(n), 1, &record(n))
            .unwrap();
    }
    let path = journal.shared.writer.lock().current.path.clone();
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    let each = whole.len() / 3;
    for cut in 0..whole.len() {
        let mut replay = record::Replay::default();
        replay.read(1, &whole[..cut]);
        assert_eq!(replay.finish().len(), cut / each);
    }
    for at in each..2 * each {
        let mut bad = whole.clone();
        bad[at] ^= 0x40;
        let mut replay = record::Replay::default();
        replay.read(1, &bad);
        assert_eq!(ids(&replay.finish()), [1, 3], "byte {at}");
    }
}

#[test]
fn the_bound_is_an_error_and_room_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(
        dir.path(),
        Limits {
            journal_bytes: 3000,
            free_floor_bytes: 0,
        },
        Codec::plain(),
    )
    .unwrap();
    let big = Bytes::from(vec![b'x'; 1000]);
    journal.append(&address(), EntryId(1), 1, &big).unwrap();
    journal.append(&address(), EntryId(2), 1, &big).unwrap();
    assert!(matches!(
        journal.append(&address(), EntryId(3), 1, &big),
        Err(Error::Backpressure { .. })
    ));
    journal.done([EntryId(1), EntryId(2)]);
    journal.retire();
    journal.append(&address(), EntryId(3), 1, &big).unwrap();
}

#[tokio::test]
async fn a_position_is_synced_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let position = journal
        .append(&address(), EntryId(1), 1, &record(1))
        .unwrap();
    journal.synced(position).await.unwrap();
    assert!(*journal.shared.synced.borrow() >= position);
}
