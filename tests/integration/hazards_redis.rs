//! The hazards of the data path that a real Redis brings, one fact each (P1, P4): each of these fails when
//! its remedy is taken out.

use std::sync::Arc;
use std::time::Duration;

use harness::world::{World, context, fill, history, key, say, texts, until};
use scrollback::hot::HotTier;
use scrollback::hot::redis::RedisTier;
use scrollback::testing::{ManualClock, RedisServer};
use scrollback::{Cache, RedisConfig};

fn world(server: &RedisServer) -> World {
    let config = RedisConfig::new(server.url()).deadline(Duration::from_secs(2));
    World::over(
        Arc::new(RedisTier::new(config).unwrap()),
        ManualClock::shared(),
    )
}

/// Both caches have found the server again and made good what they accepted without it.
async fn reconciled(caches: [&Cache; 2]) {
    until("both are back", async || {
        for cache in caches {
            cache.flush().await.unwrap();
        }
        !caches.iter().any(|c| c.stats().degraded)
    })
    .await;
}

#[tokio::test]
async fn a_redis_restarted_from_an_older_dump_hides_no_gap_from_a_writer_that_is_ahead() {
    let server = RedisServer::start();
    let world = world(&server);
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    fill(&sa, 1..=3).await;
    assert_eq!(context(&sb).await, texts(1..=3));
    let older = server.take_dump();
    fill(&sa, 4..=6).await;
    server.stop();
    server.put_dump(Some(&older));
    server.restart();
    // Found again before any cache was refused anything: no outage is noticed, only another server.
    let answers = async || world.hot.check().await.is_ok();
    until("the server answers", answers).await;
    // The log ends at 3 now: without the new epoch each of these would fit behind it, unseen by the other.
    fill(&sb, 7..=7).await;
    let turn = sa.append(say("8", "m8")).await.unwrap();
    let mut shown: Vec<String> = turn
        .context()
        .messages
        .iter()
        .map(|m| m.text.clone())
        .collect();
    shown.sort_unstable();
    assert_eq!(shown, texts(1..=8), "the other writer is seen at once");
    reconciled([&a, &b]).await;
    let said = history(&sa).await;
    assert_eq!(said, history(&sb).await);
    let mut sorted = said.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, texts(1..=8), "{said:?}");
    assert_eq!(context(&sa).await, context(&sb).await);
}

#[tokio::test]
async fn a_redis_restarted_empty_gets_everything_back() {
    let server = RedisServer::start();
    let world = world(&server);
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    fill(&a.session(key("c")), 1..=3).await;
    a.flush().await.unwrap();
    fill(&a.session(key("c")), 4..=5).await;
    server.stop();
    server.put_dump(None);
    server.restart();
    fill(&a.session(key("c")), 6..=7).await;
    reconciled([&a, &b]).await;
    for cache in [&a, &b] {
        let s = cache.session(key("c"));
        assert_eq!(history(&s).await, texts(1..=7));
        assert_eq!(context(&s).await, texts(1..=7));
    }
    let found = a.verify().await.unwrap();
    assert_eq!(found.violations, Vec::<String>::new());
}
