//! A run of a second or two: every peer does its turns right, and the yardstick is no weak one.

use std::time::Duration;

use scrollback_bench::{Options, Row};

fn small() -> Options {
    Options {
        tasks: vec![1, 3],
        rounds: 1,
        window: Duration::from_secs(5),
        turns: 300,
        sessions: 20,
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_peer_turns_and_the_hand_written_one_does_what_it_must() {
    let report = scrollback_bench::run(&small(), |_, _| true).await.unwrap();
    assert!(report.with_redis, "is redis-server installed?");
    let named =
        |what: &str| -> Vec<&Row> { report.rows.iter().filter(|r| r.what == what).collect() };
    for what in [
        "r3",
        "r3_1rt",
        "redis",
        "redis_1rt",
        "embedded",
        "teloxide",
        "moka",
    ] {
        let rows = named(what);
        assert_eq!(
            rows.iter().map(|r| r.tasks).collect::<Vec<_>>(),
            [1, 3],
            "{what}"
        );
        assert!(
            rows.iter()
                .all(|r| r.turns_per_s > 0.0 && r.p50_us <= r.p99_us),
            "{what}"
        );
    }
    for r3 in named("r3") {
        // Two of the commands are the measurement's own.
        assert!((7.0..7.05).contains(&r3.commands), "{r3:?}");
        assert!((6_500.0..7_500.0).contains(&r3.bytes_from_redis), "{r3:?}");
    }
    for ours in named("redis") {
        assert!(
            ours.commands < 3.0 && ours.bytes_from_redis < 200.0,
            "{ours:?}"
        );
    }
    for here in named("embedded") {
        assert!(here.commands < 0.5, "{here:?}");
    }
    let json = serde_json::to_value(&report).unwrap();
    let first = json["rows"][0].as_object().unwrap();
    for field in [
        "what",
        "tasks",
        "turns_per_s",
        "p50_us",
        "p99_us",
        "client_cpu_us",
        "redis_cpu_us",
        "commands",
        "bytes_to_redis",
        "bytes_from_redis",
    ] {
        assert!(first.contains_key(field), "{field}");
    }
    assert!(report.to_string().lines().count() > 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_says_so_and_one_without_a_server_what_is_wrong() {
    let stopped = scrollback_bench::run(&small(), |done, _| done < 1).await;
    assert!(stopped.is_err());
    let nowhere = Options {
        redis: Some("redis://127.0.0.1:1/".to_owned()),
        ..small()
    };
    let error = scrollback_bench::run(&nowhere, |_, _| true)
        .await
        .unwrap_err();
    assert!(
        format!("{error:#}").contains("connecting to Redis"),
        "{error:#}"
    );
}
