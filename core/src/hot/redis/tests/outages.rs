//! A server that is away, frozen, restarted or locked: calls return in time, replies never mix.

use bytes::Bytes;

use super::*;
use crate::hot::{Append, Record};
use crate::testing::hot_suite::{append, copy, done, hot, hydrate, numbers, session, writer};

const DEADLINE: Duration = Duration::from_millis(250);
const SLACK: Duration = Duration::from_millis(50);

fn tier_of(server: &RedisServer) -> Arc<RedisTier> {
    let config = RedisConfig::new(server.url())
        .deadline(DEADLINE)
        .prefix("test");
    Arc::new(RedisTier::new(config).unwrap())
}

/// Runs every kind of call and expects each to fail as an outage, in time.
async fn all_calls_fail_in_time(tier: &RedisTier) {
    let (s, w) = (session("a"), writer("w"));
    let generation = tier.generation();
    for call in 0..9 {
        let start = Instant::now();
        let error = match call {
            0 => tier.append(&s, append(tier, 1, 2)).await.err(),
            1 => tier.read(&s, None, generation).await.err(),
            2 => tier.fence(&s, 1).await.err(),
            3 => tier.publish(&s, copy(tier, 1, 1, None)).await.err(),
            4 => tier
                .settle(
                    &w,
                    vec![Settle {
                        session: s.clone(),
                        ttl_ms: None,
                    }],
                )
                .await
                .err(),
            5 => tier.touch(&s, 1).await.err(),
            6 => tier.release(&s).await.err(),
            7 => tier.marked(&w).await.err(),
            _ => tier.check().await.err(),
        };
        let elapsed = start.elapsed();
        assert!(error.is_some_and(|e| e.is_outage()), "call {call}");
        assert!(elapsed <= DEADLINE + SLACK, "call {call} took {elapsed:?}");
    }
}

/// Waits for calls to succeed; returns how long that took.
async fn recovery(tier: &RedisTier) -> Duration {
    let start = Instant::now();
    while tier.fence(&session("probe"), 1).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "no recovery");
        sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

#[tokio::test]
async fn a_tier_starts_without_a_server_and_finds_it_later() {
    let server = RedisServer::start();
    server.stop();
    let start = Instant::now();
    let tier = tier_of(&server);
    assert!(start.elapsed() < SLACK, "making one never blocks");
    all_calls_fail_in_time(&tier).await;
    server.restart();
    assert!(recovery(&tier).await <= Duration::from_secs(2));
    assert_eq!(tier.generation(), 1, "the first server is no other server");
    hot(&*tier, &session("a")).await;
}

#[tokio::test]
async fn a_killed_server_fails_fast_and_comes_back_suspect() {
    let (server, s) = (RedisServer::start(), session("a"));
    let tier = tier_of(&server);
    hot(&*tier, &s).await;
    let stale = append(&*tier, 1, 2);
    server.stop();
    all_calls_fail_in_time(&tier).await;
    // Once the outage is known, nobody waits for it.
    let start = Instant::now();
    for _ in 0..1_000 {
        assert!(
            tier.append(&s, stale.clone())
                .await
                .unwrap_err()
                .is_outage()
        );
    }
    assert!(
        start.elapsed() < Duration::from_millis(250),
        "{:?}",
        start.elapsed()
    );
    server.restart();
    assert!(recovery(&tier).await <= Duration::from_secs(2));
    assert_eq!(tier.append(&s, stale).await.unwrap(), Appended::Suspect);
    assert!(!is_hot(&*tier, &s).await);
    hydrate(&*tier, &s, copy(&*tier, 2, 1, None)).await;
}

#[tokio::test]
async fn a_restart_while_idle_is_noticed_without_a_caller() {
    let server = RedisServer::start();
    let tier = tier_of(&server);
    hot(&*tier, &session("a")).await;
    server.restart();
    let start = Instant::now();
    while tier.generation() == 1 {
        assert!(start.elapsed() <= Duration::from_secs(2), "nobody noticed");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_lost_connection_to_the_same_server_is_not_suspect() {
    let (server, s) = (RedisServer::start(), session("a"));
    let tier = tier_of(&server);
    hot(&*tier, &s).await;
    assert_eq!(
        server
            .cli(&["CLIENT", "KILL", "TYPE", "normal"])
            .trim()
            .parse::<u32>(),
        Ok(1)
    );
    assert!(
        tier.append(&s, append(&*tier, 1, 2))
            .await
            .unwrap_err()
            .is_outage()
    );
    recovery(&tier).await;
    assert_eq!(tier.generation(), 1);
    done(&*tier, &s, append(&*tier, 1, 2)).await;
}

#[tokio::test]
async fn a_frozen_server_never_holds_a_call_past_its_deadline() {
    let (server, s) = (RedisServer::start(), session("a"));
    let tier = tier_of(&server);
    hot(&*tier, &s).await;
    server.freeze();
    all_calls_fail_in_time(&tier).await;
    let start = Instant::now();
    let calls = (0..64).map(|_| {
        let (tier, s) = (Arc::clone(&tier), s.clone());
        tokio::spawn(async move { tier.append(&s, append(&*tier, 1, 2)).await.map(drop) })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap().is_err());
    }
    assert!(start.elapsed() <= DEADLINE + SLACK);
    server.thaw();
    assert!(recovery(&tier).await <= Duration::from_secs(2));
    assert_eq!(tier.generation(), 1, "it is the same server");
}

#[tokio::test]
async fn a_late_reply_never_reaches_another_caller() {
    let server = RedisServer::start();
    let tier = tier_of(&server);
    let sessions: Vec<_> = (0..32).map(|i| session(&i.to_string())).collect();
    for s in &sessions {
        let snapshot = Bytes::copy_from_slice(s.as_str().as_bytes());
        hydrate(
            &*tier,
            s,
            Publish {
                snapshot,
                ..copy(&*tier, 1, 1, None)
            },
        )
        .await;
    }
    let mut answered = 0u32;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..600u32 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let s = sessions[usize::try_from(random >> 59).unwrap()].clone();
        match round % 100 {
            40 => server.freeze(),
            45 => server.thaw(),
            _ => {}
        }
        let reading = {
            let (tier, s) = (Arc::clone(&tier), s.clone());
            async move { tier.read(&s, None, 1).await }
        };
        // Some callers leave before the answer, some while it is under way.
        let patience = match random % 4 {
            0 => Duration::ZERO,
            1 => Duration::from_micros(random % 200),
            _ => Duration::from_secs(1),
        };
        if let Ok(Ok(Read::Entries(found))) = tokio::time::timeout(patience, reading).await {
            let own = Record::Snapshot(Bytes::copy_from_slice(s.as_str().as_bytes()));
            assert_eq!(found.iter().map(|e| &e.record).collect::<Vec<_>>(), [&own]);
            answered += 1;
        } else if round % 100 > 45 {
            recovery(&tier).await;
        }
    }
    assert!(answered > 200, "only {answered} answered");
}

#[tokio::test]
async fn an_append_without_an_answer_is_there_once_or_not_at_all() {
    let (server, s) = (RedisServer::start(), session("a"));
    let tier = tier_of(&server);
    hot(&*tier, &s).await;
    let mut end = 1;
    for round in 0..5 {
        server.freeze();
        let lost = tier.append(&s, append(&*tier, 1, end + 1)).await;
        assert!(
            matches!(lost, Err(Error::Timeout { .. })),
            "{round}: {lost:?}"
        );
        server.thaw();
        recovery(&tier).await;
        let found = numbers(&*tier, &s, None).await;
        assert!(found.iter().copied().eq(1..=end) || found.iter().copied().eq(1..=end + 1));
        end = found.last().copied().unwrap();
    }
}

#[tokio::test]
async fn a_missing_or_wrong_password_is_named_without_repeating_it() {
    let server = RedisServer::start_with(&["--requirepass", "correct"]);
    let place = format!("127.0.0.1:{}", server.port());
    for (url, code) in [
        (format!("redis://{place}/"), "NOAUTH"),
        (format!("redis://:hunter2@{place}/"), "WRONGPASS"),
    ] {
        let tier = RedisTier::new(RedisConfig::new(url)).unwrap();
        let error = tier.fence(&session("a"), 1).await.unwrap_err();
        assert!(error.is_outage());
        let asked = tier.check().await.unwrap_err();
        assert!(matches!(asked, Error::Config(_)), "{asked:?}");
        let text = format!("{error:?} {asked}");
        assert!(text.contains(code) && !text.contains("hunter2"), "{text}");
    }
    let tier = RedisTier::new(RedisConfig::new(format!("redis://:correct@{place}/2"))).unwrap();
    hot(&tier, &session("a")).await;
    tier.close().await;
    assert!(matches!(
        tier.fence(&session("a"), 1).await,
        Err(Error::Closed)
    ));
}

#[tokio::test]
async fn a_full_queue_is_refused_at_once() {
    let server = RedisServer::start();
    let config = RedisConfig::new(server.url())
        .deadline(Duration::from_secs(1))
        .queue(4);
    let tier = Arc::new(RedisTier::new(config).unwrap());
    hot(&*tier, &session("a")).await;
    server.freeze();
    let start = Instant::now();
    let mut calls = Vec::new();
    for _ in 0..64 {
        let tier = Arc::clone(&tier);
        calls.push(tokio::spawn(async move {
            (tier.fence(&session("a"), 1).await, start.elapsed())
        }));
    }
    let mut refused = 0;
    for call in calls {
        let (result, elapsed) = call.await.unwrap();
        assert!(result.unwrap_err().is_outage());
        refused += u32::from(elapsed < Duration::from_millis(500));
    }
    assert!(refused >= 32, "{refused}");
    server.thaw();
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_left_and_suspect_when_it_returns() {
    let (server, s) = (RedisServer::start(), session("a"));
    let tier = tier_of(&server);
    hot(&*tier, &s).await;
    let port = server.port().to_string();
    // Of a server that is not there: that is enough to refuse writes.
    assert_eq!(server.cli(&["REPLICAOF", "127.0.0.1", "1"]).trim(), "OK");
    let marked = Append {
        mark: Some(writer("w")),
        ..append(&*tier, 1, 2)
    };
    assert!(
        tier.append(&s, marked).await.unwrap_err().is_outage(),
        "{port}"
    );
    assert_eq!(server.cli(&["REPLICAOF", "NO", "ONE"]).trim(), "OK");
    recovery(&tier).await;
    assert!(tier.generation() > 1, "its history is another one now");
}
