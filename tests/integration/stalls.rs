//! A store that never answers (P6, P11, P12): calls return, what is hot goes on until the backlog is full, nothing is lost. And how
//! often one is asked.

use std::time::{Duration, Instant};

use harness::faulty::Stall;
use harness::world::{World, context, fill, history, key, say, texts, until};
use scrollback::{Author, CacheBuilder, Error, Message};

fn builder(world: &World) -> CacheBuilder {
    let builder = world.builder("a").store_deadline(DEADLINE);
    builder.flush_every(Duration::from_millis(20))
}

/// A deadline that a test can wait for.
const DEADLINE: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn hot_sessions_go_on_while_the_store_hangs_until_the_backlog_is_full_and_nothing_is_lost() {
    let world = World::in_memory();
    let builder = builder(&world);
    let cache = builder
        .backlog(64 << 20, 40, Duration::from_millis(100))
        .build()
        .await
        .unwrap();
    let hot = cache.session(key("hot"));
    fill(&hot, 1..=2).await;
    cache.flush().await.unwrap();
    world.store.set_stall(Stall::Everything);
    fill(&hot, 3..=42).await;
    assert_eq!(context(&hot).await.last(), texts(42..=42).last());
    let full = hot.append(say("43", "m43")).await.unwrap_err();
    assert!(matches!(full, Error::Backpressure { .. }), "{full}");
    world.store.set_stall(Stall::No);
    until("a flush", async || cache.stats().waiting == 0).await;
    fill(&hot, 43..=44).await;
    assert_eq!(history(&hot).await, texts(1..=44));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_return_while_the_store_hangs_and_take_up_few_threads() {
    let world = World::in_memory();
    let builder = builder(&world);
    let cache = builder.build().await.unwrap();
    world.store.set_stall(Stall::Everything);
    let began = Instant::now();
    let looks = (0..200).map(|n| {
        let session = cache.session(key(&format!("cold{n}")));
        tokio::spawn(async move { session.context().await.unwrap_err() })
    });
    for look in looks.collect::<Vec<_>>() {
        assert!(look.await.unwrap().is_outage());
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(world.store.hanging() <= 33, "{}", world.store.hanging());
    assert!(cache.stats().degraded);
    world.store.set_stall(Stall::No);
    until("an end", async || world.store.hanging() == 0).await;
    let session = cache.session(key("cold1"));
    fill(&session, 1..=3).await;
    assert_eq!(context(&session).await, texts(1..=3));
    assert!(!cache.stats().degraded);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_done_late_leaves_nothing_in_the_replica() {
    let world = World::in_memory();
    let builder = builder(&world);
    let cache = builder.build().await.unwrap();
    let session = cache.session(key("c"));
    fill(&session, 1..=3).await;
    cache.flush().await.unwrap();
    world.store.set_stall(Stall::Erasures);
    assert!(session.forget().await.unwrap_err().is_outage());
    // It was not done yet: the session is loaded anew, with all that is to go.
    assert_eq!(context(&session).await, texts(1..=3));
    world.store.set_stall(Stall::No);
    until("an erasure", async || context(&session).await.is_empty()).await;
    let ann = Author::new("test", "ann");
    session.append(Message::user(ann, "again")).await.unwrap();
    assert_eq!(context(&session).await, ["again"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refused_for_long_is_used_again_soon_after_it_is_back() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let session = cache.session(key("c"));
    fill(&session, 1..=1).await;
    world.store.set_away(true);
    // Its own pauses, of up to 2 s, may make it refuse once more.
    tokio::time::sleep(Duration::from_secs(120)).await;
    let began = tokio::time::Instant::now();
    world.store.set_away(false);
    let turn = session.append(say("2", "m2")).await.unwrap();
    turn.durable().await.unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(history(&session).await, texts(1..=2));
}

/// A message whose id is no number: whether it has come before the context, only the store can tell.
fn named(n: u32) -> Message {
    say(&format!("x{n}"), &format!("m{n}"))
}

#[tokio::test]
async fn a_backlog_is_placed_again_with_one_question_to_the_store() {
    let world = World::in_memory();
    let a = world.cache("a").await;
    let session = a.session(key("c"));
    fill(&session, 1..=20).await;
    a.flush().await.unwrap();
    world.hot.set_away(true);
    for n in 21..=60 {
        session.append(named(n)).await.unwrap();
    }
    world.hot.set_away(false);
    let before = world.store.finds();
    let placed = context(&session).await;
    assert_eq!(world.store.finds() - before, 1);
    assert_eq!(placed.last(), texts(60..=60).last());
    a.flush().await.unwrap();
    assert_eq!(history(&session).await, texts(1..=60));
    assert!(a.verify().await.unwrap().violations.is_empty());
}

#[tokio::test]
async fn many_messages_at_once_are_judged_with_one_question_to_the_store() {
    let world = World::in_memory();
    let a = world.cache("a").await;
    let session = a.session(key("c"));
    for n in 1..=20 {
        session.append(named(n)).await.unwrap();
    }
    a.flush().await.unwrap();
    world.hot.set_away(true);
    let b = world.cache("b").await;
    let session = b.session(key("c"));
    context(&session).await;
    let before = world.store.finds();
    session.append_all((1..=40).map(named)).await.unwrap();
    assert_eq!(world.store.finds() - before, 1);
    assert_eq!(history(&session).await, texts(1..=40));
}
