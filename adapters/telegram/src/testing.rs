//! For tests that feed the adapter with anything: what an update means, without a bot and a cache.

use scrollback::{Message, Origin};

use crate::decode;
use crate::event::{Event, Me};

/// What an update means.
#[derive(Debug)]
pub struct Meaning {
    /// The update's id.
    pub update: i64,
    /// Where it happened, when it is one of a session's.
    pub origin: Option<Origin>,
    /// What was said or is said now.
    pub said: Option<Message>,
    /// True for one that cannot be read.
    pub unreadable: bool,
}

/// Reads an update as a bot with id 7 named `ScrollBot` does; `None` when it has no id.
#[must_use]
pub fn read(raw: &str) -> Option<Meaning> {
    let me = Me {
        id: 7,
        username: "ScrollBot".into(),
        reads_all: false,
    };
    let received = decode::read(raw, &me)?;
    // As the intake sorts a batch.
    let _ = received.event.chat();
    let unreadable = matches!(received.event, Event::Unreadable { .. });
    let (place, said) = match received.event {
        Event::Said(said) => (Some(said.place), Some(said.message)),
        Event::Edited(edited) => {
            let message = Message::assistant(edited.text).at_ms(edited.at_ms);
            (Some(edited.place), Some(message))
        }
        Event::Deleted { place, .. } => (Some(place), None),
        Event::Connected { .. }
        | Event::Migrated { .. }
        | Event::Membership { .. }
        | Event::Unreadable { .. }
        | Event::Nothing => (None, None),
    };
    Some(Meaning {
        update: received.id,
        origin: place.map(|place| place.origin_in(place.chat, &me)),
        said,
        unreadable,
    })
}
