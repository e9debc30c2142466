//! A Discord bot that misses things: lost connections, sessions, processes. P2, P9, P13.

use std::time::Duration;

use harness::fake_discord::{Failure, permission};
use harness::world::{World, until};
use scrollback::Role;
use scrollback_kit::Reply;
use serde_json::json;

use crate::discord_stage::{Running, Scripted, Stage, quick, scoped, texts};

/// Says `m0`, `m1` … in a channel.
fn chat(stage: &Stage, channel: u64, numbers: std::ops::Range<usize>) -> Vec<u64> {
    numbers
        .map(|n| stage.fake.say(channel, stage.ann, &format!("m{n}")))
        .collect()
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| format!("m{n}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn resumed_sessions_lose_nothing_and_double_nothing() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    fake.say(channel, stage.bob, "first");
    bot.holds(&stage.key(channel), 1).await;
    fake.replay_overlap(5);
    let breaks: [&dyn Fn(); 5] = [
        &|| fake.drop_connections(),
        &|| fake.ask_reconnect(),
        &|| fake.close(4000),
        &|| fake.invalidate_session(true),
        &|| fake.ask_heartbeat(),
    ];
    for (n, lose) in breaks.iter().enumerate() {
        chat(&stage, channel, n * 20..n * 20 + 10);
        lose();
        chat(&stage, channel, n * 20 + 10..n * 20 + 20);
        bot.holds(&stage.key(channel), n * 20 + 21).await;
        let back =
            |fake: &harness::FakeDiscord| fake.resumes() == 4.min(n + 1) && fake.connected() == 1;
        fake.until("it is back", back).await.unwrap();
    }
    assert_eq!(bot.texts(&stage.key(channel)).await[1..], numbered(0..100));
    let asked = (fake.identifies(), fake.resumes());
    assert_eq!(asked, (1, 4), "{:#?}", fake.gateway_calls());
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connection_is_noticed_and_its_session_goes_on() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    fake.heartbeat_interval(Duration::from_millis(300));
    let bot = stage.echo().await;
    fake.acknowledge_heartbeats(false);
    fake.until("it resumes", |fake| fake.resumes() > 0)
        .await
        .unwrap();
    fake.acknowledge_heartbeats(true);
    chat(&stage, channel, 0..5);
    let kept = bot.holds(&stage.key(channel), 5).await;
    assert_eq!(texts(&kept), numbered(0..5));
    assert_eq!(fake.identifies(), 1);
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_session_what_was_missed_comes_before_what_is_said_now() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let quiet = fake.text_channel(stage.guild, "quiet");
    let bot = stage.echo().await;
    chat(&stage, channel, 0..10);
    let of_quiet = fake.say(quiet, stage.bob, "first");
    bot.holds(&stage.key(channel), 10).await;
    bot.holds(&stage.key(quiet), 1).await;

    fake.offline(true);
    fake.lose_session();
    chat(&stage, channel, 10..260);
    fake.delete(quiet, of_quiet);
    let kept = fake.say(quiet, stage.bob, "second");
    fake.edit(quiet, kept, "second, edited");
    fake.say(quiet, stage.ann, &format!("{} you there?", stage.me()));
    fake.delay("GET /channels/*/messages", Duration::from_millis(300));
    fake.offline(false);
    stage.connected().await;
    // Live, while the pages are still on their way.
    chat(&stage, channel, 260..270);
    let texts_kept = texts(&bot.holds(&stage.key(channel), 270).await);
    assert_eq!(texts_kept, numbered(0..270));
    let answer = "re: @Scrollback you there?";
    assert_eq!(stage.said(quiet, 1).await, [answer]);
    let wanted = ["second, edited", "@Scrollback you there?", answer];
    bot.reads(&stage.key(quiet), &wanted).await;
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_deletions_that_were_missed_are_caught_up_also_where_nothing_new_was_said() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    let ids = chat(&stage, channel, 0..5);
    bot.holds(&stage.key(channel), 5).await;
    bot.close().await;

    fake.edit(channel, ids[1], "m1, edited");
    fake.delete(channel, ids[2]);
    fake.delete(channel, ids[4]);
    let bot = stage.echo().await;
    bot.reads(&stage.key(channel), &["m0", "m1, edited", "m3"])
        .await;
    bot.close().await;
    // The second look changes nothing.
    let bot = stage.echo().await;
    let before = bot.cache().stats().appended;
    chat(&stage, channel, 5..6);
    bot.reads(&stage.key(channel), &["m0", "m1, edited", "m3", "m5"])
        .await;
    assert_eq!(bot.cache().stats().appended, before + 1);
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_and_its_thread_do_not_miss_each_others_messages_in_one_session() {
    let stage = Stage::new();
    let (fake, channel, ann) = (&stage.fake, stage.channel, stage.ann);
    let thread = fake.thread(channel, ann, "cats", None);
    let key = scrollback::SessionKey::new("discord", fake.bot_id()).user(ann);
    for round in 1..=2 {
        let config = scoped(scrollback::Scope::User);
        let cache = stage.cache().await;
        let bot = stage.run_on(cache, Scripted::echo(), config).await;
        // In the second round both places are compared before these are taken in.
        fake.say(channel, ann, &format!("in the channel {round}"));
        fake.say(thread, ann, &format!("in the thread {round}"));
        bot.holds(&key, 2 * round).await;
        bot.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_bot_may_not_read_back_nothing_counts_as_deleted() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    chat(&stage, channel, 0..3);
    bot.holds(&stage.key(channel), 3).await;
    bot.close().await;
    fake.deny(channel, permission::READ_MESSAGE_HISTORY);
    chat(&stage, channel, 3..4);
    let bot = stage.echo().await;
    chat(&stage, channel, 4..5);
    bot.reads(&stage.key(channel), &["m0", "m1", "m2", "m4"])
        .await;
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_while_the_process_is_down_is_fetched_and_answered_once() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let private = fake.dm(stage.bob);
    let bot = stage.echo().await;
    fake.say(private, stage.bob, "hello");
    stage.said(private, 1).await;
    chat(&stage, channel, 0..3);
    bot.holds(&stage.key(channel), 3).await;
    until("cursors are stored", async || {
        bot.cursor(fake, stage.guild, channel).await.is_some()
    })
    .await;
    stage.kill(bot).await;

    fake.say(channel, stage.ann, &format!("{} still there?", stage.me()));
    fake.say(private, stage.bob, "and here?");
    let thread = fake.thread(channel, stage.ann, "made meanwhile", None);
    fake.say(thread, stage.ann, "in a new thread");
    let made = fake.text_channel(stage.guild, "made-meanwhile");
    fake.say(made, stage.bob, "in a new channel");
    let bot = stage.echo().await;
    let wanted = [
        "m0",
        "m1",
        "m2",
        "@Scrollback still there?",
        "re: @Scrollback still there?",
    ];
    bot.reads(&stage.key(channel), &wanted).await;
    assert_eq!(stage.said(private, 2).await, ["re: hello", "re: and here?"]);
    bot.reads(&stage.key(channel).thread(thread), &["in a new thread"])
        .await;
    bot.reads(&stage.key(made), &["in a new channel"]).await;
    bot.close().await;
    let bot = stage.echo().await;
    bot.reads(&stage.key(channel), &wanted).await;
    bot.close().await;
    assert_eq!(fake.sent().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guild_seen_for_the_first_time_begins_now() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let old = fake.thread(channel, stage.ann, "old", None);
    fake.say(old, stage.ann, "long ago");
    fake.archive(old, false);
    chat(&stage, channel, 0..3);
    let bot = stage.echo().await;
    chat(&stage, channel, 3..5);
    bot.reads(&stage.key(channel), &["m3", "m4"]).await;
    let joined = fake.guild("Later");
    let there = fake.text_channel(joined, "general");
    fake.say(old, stage.ann, "again");
    bot.reads(&stage.key(channel).thread(old), &["again"]).await;
    fake.say(there, stage.ann, "in another guild");
    let key = scrollback::SessionKey::new("discord", fake.bot_id())
        .space(joined)
        .channel(there);
    bot.reads(&key, &["in another guild"]).await;
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_a_message_that_was_never_taken_in_is_not_kept_by_an_edit() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let before = fake.say(channel, stage.ann, "before the bot came");
    let bot = stage.echo().await;
    fake.edit(channel, before, "before the bot came, edited");
    chat(&stage, channel, 0..1);
    bot.reads(&stage.key(channel), &["m0"]).await;
    let kept = bot
        .cache()
        .session(stage.key(channel))
        .append(harness::world::say("x", "y"))
        .await
        .unwrap();
    // The first entry is m0; an edit would have been one too.
    assert_eq!(kept.receipt().seq.number(), 2);
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_sent_and_not_kept_before_a_kill_is_there_afterwards() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    chat(&stage, channel, 0..1);
    bot.holds(&stage.key(channel), 1).await;
    until("cursors are stored", async || {
        bot.cursor(fake, stage.guild, channel).await.is_some()
    })
    .await;
    stage.kill(bot).await;
    // What an earlier process did in its last moments, and which it could not note any more.
    let question = fake.say(channel, stage.ann, &format!("{} a question", stage.me()));
    fake.reply(channel, fake.bot_id(), question, "its answer");
    let command = fake.say(channel, stage.ann, &format!("{} /stats", stage.me()));
    fake.reply(channel, fake.bot_id(), command, "what a command showed");
    let bot = stage.run(Scripted::new(|_| Reply::None)).await;
    bot.reads(
        &stage.key(channel),
        &["m0", "@Scrollback a question", "its answer"],
    )
    .await;
    let kept = bot.history(&stage.key(channel)).await;
    assert_eq!(kept[2].role, Role::Assistant);
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cursor_runs_ahead_of_the_journal() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let world = World::in_memory();
    let bot = stage
        .run_on(world.cache("a").await, Scripted::echo(), quick())
        .await;
    let ids = chat(&stage, channel, 0..3);
    bot.holds(&stage.key(channel), 3).await;
    until("the cursor is stored", async || {
        bot.cursor(fake, stage.guild, channel).await == Some(ids[2])
    })
    .await;
    // The cache takes nothing in a channel that it does not know: the store is away.
    let other = fake.text_channel(stage.guild, "other");
    world.store.set_away(true);
    fake.say(other, stage.ann, &format!("{} lost?", stage.me()));
    chat(&stage, other, 0..5);
    until("the events are delivered", async || {
        fake.unsent_events() == 0
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1200)).await; // a round of storing cursors
    stage.kill(bot).await;
    world.store.set_away(false);

    let bot = stage
        .run_on(world.cache("a").await, Scripted::echo(), quick())
        .await;
    let mut wanted = vec!["@Scrollback lost?"];
    wanted.extend(["m0", "m1", "m2", "m3", "m4", "re: @Scrollback lost?"]);
    bot.holds(&stage.key(other), wanted.len()).await;
    let mut kept = bot.texts(&stage.key(other)).await;
    kept.sort();
    wanted.sort_unstable();
    assert_eq!(kept, wanted);
    assert_eq!(stage.said(other, 1).await, ["re: @Scrollback lost?"]);
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_can_wait_is_fetched_later_and_in_order() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let world = World::in_memory();
    let bot = stage
        .run_on(world.cache("a").await, Scripted::echo(), quick())
        .await;
    world.store.set_away(true);
    chat(&stage, channel, 0..700);
    until("the events are delivered", async || {
        fake.unsent_events() == 0
    })
    .await;
    world.store.set_away(false);
    let kept = bot.holds(&stage.key(channel), 700).await;
    assert_eq!(texts(&kept), numbered(0..700));
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_cannot_be_read_now_holds_up_no_other() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let others: Vec<u64> = ["a", "b", "c"]
        .map(|name| fake.text_channel(stage.guild, name))
        .into();
    let bot = stage.echo().await;
    for channel in others.iter().chain([&channel]) {
        chat(&stage, *channel, 0..1);
        bot.holds(&stage.key(*channel), 1).await;
    }
    bot.close().await;
    for channel in others.iter().chain([&channel]) {
        chat(&stage, *channel, 1..3);
    }
    fake.fail_next(
        &format!("GET /channels/{channel}/messages"),
        4,
        Failure::Html(502),
    );
    fake.fail_next(
        &format!("GET /channels/{}/messages", others[0]),
        1,
        Failure::status(403),
    );
    fake.fail_next(
        &format!("GET /channels/{}/messages", others[1]),
        1,
        Failure::Garbage,
    );
    let after = Duration::from_millis(300);
    let limited = Failure::RateLimited {
        retry_after: after,
        global: false,
    };
    fake.fail_next(&format!("GET /channels/{}/messages", others[2]), 1, limited);
    let bot = stage.echo().await;
    for fetched in [others[1], others[2], channel] {
        bot.reads(&stage.key(fetched), &["m0", "m1", "m2"]).await;
    }
    // Refused is refused; life goes on.
    chat(&stage, others[0], 3..4);
    bot.reads(&stage.key(others[0]), &["m0", "m3"]).await;
    assert_eq!((fake.failures_left(), fake.impatient_calls()), (0, 0));
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_as_it_comes_is_fetched() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    chat(&stage, channel, 0..1);
    bot.holds(&stage.key(channel), 1).await;
    fake.pause_events(true);
    chat(&stage, channel, 1..2);
    let (guild, channel_id) = (stage.guild.to_string(), channel.to_string());
    let broken = json!({"guild_id": guild, "channel_id": channel_id, "content": 7});
    fake.send_raw_event("MESSAGE_CREATE", broken);
    fake.send_raw_event("MESSAGE_UPDATE", json!([1, 2]));
    fake.send_raw_event("NEW_IN_2027", json!({"id": "1"}));
    fake.pause_events(false);
    chat(&stage, channel, 2..3);
    bot.reads(&stage.key(channel), &["m0", "m1", "m2"]).await;
    fake.until("the channel is read again", |fake| {
        fake.calls().iter().any(|call| call.path.contains("after="))
    })
    .await
    .unwrap();
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_discord_gives_up_is_followed_by_a_new_one() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    chat(&stage, channel, 0..3);
    bot.holds(&stage.key(channel), 3).await;
    fake.invalidate_session(false);
    chat(&stage, channel, 3..6);
    fake.until("a new session", |fake| fake.identifies() == 2)
        .await
        .unwrap();
    chat(&stage, channel, 6..9);
    let kept = bot.holds(&stage.key(channel), 9).await;
    assert_eq!(texts(&kept), numbered(0..9));
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_at_the_start_is_waited_out() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    fake.offline(true);
    let mut bot: Running = stage.start_on(stage.cache().await, Scripted::echo(), quick());
    tokio::time::sleep(Duration::from_millis(300)).await;
    fake.fail_next("GET /gateway/bot", 1, Failure::Html(503));
    fake.offline(false);
    stage.connected().await;
    fake.say(channel, stage.ann, &format!("{} hello", stage.me()));
    assert_eq!(stage.said(channel, 1).await, ["re: @Scrollback hello"]);
    bot.stop().await.unwrap();
    bot.bot.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_breaks_a_lost_session_and_a_kill_lose_nothing_and_double_nothing() {
    let stage = Stage::new();
    let fake = &stage.fake;
    let channels: Vec<u64> = (0..50)
        .map(|n| fake.text_channel(stage.guild, &format!("c{n}")))
        .collect();
    let mut bot = stage.echo().await;
    fake.say(stage.channel, stage.bob, "first");
    bot.holds(&stage.key(stage.channel), 1).await;
    fake.duplicate(10, 7);
    fake.replay_overlap(20);
    for n in 0..60 {
        for channel in &channels {
            fake.say(*channel, stage.ann, &format!("m{n}"));
        }
        match n {
            10 | 50 => fake.drop_connections(),
            20 => fake.close(4000),
            30 => {
                stage.kill(bot).await;
                chat(&stage, stage.channel, 0..1);
                bot = stage.echo().await;
            }
            40 => fake.lose_session(),
            _ => {}
        }
    }
    for channel in channels {
        let kept = bot.holds(&stage.key(channel), 60).await;
        assert_eq!(texts(&kept), numbered(0..60));
    }
    bot.reads(&stage.key(stage.channel), &["first", "m0"]).await;
    bot.close().await;
}
