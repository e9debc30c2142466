//! P13: an edit or delete is right in every tier and in the queue, in whatever order it comes; a late edit never revives
//! a deleted message.

use std::time::Duration;

use scrollback::testing::RedisServer;

use crate::changes::Changes;
use crate::child::cache::CacheSpec;
use crate::child::changer::{AUTHORS, ChangerSpec};
use crate::child::teller::{TellerSpec, Told};
use crate::process::{Process, pause};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[Trial {
    promise: "P13",
    fault: "edits and deletes racing and reordered, expiry, kill -9 (every other round over Redis)",
    ci: 20,
    full: 200,
    least: 1_000,
    alone: false,
    run: changes,
}];

/// Changes that are acknowledged in a round, at least.
const CHANGES: u64 = 1_000;

/// Lives that end in kill -9 in a round, at least.
const LIVES: u64 = 3;

fn changes(round: &Round) -> anyhow::Result<Outcome> {
    let mut rng = round.rng();
    let redis = (round.number % 2 == 1).then(RedisServer::start);
    let mut cache = CacheSpec::new(round.data()).ttl_ms(rng.u64(5..60));
    cache.flush_every_ms = rng.u64(5..80);
    if let Some(redis) = &redis {
        cache = cache.redis(redis.url());
    }
    let ledger = round.dir().join("ledger");
    let mut lives = 0;
    while lives < LIVES || Changes::read(&ledger)?.count() < CHANGES {
        let spec = ChangerSpec {
            cache: cache.clone(),
            ledger: ledger.clone(),
            seed: rng.u64(..),
            sessions: 4,
        };
        let mut changer = Process::start("changer", &spec)?;
        changer.line::<String>()?;
        for _ in 0..rng.u64(1..4) {
            pause(Duration::from_millis(rng.u64(10..100)));
            if let Some(redis) = redis.as_ref().filter(|_| rng.bool()) {
                let _ = redis.cli(&["FLUSHALL"]);
            }
        }
        changer.kill()?;
        lives += 1;
    }
    let mut outcome = judged(&cache, &Changes::read(&ledger)?)?;
    outcome.figures.push(("lives", lives));
    Ok(outcome)
}

/// Reads everything in a fresh process and compares it with the model.
fn judged(cache: &CacheSpec, known: &Changes) -> anyhow::Result<Outcome> {
    let spec = TellerSpec {
        cache: cache.clone(),
        sessions: known.names(),
        authors: AUTHORS.map(str::to_owned).to_vec(),
    };
    let told: Told = Process::start("teller", &spec)?.line()?;
    let mut outcome = Outcome {
        acked: known.count(),
        violations: known.wrong.clone(),
        ..Outcome::default()
    };
    for (session, shown) in &told.exported {
        let tracks = known.of(session);
        let wrong = tracks.judge(&tracks, shown, true);
        outcome
            .violations
            .extend(wrong.iter().map(|w| format!("{session}: {w}")));
    }
    outcome.violations.extend(told.violations);
    Ok(outcome)
}
