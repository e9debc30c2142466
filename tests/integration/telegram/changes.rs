//! Edits as they reach the responder, hot and cold (P13), and once however often they are delivered (P9); what
//! is erased while it waits for its answer (P14).

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use harness::world::until;
use scrollback_kit::Reply;
use tokio::sync::Notify;

use super::{Ear, World};

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_in_the_next_context_hot_and_cold() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    fake.reads_all_group_messages(true);
    let ear = Ear::echo();
    let ann = fake.user("Ann");
    let cats = fake.supergroup("Cats", &[ann]);
    let running = world.start(&ear).await?;
    let first = fake.say(cats, ann, "my cat is Mog");
    fake.edit(cats, first, "my cat is Tom");
    let asked = fake.say(cats, ann, &world.calling("who?"));
    fake.until_sent(1).await?;
    let expected = [
        "Ann: my cat is Tom".to_owned(),
        format!("Ann: {}", world.calling("who?")),
    ];
    assert_eq!(ear.last(), expected);
    // Twice within a second, and of a message that was answered.
    fake.edit(cats, asked, &world.calling("who is it?"));
    fake.edit(cats, first, "my cat is Kit");
    fake.edit(cats, first, "my cat is Tim");
    running.stop().await?;

    let running = world.start(&ear).await?;
    fake.say(cats, ann, &world.calling("and now?"));
    fake.until_sent(2).await?;
    let cold = ear.last();
    assert_eq!(cold[0], "Ann: my cat is Tim");
    assert_eq!(cold[1], format!("Ann: {}", world.calling("who is it?")));
    assert_eq!(cold.len(), 4, "{cold:?}");
    running.stop().await?;
    assert_eq!(fake.sent().len(), 2, "an edit asks for no answer");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_edits_that_come_twice_change_nothing() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    fake.duplicate(100, 1);
    let ear = Ear::echo();
    let running = world.start(&ear).await?;
    let ann = fake.user("Ann");
    let first = fake.say(ann, ann, "one");
    fake.until_sent(1).await?;
    fake.edit(ann, first, "two");
    fake.edit(ann, first, "three");
    fake.say(ann, ann, "/stats");
    fake.until_sent(2).await?;
    fake.until("all is confirmed", |fake| fake.pending().is_empty())
        .await?;
    let kept = running.history(world.private_key(ann)).await?;
    assert_eq!(kept, ["Ann: three", "bot: re: one"]);
    running.stop().await?;
    assert_eq!((fake.sent().len(), ear.heard().len()), (2, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_while_it_waited_is_not_answered() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let ear = Ear::with(move |heard| {
        let gate = Arc::clone(&gate);
        async move {
            if heard.text.ends_with("slow") {
                gate.notified().await;
            }
            Ok(Reply::Text(format!("re: {}", heard.text)))
        }
        .boxed()
    });
    let running = world.start(&ear).await?;
    let (ann, bo) = (fake.user("Ann"), fake.user("Bo"));
    let cats = fake.supergroup("Cats", &[ann, bo]);
    fake.say(cats, bo, &world.calling("slow"));
    fake.say(cats, ann, &world.calling("my secret"));
    fake.say(cats, bo, &world.calling("and the weather?"));
    // Chats are taken in side by side: it must be there before it can be forgotten.
    running.kept(world.group_key(cats), 3).await?;
    fake.say(fake.private(ann), ann, "/forget yes");
    fake.until_sent(1).await?;
    assert_eq!(ear.heard().len(), 1, "the first is being answered");
    go.notify_one();
    fake.until("the last is answered", |fake| {
        let sent = fake.sent_in(cats);
        sent.last()
            .is_some_and(|one| one.text.ends_with("weather?"))
    })
    .await?;
    for heard in ear.heard() {
        assert!(!heard.context.concat().contains("secret"), "{heard:?}");
    }
    running.kept(world.group_key(cats), 2).await?;
    let kept = running.history(world.group_key(cats)).await?;
    assert!(!kept.concat().contains("secret"), "{kept:?}");
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_under_way_during_a_forget_is_not_kept() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let ear = Ear::with(move |heard| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            Ok(Reply::Text(format!("You said: {}", heard.text)))
        }
        .boxed()
    });
    let running = world.start(&ear).await?;
    let ann = fake.user("Ann");
    let cats = fake.supergroup("Cats", &[ann]);
    fake.say(cats, ann, &world.calling("my secret"));
    running.kept(world.group_key(cats), 1).await?;
    until("it is being answered", async || ear.heard().len() == 1).await;
    fake.say(fake.private(ann), ann, "/forget yes");
    fake.until_sent(1).await?;
    go.notify_one();
    fake.until("it is answered", |fake| fake.sent_in(cats).len() == 1)
        .await?;
    running.stop().await?;
    let cache = world.cache().await?;
    let kept = cache.session(world.group_key(cats)).export().await?;
    assert!(kept.is_empty(), "{kept:?}");
    cache.close(Duration::from_secs(10)).await?;
    Ok(())
}
