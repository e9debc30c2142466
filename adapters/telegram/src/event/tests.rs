//! Updates as Telegram sends them, and what they mean.

use serde_json::{Value, json};

use super::*;

fn me() -> Me {
    Me {
        id: 7_305_512_840,
        username: "ScrollBot".into(),
        reads_all: true,
    }
}

fn ann() -> Value {
    json!({
        "id": 221, "is_bot": false, "first_name": "Ann", "last_name": "Lee", "username": "annlee",
        "language_code": "en", "is_premium": true,
    })
}

fn bot() -> Value {
    json!({ "id": 7_305_512_840_u64, "is_bot": true, "first_name": "Scroll", "username": "ScrollBot" })
}

fn private() -> Value {
    json!({ "id": 221, "type": "private", "first_name": "Ann", "username": "annlee" })
}

fn group() -> Value {
    json!({ "id": -1_002_214, "type": "supergroup", "title": "Cats", "username": "cats", "is_forum": true })
}

/// A message with a head, and these fields added or replaced.
fn message(chat: &Value, fields: &Value) -> Value {
    let mut message = json!({
        "message_id": 42, "date": 1_700_000_000, "from": ann(), "chat": chat, "text": "hello",
    });
    for (name, value) in fields.as_object().unwrap() {
        message[name] = value.clone();
    }
    if fields.get("text").is_some_and(Value::is_null) {
        message.as_object_mut().unwrap().remove("text");
    }
    message
}

fn event(kind: &str, payload: &Value) -> Event {
    let update = json!({ "update_id": 718_000_123, kind: payload });
    read(&serde_json::from_str(&update.to_string()).unwrap(), &me())
}

fn said_in(chat: &Value, fields: &Value) -> Said {
    match event("message", &message(chat, fields)) {
        Event::Said(said) => *said,
        other => panic!("{other:?}"),
    }
}

fn addressed(fields: &Value) -> bool {
    said_in(&group(), fields).addressed
}

fn mention(text: &str, name: &str) -> Value {
    let at = text.find(name).unwrap();
    json!({ "text": text, "entities": [{ "type": "mention", "offset": at, "length": name.len() }] })
}

#[test]
fn a_private_message_is_for_the_bot_and_keeps_who_when_and_what() {
    let said = said_in(&private(), &json!({}));
    assert!(said.addressed && said.heeded);
    assert_eq!(said.place.kind, Kind::Private);
    assert_eq!((said.place.chat, said.place.user.as_str()), (221, "221"));
    assert_eq!((said.id, said.asker), (42, Some(221)));
    let author = said.message.author.unwrap();
    assert_eq!(
        (author.id.as_str(), author.name.as_deref()),
        ("221", Some("Ann Lee"))
    );
    assert_eq!(said.message.at_ms, 1_700_000_000_000);
    assert_eq!(said.message.text, "hello");
}

#[test]
fn in_a_group_the_bot_is_addressed_by_mention_reply_or_command() {
    assert!(!addressed(&json!({})));
    assert!(addressed(&mention(
        "hi @scrollbot, you there?",
        "@scrollbot"
    )));
    assert!(!addressed(&mention("hi @scrollbot2", "@scrollbot2")));
    assert!(
        !addressed(&json!({ "text": "hi @scrollbot" })),
        "not without an entity"
    );
    let text_mention = json!([{ "type": "text_mention", "offset": 0, "length": 6, "user": bot() }]);
    assert!(addressed(
        &json!({ "text": "Scroll?", "entities": text_mention })
    ));
    let command = |length: usize| json!([{ "type": "bot_command", "offset": 0, "length": length }]);
    assert!(addressed(
        &json!({ "text": "/help@SCROLLBOT", "entities": command(15) })
    ));
    assert!(!addressed(
        &json!({ "text": "/help@OtherBot", "entities": command(14) })
    ));
    let caption = json!([{ "type": "mention", "offset": 0, "length": 10 }]);
    let photo = json!([{ "file_id": "f", "file_unique_id": "u", "width": 1, "height": 1 }]);
    assert!(addressed(&json!({
        "text": null, "photo": photo, "caption": "@ScrollBot look", "caption_entities": caption,
    })));
}

#[test]
fn a_command_without_a_name_is_the_bots_only_when_telegram_chose_it() {
    let entities = json!([{ "type": "bot_command", "offset": 0, "length": 5 }]);
    let fields = json!({ "text": "/help", "entities": entities });
    assert!(!addressed(&fields));
    let update = json!({ "update_id": 1, "message": message(&group(), &fields) });
    let shy = Me {
        reads_all: false,
        ..me()
    };
    let Event::Said(said) = read(&serde_json::from_str(&update.to_string()).unwrap(), &shy) else {
        panic!("not said");
    };
    assert!(said.addressed);
}

#[test]
fn a_reply_to_the_bot_is_for_it_and_a_topics_first_message_is_no_reply() {
    let original =
        |from: Value, id: i32| message(&group(), &json!({ "from": from, "message_id": id }));
    let reply = said_in(
        &group(),
        &json!({ "reply_to_message": original(bot(), 40) }),
    );
    assert!(reply.addressed);
    assert_eq!(
        (reply.reply_to, reply.replied),
        (Some(40), Some(7_305_512_840))
    );
    assert!(!addressed(
        &json!({ "reply_to_message": original(ann(), 40) })
    ));
    let mut root = original(bot(), 9);
    root.as_object_mut().unwrap().remove("text");
    root["forum_topic_created"] = json!({ "name": "Cats", "icon_color": 7_322_096 });
    let in_topic = said_in(
        &group(),
        &json!({ "reply_to_message": root, "message_thread_id": 9, "is_topic_message": true }),
    );
    assert!(!in_topic.addressed);
    assert_eq!((in_topic.reply_to, in_topic.place.thread), (None, Some(9)));
}

#[test]
fn topics_are_threads_and_general_and_reply_threads_are_not() {
    let topic = |id: i32, is: bool| {
        let fields = json!({ "message_thread_id": id, "is_topic_message": is });
        said_in(&group(), &fields).place.thread
    };
    assert_eq!(topic(9, true), Some(9));
    assert_eq!(topic(1, true), None);
    assert_eq!(topic(9, false), None);
}

#[test]
fn bots_are_heard_and_never_heeded_and_the_bots_own_words_are_left_out() {
    let other = json!({ "id": 5, "is_bot": true, "first_name": "Other", "username": "OtherBot" });
    let mut fields = mention("@ScrollBot hi", "@ScrollBot");
    fields["from"] = other.clone();
    let said = said_in(&group(), &fields);
    assert!(!said.addressed && !said.heeded);
    assert!(!said_in(&private(), &json!({ "from": other })).addressed);
    let own = message(&group(), &json!({ "from": bot() }));
    assert!(matches!(event("message", &own), Event::Nothing));
}

#[test]
fn who_writes_as_a_chat_is_that_chat() {
    let anonymous = json!({
        "id": 1_087_968_824, "is_bot": true, "first_name": "Group", "username": "GroupAnonymousBot",
    });
    let mut fields = mention("@ScrollBot hi", "@ScrollBot");
    fields["from"] = anonymous;
    fields["sender_chat"] = group();
    let admin = said_in(&group(), &fields);
    assert!(admin.addressed && admin.heeded && admin.as_group);
    assert_eq!((admin.asker, admin.place.user.as_str()), (None, "-1002214"));
    assert_eq!(admin.message.author.unwrap().name.as_deref(), Some("Cats"));
    let channel = json!({ "id": -100_777, "type": "channel", "title": "News" });
    let mut post = message(&channel, &json!({ "sender_chat": channel }));
    post.as_object_mut().unwrap().remove("from");
    let Event::Said(post) = event("channel_post", &post) else {
        panic!("not said");
    };
    assert!(!post.addressed && post.place.kind == Kind::Group);
    assert_eq!(post.message.author.unwrap().id, "-100777");
    let mut forwarded = mention("@ScrollBot hi", "@ScrollBot");
    forwarded["is_automatic_forward"] = json!(true);
    forwarded["sender_chat"] = json!({ "id": -100_777, "type": "channel", "title": "News" });
    assert!(!addressed(&forwarded));
}

#[test]
fn business_chats_are_apart_and_the_owner_is_overheard() {
    let customer = message(&private(), &json!({ "business_connection_id": "c1" }));
    let Event::Said(asked) = event("business_message", &customer) else {
        panic!("not said");
    };
    assert!(asked.addressed && asked.heeded);
    assert_eq!(asked.place.kind, Kind::Business("c1".into()));
    let owner = json!({ "id": 900, "is_bot": false, "first_name": "Olga" });
    let from_owner = json!({ "business_connection_id": "c1", "from": owner });
    let Event::Said(overheard) = event("business_message", &message(&private(), &from_owner))
    else {
        panic!("not said");
    };
    assert!(!overheard.addressed && !overheard.heeded);
    assert_eq!(
        overheard.place.user, "221",
        "the customer's, whoever speaks"
    );
    assert_eq!(overheard.message.author.unwrap().id, "900");
    let mut own = from_owner;
    own["sender_business_bot"] = bot();
    assert!(matches!(
        event("business_message", &message(&private(), &own)),
        Event::Nothing
    ));
}

#[test]
fn edits_keep_their_order_within_a_second() {
    let edit = |update: u32| {
        let edited = message(
            &group(),
            &json!({ "edit_date": 1_700_000_009, "text": "hello!" }),
        );
        let update = json!({ "update_id": update, "edited_message": edited });
        match read(&serde_json::from_str(&update.to_string()).unwrap(), &me()) {
            Event::Edited(edited) => *edited,
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (edit(718_000_123), edit(718_000_124));
    assert_eq!(first.at_ms, 1_700_000_009_123);
    assert!(first.at_ms < second.at_ms);
    assert_eq!((first.id, first.text.as_str()), (42, "hello!"));
    let at = json!({ "latitude": 1.0, "longitude": 2.0, "live_period": 900 });
    let live = message(
        &group(),
        &json!({ "text": null, "location": at, "edit_date": 1 }),
    );
    assert!(matches!(event("edited_message", &live), Event::Nothing));
}

#[test]
fn connections_and_moves_are_told() {
    let to = message(
        &group(),
        &json!({ "text": null, "migrate_to_chat_id": -1_009 }),
    );
    let moved = event("message", &to);
    assert!(matches!(
        moved,
        Event::Migrated {
            new: -1_009,
            old: -1_002_214
        }
    ));
    let from = message(
        &group(),
        &json!({ "text": null, "migrate_from_chat_id": -5 }),
    );
    assert!(matches!(
        event("message", &from),
        Event::Migrated {
            new: -1_002_214,
            old: -5
        }
    ));
    let connection = json!({
        "id": "c1", "user": ann(), "user_chat_id": 221, "date": 1, "is_enabled": true,
        "rights": { "can_reply": true },
    });
    let connected = event("business_connection", &connection);
    assert!(matches!(
        connected,
        Event::Connected {
            may_reply: true,
            ..
        }
    ));
    let mut off = connection;
    off["is_enabled"] = json!(false);
    assert!(matches!(
        event("business_connection", &off),
        Event::Connected {
            may_reply: false,
            ..
        }
    ));
}

#[test]
fn an_album_is_answered_once() {
    let photo = json!([{ "file_id": "f", "file_unique_id": "u", "width": 1, "height": 1 }]);
    let part = |caption: Option<&str>| {
        let mut fields = json!({ "text": null, "photo": photo, "media_group_id": "m" });
        if let Some(caption) = caption {
            fields["caption"] = json!(caption);
        }
        said_in(&private(), &fields).addressed
    };
    assert!(part(Some("look")));
    assert!(!part(None));
}
