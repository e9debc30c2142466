//! Facts of bounds and closing that the fault campaign found broken (P11, P12, and the reported lag).

use std::time::{Duration, Instant};

use harness::faulty::Stall;
use harness::world::{World, key, say};
use scrollback::hot::{HotTier as _, Read};
use scrollback::key::Address;
use scrollback::{Author, Error, Message, SessionKey, Window};

/// Bytes of a session's log in the in-process tier.
async fn log_bytes(world: &World, name: &str) -> usize {
    let memory = world.memory.clone().unwrap();
    let address = Address::from(&key(name));
    match memory
        .read(&address, None, memory.generation())
        .await
        .unwrap()
    {
        Read::Entries(entries) => entries
            .iter()
            .map(|e| match &e.record {
                scrollback::hot::Record::Entry(b) | scrollback::hot::Record::Snapshot(b) => b.len(),
            })
            .sum(),
        _ => 0,
    }
}

#[tokio::test]
async fn a_session_that_is_only_edited_does_not_outgrow_the_hot_tier() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let session = cache.session(key("c"));
    session.append(say("1", "first")).await.unwrap();
    for n in 0..100 {
        let text = format!("{n} {}", "x".repeat(60_000));
        session.edit("1", text).await.unwrap();
        cache.flush().await.unwrap();
        let bytes = log_bytes(&world, "c").await;
        assert!(bytes < 4 << 20, "{bytes} bytes after {n} edits");
    }
    let shown = session.context().await.unwrap();
    assert!(shown.messages[0].text.starts_with("99 "));
}

#[tokio::test]
async fn names_attachments_and_keys_are_bounded_as_texts_are() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let long = || "n".repeat((64 << 10) + 1);
    let too_large = |done: Result<scrollback::Turn, Error>| {
        assert!(matches!(done, Err(Error::TooLarge { .. })), "{done:?}");
    };
    let session = cache.session(key("c"));
    let named = Message::user(Author::new("x", "1").named(long()), "hi");
    too_large(session.append(named).await);
    too_large(session.append(say("1", "hi").reply_to(long())).await);
    let many = (0..20).map(|n| say(&n.to_string(), &"x".repeat(64 << 10)));
    too_large(session.append_all(many).await);
    let keyed = cache.session(SessionKey::new("x", "1").channel(long()));
    too_large(keyed.append(say("1", "hi")).await);
    assert!(session.export().await.unwrap().is_empty());
    const { assert!(Window::MAX_BYTES >= 64 << 10) };
}

#[tokio::test]
async fn appends_at_once_do_not_overshoot_the_backlog() {
    let world = World::in_memory();
    let builder = world
        .builder("a")
        .backlog(64 << 20, 10, Duration::from_millis(100));
    let cache = builder.build().await.unwrap();
    world.store.set_no_flush(true);
    let many = (0..200).map(|n| {
        let session = cache.session(key(&n.to_string()));
        async move { session.append(say("1", "hi")).await.is_ok() }
    });
    let taken = futures::future::join_all(many).await;
    assert!(taken.iter().filter(|ok| **ok).count() <= 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_refuses_appends_that_wait_for_room_at_once() {
    let world = World::in_memory();
    let builder = world
        .builder("a")
        .backlog(64 << 20, 1, Duration::from_secs(60));
    let cache = builder.build().await.unwrap();
    world.store.set_no_flush(true);
    cache
        .session(key("c"))
        .append(say("1", "hi"))
        .await
        .unwrap();
    let session = cache.session(key("d"));
    let waiting = tokio::spawn(async move { session.append(say("1", "hi")).await });
    tokio::task::yield_now().await;
    let closed = cache.close(Duration::from_millis(100)).await.unwrap();
    let refused = waiting.await.unwrap();
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
    assert_eq!(closed.left, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_over_a_store_that_hangs_returns_by_its_deadline_and_the_lag_was_told() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let session = cache.session(key("c"));
    session.append(say("1", "hi")).await.unwrap();
    cache.flush().await.unwrap();
    assert_eq!(cache.stats().lag_ms, 0);
    world.store.set_stall(Stall::Everything);
    session.append(say("2", "hi")).await.unwrap();
    world.clock.advance(Duration::from_secs(7));
    assert_eq!(cache.stats().lag_ms, 7_000);
    let began = Instant::now();
    let closed = cache.close(Duration::from_millis(300)).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(closed.left, 1);
    world.store.set_stall(Stall::No);
    let refused = session.append(say("3", "hi")).await;
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
}
