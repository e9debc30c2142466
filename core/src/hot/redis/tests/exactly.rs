//! Exactly which commands, keys and expiries: what the design counts on.

use super::*;
use crate::hot::{Append, Settle};
use crate::testing::hot_suite::{append, copy, done, hot, hydrate, session, settle, writer};

/// Calls by command since the last reset, without the client's own and the test's.
fn calls(server: &RedisServer) -> Vec<String> {
    let stats = server.cli(&["INFO", "commandstats"]);
    let lines = stats
        .lines()
        .filter_map(|l| l.trim().strip_prefix("cmdstat_"));
    let mut found: Vec<String> = lines
        .filter(|l| {
            !["info", "config", "ping", "command"]
                .iter()
                .any(|own| l.starts_with(own))
        })
        .filter_map(|l| Some(l.split_once(",usec")?.0.replace(":calls=", " ")))
        .collect();
    found.sort();
    found
}

fn reset(server: &RedisServer) {
    assert_eq!(server.cli(&["CONFIG", "RESETSTAT"]).trim(), "OK");
}

#[tokio::test]
async fn a_plain_append_is_one_xadd_and_nothing_else() {
    let (f, s) = (fixture(), session("a"));
    hot(&*f.tier, &s).await;
    reset(&f.server);
    for number in 2..=11 {
        done(&*f.tier, &s, append(&*f.tier, 1, number)).await;
    }
    assert_eq!(calls(&f.server), ["xadd 10"]);
}

#[tokio::test]
async fn a_marking_append_adds_its_mark_and_ends_the_expiry_in_one_write() {
    let (f, s) = (fixture(), session("a"));
    hot(&*f.tier, &s).await;
    reset(&f.server);
    done(
        &*f.tier,
        &s,
        Append {
            mark: Some(writer("w")),
            ..append(&*f.tier, 1, 2)
        },
    )
    .await;
    assert_eq!(calls(&f.server), ["persist 1", "xadd 1", "zadd 1"]);
}

#[tokio::test]
async fn a_read_is_one_step() {
    let (f, s) = (fixture(), session("a"));
    hot(&*f.tier, &s).await;
    reset(&f.server);
    assert!(is_hot(&*f.tier, &s).await);
    assert_eq!(calls(&f.server), ["xrange 1"]);
    f.tier
        .read(&s, Some(Place::new(1, 1)), f.tier.generation())
        .await
        .unwrap();
    assert_eq!(
        calls(&f.server),
        ["exec 1", "exists 1", "multi 1", "xrange 2"]
    );
}

#[tokio::test]
async fn every_key_of_a_session_carries_its_partition_as_hash_tag() {
    let (f, s) = (fixture(), session("{x}"));
    hot(&*f.tier, &s).await;
    done(
        &*f.tier,
        &s,
        Append {
            mark: Some(writer("w")),
            ..append(&*f.tier, 1, 2)
        },
    )
    .await;
    let keys = f.server.cli(&["KEYS", "*"]);
    let mut keys: Vec<_> = keys.lines().collect();
    keys.sort_unstable();
    let tag = format!("test:{{p{}}}", s.partition());
    let expected = [
        format!("{tag}:dirty"),
        format!("{tag}:fence:{s}"),
        format!("{tag}:log:{s}"),
    ];
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn a_settled_session_has_the_time_to_live_it_was_given() {
    let (f, s, w) = (fixture(), session("a"), writer("w"));
    hot(&*f.tier, &s).await;
    let log = format!("test:{{p{}}}:log:{s}", s.partition());
    let ttl = || f.server.cli(&["PTTL", &log]).trim().parse::<i64>().unwrap();
    done(
        &*f.tier,
        &s,
        Append {
            mark: Some(w.clone()),
            ..append(&*f.tier, 1, 2)
        },
    )
    .await;
    assert_eq!(ttl(), -1);
    settle(&*f.tier, &w, &s, Some(100_000)).await;
    assert!((90_000..=100_000).contains(&ttl()), "{}", ttl());
    f.tier.touch(&s, 50_000).await.unwrap();
    assert!(ttl() > 90_000);
    f.tier.touch(&s, 200_000).await.unwrap();
    assert!(ttl() > 190_000);
    f.tier.touch(&s, u64::MAX).await.unwrap();
    assert!(ttl() > 190_000, "the longest there is");
    settle(&*f.tier, &w, &s, None).await;
    assert_eq!(ttl(), -1);
    let fence = format!("test:{{p{}}}:fence:{s}", s.partition());
    let left = f
        .server
        .cli(&["PTTL", &fence])
        .trim()
        .parse::<i64>()
        .unwrap();
    assert!((50_000..=60_000).contains(&left));
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let (f, s, w) = (fixture(), session("a"), writer("w"));
    f.recovered().await;
    let flush = || assert_eq!(f.server.cli(&["SCRIPT", "FLUSH"]).trim(), "OK");
    flush();
    hot(&*f.tier, &s).await;
    flush();
    let settled = |n| Settle {
        session: session(&format!("{n}")),
        ttl_ms: Some(1),
    };
    f.tier
        .settle(&w, (0..100).map(settled).collect())
        .await
        .unwrap();
    flush();
    f.tier.release(&s).await.unwrap();
    assert!(!is_hot(&*f.tier, &s).await);
    hydrate(&*f.tier, &s, copy(&*f.tier, 2, 1, None)).await;
    reset(&f.server);
    let over = Some(Place::new(2, 1));
    hydrate(&*f.tier, &s, copy(&*f.tier, 3, 1, over)).await;
    let calls = calls(&f.server);
    assert!(
        calls.contains(&"evalsha 1".to_owned()),
        "back to the digest: {calls:?}"
    );
}

#[tokio::test]
async fn large_numbers_keep_all_their_digits() {
    let (f, s) = (fixture(), session("a"));
    let epoch = (1 << 60) + 1;
    hydrate(&*f.tier, &s, copy(&*f.tier, epoch, epoch, None)).await;
    let over = Some(Place::new(epoch, epoch));
    f.tier.fence(&s, epoch + 1).await.unwrap();
    let near = Some(Place::new(epoch, epoch + 1));
    let moved = f
        .tier
        .publish(&s, copy(&*f.tier, epoch + 1, 1, near))
        .await
        .unwrap();
    assert_eq!(moved, Published::Moved);
    hydrate(&*f.tier, &s, copy(&*f.tier, epoch + 1, 1, over)).await;
}

#[tokio::test]
async fn an_evicting_server_is_warned_of() {
    let f = fixture();
    let set = |policy| f.server.cli(&["CONFIG", "SET", "maxmemory-policy", policy]);
    for (policy, warnings) in [("allkeys-lru", 1), ("volatile-ttl", 0), ("noeviction", 0)] {
        assert_eq!(set(policy).trim(), "OK");
        assert_eq!(f.tier.check().await.unwrap().len(), warnings, "{policy}");
    }
}

#[tokio::test]
async fn a_full_server_refuses_an_append_as_an_outage() {
    let (f, s) = (fixture(), session("a"));
    hot(&*f.tier, &s).await;
    assert_eq!(
        f.server.cli(&["CONFIG", "SET", "maxmemory", "1"]).trim(),
        "OK"
    );
    let marked = Append {
        mark: Some(writer("w")),
        ..append(&*f.tier, 1, 2)
    };
    let error = f.tier.append(&s, marked).await.unwrap_err();
    assert!(
        error.is_outage() && format!("{error:?}").contains("OOM"),
        "{error:?}"
    );
    assert_eq!(
        f.server.cli(&["CONFIG", "SET", "maxmemory", "0"]).trim(),
        "OK"
    );
    done(&*f.tier, &s, append(&*f.tier, 1, 2)).await;
}

#[tokio::test]
async fn the_documented_access_list_is_enough() {
    let f = fixture();
    let rules = "SETUSER bot on >pw ~acl:* -@all +ping +info +select +script|load +eval +evalsha \
                 +xadd +xrange +xrevrange +zadd +zrem +zlexcount +zrange +persist +pexpire +set +get \
                 +del +unlink +exists +multi +exec";
    let rules: Vec<&str> = ["ACL"]
        .into_iter()
        .chain(rules.split_whitespace())
        .collect();
    assert_eq!(f.server.cli(&rules).trim(), "OK");
    let url = format!("redis://bot:pw@127.0.0.1:{}/", f.server.port());
    let tier = RedisTier::new(config(&f.server)).unwrap();
    tier.close().await;
    let tier = RedisTier::new(RedisConfig::new(url).prefix("acl")).unwrap();
    let (s, w) = (session("a"), writer("w"));
    assert!(tier.check().await.unwrap().is_empty());
    hot(&tier, &s).await;
    done(
        &tier,
        &s,
        Append {
            mark: Some(w.clone()),
            ..append(&tier, 1, 2)
        },
    )
    .await;
    assert_eq!(tier.marked(&w).await.unwrap().len(), 1);
    tier.read(&s, Some(Place::new(1, 1)), 1).await.unwrap();
    settle(&tier, &w, &s, None).await;
    settle(&tier, &w, &s, Some(5)).await;
    tier.touch(&s, 5).await.unwrap();
    tier.release(&s).await.unwrap();
}
