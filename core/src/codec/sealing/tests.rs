//! Sealed records: what they hide, what they refuse, what is left when a key is gone.

use super::*;
use crate::keyring::MasterKey;
use crate::message::Author;

fn codec() -> (tempfile::TempDir, Codec) {
    let dir = tempfile::tempdir().unwrap();
    let keyring = Keyring::open(&dir.path().join("keys"), &MasterKey::generate()).unwrap();
    (dir, Codec::sealed(Arc::new(keyring)))
}

fn session(channel: &str) -> Address {
    Address::from_text(&format!("x/1/channel={channel}"))
}

fn said(author: &str) -> Message {
    Message::user(Author::new("x", author), "MARKER")
        .id("MARKER-id")
        .at_ms(5)
}

fn entry(body: Body) -> Entry {
    Entry {
        id: EntryId(3),
        at_ms: 9,
        body,
    }
}

fn bodies() -> Vec<Body> {
    vec![
        Body::Messages(vec![
            Some(said("ann").into()),
            None,
            Some(Message::assistant("MARKER").into()),
        ]),
        Body::Edit {
            id: "7".into(),
            text: Some("MARKER".into()),
            at_ms: 4,
        },
        Body::State(State {
            version: 2,
            value: Bytes::from_static(b"MARKER"),
        }),
        Body::Delete { id: "7".into() },
        Body::Reset,
        Body::End,
        Body::Void,
    ]
}

fn has_marker(record: &[u8]) -> bool {
    record.windows(6).any(|w| w == b"MARKER")
}

#[test]
fn every_record_reads_back_and_shows_nothing_of_what_was_said() {
    let (_dir, codec) = codec();
    for body in bodies() {
        let entry = entry(body);
        let record = codec.entry(&session("a"), &entry).unwrap();
        assert!(!has_marker(&record));
        assert_eq!(codec.read_entry(&session("a"), &record).unwrap(), entry);
        let plain = Codec::plain().entry(&session("a"), &entry).unwrap();
        assert_eq!(codec.read_entry(&session("a"), &plain).unwrap(), entry);
        let refused = Codec::plain().read_entry(&session("a"), &record);
        assert!(refused.unwrap_err().to_string().contains("encrypted"));
    }
    let summary = Summary {
        state: Some(State {
            version: 1,
            value: Bytes::from_static(b"MARKER"),
        }),
        system: Some((Seq(5), Message::system("MARKER"))),
        ..Summary::default()
    };
    let record = codec.summary(&session("a"), &summary).unwrap();
    assert!(!has_marker(&record));
    assert_eq!(codec.read_summary(&session("a"), &record).unwrap(), summary);
    let snapshot = Snapshot {
        summary,
        entries: vec![(4, record)],
        complete: true,
    };
    let record = codec.snapshot(&session("a"), &snapshot).unwrap();
    assert!(!has_marker(&record));
    let read = codec.read_snapshot(&session("a"), &record).unwrap();
    assert_eq!(read, snapshot);
}

/// A sealed entry with its header and checksum made right again after a change.
fn forged(
    record: &Bytes,
    from: &Address,
    to: &Address,
    change: impl Fn(&mut SealedEntry),
) -> Bytes {
    let mut sealed = decode_as(SEALED, Kind::Entry, from.hash64(), record).unwrap();
    change(&mut sealed);
    encode_as(SEALED, Kind::Entry, to.hash64(), &sealed).unwrap()
}

#[test]
fn what_is_moved_to_another_session_entry_or_field_is_refused() {
    let (_dir, codec) = codec();
    let (here, there) = (session("a"), session("b"));
    let two = Body::Messages(vec![Some(said("ann").into()), Some(said("ann").into())]);
    let record = codec.entry(&here, &entry(two)).unwrap();
    let same = forged(&record, &here, &here, |_| {});
    codec.read_entry(&here, &same).unwrap();
    let moved = forged(&record, &here, &there, |_| {});
    codec.read_entry(&there, &moved).unwrap_err();
    let renamed = forged(&record, &here, &here, |e| e.id = EntryId(4));
    codec.read_entry(&here, &renamed).unwrap_err();
    let swapped = forged(&record, &here, &here, |e| match &mut e.body {
        SealedBody::Messages(slots) => slots.swap(0, 1),
        _ => unreachable!(),
    });
    codec.read_entry(&here, &swapped).unwrap_err();
}

#[test]
fn what_a_destroyed_key_sealed_reads_as_erased_and_the_rest_as_it_was() {
    let (_dir, codec) = codec();
    let here = session("a");
    let two = Body::Messages(vec![Some(said("ann").into()), Some(said("bob").into())]);
    let record = codec.entry(&here, &entry(two)).unwrap();
    let of_ann = codec
        .entry(
            &here,
            &entry(Body::Messages(vec![Some(said("ann").into())])),
        )
        .unwrap();
    assert!(!codec.is_stale(&here, &record));
    let ann = author_hash(&Author::new("x", "ann"));
    codec
        .destroy(&[(here.clone(), Some(ann), u64::MAX)], 1)
        .unwrap();
    assert!(codec.is_stale(&here, &record));
    let left = codec.read_entry(&here, &record).unwrap();
    assert_eq!(
        left.body,
        Body::Messages(vec![None, Some(said("bob").into())])
    );
    assert_eq!(codec.read_entry(&here, &of_ann).unwrap().body, Body::Void);
    codec.destroy(&[(here.clone(), None, u64::MAX)], 2).unwrap();
    assert_eq!(codec.read_entry(&here, &record).unwrap().body, Body::Void);
    let fresh = codec.entry(
        &here,
        &entry(Body::Messages(vec![Some(said("ann").into())])),
    );
    let fresh = codec.read_entry(&here, &fresh.unwrap()).unwrap();
    assert_eq!(fresh.body, Body::Messages(vec![Some(said("ann").into())]));
}
