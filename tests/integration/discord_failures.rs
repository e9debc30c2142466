//! A Discord bot in bad times: refusals, outages, limits, slow answers, the end. P5, P9, P12.

use std::time::{Duration, Instant};

use harness::fake_discord::{Failure, intent, permission};
use harness::world::until;
use scrollback_discord::{Discord, DiscordConfig, Error};
use scrollback_kit::{Reply, RespondError};

use crate::discord_stage::{Running, Scripted, Stage, quick};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_outcome_is_unknown_appears_once() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    let after = Duration::from_millis(200);
    for (n, failure) in [
        Failure::LostReply,
        Failure::LostRequest,
        Failure::Html(502),
        Failure::Garbage,
        Failure::status(500),
        Failure::RateLimited {
            retry_after: after,
            global: false,
        },
        Failure::RateLimited {
            retry_after: after,
            global: true,
        },
    ]
    .into_iter()
    .enumerate()
    {
        fake.fail_next("POST /channels/*/messages", 1, failure.clone());
        fake.say(channel, stage.ann, &format!("{} {n}", stage.me()));
        let said = stage.said(channel, n + 1).await;
        assert_eq!(said[n], format!("re: @Scrollback {n}"), "{failure:?}");
        // Kept with the id that Discord gave it, so the second try has found it.
        bot.holds(&stage.key(channel), 2 * (n + 1)).await;
        assert_eq!(fake.sent_in(channel).len(), n + 1, "{failure:?}");
    }
    assert_eq!((fake.failures_left(), fake.impatient_calls()), (0, 0));
    let last = fake.sent_in(channel).pop().unwrap();
    let kept = bot.history(&stage.key(channel)).await.pop().unwrap();
    assert_eq!(kept.id, Some(last.id.to_string()));
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_kept_to_when_discord_tells_them() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    fake.rate_limit("POST /channels/*/messages", 3, Duration::from_millis(500));
    let bot = stage.echo().await;
    for n in 0..9 {
        fake.say(channel, stage.ann, &format!("{} {n}", stage.me()));
    }
    let said = stage.said(channel, 9).await;
    let wanted: Vec<String> = (0..9).map(|n| format!("re: @Scrollback {n}")).collect();
    assert_eq!(said, wanted);
    assert_eq!(fake.impatient_calls(), 0);
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_may_not_write_it_does_not_keep_trying() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    fake.deny(channel, permission::SEND_MESSAGES);
    for n in 0..10 {
        fake.say(channel, stage.ann, &format!("{} {n}", stage.me()));
    }
    bot.holds(&stage.key(channel), 10).await;
    let elsewhere = fake.text_channel(stage.guild, "elsewhere");
    fake.say(elsewhere, stage.ann, &format!("{} hello", stage.me()));
    stage.said(elsewhere, 1).await;
    let posts = || {
        let calls = fake.calls();
        let path = format!("/channels/{channel}/messages");
        calls
            .iter()
            .filter(|call| call.method == "POST" && call.path == path)
            .count()
    };
    assert_eq!(posts(), 1);
    fake.allow(channel, permission::SEND_MESSAGES);
    until("the change is known", async || fake.unsent_events() == 0).await;
    fake.say(channel, stage.ann, &format!("{} again", stage.me()));
    // What still waited for its answer may come before it.
    let again = |fake: &harness::FakeDiscord| {
        let mut sent = fake.sent_in(channel).into_iter();
        sent.any(|one| one.text() == "re: @Scrollback again")
    };
    fake.until("the answer is there", again).await.unwrap();
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_deleted_while_it_is_answered_is_answered_without_a_reference() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let responder = Scripted::echo();
    *responder.slow.lock() = Some((channel, Duration::from_millis(400)));
    let bot = stage.run(responder).await;
    let question = fake.say(channel, stage.ann, &format!("{} hello", stage.me()));
    fake.until("it is typing", |fake| !fake.typing().is_empty())
        .await
        .unwrap();
    fake.delete(channel, question);
    assert_eq!(stage.said(channel, 1).await, ["re: @Scrollback hello"]);
    bot.reads(&stage.key(channel), &["re: @Scrollback hello"])
        .await;
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_deleted_while_it_grows_harms_nothing() {
    use futures::{StreamExt as _, stream};
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage
        .run(Scripted::new(|_| {
            let pieces =
                ["one ", "two ", "three ", "four"].map(|p| Ok::<_, RespondError>(p.to_owned()));
            let slowly = stream::iter(pieces).then(|piece| async {
                tokio::time::sleep(Duration::from_millis(150)).await;
                piece
            });
            Reply::Stream(slowly.boxed())
        }))
        .await;
    fake.say(channel, stage.ann, &format!("{} count", stage.me()));
    stage.said(channel, 1).await;
    let id = fake.sent_in(channel)[0].id;
    fake.delete(channel, id);
    fake.say(channel, stage.ann, "life goes on");
    until("life goes on", async || {
        bot.texts(&stage.key(channel))
            .await
            .contains(&"life goes on".to_owned())
    })
    .await;
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_must_mend_ends_the_run_with_what_to_do() {
    let stage = Stage::new();
    let fake = &stage.fake;
    let ended = async |config: DiscordConfig| {
        let discord = Discord::new(config).unwrap();
        let mut bot = Running::start(discord, stage.cache().await, Scripted::echo(), quick());
        let ended = bot.ended().await;
        bot.bot.close(Duration::from_secs(5)).await.unwrap();
        ended
    };
    let wrong = DiscordConfig::new("canary.wrong.token").api_url(fake.url());
    let error = ended(wrong).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("canary"));

    fake.allow_intents(0);
    let error = ended(stage.config()).await.unwrap_err();
    assert!(matches!(error, Error::MissingIntent), "{error:?}");
    assert!(error.to_string().contains("Message Content Intent"));

    fake.allow_intents(intent::MESSAGE_CONTENT);
    fake.require_shards(true);
    let error = ended(stage.config()).await.unwrap_err();
    assert!(
        matches!(error, Error::Gateway { code: 4011, .. }),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_message_content_intent_it_reads_what_is_for_it() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    fake.allow_intents(0);
    let discord = Discord::new(stage.config().message_content(false)).unwrap();
    let bot = Running::start(discord, stage.cache().await, Scripted::echo(), quick());
    stage.connected().await;
    fake.say(channel, stage.ann, "not for it");
    fake.say(channel, stage.ann, &format!("{} hello", stage.me()));
    assert_eq!(stage.said(channel, 1).await, ["re: @Scrollback hello"]);
    // What comes empty takes no room in the context.
    let wanted = ["@Scrollback hello", "re: @Scrollback hello"];
    bot.reads(&stage.key(channel), &wanted).await;
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_bot_may_not_read_back_it_answers_without_a_reference() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    fake.deny(channel, permission::READ_MESSAGE_HISTORY);
    fake.say(channel, stage.ann, &format!("{} hello", stage.me()));
    assert_eq!(stage.said(channel, 1).await, ["re: @Scrollback hello"]);
    assert_eq!(fake.sent_in(channel)[0].reference, None);
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_taken_back_ends_the_run() {
    let stage = Stage::new();
    let mut bot = stage.echo().await;
    stage.fake.revoke();
    let error = bot.ended().await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized), "{error:?}");
    bot.bot.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_cache_ends_the_run() {
    let stage = Stage::new();
    let mut bot = stage.echo().await;
    bot.cache().close(Duration::from_secs(5)).await.unwrap();
    stage.fake.say(stage.channel, stage.ann, "too late");
    let error = bot.ended().await.unwrap_err();
    assert!(matches!(error, Error::Closed), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_a_reply_finishes_it_and_loses_nothing() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let responder = Scripted::echo();
    *responder.slow.lock() = Some((channel, Duration::from_millis(700)));
    let bot = stage.run(responder).await;
    fake.say(channel, stage.ann, &format!("{} hello", stage.me()));
    fake.until("it is typing", |fake| !fake.typing().is_empty())
        .await
        .unwrap();
    bot.close().await;
    assert_eq!(stage.said(channel, 1).await, ["re: @Scrollback hello"]);
    fake.until("it is gone", |fake| fake.connected() == 0)
        .await
        .unwrap();
    let bot = stage.echo().await;
    bot.reads(
        &stage.key(channel),
        &["@Scrollback hello", "re: @Scrollback hello"],
    )
    .await;
    bot.close().await;
    assert_eq!(fake.sent().len(), 1);
}

/// The time from question to answer in each of 20 channels, three times each, worst but one in a hundred.
async fn worst(stage: &Stage, channels: &[u64], round: usize) -> Duration {
    let mut times = Vec::new();
    for n in 0..3 {
        let start = Instant::now();
        for channel in channels {
            stage
                .fake
                .say(*channel, stage.ann, &format!("{} {n}", stage.me()));
        }
        let mut left: Vec<u64> = channels.to_vec();
        while !left.is_empty() {
            let done =
                |fake: &harness::FakeDiscord, c: &u64| fake.sent_in(*c).len() > 3 * round + n;
            let some = |fake: &harness::FakeDiscord| left.iter().any(|c| done(fake, c));
            stage.fake.until("an answer", some).await.unwrap();
            let before = left.len();
            left.retain(|c| !done(&stage.fake, c));
            times.extend(std::iter::repeat_n(start.elapsed(), before - left.len()));
        }
    }
    times.sort_unstable();
    times[times.len() * 99 / 100 - 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_session_delays_no_other() {
    let stage = Stage::new();
    let fake = &stage.fake;
    let channels: Vec<u64> = (0..20)
        .map(|n| fake.text_channel(stage.guild, &format!("c{n}")))
        .collect();
    let responder = Scripted::echo();
    *responder.thinks.lock() = Duration::from_millis(200);
    let bot = stage.run(responder.clone()).await;
    worst(&stage, &channels, 0).await;
    let without = worst(&stage, &channels, 1).await;
    *responder.slow.lock() = Some((stage.channel, Duration::from_secs(10)));
    for n in 0..3 {
        fake.say(stage.channel, stage.bob, &format!("{} {n}", stage.me()));
    }
    let with = worst(&stage, &channels, 2).await;
    assert!(
        fake.sent_in(stage.channel).is_empty(),
        "the slow session was not slow"
    );
    assert!(
        with < without.mul_f64(1.5),
        "{with:?} with a slow session, {without:?} without"
    );
    stage.kill(bot).await;
}
