//! getUpdates: offsets, conflicts, waiting, duplicates, faults.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{begin, call, end, ok, refused, texts};
use crate::fake_telegram::{Failure, FakeTelegram};

fn id_of(update: &serde_json::Value) -> i64 {
    update["update_id"].as_i64().unwrap()
}

#[test]
fn an_unconfirmed_update_comes_again_and_a_confirmed_one_does_not() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.user("Ann");
    for text in ["one", "two", "three"] {
        fake.say(ann, ann, text);
    }
    let first = ok(&fake, "getUpdates", &json!({}));
    assert_eq!(texts(&first), ["one", "two", "three"]);
    assert_eq!(ok(&fake, "GetUpdates", &json!({})), first);
    let limited = ok(&fake, "getUpdates", &json!({ "limit": 2 }));
    assert_eq!(texts(&limited), ["one", "two"]);
    assert!(fake.confirmed().is_empty());
    let offset = id_of(&limited[1]) + 1;
    assert_eq!(
        texts(&ok(&fake, "getupdates", &json!({ "offset": offset }))),
        ["three"]
    );
    assert_eq!(fake.highest_confirmed(), Some(offset - 1));
    assert_eq!(fake.confirmed().len(), 2);
}

#[test]
fn a_negative_offset_keeps_the_last_updates_only() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.user("Ann");
    for text in ["one", "two", "three"] {
        fake.say(ann, ann, text);
    }
    assert_eq!(
        texts(&ok(&fake, "getUpdates", &json!({ "offset": -1 }))),
        ["three"]
    );
    assert_eq!(texts(&ok(&fake, "getUpdates", &json!({}))), ["three"]);
}

#[test]
fn a_waiting_poll_ends_with_the_update_and_a_newer_poll_takes_it_over() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.user("Ann");
    let older = begin(&fake, "getUpdates", "application/json", b"{\"timeout\":50}");
    fake.wait_for("the first poll", |fake| fake.calls().len() == 1)
        .unwrap();
    let newer = begin(&fake, "getUpdates", "application/json", b"{\"timeout\":50}");
    let (status, body) = end(older).unwrap();
    assert_eq!(status, 409);
    assert!(body.contains(
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance \
         is running"
    ));
    let began = Instant::now();
    fake.say(ann, ann, "hello");
    let (status, body) = end(newer).unwrap();
    assert_eq!(status, 200);
    assert!(body.contains("hello"));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_hook_runs_before_the_confirming_call_is_answered() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.user("Ann");
    fake.say(ann, ann, "one");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&seen);
    fake.on_confirm(move |updates| hook.lock().unwrap().extend(updates.iter().map(id_of)));
    let first = ok(&fake, "getUpdates", &json!({}));
    assert!(seen.lock().unwrap().is_empty());
    ok(
        &fake,
        "getUpdates",
        &json!({ "offset": id_of(&first[0]) + 1 }),
    );
    assert_eq!(*seen.lock().unwrap(), [id_of(&first[0])]);
}

#[test]
fn wanted_kinds_are_remembered_and_others_are_not_queued() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.user("Ann");
    ok(
        &fake,
        "getUpdates",
        &json!({ "allowed_updates": ["edited_message"] }),
    );
    let id = fake.say(ann, ann, "one");
    fake.edit(ann, id, "two");
    let updates = ok(&fake, "getUpdates", &json!({}));
    assert_eq!(updates.as_array().unwrap().len(), 1);
    let edited = &updates[0]["edited_message"];
    assert_eq!(
        (&edited["text"], &edited["message_id"]),
        (&json!("two"), &json!(id))
    );
    assert!(edited["edit_date"].is_number());
}

#[test]
fn duplicates_come_under_a_new_identifier_and_under_their_own() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.user("Ann");
    fake.duplicate(100, 7);
    fake.say(ann, ann, "one");
    let first = ok(&fake, "getUpdates", &json!({}));
    let id = id_of(&first[0]);
    let again = ok(&fake, "getUpdates", &json!({ "offset": id + 1 }));
    assert_eq!(texts(&again), ["one", "one"]);
    assert_eq!(id_of(&again[0]), id);
    assert!(id_of(&again[1]) > id);
    assert_eq!(again[1]["message"], first[0]["message"]);
    let last = ok(
        &fake,
        "getUpdates",
        &json!({ "offset": id_of(&again[1]) + 1 }),
    );
    assert!(texts(&last).is_empty());
}

#[test]
fn faults_happen_as_planned_and_then_end() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.private(fake.user("Ann"));
    fake.fail_next("sendMessage", 1, Failure::TooManyRequests(7));
    fake.fail_next("sendMessage", 1, Failure::Html(502));
    fake.fail_next("sendMessage", 1, Failure::LostRequest);
    fake.fail_next("sendMessage", 1, Failure::LostReply);
    let body = json!({ "chat_id": ann, "text": "hi" });
    let answer = call(&fake, "sendMessage", &body);
    assert_eq!(answer["parameters"]["retry_after"], 7);
    assert_eq!(answer["description"], "Too Many Requests: retry after 7");
    let send = || {
        let bytes = body.to_string();
        end(begin(
            &fake,
            "sendMessage",
            "application/json",
            bytes.as_bytes(),
        ))
    };
    let (status, page) = send().unwrap();
    assert!(status == 502 && page.starts_with("<html>"));
    assert_eq!(send(), None);
    assert!(fake.sent().is_empty());
    assert_eq!(send(), None);
    assert_eq!(fake.sent().len(), 1);
    assert_eq!(send().unwrap().0, 200);
}

#[test]
fn dropped_connections_end_without_an_answer_and_offline_lasts() {
    let fake = FakeTelegram::start().unwrap();
    let poll = begin(&fake, "getUpdates", "application/json", b"{\"timeout\":50}");
    fake.wait_for("the poll", |fake| fake.calls().len() == 1)
        .unwrap();
    fake.drop_connections();
    assert_eq!(end(poll), None);
    ok(&fake, "getMe", &json!({}));
    fake.offline(true);
    assert_eq!(end(begin(&fake, "getMe", "application/json", b"{}")), None);
    fake.offline(false);
    ok(&fake, "getMe", &json!({}));
}

#[test]
fn a_token_that_is_revoked_and_a_method_that_is_none_are_refused() {
    let fake = FakeTelegram::start().unwrap();
    let me = ok(&fake, "getMe", &json!({}));
    assert_eq!(me["can_read_all_group_messages"], false);
    assert_eq!(refused(&fake, "getMee", &json!({})), "Not Found");
    assert!(refused(&fake, "close", &json!({})).starts_with("Too Many Requests: retry after "));
    fake.revoke();
    let answer = call(&fake, "getMe", &json!({}));
    assert_eq!(answer["error_code"], 401);
    assert_eq!(answer["description"], "Unauthorized");
}
