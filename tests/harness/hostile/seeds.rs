//! The seeds of the binary formats, made by today's code; those of the texts are written by hand.

use bytes::Bytes;
use scrollback::codec::{Kind, encode};
use scrollback::key::Address;
use scrollback::message::{Body, Entry, EntryId, State};
use scrollback::summary::{Snapshot, Summary};
use scrollback::testing::formats;
use scrollback::{Attachment, Author, Message, ToolCall};

/// The seeds of records and journals: target, name, bytes.
///
/// # Errors
/// A value cannot be encoded.
pub fn seeds() -> scrollback::Result<Vec<(&'static str, String, Vec<u8>)>> {
    let mut seeds = Vec::new();
    for (name, body) in bodies() {
        let record = encode(Kind::Entry, 42, &entry(body))?;
        seeds.push(("record", format!("entry-{name}"), record.to_vec()));
        // Also as a payload alone, which the check puts under a sound head.
        let payload = record.get(scrollback::codec::HEADER..).unwrap_or_default();
        seeds.push(("record", format!("payload-{name}"), payload.to_vec()));
    }
    let (summary, snapshot) = (summary(), snapshot());
    let summary = encode(Kind::Summary, 42, &summary)?;
    let snapshot = encode(Kind::Snapshot, 42, &snapshot)?;
    for (name, record) in [("summary", summary), ("snapshot", snapshot)] {
        let payload = record.get(scrollback::codec::HEADER..).unwrap_or_default();
        seeds.push(("record", format!("payload-{name}"), payload.to_vec()));
        seeds.push(("record", name.to_owned(), record.to_vec()));
    }
    seeds.push(("journal", "segment".into(), segment()?));
    seeds.push(("journal", "told".into(), told()));
    Ok(seeds)
}

fn message() -> Message {
    Message::user(Author::new("x", "1").named("Ann"), "hi \u{1F980}\r\n")
        .id("7")
        .at_ms(1_700_000_000_000)
        .reply_to("6")
        .attach(Attachment {
            reference: "https://x/a.png".into(),
            media_type: Some("image/png".into()),
            name: None,
            size: Some(9),
        })
}

fn bodies() -> Vec<(&'static str, Body)> {
    let call = ToolCall {
        id: "c1".into(),
        name: "look".into(),
        arguments: "{}".into(),
    };
    let tools = vec![
        Some(Message::assistant("").call(call).into()),
        Some(Message::tool("c1", "found").into()),
        None,
    ];
    let state = State {
        version: 3,
        value: Bytes::from_static(b"\x92\x01\xa1x"),
    };
    vec![
        ("message", Body::Messages(vec![Some(message().into())])),
        ("tools", Body::Messages(tools)),
        (
            "edit",
            Body::Edit {
                id: "7".into(),
                text: Some("ho".into()),
                at_ms: 5,
            },
        ),
        (
            "edited",
            Body::Edit {
                id: "7".into(),
                text: None,
                at_ms: 5,
            },
        ),
        ("delete", Body::Delete { id: "7".into() }),
        ("state", Body::State(state)),
        ("reset", Body::Reset),
        ("end", Body::End),
        ("void", Body::Void),
    ]
}

fn entry(body: Body) -> Entry {
    Entry {
        id: EntryId(u128::MAX / 3),
        at_ms: 1_700_000_000_001,
        body,
    }
}

fn summary() -> Summary {
    let mut summary = Summary::default();
    for (number, (_, body)) in (1..).zip(bodies()) {
        summary.note(number, &entry(body));
    }
    summary
}

fn snapshot() -> Snapshot {
    Snapshot {
        summary: summary(),
        entries: vec![(7, Bytes::from_static(b"\x01E")), (8, Bytes::new())],
        complete: true,
    }
}

fn segment() -> scrollback::Result<Vec<u8>> {
    let address = Address::from_text("x/1/channel=7");
    let mut segment = Vec::new();
    for n in 1..=3 {
        let body = Body::Messages(vec![Some(message().into())]);
        let record = encode(Kind::Entry, address.hash64(), &entry(body))?;
        segment.extend(formats::append(&address, EntryId(n), 3, &record));
    }
    segment.extend(formats::placed(EntryId(1), 4));
    segment.extend(formats::abort(EntryId(2)));
    Ok(segment)
}

/// Frames as the check of journals takes them: what, of which entry, what happens to it.
fn told() -> Vec<u8> {
    let steps = [
        [0, 1, 8],
        [8, 2, 16],
        [0, 3, 7],
        [5, 1, 0],
        [7, 2, 0],
        [16, 4, 11],
        [3, 3, 20],
    ];
    steps.concat()
}
