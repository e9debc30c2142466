//! Chats: privacy, topics, migration, members, business accounts.

use serde_json::{Value, json};

use super::client::{call, ok, refused, texts};
use crate::fake_telegram::FakeTelegram;

fn updates(fake: &FakeTelegram) -> Value {
    ok(fake, "getUpdates", &json!({}))
}

#[test]
fn in_privacy_mode_the_bot_gets_what_is_meant_for_it() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.user("Ann");
    let group = fake.supergroup("Team", &[ann]);
    let own = ok(
        &fake,
        "sendMessage",
        &json!({ "chat_id": group, "text": "here" }),
    );
    fake.say(group, ann, "among us");
    fake.say(group, ann, "/help");
    fake.say(group, ann, "/help@another_bot");
    fake.say(group, ann, "😀 @scrollback_test_bot listen");
    fake.reply_to(group, ann, own["message_id"].as_i64().unwrap(), "thanks");
    let got = updates(&fake);
    assert_eq!(
        texts(&got),
        ["/help", "😀 @scrollback_test_bot listen", "thanks"]
    );
    let mention = json!([{ "type": "mention", "offset": 3, "length": 20 }]);
    assert_eq!(got[1]["message"]["entities"], mention);
    // Outside forums an answer stands in the thread of what it answers, and is in no topic.
    let answer = &got[2]["message"];
    assert_eq!(answer["message_thread_id"], own["message_id"]);
    assert!(answer.get("is_topic_message").is_none());
    fake.reads_all_group_messages(true);
    fake.say(group, ann, "now you hear");
    assert_eq!(texts(&updates(&fake)).len(), 4);
}

#[test]
fn a_topic_is_a_thread_that_must_exist() {
    let fake = FakeTelegram::start().unwrap();
    fake.reads_all_group_messages(true);
    let ann = fake.user("Ann");
    let forum = fake.forum("Forum", &[ann]);
    let topic = fake.topic(forum, "Plans");
    fake.say_in_topic(forum, topic, ann, "in it");
    fake.say(forum, ann, "in general");
    let got = updates(&fake);
    assert!(got[0]["message"]["forum_topic_created"].is_object());
    assert_eq!(got[1]["message"]["message_thread_id"], topic);
    assert_eq!(got[1]["message"]["is_topic_message"], true);
    assert_eq!(got[1]["message"]["chat"]["is_forum"], true);
    assert!(got[2]["message"].get("message_thread_id").is_none());
    let to = |thread: i64| json!({ "chat_id": forum, "text": "hi", "message_thread_id": thread });
    ok(&fake, "sendMessage", &to(topic));
    let refusal = refused(&fake, "sendMessage", &to(topic + 50));
    assert_eq!(refusal, "Bad Request: message thread not found");
    assert_eq!(fake.sent()[0].thread, Some(topic));
}

#[test]
fn a_group_that_migrates_says_where_it_went_and_refuses_with_the_new_identifier() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.user("Ann");
    let group = fake.group("Team", &[ann]);
    let supergroup = fake.migrate(group);
    let got = updates(&fake);
    assert_eq!(got[0]["message"]["migrate_to_chat_id"], supergroup);
    assert_eq!(got[0]["message"]["chat"]["id"], group);
    assert_eq!(got[1]["message"]["migrate_from_chat_id"], group);
    assert_eq!(got[1]["message"]["chat"]["id"], supergroup);
    let answer = call(
        &fake,
        "sendMessage",
        &json!({ "chat_id": group, "text": "hi" }),
    );
    assert_eq!(answer["parameters"]["migrate_to_chat_id"], supergroup);
    let text = "Bad Request: group chat was upgraded to a supergroup chat";
    assert_eq!(answer["description"], text);
    ok(
        &fake,
        "sendMessage",
        &json!({ "chat_id": supergroup, "text": "hi" }),
    );
}

#[test]
fn whoever_does_not_want_the_bot_is_not_written_to() {
    let fake = FakeTelegram::start().unwrap();
    let (ann, bob, eve) = (fake.user("Ann"), fake.user("Bob"), fake.user("Eve"));
    let group = fake.supergroup("Team", &[ann]);
    let send = |chat: i64| {
        refused(
            &fake,
            "sendMessage",
            &json!({ "chat_id": chat, "text": "x" }),
        )
    };
    assert_eq!(
        send(bob),
        "Forbidden: bot can't initiate conversation with a user"
    );
    let _ = (fake.private(ann), fake.private(eve));
    fake.block(ann);
    assert_eq!(send(ann), "Forbidden: bot was blocked by the user");
    fake.deactivate(eve);
    assert_eq!(send(eve), "Forbidden: user is deactivated");
    fake.mute_bot(group, ann);
    assert_eq!(
        send(group),
        "Bad Request: not enough rights to send text messages to the chat"
    );
    fake.kick_bot(group, ann);
    assert_eq!(
        send(group),
        "Forbidden: bot was kicked from the supergroup chat"
    );
    let got = updates(&fake);
    assert_eq!(
        got[0]["my_chat_member"]["new_chat_member"]["status"],
        "kicked"
    );
    assert_eq!(
        got[2]["my_chat_member"]["old_chat_member"]["status"],
        "restricted"
    );
}

#[test]
fn members_are_shown_with_their_standing() {
    let fake = FakeTelegram::start().unwrap();
    let (ann, bob) = (fake.user("Ann"), fake.user("Bob"));
    let group = fake.supergroup("Team", &[ann, bob]);
    let admins = ok(&fake, "getChatAdministrators", &json!({ "chat_id": group }));
    assert_eq!(admins.as_array().unwrap().len(), 1);
    assert_eq!(admins[0]["status"], "creator");
    let of = |user: i64| json!({ "chat_id": group, "user_id": user });
    assert_eq!(ok(&fake, "getChatMember", &of(bob))["status"], "member");
    ok(&fake, "leaveChat", &json!({ "chat_id": group }));
    let refusal = refused(&fake, "getChat", &json!({ "chat_id": group }));
    assert_eq!(
        refusal,
        "Forbidden: bot is not a member of the supergroup chat"
    );
}

#[test]
fn a_business_accounts_messages_come_go_and_can_be_answered() {
    let fake = FakeTelegram::start().unwrap();
    let (owner, customer) = (fake.user("Owner"), fake.user("Customer"));
    let connection = fake.business_connection(owner);
    let id = fake.business_message(&connection, customer, "open?");
    fake.edit_business(&connection, customer, id, "open today?");
    fake.delete_business_messages(&connection, customer, &[id]);
    let got = updates(&fake);
    assert_eq!(got[0]["business_connection"]["is_enabled"], true);
    assert_eq!(
        got[1]["business_message"]["business_connection_id"],
        connection.as_str()
    );
    assert_eq!(got[2]["edited_business_message"]["text"], "open today?");
    assert_eq!(
        got[3]["deleted_business_messages"]["message_ids"],
        json!([id])
    );
    let body = json!({
        "chat_id": customer, "text": "yes", "business_connection_id": connection,
    });
    let sent = ok(&fake, "sendMessage", &body);
    assert_eq!(sent["from"]["id"], owner);
    assert_eq!(sent["sender_business_bot"]["id"], fake.bot_id());
}

#[test]
fn nothing_is_ever_null() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.user("Ann");
    fake.say(ann, ann, "x");
    fake.photo(ann, ann, "look");
    fake.document(ann, ann, "a.txt", "");
    fake.block(ann);
    assert!(!updates(&fake).to_string().contains("null"));
}
