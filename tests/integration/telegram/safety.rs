//! No update is confirmed before it is safe, none is lost, none comes twice (P2, P9).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use harness::FakeTelegram;
use harness::world::World as Lab;
use scrollback::Cache;
use serde_json::{Value, json};

use super::{Ear, Running, World, quick};

/// Counts confirmed messages whose session does not know them, or that were confirmed while `closed`.
fn watch(world: &World, cache: Cache, closed: Arc<AtomicBool>) -> Arc<AtomicUsize> {
    let wrong = Arc::new(AtomicUsize::new(0));
    let (counter, handle) = (Arc::clone(&wrong), tokio::runtime::Handle::current());
    let bot = world.fake.bot_id();
    world.fake.on_confirm(move |updates: &[Value]| {
        for update in updates {
            let message = &update["message"];
            let (Some(chat), Some(id)) = (
                message["chat"]["id"].as_i64(),
                message["message_id"].as_i64(),
            ) else {
                continue;
            };
            let key = scrollback::SessionKey::new("telegram", bot).channel(chat);
            let known = handle.block_on(cache.session(key).knows(id));
            if closed.load(SeqCst) || !known.unwrap_or(false) {
                counter.fetch_add(1, SeqCst);
            }
        }
    });
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_confirmed_before_it_is_safe() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let lab = Lab::in_memory();
    let cache = lab.cache("bot").await;
    let closed = Arc::new(AtomicBool::new(false));
    let wrong = watch(&world, cache.clone(), Arc::clone(&closed));
    let running = Running::start(cache, &Ear::silent(), world.config(), quick())?;
    fake.until("the bot polls", |fake| {
        !fake.calls_of("GetUpdates").is_empty()
    })
    .await?;
    // Sessions that nobody knows yet cannot be opened without the store.
    lab.store.set_away(true);
    closed.store(true, SeqCst);
    let people = ["Ann", "Bo", "Cy"].map(|name| fake.user(name));
    for n in 0..30 {
        let user = people[n % 3];
        fake.say(user, user, &format!("m{n}"));
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(fake.highest_confirmed(), None);
    closed.store(false, SeqCst);
    lab.store.set_away(false);
    fake.until("all is confirmed", |fake| fake.pending().is_empty())
        .await?;
    assert_eq!(wrong.load(SeqCst), 0);
    for (at, user) in people.into_iter().enumerate() {
        let kept = running.history(world.private_key(user)).await?;
        let texts: Vec<&str> = kept
            .iter()
            .filter_map(|line| line.split(": ").nth(1))
            .collect();
        let expected: Vec<String> = (0..10).map(|n| format!("m{}", n * 3 + at)).collect();
        assert_eq!(texts, expected);
    }
    running.stop().await?;
    Ok(())
}

/// Everything that was said in a chat must be in its session, once and in order.
async fn check(
    world: &World,
    running: &Running,
    said: &HashMap<i64, Vec<String>>,
) -> anyhow::Result<()> {
    for (chat, texts) in said {
        let kept = running.history(world.private_key(*chat)).await?;
        let kept: Vec<&str> = kept
            .iter()
            .filter_map(|line| line.split(": ").nth(1))
            .collect();
        assert_eq!(kept, *texts, "chat {chat}");
    }
    Ok(())
}

/// Says `each` messages in every chat, in turn.
fn say(fake: &FakeTelegram, chats: &[i64], each: usize, said: &mut HashMap<i64, Vec<String>>) {
    for _ in 0..each {
        for chat in chats {
            let texts = said.entry(*chat).or_default();
            let text = format!("m{}", texts.len());
            fake.say(*chat, *chat, &text);
            texts.push(text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_cuts_and_duplicates_lose_and_double_nothing() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    fake.duplicate(10, 42);
    let chats: Vec<i64> = (0..20).map(|n| fake.user(&format!("User{n}"))).collect();
    let mut said = HashMap::new();
    let ear = Ear::silent();
    for round in 0..3 {
        let running = world.start(&ear).await?;
        let closed = Arc::new(AtomicBool::new(false));
        let wrong = watch(&world, running.bot.cache().clone(), closed);
        let before = fake.confirmed().len();
        say(fake, &chats, 10, &mut said);
        fake.drop_connections();
        say(fake, &chats, 10, &mut said);
        let some = |fake: &FakeTelegram| fake.confirmed().len() > before + 60;
        fake.until("some are confirmed", some).await?;
        if round == 1 {
            fake.until("all is confirmed", |fake| fake.pending().is_empty())
                .await?;
        }
        assert_eq!(wrong.load(SeqCst), 0);
        fake.on_confirm(|_| {});
        running.crash().await;
    }
    let running = world.start(&ear).await?;
    fake.until("all is confirmed", |fake| fake.pending().is_empty())
        .await?;
    check(&world, &running, &said).await?;
    running.stop().await?;
    let texts: usize = said.values().map(Vec::len).sum();
    assert!(texts == 1200 && ear.heard().len() <= texts);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_update_costs_itself_and_nothing_else() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let ear = Ear::echo();
    let running = world.start(&ear).await?;
    let ann = fake.user("Ann");
    fake.say(ann, ann, "one");
    running.kept(world.private_key(ann), 2).await?;
    for broken in [
        json!({ "message": { "text": "no head" } }),
        json!({ "message": { "message_id": "x", "chat": { "id": 1 }, "date": [], "text": 5 } }),
        json!({ "message": null }),
        json!({ "what_is_this": { "a": [[[[[[]]]]]] } }),
        json!({ "edited_message": "gone" }),
        json!({ "deleted_business_messages": { "message_ids": {} } }),
        json!({ "my_chat_member": 5 }),
        json!({ "message": (0..500).fold(json!(1), |inner, _| json!([inner])) }),
        json!({}),
    ] {
        fake.send_raw_update(broken);
    }
    fake.say(ann, ann, "two");
    fake.until_sent(2).await?;
    assert_eq!(ear.last(), ["Ann: one", "bot: re: one", "Ann: two"]);
    fake.until("all is confirmed", |fake| fake.pending().is_empty())
        .await?;
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_something_new_in_it_is_answered() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let ear = Ear::echo();
    let running = world.start(&ear).await?;
    let ann = fake.private(fake.user("Ann"));
    fake.send_raw_update(json!({ "message": {
        "message_id": 1, "date": jiff::Timestamp::now().as_second(), "text": "tomorrow at five",
        "entities": [{ "type": "brand_new", "offset": 0, "length": 8 }],
        "chat": { "id": ann, "type": "private", "first_name": "Ann" },
        "from": { "id": ann, "is_bot": false, "first_name": "Ann" },
    }}));
    let sent = fake.until_sent(1).await?;
    assert_eq!(sent[0].text, "re: tomorrow at five");
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_can_never_be_kept_holds_nothing_up() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let running = world.start(&Ear::echo()).await?;
    let ann = fake.user("Ann");
    fake.say(ann, ann, &"x".repeat(70_000));
    fake.say(ann, ann, "short");
    let sent = fake.until_sent(1).await?;
    assert_eq!(sent[0].text, "re: short");
    running.stop().await?;
    Ok(())
}
