//! A hot tier that answers, but slowly, or only to refuse (P4, P5): what one call of the API waits for it is bounded, whatever it
//! asks of it and whoever else waits before it. By tokio's clock, which stands still while anything but a wait goes on.

use std::time::Duration;

use harness::world::{World, context, fill, history, key, say, texts};
use scrollback::Cache;
use scrollback::store::Page;
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_millis(250);
/// Within the tier's share of it by itself, not if asked twice.
const DELAY: Duration = Duration::from_millis(150);
/// The clock's resolution, and what the delays of background work add between two looks at it.
const SLACK: Duration = Duration::from_millis(10);

async fn slow(world: &World) -> Cache {
    let cache = world.builder("a").deadline(DEADLINE).build().await.unwrap();
    fill(&cache.session(key("known")), 1..=3).await;
    cache.flush().await.unwrap();
    world.hot.set_delay(DELAY);
    cache
}

#[tokio::test(start_paused = true)]
async fn a_call_that_asks_a_slow_tier_often_waits_one_deadline() {
    let world = World::in_memory();
    let cache = slow(&world).await;
    for (call, name) in [(0, "new"), (1, "known"), (2, "other"), (3, "known")] {
        let session = cache.session(key(name));
        let began = Instant::now();
        match call {
            0 => assert!(
                session
                    .append(say("1", "m1"))
                    .await
                    .unwrap()
                    .receipt()
                    .degraded
            ),
            1 => drop(session.append(say("4", "m4")).await.unwrap()),
            2 => assert!(session.context().await.unwrap().stale),
            _ => {
                let page = Page {
                    before: None,
                    limit: 10,
                };
                assert_eq!(session.history(page).await.unwrap().len(), 4);
            }
        }
        let took = began.elapsed();
        assert!(took <= DEADLINE + SLACK, "call {call} took {took:?}");
    }
    world.hot.set_delay(Duration::ZERO);
    let known = cache.session(key("known"));
    assert_eq!(context(&known).await, texts(1..=4));
    cache.flush().await.unwrap();
    assert_eq!(history(&known).await, texts(1..=4));
    assert!(cache.verify().await.unwrap().violations.is_empty());
}

#[tokio::test(start_paused = true)]
async fn calls_that_queue_behind_a_slow_tier_wait_one_deadline_together() {
    let world = World::in_memory();
    let cache = slow(&world).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 4..=13 {
        let session = cache.session(key("known"));
        calls.spawn(async move {
            let began = Instant::now();
            let id = n.to_string();
            session.append(say(&id, &format!("m{n}"))).await.unwrap();
            began.elapsed()
        });
    }
    while let Some(took) = calls.join_next().await {
        let took = took.unwrap();
        assert!(took <= DEADLINE + SLACK, "a call took {took:?}");
    }
    world.hot.set_delay(Duration::ZERO);
    let known = cache.session(key("known"));
    cache.flush().await.unwrap();
    assert_eq!(history(&known).await, texts(1..=13));
    assert!(cache.verify().await.unwrap().violations.is_empty());
}

#[tokio::test]
async fn a_tier_that_answers_and_refuses_writes_costs_no_epoch_at_each_touch() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let session = cache.session(key("c"));
    fill(&session, 1..=1).await;
    world.hot.set_full(true);
    fill(&session, 2..=2).await;
    let before = world.store.allots();
    fill(&session, 3..=40).await;
    cache.flush().await.unwrap();
    let allotted = world.store.allots() - before;
    assert!(
        allotted <= 2,
        "{allotted} epochs for 38 appends and a flush"
    );
    assert_eq!(history(&session).await, texts(1..=40));
    world.hot.set_full(false);
    fill(&session, 41..=41).await;
    cache.flush().await.unwrap();
    assert!(!cache.stats().degraded);
    assert_eq!(history(&session).await, texts(1..=41));
    assert!(cache.verify().await.unwrap().violations.is_empty());
}
