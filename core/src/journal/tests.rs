//! What the journal promises by itself.

use super::record::Replay;
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

/// A record starts with its version.
fn record(n: u128) -> Bytes {
    Bytes::from(format!("\x01entry {n}"))
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
        let mut replay = Replay::default();
        replay.read(1, &whole[..cut]).unwrap();
        assert_eq!(replay.finish().len(), cut / each);
    }
    for at in each..2 * each {
        let mut bad = whole.clone();
        bad[at] ^= 0x40;
        let mut replay = Replay::default();
        replay.read(1, &bad).unwrap();
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
    let big = Bytes::from(vec![1; 1000]);
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

fn bytes_in(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut all: Vec<_> = entries
        .map(|e| e.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    all.sort();
    all
}

/// The last byte of the magic is the frames' version; a record's first byte is the record's.
#[test]
fn a_journal_of_a_newer_version_is_refused_and_not_touched() {
    let sound = |id| crate::testing::formats::append(&address(), EntryId(id), 1, &record(id));
    let newer_frame = |id| {
        let mut frame = sound(id);
        frame[3] = b'2';
        frame
    };
    let newer_record = crate::testing::formats::append(
        &address(),
        EntryId(3),
        1,
        &Bytes::from_static(&[crate::codec::SEALED + 1, b'E', 0]),
    );
    let mut other_kind = sound(4);
    other_kind[12] = b'Q';
    let crc = crc32fast::hash(&other_kind[12..]).to_be_bytes();
    other_kind[8..12].copy_from_slice(&crc);
    for segment in [newer_frame(2), newer_record, other_kind] {
        let dir = tempfile::tempdir().unwrap();
        // A damaged one before it is not touched either.
        std::fs::write(
            dir.path().join("000000000001.journal"),
            [sound(1), b"?".to_vec(), sound(5)].concat(),
        )
        .unwrap();
        std::fs::write(dir.path().join("000000000002.journal"), segment).unwrap();
        let before = bytes_in(dir.path());
        let opened = Journal::open(dir.path(), Limits::default(), Codec::plain());
        assert!(matches!(opened, Err(Error::Config(_))), "{opened:?}");
        assert_eq!(bytes_in(dir.path()), before);
    }
}

#[test]
fn a_flipped_bit_in_a_magic_is_damage_and_no_newer_version() {
    let frames: Vec<Vec<u8>> = (1..=3)
        .map(|n| crate::testing::formats::append(&address(), EntryId(n), 1, &record(n)))
        .collect();
    let mut bytes = frames.concat();
    bytes[frames[0].len() + 3] = b'3';
    let (found, damaged) = crate::testing::formats::replay(&bytes).unwrap();
    assert_eq!(found.iter().map(|f| f.id.0).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(damaged, frames[1].len());
}

#[test]
fn a_magic_before_unwritten_zeros_is_damage() {
    let one = crate::testing::formats::append(&address(), EntryId(1), 1, &record(1));
    let bytes = [&one[..], b"SBJ1", &[0; 100], &one].concat();
    let (found, damaged) = crate::testing::formats::replay(&bytes).unwrap();
    assert_eq!((found.len(), damaged), (1, 104));
}

/// An encoded entry whose text is these bytes.
fn quoting(quoted: &[u8]) -> Bytes {
    let value = Bytes::copy_from_slice(quoted);
    crate::codec::encode(crate::codec::Kind::Entry, 7, &value).unwrap()
}

#[test]
fn a_frame_quoted_in_a_text_is_never_replayed() {
    let forged = crate::testing::formats::append(&address(), EntryId(9), 1, &record(9));
    let quoted = [
        &forged[..],
        &crate::testing::formats::abort(EntryId(1)),
        b".",
    ]
    .concat();
    let frames = [
        crate::testing::formats::append(&address(), EntryId(1), 1, &record(1)),
        crate::testing::formats::append(&address(), EntryId(2), 1, &quoting(&quoted)),
        crate::testing::formats::append(&address(), EntryId(3), 1, &record(3)),
    ];
    let replayed = |bytes: &[u8]| {
        let (found, _) = crate::testing::formats::replay(bytes).unwrap();
        found.iter().map(|f| f.id.0).collect::<Vec<_>>()
    };
    let (start, end) = (frames[0].len(), frames[0].len() + frames[1].len());
    let whole = frames.concat();
    assert_eq!(replayed(&whole), [1, 2, 3]);
    for cut in start..end {
        assert_eq!(replayed(&whole[..cut]), [1], "cut at {cut}");
    }
    // Behind the lengths: with those damaged as well, where the frame ends is anybody's guess.
    let lengths = 12 + 29 + address().as_str().len() + crate::codec::HEADER;
    for at in start + lengths..end {
        let mut bad = whole.clone();
        bad[at] ^= 0x40;
        assert_eq!(replayed(&bad), [1, 3], "byte {at}");
    }
}

#[test]
fn nothing_is_written_behind_half_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    journal
        .append(&address(), EntryId(1), 1, &record(1))
        .unwrap();
    let half = &crate::testing::formats::append(&address(), EntryId(2), 1, &quoting(b"half"))[..70];
    {
        let mut writer = journal.shared.writer.lock();
        writer.current.append(half).unwrap();
        writer.current.torn = true;
    }
    journal
        .append(&address(), EntryId(3), 1, &record(3))
        .unwrap();
    drop(journal);
    assert_eq!(ids(&open(dir.path()).1), [1, 3]);
}

#[test]
fn a_small_journal_is_not_full_of_what_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        journal_bytes: 64 << 10,
        free_floor_bytes: 0,
    };
    let (journal, _) = Journal::open(dir.path(), limits, Codec::plain()).unwrap();
    let record = Bytes::from(vec![7; 1_000]);
    for n in 1..500 {
        journal.append(&address(), EntryId(n), 3, &record).unwrap();
        journal.done([EntryId(n)]);
    }
}

#[test]
fn a_file_that_a_failed_attempt_left_does_not_keep_a_new_segment_from_being_begun() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    journal
        .append(&address(), EntryId(1), 3, &record(1))
        .unwrap();
    std::fs::write(dir.path().join("000000000002.journal"), b"").unwrap();
    journal.retire();
    journal
        .append(&address(), EntryId(2), 3, &record(2))
        .unwrap();
    assert!(dir.path().join("000000000003.journal").exists());
    drop(journal);
    let (_, replayed) = open(dir.path());
    assert_eq!(ids(&replayed), [1, 2]);
}

#[tokio::test]
async fn what_an_fsync_kept_stays_until_it_is_fsynced_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let position = journal
        .append(&address(), EntryId(1), 1, &record(1))
        .unwrap();
    journal.synced(position).await.unwrap();
    let (path, again) = {
        let mut writer = journal.shared.writer.lock();
        let (path, number) = (writer.current.path.clone(), writer.current.number);
        let failed = std::io::Error::other("EIO");
        journal.shared.sync_failed(&mut writer, number, &failed);
        assert_ne!(writer.current.number, number);
        // A power cut now would leave this alone.
        assert!(path.exists());
        (path, writer.written)
    };
    journal.synced(again).await.unwrap();
    drop(journal);
    assert!(!path.exists());
    assert_eq!(ids(&open(dir.path()).1), [1]);
}
