//! Time: streamed replies at Telegram's pace, a slow chat that delays no other, a stop in mid-reply (P12).

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use jiff::Timestamp;
use scrollback_kit::Reply;

use super::{Ear, World};

/// An answer of so many words, one every so often.
fn streaming(words: usize, every: Duration) -> Arc<Ear> {
    Ear::with(move |_| {
        let pieces = stream::iter(0..words).then(move |n| async move {
            tokio::time::sleep(every).await;
            Ok(format!("w{n} "))
        });
        async { Ok(Reply::Stream(pieces.boxed())) }.boxed()
    })
}

fn all_words(words: usize) -> String {
    let words: Vec<String> = (0..words).map(|n| format!("w{n}")).collect();
    words.join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_reply_grows_by_edits_at_a_bounded_pace() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let running = world
        .start(&streaming(35, Duration::from_millis(100)))
        .await?;
    let ann = fake.user("Ann");
    fake.say(ann, ann, "tell me");
    let whole = all_words(35);
    fake.until("the reply is whole", |fake| {
        fake.sent()
            .first()
            .is_some_and(|one| one.text.trim() == whole)
    })
    .await?;
    running.stop().await?;
    let sent = fake.sent();
    assert_eq!(sent.len(), 1);
    let edits = &sent[0].edits;
    assert!((2..=5).contains(&edits.len()), "{edits:?}");
    let mut last = sent[0].at;
    for edit in &edits[..edits.len() - 1] {
        assert!(edit.at.duration_since(last).as_millis() >= 950, "{edits:?}");
        last = edit.at;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_mid_reply_finishes_it() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let running = world
        .start(&streaming(20, Duration::from_millis(50)))
        .await?;
    let ann = fake.user("Ann");
    fake.say(ann, ann, "tell me");
    fake.until_sent(1).await?;
    let closed = running.stop().await?;
    assert_eq!(closed.unanswered, 0);
    assert_eq!(fake.sent()[0].text.trim(), all_words(20));
    assert!(fake.pending().is_empty(), "what was taken in is confirmed");
    let cache = world.cache().await?;
    let kept = cache.session(world.private_key(ann)).export().await?;
    assert_eq!(kept[1].1.text.trim(), all_words(20));
    cache.close(Duration::from_secs(5)).await?;
    Ok(())
}

/// The slowest in a hundred of the answers in some chats, while another chat is slow or is not there.
async fn p99(slow: bool) -> anyhow::Result<Duration> {
    let world = World::new()?;
    let fake = &world.fake;
    let ear = Ear::with(|heard| {
        let wait = if heard.text == "slow" { 10_000 } else { 200 };
        async move {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            Ok(Reply::Text(heard.text))
        }
        .boxed()
    });
    let running = world.start(&ear).await?;
    let sloth = fake.user("Sloth");
    if slow {
        for _ in 0..100 {
            fake.say(sloth, sloth, "slow");
        }
    }
    let chats: Vec<i64> = (0..8).map(|n| fake.user(&format!("User{n}"))).collect();
    let ask = |chat: i64| {
        let fake = Arc::clone(fake);
        async move {
            let mut took = Vec::new();
            for n in 0..8 {
                let at = Timestamp::now();
                fake.say(chat, chat, &format!("m{n}"));
                let done = |fake: &harness::FakeTelegram| fake.sent_in(chat).len() > n;
                fake.until("an answer", done).await?;
                let sent = fake.sent_in(chat).last().map_or(at, |one| one.at);
                took.push(sent.duration_since(at).unsigned_abs());
            }
            anyhow::Ok(took)
        }
    };
    let all = futures::future::try_join_all(chats.into_iter().map(ask)).await?;
    let mut took = all.concat();
    took.sort();
    running.crash().await;
    Ok(took[took.len() * 99 / 100 - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_chat_delays_no_other() -> anyhow::Result<()> {
    let alone = p99(false).await?;
    let beside = p99(true).await?;
    assert!(
        beside <= alone.mul_f32(1.5),
        "{beside:?} beside a slow chat, {alone:?} without"
    );
    Ok(())
}
