//! Telegram in trouble, a bad token, another instance: waited out or told, never a loss (issue 3, bad input).

use std::time::Duration;

use harness::FakeTelegram;
use harness::fake_telegram::{Call, Failure};
use scrollback_telegram::{Error, TelegramConfig};

use super::{Ear, Running, World, quick};

#[tokio::test(flavor = "multi_thread")]
async fn trouble_at_the_start_and_later_is_waited_out() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    fake.fail_next("GetMe", 1, Failure::Html(502));
    fake.fail_next("SetMyCommands", 1, Failure::Html(500));
    fake.fail_next("GetUpdates", 1, Failure::Garbage);
    fake.fail_next("GetUpdates", 1, Failure::TooManyRequests(1));
    let ann = fake.user("Ann");
    fake.say(ann, ann, "one");
    let ear = Ear::echo();
    let running = world.start(&ear).await?;
    fake.until_sent(1).await?;
    fake.fail_next("GetUpdates", 1, Failure::LostReply);
    fake.drop_connections();
    fake.say(ann, ann, "two");
    let sent = fake.until_sent(2).await?;
    assert_eq!(sent[1].text, "re: two");
    running.stop().await?;
    assert_eq!(fake.sent().len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_revoked_token_ends_the_run_with_what_to_do() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let wrong = TelegramConfig::new("1:wrong").api_url(fake.url());
    let running = Running::start(world.cache().await?, &Ear::echo(), wrong, quick())?;
    let error = running.ended().await?.unwrap_err();
    assert!(matches!(error, Error::Unauthorized), "{error}");
    assert!(error.to_string().contains("@BotFather"), "{error}");

    let running = world.start(&Ear::echo()).await?;
    fake.revoke();
    fake.drop_connections();
    let error = running.ended().await?.unwrap_err();
    assert!(matches!(error, Error::Unauthorized), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_instance_is_waited_out() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let two = "Conflict: terminated by other getUpdates request; make sure that only one bot instance \
               is running";
    fake.fail_next("GetUpdates", 1, Failure::Refused(409, two.into()));
    let running = world.start(&Ear::echo()).await?;
    let ann = fake.user("Ann");
    fake.say(ann, ann, "one");
    fake.until_sent(1).await?;
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_heard_while_telegram_is_away() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    fake.offline(true);
    let running = Running::start(world.cache().await?, &Ear::echo(), world.config(), quick())?;
    tokio::time::timeout(Duration::from_secs(5), running.stop()).await??;
    fake.offline(false);
    let running = world.start(&Ear::echo()).await?;
    fake.offline(true);
    tokio::time::timeout(Duration::from_secs(8), running.stop()).await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_blocks_the_bot_costs_one_call_until_they_come_back() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    fake.reads_all_group_messages(true);
    let running = world.start(&Ear::echo()).await?;
    let (ann, bo) = (fake.user("Ann"), fake.user("Bo"));
    fake.say(ann, ann, "one");
    fake.until_sent(1).await?;
    fake.block(ann);
    let cats = fake.supergroup("Cats", &[ann, bo]);
    // Answers for the asker alone, who has blocked the bot.
    for _ in 0..3 {
        fake.say(cats, ann, &format!("/history@{}", fake.bot_username()));
    }
    fake.until_sent(4).await?;
    let to_ann = |fake: &FakeTelegram| {
        let calls = fake.calls_of("SendMessage");
        calls
            .iter()
            .filter(|call| call.body["chat_id"] == ann)
            .count()
    };
    assert_eq!(to_ann(fake), 1, "none after the block was told");
    fake.unblock(ann);
    fake.say(ann, ann, "back");
    fake.until_sent(5).await?;
    assert_eq!(to_ann(fake), 2);
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_answer_is_not_tried_again_and_a_new_message_opens_the_chat() -> anyhow::Result<()>
{
    let world = World::new()?;
    let fake = &world.fake;
    let running = world.start(&Ear::echo()).await?;
    let bo = fake.user("Bo");
    let cats = fake.supergroup("Cats", &[bo]);
    let is_a = |call: &Call| {
        call.body["text"]
            .as_str()
            .unwrap_or_default()
            .ends_with(" a")
    };
    fake.fail_next(
        "SendMessage",
        1,
        Failure::Refused(403, "Forbidden: bot was kicked".into()),
    );
    fake.say(cats, bo, &world.calling("a"));
    fake.until("the refusal came", |fake| {
        fake.calls_of("SendMessage").iter().any(is_a)
    })
    .await?;
    // The refusal may be on its way when the next message is taken in; the one after it opens the chat.
    let answered = |fake: &FakeTelegram| {
        fake.sent_in(cats)
            .iter()
            .any(|one| one.text.ends_with(" b"))
    };
    for _ in 0..50 {
        fake.say(cats, bo, &world.calling("b"));
        let within = Duration::from_millis(200);
        if tokio::time::timeout(within, fake.until("an answer", answered))
            .await
            .is_ok()
        {
            break;
        }
    }
    assert!(answered(fake));
    running.stop().await?;
    assert_eq!(
        fake.calls_of("SendMessage")
            .iter()
            .filter(|call| is_a(call))
            .count(),
        1,
        "no retry"
    );
    Ok(())
}
