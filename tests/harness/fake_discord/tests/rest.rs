//! Requests: what is refused and how, what is recorded, what fails on demand.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{ALL, Gateway, call, raw};
use super::{fake, send, small};
use crate::fake_discord::{Failure, permission};

#[test]
fn messages_are_refused_in_the_apis_own_words() {
    let (fake, channel, ann) = small();
    let long = send(&fake, channel, &json!({"content": "é".repeat(2001)}));
    assert_eq!((long.status, long.code()), (400, 50035));
    let field = &long.json()["errors"]["content"]["_errors"][0];
    assert_eq!(field["code"], "BASE_TYPE_MAX_LENGTH");
    assert_eq!(
        send(&fake, channel, &json!({"content": "é".repeat(2000)})).status,
        200
    );
    assert_eq!(
        send(&fake, channel, &json!({"content": " \n"})).code(),
        50006
    );
    assert_eq!(send(&fake, 1, &json!({"content": "x"})).code(), 10003);
    let nonce = send(
        &fake,
        channel,
        &json!({"content": "x", "nonce": "n".repeat(26)}),
    );
    assert!(nonce.json()["errors"]["nonce"].is_object());
    let mut lost = json!({"content": "x", "message_reference": {"message_id": "77"}});
    let refused = send(&fake, channel, &lost).json();
    let field = &refused["errors"]["message_reference"]["_errors"][0];
    assert_eq!(field["code"], "REPLIES_UNKNOWN_MESSAGE");
    lost["message_reference"]["fail_if_not_exists"] = false.into();
    assert_eq!(send(&fake, channel, &lost).status, 200);
    let both = json!({"content": "x", "allowed_mentions": {"parse": ["users"], "users": ["5"]}});
    assert_eq!(send(&fake, channel, &both).code(), 50035);
    let foreign = fake.say(channel, ann, "mine");
    let path = format!("/channels/{channel}/messages/{foreign}");
    assert_eq!(
        call(&fake, "PATCH", &path, &json!({"content": "x"})).code(),
        50005
    );
    let path = format!("/channels/{channel}/messages/12345");
    assert_eq!(
        call(&fake, "PATCH", &path, &json!({"content": "x"})).code(),
        10008
    );
    let broken = raw(&fake, "GET", "/users/@me", "Bot x", "application/json", "");
    assert_eq!(
        (broken.status, broken.body.as_str()),
        (401, r#"{"code":0,"message":"401: Unauthorized"}"#)
    );
}

#[test]
fn permissions_decide_what_the_bot_may_see_and_write() {
    let (fake, channel, ann) = small();
    fake.say(channel, ann, "hi");
    let list = format!("/channels/{channel}/messages?limit=10");
    fake.deny(channel, permission::SEND_MESSAGES);
    assert_eq!(send(&fake, channel, &json!({"content": "x"})).code(), 50013);
    fake.deny(channel, permission::READ_MESSAGE_HISTORY);
    assert_eq!(call(&fake, "GET", &list, &Value::Null).json(), json!([]));
    fake.deny(channel, permission::VIEW_CHANNEL);
    assert_eq!(call(&fake, "GET", &list, &Value::Null).code(), 50001);
    fake.block(ann, true);
    assert_eq!(
        send(&fake, fake.dm(ann), &json!({"content": "x"})).code(),
        50007
    );
    let other = fake.guild("Other");
    let channel = fake.text_channel(other, "general");
    fake.kick(other);
    assert_eq!(send(&fake, channel, &json!({"content": "x"})).code(), 50001);
}

#[test]
fn pages_of_history_are_newest_first() {
    let (fake, channel, ann) = small();
    let ids: Vec<u64> = (0..5)
        .map(|n| fake.say(channel, ann, &n.to_string()))
        .collect();
    let page = |query: &str| -> Vec<String> {
        let got = call(
            &fake,
            "GET",
            &format!("/channels/{channel}/messages?{query}"),
            &Value::Null,
        );
        let page = got.json();
        let page = page.as_array().unwrap().iter();
        page.map(|one| one["content"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(page("limit=2"), ["4", "3"]);
    assert_eq!(page(&format!("limit=2&before={}", ids[3])), ["2", "1"]);
    assert_eq!(page(&format!("limit=2&after={}", ids[0])), ["2", "1"]);
    assert_eq!(page(&format!("limit=3&around={}", ids[2])), ["3", "2", "1"]);
    let path = format!("/channels/{channel}/messages?limit=101");
    assert_eq!(call(&fake, "GET", &path, &Value::Null).code(), 50035);
}

#[test]
fn an_enforced_nonce_returns_the_message_that_has_it() {
    let (fake, channel, _) = small();
    let body = json!({"content": "once", "nonce": "abc", "enforce_nonce": true});
    let ids = [0, 1].map(|_| send(&fake, channel, &body).json()["id"].clone());
    assert_eq!(ids[0], ids[1]);
    assert_eq!(fake.sent().len(), 1);
    send(&fake, channel, &json!({"content": "twice", "nonce": "abc"}));
    assert_eq!(fake.sent().len(), 2);
}

#[test]
fn pings_are_those_that_really_go_out() {
    let (fake, channel, ann) = small();
    let asked = fake.say(channel, ann, "?");
    let text = format!("@everyone @here <@{ann}>");
    let mut body = json!({"content": text, "message_reference": {"message_id": asked.to_string()}});
    send(&fake, channel, &body);
    body["allowed_mentions"] = json!({"parse": []});
    send(&fake, channel, &body);
    body["allowed_mentions"] = json!({"parse": [], "users": [ann.to_string()]});
    send(&fake, channel, &body);
    fake.deny(channel, permission::MENTION_EVERYONE);
    body["allowed_mentions"] = json!({"parse": ["everyone"], "replied_user": true});
    send(&fake, channel, &body);
    let pings: Vec<_> = fake.sent().into_iter().map(|sent| sent.pings).collect();
    assert!(pings[0].everyone && pings[0].here);
    assert_eq!(
        (&pings[0].users, pings[0].replied_user),
        (&vec![ann], Some(ann))
    );
    assert!(pings[1].is_empty());
    assert_eq!((pings[2].everyone, &pings[2].users), (false, &vec![ann]));
    assert_eq!(
        (pings[3].everyone, pings[3].replied_user),
        (false, Some(ann))
    );
    assert_eq!(fake.pings().len(), 3);
}

#[test]
fn files_come_with_their_bytes() {
    let (fake, channel, _) = small();
    let body = "--B\r\ncontent-disposition: form-data; name=\"files[0]\"; filename=\"a.md\"\r\n\
        content-type: text/markdown\r\n\r\n# Hi\r\n--B\r\n\
        content-disposition: form-data; name=\"payload_json\"\r\n\r\n\
        {\"attachments\":[{\"id\":0,\"filename\":\"a.md\"}]}\r\n--B--\r\n";
    let token = format!("Bot {}", fake.token());
    let path = format!("/channels/{channel}/messages");
    let got = raw(
        &fake,
        "POST",
        &path,
        &token,
        "multipart/form-data; boundary=B",
        body,
    );
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(got.json()["attachments"][0]["filename"], "a.md");
    assert_eq!(fake.sent()[0].files[0].bytes, b"# Hi");
}

#[test]
fn a_full_bucket_says_how_long_to_wait_and_sees_who_does_not() {
    let (fake, channel, _) = small();
    fake.rate_limit("POST /channels/*/messages", 2, Duration::from_mins(1));
    let got = [0, 1, 2, 3].map(|_| send(&fake, channel, &json!({"content": "x"})));
    assert_eq!(got.each_ref().map(|one| one.status), [200, 200, 429, 429]);
    assert!(got[0].head.contains("x-ratelimit-remaining: 1"));
    assert!(got[2].head.contains("retry-after: ") && got[2].head.contains("scope: user"));
    assert!(got[2].json()["retry_after"].as_f64().unwrap() > 50.0);
    assert_eq!(fake.impatient_calls(), 1);
    assert_eq!(call(&fake, "GET", "/users/@me", &Value::Null).status, 200);
}

#[test]
fn requests_fail_as_they_are_told() {
    let (fake, channel, _) = small();
    let post = "POST /channels/*/messages";
    let body = json!({"content": "x"});
    fake.fail_next(post, 1, Failure::Html(502));
    fake.fail_next(post, 1, Failure::status(403));
    fake.fail_next(post, 1, Failure::LostRequest);
    fake.fail_next(post, 1, Failure::LostReply);
    assert!(send(&fake, channel, &body).body.starts_with("<html>"));
    assert_eq!(send(&fake, channel, &body).code(), 50013);
    assert_eq!(send(&fake, channel, &body).status, 0);
    assert_eq!(fake.sent().len(), 0);
    assert_eq!(send(&fake, channel, &body).status, 0);
    assert_eq!((fake.sent().len(), fake.failures_left()), (1, 0));
    fake.offline(true);
    assert_eq!(send(&fake, channel, &body).status, 0);
    fake.offline(false);
    assert_eq!(send(&fake, channel, &body).status, 200);
}

#[test]
fn commands_are_checked() {
    let fake = fake();
    let path = format!("/applications/{}/commands", fake.bot_id());
    let put = |name: &str| {
        let commands = json!([{"name": name, "description": "Says", "type": 1}]);
        call(&fake, "PUT", &path, &commands)
    };
    assert_eq!(put("Loud").code(), 50035);
    assert_eq!(put(&"x".repeat(33)).code(), 50035);
    assert_eq!(put("ask").status, 200);
    assert_eq!(fake.registered_commands()[0]["name"], "ask");
}

#[tokio::test]
async fn an_interaction_is_answered_in_time_once() {
    let (fake, channel, ann) = small();
    let commands = json!([{"name": "ask", "description": "Asks", "options": [
        {"type": 3, "name": "text", "description": "What", "required": true},
    ]}]);
    let path = format!("/applications/{}/commands", fake.bot_id());
    assert_eq!(call(&fake, "PUT", &path, &commands).status, 200);
    let (mut gateway, _) = Gateway::ready(&fake, ALL).await;
    let id = fake.interact(channel, ann, "ask", &json!({"text": "why"}));
    let event = gateway.event("INTERACTION_CREATE").await;
    assert_eq!(event["data"]["options"][0]["value"], "why");
    assert!(event["member"]["permissions"].is_string());
    let callback = |id: u64, body: &Value| {
        let token = fake.interaction_token(id).unwrap();
        call(
            &fake,
            "POST",
            &format!("/interactions/{id}/{token}/callback"),
            body,
        )
    };
    let hook = format!(
        "/webhooks/{}/{}",
        fake.bot_id(),
        event["token"].as_str().unwrap()
    );
    assert_eq!(
        call(&fake, "POST", &hook, &json!({"content": "early"})).code(),
        10015
    );
    let wait = json!({"type": 5, "data": {"flags": 64}});
    assert_eq!(callback(id, &wait).status, 204);
    assert_eq!(callback(id, &wait).code(), 40060);
    let thinking = gateway.event("MESSAGE_CREATE").await;
    assert!(thinking["flags"] == 192 && thinking.get("guild_id").is_none());
    let original = format!("{hook}/messages/@original");
    assert_eq!(
        call(&fake, "PATCH", &original, &json!({"content": "because"})).status,
        200
    );
    assert_eq!(
        call(
            &fake,
            "POST",
            &hook,
            &json!({"content": "and", "flags": 64})
        )
        .status,
        200
    );
    let sent = fake.responses(id);
    assert_eq!((sent[0].text(), sent[1].text()), ("because", "and"));
    assert!(sent.iter().all(|one| one.ephemeral));
    let list = format!("/channels/{channel}/messages");
    assert_eq!(call(&fake, "GET", &list, &Value::Null).json(), json!([]));
    fake.interaction_deadline(Duration::ZERO);
    let late = fake.interact(channel, ann, "ask", &json!({"text": "why"}));
    let refused = callback(late, &json!({"type": 4, "data": {"content": "x"}}));
    assert_eq!((refused.status, refused.code()), (404, 10062));
}
