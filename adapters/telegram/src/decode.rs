//! From what the server sent to what it means, one update at a time.
//!
//! Invariant: total; an update that cannot be read costs itself and nothing else, and is known by its kind
//! alone.

use serde::Deserialize;
use serde_json::{Map, Value};
use teloxide::types::{MessageEntity, MessageKind, Update, UpdateKind};

use crate::chats::Room;
use crate::event::{self, Event, Kind, Me, Place};

/// One update.
#[derive(Debug)]
pub(crate) struct Received {
    /// The update's id, by which it is confirmed.
    pub(crate) id: i64,
    /// What it means.
    pub(crate) event: Event,
}

/// The id of an update, whatever else is in it.
pub(crate) fn id(raw: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Head {
        update_id: i64,
    }
    serde_json::from_str::<Head>(raw)
        .ok()
        .map(|head| head.update_id)
}

/// Reads an update; `None` when it has no id, so that it cannot be confirmed by itself.
pub(crate) fn read(raw: &str, me: &Me) -> Option<Received> {
    let id = id(raw)?;
    // Nested deeper than anything of Telegram's is, it is no value.
    let mut raw: Value = serde_json::from_str(raw).unwrap_or_default();
    let kind = kind(&raw);
    drop_nulls(&mut raw);
    let event = event(&raw, me).unwrap_or(Event::Unreadable { kind });
    Some(Received { id, event })
}

fn event(raw: &Value, me: &Me) -> Option<Event> {
    // teloxide expects an object for each id, where Telegram sends numbers.
    if let Some(deleted) = raw.get("deleted_business_messages") {
        return Some(Deleted::deserialize(deleted).ok()?.event());
    }
    // And for each standing in a chat fields that not every server sends.
    if let Some(change) = raw.get("my_chat_member") {
        return Some(Change::deserialize(change).ok()?.event());
    }
    let whole = update(raw);
    let read = if whole.as_ref().is_none_or(says_nothing) {
        essential(raw).and_then(|raw| update(&raw)).or(whole)
    } else {
        whole
    };
    Some(event::read(&read?, me))
}

fn update(raw: &Value) -> Option<Update> {
    // By way of a text: teloxide's decoder finds the kind only in borrowed keys.
    let update: Update = serde_json::from_str(&raw.to_string()).ok()?;
    (!matches!(update.kind, UpdateKind::Error(_))).then_some(update)
}

/// True for a message of no kind, which is what teloxide makes of one with anything in it that it cannot read.
fn says_nothing(update: &Update) -> bool {
    let (UpdateKind::Message(m)
    | UpdateKind::EditedMessage(m)
    | UpdateKind::ChannelPost(m)
    | UpdateKind::EditedChannelPost(m)
    | UpdateKind::BusinessMessage(m)
    | UpdateKind::EditedBusinessMessage(m)) = &update.kind
    else {
        return false;
    };
    matches!(m.kind, MessageKind::Empty {})
}

/// The updates that bring a message.
const MESSAGES: [&str; 6] = [
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "business_message",
    "edited_business_message",
];

/// Who said something, when, where and to whom.
const HEAD: [&str; 12] = [
    "message_id",
    "date",
    "edit_date",
    "chat",
    "from",
    "sender_chat",
    "sender_business_bot",
    "business_connection_id",
    "message_thread_id",
    "is_topic_message",
    "is_automatic_forward",
    "media_group_id",
];

/// An update's words alone: one kind of formatting or attachment that is newer than teloxide hides the
/// whole message from it, whose text is there all the same.
fn essential(raw: &Value) -> Option<Value> {
    let brought = MESSAGES
        .iter()
        .find_map(|kind| Some((kind, raw.get(kind)?)));
    let (kind, message) = brought?;
    let words = [("text", "entities"), ("caption", "caption_entities")];
    let (text, marks) = words
        .iter()
        .find_map(|(text, marks)| Some((message.get(text)?, message.get(marks))))?;
    let marks = marks.and_then(Value::as_array).into_iter().flatten();
    let known = marks.filter(|mark| MessageEntity::deserialize(*mark).is_ok());
    let mut said = head(message);
    said.insert("text".into(), text.clone());
    said.insert("entities".into(), known.cloned().collect());
    if let Some(original) = message.get("reply_to_message") {
        said.insert("reply_to_message".into(), head(original).into());
    }
    let id = ("update_id".to_owned(), raw.get("update_id")?.clone());
    Some(Map::from_iter([id, ((*kind).to_owned(), said.into())]).into())
}

fn head(message: &Value) -> Map<String, Value> {
    let fields = message.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| HEAD.contains(&name.as_str()))
        .map(|(name, field)| (name.clone(), field.clone()))
        .collect()
}

#[derive(Deserialize)]
struct Deleted {
    business_connection_id: String,
    chat: Chat,
    message_ids: Vec<i32>,
}

#[derive(Deserialize)]
struct Chat {
    id: i64,
}

impl Deleted {
    fn event(self) -> Event {
        Event::Deleted {
            place: Place {
                chat: self.chat.id,
                kind: Kind::Business(self.business_connection_id),
                thread: None,
                user: self.chat.id.to_string(),
            },
            ids: self.message_ids,
        }
    }
}

#[derive(Deserialize)]
struct Change {
    chat: Chat,
    new_chat_member: Member,
}

/// A standing in a chat, as far as it matters.
#[derive(Deserialize)]
pub(crate) struct Member {
    status: String,
    #[serde(default)]
    is_member: bool,
    #[serde(default)]
    can_delete_messages: bool,
}

impl Member {
    fn is_there(&self) -> bool {
        match self.status.as_str() {
            "restricted" => self.is_member,
            "left" | "kicked" => false,
            _ => true,
        }
    }

    /// True for who may remove others' messages.
    pub(crate) fn moderates(&self) -> bool {
        self.status == "creator" || (self.status == "administrator" && self.can_delete_messages)
    }
}

impl Change {
    fn event(&self) -> Event {
        Event::Membership {
            room: Room {
                chat: self.chat.id,
                business: None,
            },
            present: self.new_chat_member.is_there(),
        }
    }
}

/// The name of what an update brings, when it is a name.
fn kind(raw: &Value) -> String {
    let names = raw.as_object().into_iter().flatten().map(|(name, _)| name);
    let is_name = |name: &&String| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    names
        .filter(|name| *name != "update_id" && name.len() <= 40)
        .find(is_name)
        .cloned()
        .unwrap_or_else(|| "unknown".into())
}

/// Takes out explicit nulls, which would turn a text message into another kind.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn me() -> Me {
        Me {
            id: 7,
            username: "ScrollBot".into(),
            reads_all: false,
        }
    }

    #[test]
    fn what_cannot_be_read_keeps_its_id_and_its_kind() {
        for raw in [
            json!({ "update_id": 5 }),
            json!({ "update_id": 5, "message": null }),
            json!({ "update_id": 5, "message": "text" }),
            json!({ "update_id": 5, "message": { "text": "no head" } }),
            json!({ "update_id": 5, "brand_new_thing": { "x": [1, 2] } }),
            json!({ "update_id": 5, "message": { "message_id": "5", "date": 1, "chat": { "id": 1, "type": "private" }, "text": "x" } }),
            json!({ "update_id": 5, "message": { "message_id": 5, "date": 1, "chat": { "id": 1, "type": "spaceship" }, "text": "x" } }),
            json!({ "update_id": 5, "deleted_business_messages": { "message_ids": "all" } }),
        ] {
            let read = read(&raw.to_string(), &me()).unwrap();
            assert_eq!(read.id, 5);
            let expected = raw
                .as_object()
                .unwrap()
                .keys()
                .find(|name| *name != "update_id");
            match read.event {
                Event::Unreadable { kind } => {
                    assert_eq!(Some(&kind), expected.or(Some(&"unknown".into())))
                }
                other => panic!("{raw}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_update_without_an_id_is_no_update() {
        for raw in [
            json!({}),
            json!([]),
            json!("x"),
            json!({ "update_id": "x", "message": {} }),
        ] {
            assert!(read(&raw.to_string(), &me()).is_none());
        }
    }

    #[test]
    fn an_update_of_any_depth_has_an_id() {
        let deep = format!(
            "{{\"update_id\":5,\"x\":{}{}}}",
            "[".repeat(5_000),
            "]".repeat(5_000)
        );
        let read = read(&deep, &me()).unwrap();
        assert!(read.id == 5 && matches!(read.event, Event::Unreadable { .. }));
    }

    #[test]
    fn deleted_business_messages_are_the_customers() {
        let deleted = json!({
            "business_connection_id": "c1", "chat": { "id": 221, "type": "private" }, "message_ids": [3, 4],
        });
        let raw = json!({ "update_id": 5, "deleted_business_messages": deleted });
        let Event::Deleted { place, ids } = read(&raw.to_string(), &me()).unwrap().event else {
            panic!("not deleted");
        };
        assert_eq!((place.user.as_str(), ids), ("221", vec![3, 4]));
        assert_eq!(place.kind, Kind::Business("c1".into()));
    }

    #[test]
    fn the_bot_is_there_or_it_is_not() {
        let there = |member: Value| {
            let change =
                json!({ "chat": { "id": -5, "type": "group" }, "new_chat_member": member });
            let raw = json!({ "update_id": 5, "my_chat_member": change });
            match read(&raw.to_string(), &me()).unwrap().event {
                Event::Membership { room, present } if room.chat == -5 => present,
                other => panic!("{other:?}"),
            }
        };
        for status in ["creator", "administrator", "member"] {
            assert!(there(json!({ "status": status })), "{status}");
        }
        assert!(there(json!({ "status": "restricted", "is_member": true })));
        assert!(!there(
            json!({ "status": "restricted", "is_member": false })
        ));
        assert!(!there(json!({ "status": "left" })) && !there(json!({ "status": "kicked" })));
    }

    #[test]
    fn the_owner_and_administrators_with_that_right_moderate() {
        let moderates = |member: Value| Member::deserialize(member).unwrap().moderates();
        assert!(moderates(json!({ "status": "creator" })));
        assert!(moderates(
            json!({ "status": "administrator", "can_delete_messages": true })
        ));
        assert!(!moderates(
            json!({ "status": "administrator", "can_delete_messages": false })
        ));
        assert!(!moderates(
            json!({ "status": "member", "can_delete_messages": true })
        ));
    }

    #[test]
    fn what_teloxide_does_not_know_yet_costs_no_words() {
        let mention = json!({ "type": "mention", "offset": 0, "length": 10 });
        let new = json!({ "type": "brand_new", "offset": 11, "length": 2 });
        let message = |mut body: Value| {
            let head = json!({
                "message_id": 3, "date": 1_700_000_000, "chat": { "id": -5, "type": "group", "title": "Cats" },
                "from": { "id": 1, "is_bot": false, "first_name": "Ann" },
            });
            let fields = body.as_object_mut().unwrap();
            fields.extend(head.as_object().unwrap().clone());
            body
        };
        for body in [
            json!({ "text": "@ScrollBot hi", "entities": [mention, new] }),
            json!({ "caption": "@ScrollBot hi", "caption_entities": [mention, new], "photo": [{ "file": 5 }] }),
            json!({ "text": "@ScrollBot hi", "entities": [mention], "reply_to_message": message(
                json!({ "text": "hi", "entities": [new] }),
            ) }),
        ] {
            let raw = json!({ "update_id": 5, "message": message(body) });
            match read(&raw.to_string(), &me()).unwrap().event {
                Event::Said(said) => {
                    assert_eq!(said.message.text, "@ScrollBot hi", "{raw}");
                    assert!(said.addressed, "{raw}");
                    assert_eq!(
                        said.reply_to.is_some(),
                        raw.to_string().contains("reply_to")
                    );
                }
                other => panic!("{raw}: {other:?}"),
            }
        }
        let edited =
            message(json!({ "text": "hi", "entities": [new], "edit_date": 1_700_000_001 }));
        let raw = json!({ "update_id": 5, "edited_message": edited });
        let read = read(&raw.to_string(), &me()).unwrap();
        assert!(matches!(read.event, Event::Edited(_)), "{:?}", read.event);
    }

    #[test]
    fn explicit_nulls_change_nothing() {
        let raw = json!({
            "update_id": 5,
            "message": {
                "message_id": 3, "date": 1_700_000_000, "text": "hi", "photo": null, "caption": null,
                "from": { "id": 1, "is_bot": false, "first_name": "Ann", "last_name": null },
                "chat": { "id": 1, "type": "private", "first_name": "Ann" },
            },
        });
        assert!(matches!(
            read(&raw.to_string(), &me()).unwrap().event,
            Event::Said(_)
        ));
    }
}
