//! Answers when sending goes wrong: rate limits obeyed, nothing said twice, and what is said is kept.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use harness::fake_telegram::Failure;
use scrollback_kit::Reply;
use tokio::sync::Notify;

use super::{Ear, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_obeyed_by_all_that_goes_to_that_chat() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let running = world.start(&Ear::echo()).await?;
    let (ann, bo) = (fake.user("Ann"), fake.user("Bo"));
    let forum = fake.forum("Pets", &[ann, bo]);
    fake.say(forum, ann, "the first message");
    let (cats, dogs) = (fake.topic(forum, "Cats"), fake.topic(forum, "Dogs"));
    fake.fail_next("SendMessage", 1, Failure::TooManyRequests(2));
    fake.say_in_topic(forum, cats, ann, &world.calling("one"));
    fake.until("it is refused", |fake| {
        !fake.calls_of("SendMessage").is_empty()
    })
    .await?;
    let refused = fake.calls_of("SendMessage")[0].at;
    fake.say_in_topic(forum, dogs, ann, &world.calling("two"));
    fake.say(bo, bo, "elsewhere");
    let sent = fake.until_sent(3).await?;
    assert_eq!(sent[0].chat, bo, "another chat does not wait");
    for late in &sent[1..] {
        let waited = late.at.duration_since(refused);
        assert!(waited.as_millis() >= 1900, "{waited}");
    }
    running.stop().await?;
    assert_eq!(fake.calls_of("SendMessage").len(), 4, "none in between");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_sent_is_not_sent_again() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let running = world.start(&Ear::echo()).await?;
    let ann = fake.user("Ann");
    for (failure, sent) in [
        (Failure::LostReply, 1),
        (Failure::Html(502), 0),
        (Failure::Garbage, 0),
    ] {
        let (before, calls) = (fake.sent().len(), fake.calls_of("SendMessage").len());
        fake.fail_next("SendMessage", 1, failure);
        fake.say(ann, ann, "lost");
        let called = |fake: &harness::FakeTelegram| fake.calls_of("SendMessage").len() > calls;
        fake.until("it is sent", called).await?;
        fake.say(ann, ann, "next");
        fake.until_sent(before + sent + 1).await?;
        assert_eq!(fake.calls_of("SendMessage").len(), calls + 2);
    }
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_is_kept_once_with_its_id() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let running = world.start(&Ear::echo()).await?;
    let ann = fake.user("Ann");
    let asked = fake.say(ann, ann, "hello");
    let sent = fake.until_sent(1).await?;
    running.stop().await?;
    let cache = world.cache().await?;
    let kept = cache.session(world.private_key(ann)).export().await?;
    let answer = &kept[1].1;
    assert_eq!(answer.text, "re: hello");
    assert_eq!(answer.id, Some(sent[0].message_id.to_string()));
    assert_eq!(answer.reply_to, Some(asked.to_string()));
    cache.close(Duration::from_secs(5)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_is_shown_where_an_answer_is_being_made() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let ear = Ear::with(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Ok(Reply::Text("done".into()))
        }
        .boxed()
    });
    let running = world.start(&ear).await?;
    let ann = fake.user("Ann");
    let forum = fake.forum("Pets", &[ann]);
    fake.say(forum, ann, "the first message");
    let cats = fake.topic(forum, "Cats");
    fake.say_in_topic(forum, cats, ann, &world.calling("one"));
    fake.until("typing is shown", |fake| !fake.actions().is_empty())
        .await?;
    let shown = &fake.actions()[0];
    assert_eq!((shown.chat, shown.thread), (forum, Some(cats)));
    assert_eq!(shown.action, "typing");
    go.notify_one();
    fake.until_sent(1).await?;
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_permission_to_write_is_told_once_and_the_bot_goes_on() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    fake.reads_all_group_messages(true);
    let ear = Ear::echo();
    let running = world.start(&ear).await?;
    let ann = fake.user("Ann");
    let cats = fake.supergroup("Cats", &[ann]);
    fake.mute_bot(cats, ann);
    fake.say(cats, ann, &world.calling("one"));
    fake.until("it is refused", |fake| {
        !fake.calls_of("SendMessage").is_empty()
    })
    .await?;
    fake.promote_bot(cats, ann);
    fake.say(cats, ann, &world.calling("two"));
    fake.until_sent(1).await?;
    assert_eq!(ear.last().len(), 2, "what was not said is not kept");
    running.stop().await?;
    assert_eq!(fake.calls_of("SendMessage").len(), 2);
    Ok(())
}
