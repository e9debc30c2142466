//! That the fake keeps to the API it stands for, seen through a raw client.

mod client;
mod rest;

use serde_json::{Value, json};

use super::{Asked, FakeDiscord, Post, intent};
use client::{ALL, Gateway, call, identify};

fn fake() -> FakeDiscord {
    FakeDiscord::start().unwrap()
}

/// A fake with one text channel and one user.
fn small() -> (FakeDiscord, u64, u64) {
    let fake = fake();
    let guild = fake.guild("Garden");
    let channel = fake.text_channel(guild, "general");
    let ann = fake.user("Ann");
    (fake, channel, ann)
}

fn send(fake: &FakeDiscord, channel: u64, body: &Value) -> client::Got {
    call(fake, "POST", &format!("/channels/{channel}/messages"), body)
}

#[tokio::test]
async fn a_session_starts_with_ready_and_its_guilds() {
    let (fake, channel, _) = small();
    let (mut gateway, ready) = Gateway::ready(&fake, ALL).await;
    assert_eq!(ready["v"], 10);
    assert_eq!(ready["guilds"][0]["unavailable"], true);
    assert_eq!(ready["application"]["id"], fake.bot_id().to_string());
    let guild = gateway.event("GUILD_CREATE").await;
    assert_eq!(guild["channels"][0]["id"], channel.to_string());
    assert_eq!(guild["members"].as_array().unwrap().len(), 1);
    gateway.send(&json!({"op": 1, "d": gateway.seq})).await;
    assert_eq!(gateway.next().await.unwrap()["op"], 11);
    assert_eq!(
        (fake.identifies(), fake.heartbeats(), fake.connected()),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn guilds_belong_to_shards_and_private_messages_to_the_first() {
    let fake = fake();
    let guilds = [fake.guild("A"), fake.guild("B")];
    let ann = fake.user("Ann");
    for shard in [0, 1] {
        let mut gateway = Gateway::connect(&fake).await;
        let mut hello = identify(fake.token(), ALL);
        hello["d"]["shard"] = json!([shard, 2]);
        gateway.send(&hello).await;
        let ready = gateway.event("READY").await;
        assert_eq!(ready["guilds"].as_array().unwrap().len(), 1);
        let own = guilds.iter().find(|id| (*id >> 22) % 2 == shard).unwrap();
        assert_eq!(gateway.event("GUILD_CREATE").await["id"], own.to_string());
        let channel = fake.text_channel(*own, "general");
        fake.say(fake.dm(ann), ann, "private");
        fake.say(channel, ann, "public");
        let first = gateway.event("MESSAGE_CREATE").await;
        assert_eq!(
            first["content"],
            if shard == 0 { "private" } else { "public" }
        );
    }
}

#[tokio::test]
async fn content_is_hidden_without_its_intent_unless_it_is_for_the_bot() {
    let (fake, channel, ann) = small();
    let (mut gateway, _) = Gateway::ready(&fake, ALL & !intent::MESSAGE_CONTENT).await;
    let own = format!("<@{}> hi", fake.bot_id());
    fake.post(
        channel,
        ann,
        &Post::new("secret").attach("a.png", "image/png", 9),
    );
    fake.say(channel, ann, &own);
    fake.say(fake.dm(ann), ann, "private");
    let hidden = gateway.event("MESSAGE_CREATE").await;
    assert_eq!(
        (&hidden["content"], &hidden["attachments"]),
        (&json!(""), &json!([]))
    );
    assert_eq!(gateway.event("MESSAGE_CREATE").await["content"], own);
    let private = gateway.event("MESSAGE_CREATE").await;
    assert_eq!(private["content"], "private");
    assert!(private.get("guild_id").is_none() && private.get("member").is_none());
}

#[tokio::test]
async fn events_come_only_for_the_intents_asked_for() {
    let (fake, channel, ann) = small();
    let (mut gateway, _) = Gateway::ready(&fake, intent::DIRECT_MESSAGES).await;
    fake.say(channel, ann, "public");
    fake.say(fake.dm(ann), ann, "private");
    let next = gateway.next().await.unwrap();
    assert_eq!(
        (&next["t"], &next["s"]),
        (&json!("MESSAGE_CREATE"), &json!(2))
    );
    assert_eq!(next["d"]["content"], "private");
}

#[tokio::test]
async fn a_message_is_a_full_payload() {
    let (fake, channel, ann) = small();
    let (mut gateway, _) = Gateway::ready(&fake, ALL).await;
    let first = fake.say(channel, ann, "hi");
    let answer = fake.reply(channel, ann, first, "and?");
    gateway.event("MESSAGE_CREATE").await;
    let event = gateway.event("MESSAGE_CREATE").await;
    assert_eq!(event["id"], answer.to_string());
    assert_eq!(event["type"], 19);
    assert_eq!(event["referenced_message"]["id"], first.to_string());
    assert_eq!(event["message_reference"]["message_id"], first.to_string());
    assert!(event["edited_timestamp"].is_null() && event["flags"].is_u64());
    assert_eq!(event["author"]["discriminator"], "0");
    assert!(event["member"]["joined_at"].is_string());
    assert!(event["timestamp"].as_str().unwrap().ends_with("+00:00"));
    for list in [
        "mentions",
        "mention_roles",
        "attachments",
        "embeds",
        "components",
    ] {
        assert!(event[list].is_array(), "{list}");
    }
}

#[tokio::test]
async fn a_resumed_session_replays_exactly_what_was_missed() {
    let (fake, channel, ann) = small();
    let (mut gateway, ready) = Gateway::ready(&fake, ALL).await;
    fake.say(channel, ann, "seen");
    gateway.event("MESSAGE_CREATE").await;
    fake.drop_connections();
    assert_eq!(gateway.closed().await, 0);
    fake.say(channel, ann, "missed 1");
    fake.say(channel, ann, "missed 2");
    let mut again = Gateway::resume(&fake, &ready["session_id"], gateway.seq).await;
    for text in ["missed 1", "missed 2"] {
        let next = again.next().await.unwrap();
        assert_eq!(next["d"]["content"], text);
    }
    let resumed = again.next().await.unwrap();
    assert_eq!(resumed["t"], "RESUMED");
    assert!(resumed["d"].is_object());
    let calls = fake.gateway_calls();
    let replayed = calls.iter().find_map(|call| match call.asked {
        Asked::Resume { replayed, .. } => replayed,
        _ => None,
    });
    assert_eq!(replayed, Some(2));
}

#[tokio::test]
async fn what_cannot_be_replayed_is_an_invalid_session() {
    let (fake, channel, ann) = small();
    let mut unknown = Gateway::resume(&fake, &json!("nobody"), 1).await;
    let next = unknown.next().await.unwrap();
    assert_eq!((&next["op"], &next["d"]), (&json!(9), &json!(false)));

    let (mut gateway, ready) = Gateway::ready(&fake, ALL).await;
    fake.lose_session();
    gateway.closed().await;
    let mut lost = Gateway::resume(&fake, &ready["session_id"], gateway.seq).await;
    assert_eq!(lost.next().await.unwrap()["op"], 9);

    fake.replay_buffer(2);
    let (mut gateway, ready) = Gateway::ready(&fake, ALL).await;
    fake.drop_connections();
    gateway.closed().await;
    fake.wait_for("the connection is gone", |fake| fake.connected() == 0)
        .unwrap();
    for _ in 0..5 {
        fake.say(channel, ann, "too much");
    }
    let mut late = Gateway::resume(&fake, &ready["session_id"], gateway.seq).await;
    assert_eq!(late.next().await.unwrap()["op"], 9);
}

#[tokio::test]
async fn wrong_payloads_close_with_their_codes() {
    let fake = fake();
    fake.allow_intents(0);
    let token = fake.token().to_owned();
    let cases = [
        (json!({"op": 77, "d": null}), 4001),
        (json!({"op": 2, "d": {}}), 4002),
        (json!({"op": 3, "d": {}}), 4003),
        (identify("wrong", 1), 4004),
        (identify(&token, 1 << 40), 4013),
        (identify(&token, intent::MESSAGE_CONTENT), 4014),
        (
            json!({"op": 6, "d": {"token": "wrong", "session_id": "x", "seq": 1}}),
            4004,
        ),
    ];
    for (payload, code) in cases {
        let mut gateway = Gateway::connect(&fake).await;
        gateway.send(&payload).await;
        assert_eq!(gateway.closed().await, code, "{payload}");
    }
    let mut gateway = Gateway::connect(&fake).await;
    gateway.say("{no json").await;
    assert_eq!(gateway.closed().await, 4002);
    let mut wrong_shard = identify(&token, 1);
    wrong_shard["d"]["shard"] = json!([2, 2]);
    let mut gateway = Gateway::connect(&fake).await;
    gateway.send(&wrong_shard).await;
    assert_eq!(gateway.closed().await, 4010);
    fake.require_shards(true);
    let mut gateway = Gateway::connect(&fake).await;
    gateway.send(&identify(&token, 1)).await;
    assert_eq!(gateway.closed().await, 4011);
}

#[tokio::test]
async fn later_faults_close_with_their_codes() {
    let (fake, ..) = small();
    let (mut gateway, _) = Gateway::ready(&fake, ALL).await;
    gateway.send(&identify(fake.token(), ALL)).await;
    assert_eq!(gateway.closed().await, 4005);
    let (mut gateway, ready) = Gateway::ready(&fake, ALL).await;
    fake.drop_connections();
    gateway.closed().await;
    let mut ahead = Gateway::resume(&fake, &ready["session_id"], 999).await;
    assert_eq!(ahead.closed().await, 4007);
    let (mut gateway, _) = Gateway::ready(&fake, ALL).await;
    for _ in 0..125 {
        gateway.send(&json!({"op": 1, "d": null})).await;
    }
    assert_eq!(gateway.closed().await, 4008);
    let (mut gateway, _) = Gateway::ready(&fake, ALL).await;
    fake.ask_reconnect();
    fake.invalidate_session(true);
    gateway.event("GUILD_CREATE").await;
    let mut ops = [gateway.next().await.unwrap(), gateway.next().await.unwrap()]
        .map(|payload| payload["op"].as_u64().unwrap());
    ops.sort_unstable();
    assert_eq!(ops, [7, 9]);
    fake.revoke();
    assert_eq!(gateway.closed().await, 4004);
    assert_eq!(call(&fake, "GET", "/users/@me", &Value::Null).status, 401);
}

#[tokio::test]
async fn compressed_payloads_are_zlib_streams_of_their_own() {
    let (fake, ..) = small();
    fake.compress_from(0);
    let (mut gateway, ready) = Gateway::ready(&fake, ALL).await;
    assert!(gateway.binary && ready["user"]["bot"] == true);
    gateway.event("GUILD_CREATE").await;
    assert!(gateway.binary);
}

#[tokio::test]
async fn a_whole_connection_can_be_one_zlib_stream() {
    let (fake, ..) = small();
    let mut gateway = Gateway::connect_streamed(&fake).await;
    gateway.send(&identify(fake.token(), ALL)).await;
    gateway.event("READY").await;
    assert_eq!(gateway.event("GUILD_CREATE").await["name"], "Garden");
}

#[tokio::test]
async fn paused_events_come_later_and_duplicates_come_twice() {
    let (fake, channel, ann) = small();
    let (mut gateway, _) = Gateway::ready(&fake, ALL).await;
    gateway.event("GUILD_CREATE").await;
    fake.pause_events(true);
    fake.duplicate(100, 7);
    fake.say(channel, ann, "twice");
    assert_eq!(fake.unsent_events(), 2);
    fake.pause_events(false);
    let first = gateway.event("MESSAGE_CREATE").await;
    assert_eq!(gateway.event("MESSAGE_CREATE").await, first);
}

#[tokio::test]
async fn the_gateway_echoes_the_bots_own_messages() {
    let (fake, channel, _) = small();
    let (mut gateway, _) = Gateway::ready(&fake, ALL & !intent::MESSAGE_CONTENT).await;
    let sent = send(&fake, channel, &json!({"content": "hello", "nonce": "n1"}));
    let echo = gateway.event("MESSAGE_CREATE").await;
    assert_eq!((sent.status, &echo["id"]), (200, &sent.json()["id"]));
    assert_eq!(
        (&echo["nonce"], &echo["content"]),
        (&json!("n1"), &json!("hello"))
    );
    let path = format!(
        "/channels/{channel}/messages/{}",
        echo["id"].as_str().unwrap()
    );
    assert_eq!(
        call(&fake, "PATCH", &path, &json!({"content": "better"})).status,
        200
    );
    let update = gateway.event("MESSAGE_UPDATE").await;
    assert!(update["edited_timestamp"].is_string());
    assert_eq!(fake.sent()[0].text(), "better");
    assert_eq!(call(&fake, "DELETE", &path, &Value::Null).status, 204);
    assert_eq!(gateway.event("MESSAGE_DELETE").await["id"], echo["id"]);
}

#[tokio::test]
async fn a_thread_announces_itself_in_its_parent_and_begins_with_its_starter() {
    let (fake, channel, ann) = small();
    let (mut gateway, _) = Gateway::ready(&fake, ALL).await;
    let from = fake.say(channel, ann, "let us talk");
    let thread = fake.thread(channel, ann, "Talk", Some(from));
    assert_eq!(thread, from);
    let made = gateway.event("THREAD_CREATE").await;
    assert_eq!(
        (&made["type"], &made["newly_created"]),
        (&json!(11), &json!(true))
    );
    let announced = gateway.event("MESSAGE_CREATE").await;
    assert_eq!(
        (&announced["type"], &announced["content"]),
        (&json!(18), &json!("Talk"))
    );
    let starter = gateway.event("MESSAGE_CREATE").await;
    assert_eq!(starter["type"], 21);
    assert_eq!(starter["referenced_message"]["content"], "let us talk");
    assert_eq!(send(&fake, thread, &json!({"content": "here"})).status, 200);
    fake.archive(thread, true);
    let refused = send(&fake, thread, &json!({"content": "here"}));
    assert_eq!((refused.status, refused.code()), (400, 50083));
}

#[tokio::test]
async fn a_delayed_message_can_be_overtaken() {
    let (fake, channel, ann) = small();
    let (mut gateway, _) = Gateway::ready(&fake, ALL).await;
    gateway.event("GUILD_CREATE").await;
    fake.pause_events(true);
    fake.say(channel, ann, "first");
    fake.reorder(100, 7);
    fake.say(channel, ann, "second");
    fake.pause_events(false);
    let texts = [
        gateway.event("MESSAGE_CREATE").await["content"].clone(),
        gateway.event("MESSAGE_CREATE").await["content"].clone(),
    ];
    assert_eq!(texts, ["second", "first"]);
}
