//! P11: expiry, trim and eviction never outrun a store that hangs or fails: what is not durable stays readable, in the
//! process and in Redis.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness::faulty::{FaultyStore, Stall};
use scrollback::hot::{HotTier as _, Read, memory::MemoryTier};
use scrollback::testing::RedisServer;
use scrollback::{Cache, Fixed, RedisConfig, Window, clock};
use tokio::runtime::Runtime;

use crate::process::pause;
use crate::stage::{address, key, message, runtime, soon, store};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        promise: "P11",
        fault: "a store that hangs or fails, over an in-process tier far over its bounds and past its time to live",
        ci: 2,
        full: 6,
        least: 1_000,
        alone: false,
        run: in_process,
    },
    Trial {
        promise: "P11",
        fault: "a store that hangs or fails, over Redis past its time to live",
        ci: 2,
        full: 6,
        least: 1_000,
        alone: false,
        run: in_redis,
    },
];

const SESSIONS: u64 = 20;
const MESSAGES: u64 = 100;
const TTL: Duration = Duration::from_millis(50);

/// A cache whose every bound is far below what is said.
fn tiny(
    runtime: &Runtime,
    data: &Path,
    store: &Arc<FaultyStore>,
    hot: impl FnOnce(scrollback::CacheBuilder) -> scrollback::CacheBuilder,
) -> anyhow::Result<Cache> {
    let builder = Cache::builder()
        .shared_store(Arc::clone(store) as Arc<_>)
        .journal(data.join("journal"))
        .journal_limits(1 << 30, 1 << 20)
        .window(Window::messages(5))
        .ttl(Fixed(TTL))
        .replica_limit(16 << 10)
        .flush_every(Duration::from_millis(20));
    Ok(runtime.block_on(hot(builder).build())?)
}

/// What a tier holds of a session, in numbers of entries, and whether it may expire.
type Holds<'a> = dyn Fn(u64) -> anyhow::Result<(u64, bool)> + 'a;

fn stalled(
    round: &Round,
    runtime: &Runtime,
    store: &Arc<FaultyStore>,
    cache: &Cache,
    holds: &Holds<'_>,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let say = |s: u64, n: u64| runtime.block_on(cache.session(key(s)).append(message(n, 200)));
    for s in 0..SESSIONS {
        say(s, 0)?;
    }
    runtime.block_on(cache.flush())?;
    let hangs = round.number.is_multiple_of(2);
    if hangs {
        store.set_stall(Stall::Flushes);
    } else {
        store.set_no_flush(true);
    }
    for n in 1..=MESSAGES {
        for s in 0..SESSIONS {
            say(s, n)?;
        }
    }
    pause(TTL * 6);
    for s in 0..SESSIONS {
        // One that was hydrated holds its first message in the copy.
        let (entries, expires) = holds(s)?;
        outcome.must(entries >= MESSAGES && !expires, || {
            format!("session {s}: {entries} entries are hot, expiry {expires}, nothing durable")
        });
        let shown = runtime.block_on(cache.session(key(s)).context())?;
        let newest = shown.messages.last().and_then(|m| m.id.clone());
        outcome.must(newest == Some(MESSAGES.to_string()), || {
            format!("session {s}: its newest message is not shown")
        });
    }
    let waiting = cache.stats().waiting;
    outcome.must(waiting == SESSIONS * MESSAGES, || {
        format!("{waiting} entries wait")
    });
    store.set_stall(Stall::No);
    store.set_no_flush(false);
    let durable = soon(|| cache.stats().waiting == 0);
    outcome.must(durable, || {
        "not flushed though the store is back".to_owned()
    });
    for s in 0..SESSIONS {
        let all = runtime.block_on(cache.session(key(s)).export())?;
        let numbers = all
            .iter()
            .filter_map(|(_, m)| m.id.as_ref()?.parse::<u64>().ok());
        let right = numbers.eq(0..=MESSAGES);
        outcome.must(right, || {
            format!("session {s}: {} of {MESSAGES} are there", all.len())
        });
        outcome.acked += all.len() as u64;
    }
    // Now that all is durable it does expire: the stall was not just a time to live never handed out.
    let gone = soon(|| (0..SESSIONS).all(|s| holds(s).is_ok_and(|(entries, _)| entries == 0)));
    outcome.must(gone, || "clean sessions do not expire".to_owned());
    Ok(outcome)
}

fn in_process(round: &Round) -> anyhow::Result<Outcome> {
    let runtime = runtime()?;
    let store = store(&round.data())?;
    let tier = Arc::new(MemoryTier::new(64 << 10, clock::system()));
    let cache = tiny(&runtime, &round.data(), &store, |builder| {
        builder.hot_tier(Arc::clone(&tier) as Arc<_>)
    })?;
    let holds = |s: u64| match runtime.block_on(tier.read(&address(s), None, 1))? {
        Read::Entries(entries) => Ok((entries.len() as u64, false)),
        _ => Ok((0, true)),
    };
    let outcome = stalled(round, &runtime, &store, &cache, &holds);
    runtime.block_on(cache.close(Duration::from_secs(10)))?;
    outcome
}

fn in_redis(round: &Round) -> anyhow::Result<Outcome> {
    let redis = RedisServer::start();
    let runtime = runtime()?;
    let store = store(&round.data())?;
    let cache = tiny(&runtime, &round.data(), &store, |builder| {
        builder
            .hot(RedisConfig::new(redis.url()))
            .deadline(Duration::from_secs(2))
    })?;
    let holds = |s: u64| {
        let at = address(s);
        let key = format!("scrollback:{{p{}}}:log:{at}", at.partition());
        let entries = redis.cli(&["XLEN", &key]).trim().parse()?;
        let expires = redis.cli(&["PTTL", &key]).trim() != "-1";
        Ok((entries, expires))
    };
    let outcome = stalled(round, &runtime, &store, &cache, &holds);
    runtime.block_on(cache.close(Duration::from_secs(10)))?;
    outcome
}
