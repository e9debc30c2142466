//! A group becomes a supergroup: another id, message numbers from 1 again, and the same conversation.

use std::sync::Arc;

use futures::FutureExt as _;
use harness::FakeTelegram;
use harness::fake_telegram::Failure;
use scrollback_kit::Reply;
use tokio::sync::Notify;

use super::{Ear, World};

#[tokio::test(flavor = "multi_thread")]
async fn the_conversation_goes_on_in_the_supergroup_and_after_a_restart() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    fake.reads_all_group_messages(true);
    let ear = Ear::echo();
    let ann = fake.user("Ann");
    let group = fake.group("Cats", &[ann]);
    let running = world.start(&ear).await?;
    fake.say(group, ann, "my cat is Mog");
    let supergroup = fake.migrate(group);
    let first = fake.say(supergroup, ann, "she is grey");
    fake.say(supergroup, ann, &world.calling("who?"));
    let sent = fake.until_sent(1).await?;
    assert_eq!(
        (sent[0].chat, sent[0].reply_to.is_some()),
        (supergroup, true)
    );
    assert_eq!(ear.last()[..2], ["Ann: my cat is Mog", "Ann: she is grey"]);
    fake.edit(supergroup, first, "she is black");
    running.kept(world.group_key(group), 4).await?;
    fake.until("all is confirmed", |fake| fake.pending().is_empty())
        .await?;
    running.crash().await;

    let running = world.start(&ear).await?;
    fake.reply_to(supergroup, ann, sent[0].message_id, "and now?");
    let sent = fake.until_sent(2).await?;
    assert_eq!(sent[1].chat, supergroup);
    let known = ear.last();
    assert_eq!(known[..2], ["Ann: my cat is Mog", "Ann: she is black"]);
    assert_eq!(known.len(), 5, "{known:?}");
    let replied = ear.heard().last().unwrap().message.reply_to.clone();
    assert_eq!(
        replied,
        Some(format!("{supergroup}:{}", sent[0].message_id))
    );
    running.kept(world.group_key(group), 6).await?;
    let kept = running.history(world.group_key(group)).await?;
    assert_eq!(kept.len(), 6, "{kept:?}");
    assert!(
        running
            .history(world.group_key(supergroup))
            .await?
            .is_empty()
    );
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn message_numbers_of_both_chats_do_not_meet() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    fake.reads_all_group_messages(true);
    let running = world.start(&Ear::silent()).await?;
    let ann = fake.user("Ann");
    let group = fake.group("Cats", &[ann]);
    let old: Vec<i64> = (0..30)
        .map(|n| fake.say(group, ann, &format!("old {n}")))
        .collect();
    let supergroup = fake.migrate(group);
    // As far as the numbers that the group has used.
    let new: Vec<i64> = (0..80)
        .map(|n| fake.say(supergroup, ann, &format!("new {n}")))
        .collect();
    assert!(
        new.iter().any(|id| old.contains(id)),
        "the numbers meet: {old:?} {new:?}"
    );
    fake.until("all is confirmed", |fake| fake.pending().is_empty())
        .await?;
    let kept = running.history(world.group_key(group)).await?;
    assert_eq!(kept.len(), 110);
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_finds_its_group_moved_follows_it() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let ear = Ear::with(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Ok(Reply::Text("found you".into()))
        }
        .boxed()
    });
    let ann = fake.user("Ann");
    let group = fake.group("Cats", &[ann]);
    let running = world.start(&ear).await?;
    // The bot is not told before it sends: its next poll hangs.
    fake.fail_next("GetUpdates", 1, Failure::Hang);
    fake.say(group, ann, &world.calling("where am I?"));
    let polls = fake.calls_of("GetUpdates").len();
    let asked = || !ear.heard().is_empty();
    let hangs = |fake: &FakeTelegram| fake.calls_of("GetUpdates").len() > polls && asked();
    fake.until("the question is asked", hangs).await?;
    let supergroup = fake.migrate(group);
    go.notify_one();
    let sent = fake.until_sent(1).await?;
    assert_eq!(
        (sent[0].chat, sent[0].text.as_str()),
        (supergroup, "found you")
    );
    running.kept(world.group_key(group), 2).await?;
    fake.drop_connections();
    fake.until("all is confirmed", |fake| fake.pending().is_empty())
        .await?;
    running.stop().await?;
    assert_eq!(fake.sent().len(), 1);
    Ok(())
}
