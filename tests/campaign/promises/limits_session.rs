//! P11: what bounds a session's hot part, the in-process hot tier and the replicas: durable ones are trimmed and clean
//! ones evicted, never what is dirty.

use std::time::Duration;

use anyhow::Context as _;
use scrollback::hot::{HotTier as _, Read};
use scrollback::testing::RedisServer;
use scrollback::{ApproximateTokens, Cache, RedisConfig, SledConfig, Window};

use crate::stage::{NEVER, Stage, address, key, message, resident_kib, runtime};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        promise: "P11",
        fault: "a session's window at 2,000 messages - 1, 0, + 1, x 10, by count, tokens and age",
        ci: 1,
        full: 3,
        least: 20_000,
        alone: false,
        run: messages,
    },
    Trial {
        promise: "P11",
        fault: "a session's hot part at 1 MiB - 1, 0, + 1, x 10, messages, edits and states",
        ci: 2,
        full: 4,
        least: 300,
        alone: false,
        run: bytes,
    },
    Trial {
        promise: "P11",
        fault: "the in-process hot tier at its bytes - 1, 0, + 1, x 10, clean and dirty",
        ci: 1,
        full: 5,
        least: 1_000,
        alone: false,
        run: tier,
    },
    Trial {
        promise: "P11",
        fault: "replicas twelve times over their bound within one sweep's time",
        ci: 1,
        full: 3,
        least: 1_000,
        alone: true,
        run: replicas,
    },
];

/// A log in the tier: entries and bytes.
fn log(stage: &Stage, name: &str) -> anyhow::Result<(usize, usize)> {
    let address = address(name);
    match stage.runtime.block_on(stage.tier.read(&address, None, 1))? {
        Read::Entries(entries) => {
            let bytes = |e: &scrollback::hot::LogEntry| {
                let (scrollback::hot::Record::Entry(b) | scrollback::hot::Record::Snapshot(b)) =
                    &e.record;
                b.len() + e.carry.as_ref().map_or(0, bytes::Bytes::len)
            };
            Ok((entries.len(), entries.iter().map(bytes).sum()))
        }
        other => anyhow::bail!("{name} is not hot: {other:?}"),
    }
}

fn messages(round: &Round) -> anyhow::Result<Outcome> {
    let windows = [
        Window::messages(1_000_000),
        Window::tokens(u32::MAX, ApproximateTokens),
        Window::age(Duration::from_secs(3_600)),
    ];
    let mut outcome = Outcome::default();
    for (at, window) in windows.into_iter().enumerate() {
        let data = round.dir().join(format!("window-{at}"));
        let stage = Stage::open(&data, 256 << 20, |b| b.window(window))?;
        let session = stage.session("s");
        let mut said = 0;
        let all = if at == 0 { 20_000 } else { 3_000 };
        // The last are said while nothing becomes durable: then nothing may be trimmed.
        for (upto, durable) in [(1_999, true), (2_000, true), (2_001, true), (all, at == 0)] {
            for n in said + 1..=upto {
                let turn = stage.runtime.block_on(session.append(message(n, 20)))?;
                let shown = turn.context().messages.len() as u64;
                outcome.must(shown <= 2_000 && (n > 2_000 || shown == n), || {
                    format!("{shown} messages are shown after {n}")
                });
                if durable && n % 500 == 0 {
                    stage.runtime.block_on(stage.cache.flush())?;
                }
            }
            said = upto;
        }
        let (entries, _) = log(&stage, "s")?;
        if at == 0 {
            outcome.must(entries <= 4_000, || {
                format!("{entries} entries are hot of {said}")
            });
        } else {
            outcome.must(entries >= 999, || {
                format!("only {entries} entries are hot while nothing is durable")
            });
        }
        let there = stage.exported("s")?.len() as u64;
        outcome.must(there == said, || format!("{there} of {said} are there"));
        outcome.acked += said;
        stage.close()?;
    }
    Ok(outcome)
}

/// What a log may hold when all in it is durable: a window as the copy and a window as entries, and a step.
const LOG: usize = 4 << 20;

fn bytes(round: &Round) -> anyhow::Result<Outcome> {
    if round.number.is_multiple_of(2) {
        bytes_in_process(round)
    } else {
        bytes_in_redis(round)
    }
}

fn bytes_in_process(round: &Round) -> anyhow::Result<Outcome> {
    let most = Window::MAX_BYTES;
    let mut outcome = Outcome::default();
    let stage = Stage::open(&round.data(), 256 << 20, |b| {
        b.window(Window::messages(2_000))
    })?;
    // Author and id take 9 and 1 or 2 bytes of each.
    for (name, total) in [("- 1", most - 1), ("0", most), ("+ 1", most + 1)] {
        let session = stage.session(name);
        for n in 1..=16 {
            let last = n == 16;
            let own = 9 + n.to_string().len();
            let text = if last {
                total - 15 * (64 << 10)
            } else {
                64 << 10
            } - own;
            let turn = stage.runtime.block_on(session.append(message(n, text)))?;
            let shown = turn.context().messages.len();
            let all = u64::try_from(shown)? == n;
            outcome.must(all == (!last || total <= most), || {
                format!("{shown} messages are shown at 1 MiB {name}")
            });
            outcome.acked += 1;
        }
    }
    let session = stage.session("x 10");
    for n in 1..=160 {
        let turn = stage
            .runtime
            .block_on(session.append(message(n, 64 << 10)))?;
        let shown: usize = turn.context().messages.iter().map(|m| m.text.len()).sum();
        outcome.must(shown <= most, || format!("{shown} bytes are shown"));
        stage.runtime.block_on(stage.cache.flush())?;
        let (_, hot) = log(&stage, "x 10")?;
        outcome.must(hot <= LOG, || {
            format!("{hot} bytes are hot after {n} messages")
        });
        outcome.acked += 1;
    }
    still(&stage, &mut outcome)?;
    stage.close()?;
    Ok(outcome)
}

/// Edits and states move no window, and yet their log is bounded.
fn still(stage: &Stage, outcome: &mut Outcome) -> anyhow::Result<()> {
    let most = Window::MAX_BYTES;
    let (edited, states) = (stage.session("edited"), stage.session("states"));
    stage.runtime.block_on(edited.append(message(1, 10)))?;
    for n in 0..160u64 {
        let text = |n: u64| format!("{n:09}{}", "e".repeat((64 << 10) - 9));
        stage.runtime.block_on(edited.edit(1, text(n)))?;
        stage
            .runtime
            .block_on(states.set_state(&format!("{n:09}{}", "s".repeat(60_000))))?;
        stage.runtime.block_on(stage.cache.flush())?;
        for name in ["edited", "states"] {
            let (_, hot) = log(stage, name)?;
            outcome.must(hot <= LOG, || {
                format!("{name}: {hot} bytes are hot after {n}")
            });
        }
        outcome.acked += 2;
    }
    let context = stage.runtime.block_on(edited.context())?;
    let newest = context
        .messages
        .first()
        .map(|m| m.text.starts_with("000000159"));
    outcome.must(newest == Some(true), || {
        "the newest edit is not shown".to_owned()
    });
    let state = stage.runtime.block_on(states.state::<String>())?;
    let newest =
        state.is_some_and(|(version, text)| version == 160 && text.starts_with("000000159"));
    outcome.must(newest, || "the newest state is not there".to_owned());
    // Edits of messages that never came are remembered, within bounds.
    let ahead = stage.session("ahead");
    for n in 0..100 {
        stage
            .runtime
            .block_on(ahead.edit(n, "a".repeat(64 << 10)))?;
    }
    let (_, hot) = log(stage, "ahead")?;
    outcome.must(hot > most, || {
        format!("{hot} bytes are hot of 100 edits not durable")
    });
    Ok(())
}

fn bytes_in_redis(round: &Round) -> anyhow::Result<Outcome> {
    let redis = RedisServer::start();
    let runtime = runtime()?;
    let mut outcome = Outcome::default();
    let builder = Cache::builder()
        .hot(RedisConfig::new(redis.url()))
        .store(SledConfig::new(round.data()).cache_bytes(8 << 20))
        .journal_limits(1 << 30, 1 << 20)
        .deadline(Duration::from_secs(2))
        .window(Window::messages(2_000))
        .flush_every(NEVER);
    let cache = runtime.block_on(builder.build())?;
    let (said, edited) = (cache.session(key("said")), cache.session(key("edited")));
    runtime.block_on(edited.append(message(1, 10)))?;
    let mut most = 0;
    for n in 1..=160 {
        runtime.block_on(said.append(message(n, 64 << 10)))?;
        runtime.block_on(edited.edit(1, format!("{n:09}{}", "e".repeat(65_000))))?;
        runtime.block_on(cache.flush())?;
        outcome.acked += 2;
        for session in [&said, &edited] {
            let address = scrollback::key::Address::from(session.key());
            let key = format!("scrollback:{{p{}}}:log:{address}", address.partition());
            let usage = redis.cli(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]);
            let hot: usize = usage
                .trim()
                .parse()
                .with_context(|| format!("{key}: {usage}"))?;
            // Redis rounds allocations up.
            outcome.must(hot <= LOG + LOG / 2, || {
                format!("{address}: {hot} bytes after {n}")
            });
            most = most.max(hot);
        }
    }
    let shown = runtime.block_on(edited.context())?;
    let newest = shown
        .messages
        .first()
        .is_some_and(|m| m.text.starts_with("000000160"));
    outcome.must(newest, || "the newest edit is not shown".to_owned());
    outcome
        .figures
        .push(("log KiB in redis", most as u64 / 1024));
    runtime.block_on(cache.close(Duration::from_secs(10)))?;
    Ok(outcome)
}

/// The in-process tier's bound in that test.
const TIER: u64 = 1 << 20;

/// One message in a session of its own.
fn speak(stage: &Stage, name: u64) -> anyhow::Result<()> {
    let session = stage.session(name);
    stage.runtime.block_on(session.append(message(1, 4_000)))?;
    Ok(())
}

fn tier(round: &Round) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let stage = Stage::open(&round.data(), TIER, |b| b.replica_limit(1 << 20))?;
    // As many sessions as fit, clean: all of them hot. One more, and the least recently used goes.
    let mut count = 0;
    while stage.tier.bytes() + 5_000 < TIER {
        count += 1;
        speak(&stage, count)?;
    }
    stage.runtime.block_on(stage.cache.flush())?;
    let hot = stage.tier.sessions() as u64;
    outcome.must(hot == count, || {
        format!("{hot} of {count} sessions below the bound are hot")
    });
    for n in count + 1..=count + 20 {
        speak(&stage, n)?;
        stage.runtime.block_on(stage.cache.flush())?;
        let bytes = stage.tier.bytes();
        outcome.must(bytes <= TIER, || format!("{bytes} bytes are hot"));
    }
    outcome.must(log(&stage, "1").is_err(), || {
        "the oldest is hot still".to_owned()
    });
    outcome.must(log(&stage, &count.to_string()).is_ok(), || {
        "a newer one is gone".to_owned()
    });
    dirty(&stage, &mut outcome, count)?;
    outcome.acked += 11 * count + 20;
    stage.close()?;
    Ok(outcome)
}

fn dirty(stage: &Stage, outcome: &mut Outcome, count: u64) -> anyhow::Result<()> {
    // Ten times the bound, dirty: nothing goes. Then durable: all beyond the bound goes.
    stage.store.set_no_flush(true);
    let from = count + 21;
    for n in from..from + 10 * count {
        speak(stage, n)?;
    }
    let bytes = stage.tier.bytes();
    outcome.must(bytes > 9 * TIER, || {
        format!("{bytes} bytes: dirty sessions were dropped")
    });
    for n in (from..from + 10 * count).step_by(97) {
        outcome.must(log(stage, &n.to_string()).is_ok(), || {
            format!("{n} is dirty and gone")
        });
    }
    stage.store.set_no_flush(false);
    stage.runtime.block_on(stage.cache.flush())?;
    stage.runtime.block_on(stage.cache.flush())?;
    let bytes = stage.tier.bytes();
    outcome.must(bytes <= TIER, || {
        format!("{bytes} bytes are hot when all is durable")
    });
    for n in (1..from + 10 * count).step_by(31) {
        let there = stage.exported(n)?.len();
        outcome.must(there == 1, || {
            format!("session {n}: {there} messages are there")
        });
    }
    Ok(())
}

fn replicas(round: &Round) -> anyhow::Result<Outcome> {
    const SESSIONS: u64 = 1_000;
    const BOUND: usize = 4 << 20;
    let mut outcome = Outcome::default();
    let stage = Stage::open(&round.data(), 4 << 20, |b| {
        b.replica_limit(BOUND)
            .flush_every(Duration::from_millis(50))
    })?;
    let before = resident_kib();
    let mut most = 0;
    for n in 0..SESSIONS {
        let session = stage.session(n);
        stage.runtime.block_on(session.append(message(1, 50_000)))?;
        let stats = stage.cache.stats();
        // What is not durable cannot go, nor what was said since the sweep began that it asked for.
        let held = stats.replica_bytes.saturating_sub(stats.waiting * 51_000);
        most = most.max(held);
    }
    outcome.must(most < 3 * BOUND as u64, || {
        format!("replicas of {most} bytes")
    });
    outcome.figures.extend([
        ("replicas KiB at most", most / 1024),
        ("RSS grown KiB", resident_kib().saturating_sub(before)),
    ]);
    for n in (0..SESSIONS).step_by(41) {
        let there = stage.exported(n)?.len();
        outcome.must(there == 1, || {
            format!("session {n}: {there} messages are there")
        });
    }
    outcome.acked += SESSIONS;
    stage.close()?;
    Ok(outcome)
}
