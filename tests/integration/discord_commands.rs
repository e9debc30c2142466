//! Commands on Discord: chosen from its list, typed, or in a message's menu. P14 as far as a person sees it.

use std::time::{Duration, Instant};

use harness::fake_discord::{Failure, permission};
use harness::world::{World, until};
use scrollback_kit::Reply;
use serde_json::{Value, json};

use crate::discord_stage::{Scripted, Stage, quick};

/// Waits until the commands are registered.
async fn registered(stage: &Stage) {
    let all = |fake: &harness::FakeDiscord| fake.registered_commands().len() == 7;
    stage
        .fake
        .until("the commands are registered", all)
        .await
        .unwrap();
}

/// Uses a command; the texts of the answers, and whether only the asker sees them.
async fn used(stage: &Stage, channel: u64, command: &str, options: Value) -> (String, bool) {
    let id = stage.fake.interact(channel, stage.ann, command, &options);
    let filled = |fake: &harness::FakeDiscord| {
        let responses = fake.responses(id);
        responses
            .first()
            .is_some_and(|first| !first.edits.is_empty())
    };
    stage
        .fake
        .until(&format!("/{command} is answered"), filled)
        .await
        .unwrap();
    let responses = stage.fake.responses(id);
    let texts: Vec<&str> = responses.iter().map(|response| response.text()).collect();
    (
        texts.concat(),
        responses.iter().all(|response| response.ephemeral),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_discords_list_are_answered_for_the_right_eyes() {
    let stage = Stage::new();
    let channel = stage.channel;
    let bot = stage.echo().await;
    registered(&stage).await;
    stage.fake.say(channel, stage.ann, "a secret");
    bot.reads(&stage.key(channel), &["a secret"]).await;
    let (help, ephemeral) = used(&stage, channel, "help", json!({})).await;
    assert!(help.contains("/history") && !ephemeral, "{help}");
    let (stats, ephemeral) = used(&stage, channel, "stats", json!({})).await;
    assert!(stats.contains("1 messages") && !ephemeral, "{stats}");
    let (history, ephemeral) = used(&stage, channel, "history", json!({"count": 5})).await;
    assert!(history.contains("Ann: a secret") && ephemeral, "{history}");
    let (explained, ephemeral) = used(&stage, channel, "forget", json!({})).await;
    assert!(explained.contains("for good") && ephemeral, "{explained}");
    bot.reads(&stage.key(channel), &["a secret"]).await;
    let (forgotten, ephemeral) = used(&stage, channel, "forget", json!({"confirm": true})).await;
    assert!(
        forgotten.starts_with("Forgotten: 1 message") && ephemeral,
        "{forgotten}"
    );
    bot.reads(&stage.key(channel), &[]).await;
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_goes_on_for_the_same_eyes() {
    let stage = Stage::new();
    let channel = stage.channel;
    let bot = stage.run(Scripted::new(|_| Reply::None)).await;
    registered(&stage).await;
    for n in 0..50 {
        stage
            .fake
            .say(channel, stage.ann, &format!("{n} {}", "long ".repeat(30)));
    }
    bot.holds(&stage.key(channel), 50).await;
    let id = stage
        .fake
        .interact(channel, stage.ann, "history", &json!({"count": 50}));
    let complete = |fake: &harness::FakeDiscord| fake.responses(id).len() >= 5;
    stage
        .fake
        .until("all parts are there", complete)
        .await
        .unwrap();
    assert!(
        stage
            .fake
            .responses(id)
            .iter()
            .all(|response| response.ephemeral)
    );
    bot.close().await;
    assert!(
        stage
            .fake
            .sent_in(channel)
            .iter()
            .all(|sent| sent.ephemeral)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_comes_as_a_file_that_only_the_asker_sees() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    registered(&stage).await;
    fake.say(channel, stage.ann, "mine");
    fake.say(channel, stage.bob, "not mine");
    bot.holds(&stage.key(channel), 2).await;
    let id = fake.interact(channel, stage.ann, "export", &json!({}));
    let there =
        |fake: &harness::FakeDiscord| fake.responses(id).iter().any(|r| !r.files.is_empty());
    fake.until("the file is there", there).await.unwrap();
    let response = fake.responses(id).remove(0);
    let file = &response.files[0];
    assert!(response.ephemeral && file.name == "export.jsonl");
    let text = String::from_utf8(file.bytes.clone()).unwrap();
    assert!(
        text.contains("\"mine\"") && !text.contains("not mine"),
        "{text}"
    );
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_too_large_is_told_to_the_asker() {
    let stage = Stage::new();
    let bot = stage.echo().await;
    registered(&stage).await;
    stage.fake.say(stage.channel, stage.ann, "hello");
    bot.holds(&stage.key(stage.channel), 1).await;
    let too_large = || Failure::Api {
        status: 413,
        code: 40005,
        message: "Request entity too large",
    };
    stage.fake.fail_next("PATCH /webhooks/**", 1, too_large());
    let (text, hidden) = used(&stage, stage.channel, "export", json!({})).await;
    assert!(text.contains("too large") && hidden, "{text}");
    let private = stage.fake.dm(stage.ann);
    let post = format!("POST /channels/{private}/messages");
    stage.fake.fail_next(&post, 1, too_large());
    let typed = format!("{} /export", stage.me());
    stage.fake.say(stage.channel, stage.ann, &typed);
    let told = stage.said(private, 1).await;
    assert!(told[0].contains("too large"), "{told:?}");
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_commands_that_concern_one_person_are_answered_in_private() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    fake.say(channel, stage.ann, "a secret");
    fake.say(channel, stage.ann, &format!("{} /history", stage.me()));
    let private = fake.dm(stage.ann);
    let told = stage.said(private, 1).await;
    assert!(told[0].contains("Ann: a secret"), "{told:?}");
    fake.say(channel, stage.ann, &format!("{} /export", stage.me()));
    fake.until("the file is there", |fake| {
        fake.sent_in(private)
            .iter()
            .any(|sent| !sent.files.is_empty())
    })
    .await
    .unwrap();
    assert!(fake.sent_in(channel).is_empty());
    fake.say(channel, stage.ann, &format!("{} /help", stage.me()));
    assert!(stage.said(channel, 1).await[0].contains("/export"));
    bot.reads(&stage.key(channel), &["a secret"]).await;
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_private_messages_is_told_how_else_once() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    fake.block(stage.ann, true);
    fake.say(channel, stage.ann, "a secret");
    fake.say(channel, stage.ann, &format!("{} /history", stage.me()));
    let told = stage.said(channel, 1).await;
    assert!(told[0].contains("only you see the answer"), "{told:?}");
    assert!(!told[0].contains("a secret"));
    bot.close().await;
    assert_eq!(fake.sent().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_removed_at_its_authors_or_a_moderators_request() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    let by_ann = fake.say(channel, stage.ann, "by Ann");
    let by_bob = fake.say(channel, stage.bob, "by Bob");
    let delete = |user: u64, message: u64| {
        fake.reply(channel, user, message, &format!("{} /delete", stage.me()));
    };
    delete(stage.ann, by_bob);
    let told = stage.said(fake.dm(stage.ann), 1).await;
    assert!(told[0].starts_with("Only who wrote"), "{told:?}");
    delete(stage.ann, by_ann);
    bot.reads(&stage.key(channel), &["by Bob"]).await;
    let moderators = fake.role(stage.guild, "moderators", false);
    fake.grant(stage.guild, stage.ann, permission::MANAGE_MESSAGES);
    fake.give_role(stage.guild, stage.ann, moderators);
    // From the menu, where Discord itself says what a person may do.
    fake.send_raw_event("INTERACTION_CREATE", menu(&stage, stage.ann, by_bob));
    bot.reads(&stage.key(channel), &[]).await;
    bot.close().await;
}

/// The use of "Remove from my memory" by a moderator, as Discord tells it.
fn menu(stage: &Stage, user: u64, message: u64) -> Value {
    let id = |id: u64| id.to_string();
    json!({
        "id": id(message + (1 << 22)), "application_id": id(stage.fake.bot_id()), "type": 2, "version": 1,
        "token": "none", "channel_id": id(stage.channel), "guild_id": id(stage.guild), "locale": "en-GB",
        "channel": {"id": id(stage.channel), "type": 0}, "entitlements": [], "context": 0,
        "authorizing_integration_owners": {}, "attachment_size_limit": 10_485_760,
        "member": {
            "user": {"id": id(user), "username": "ann", "discriminator": "0", "avatar": null},
            "roles": [], "joined_at": "2025-01-01T00:00:00.000000+00:00", "deaf": false, "mute": false,
            "flags": 0, "permissions": permission::MANAGE_MESSAGES.to_string(),
        },
        "data": {
            "id": "71", "type": 3, "name": "Remove from my memory", "target_id": id(message), "resolved": {},
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_acknowledged_in_time_while_its_channel_is_stuck() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let world = World::in_memory();
    let bot = stage
        .run_on(world.cache("a").await, Scripted::echo(), quick())
        .await;
    registered(&stage).await;
    world.store.set_away(true);
    fake.say(channel, stage.ann, "this cannot be taken in now");
    let start = Instant::now();
    let id = fake.interact(channel, stage.ann, "help", &json!({}));
    fake.until("it is acknowledged", |fake| fake.acknowledged(id))
        .await
        .unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    world.store.set_away(false);
    until("it is answered", async || {
        fake.responses(id)
            .iter()
            .any(|response| response.text().contains("/history"))
    })
    .await;
    bot.close().await;
}
