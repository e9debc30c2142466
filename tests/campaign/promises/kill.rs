//! P2: kill -9 of the process loses no acknowledged append.

use std::time::Duration;

use crate::child::cache::CacheSpec;
use crate::child::reader::{Read, ReaderSpec};
use crate::child::writer::WriterSpec;
use crate::ledger::Told;
use crate::process::{Process, pause};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[Trial {
    promise: "P2",
    fault: "kill -9, a fifth of them during open or replay",
    ci: 30,
    full: 1_000,
    least: 1_000,
    alone: false,
    run: kill,
}];

/// How many lives a data directory has in one round.
const LIVES: u64 = 3;

fn kill(round: &Round) -> anyhow::Result<Outcome> {
    let mut rng = round.rng();
    let ledger = round.dir().join("ledger");
    let cache = CacheSpec::new(round.data()).encrypted(round.number.is_multiple_of(2));
    for life in 0..LIVES {
        let mut writer = Process::start("writer", &WriterSpec::new(cache.clone(), &ledger))?;
        // A fifth of the kills comes before it is open, while it replays what the last life left: three tenths of all but
        // the first life's.
        if life == 0 || rng.u8(..10) >= 3 {
            writer.line::<String>()?;
            pause(Duration::from_millis(rng.u64(20..300)));
        } else {
            pause(Duration::from_millis(rng.u64(5..60)));
        }
        writer.kill()?;
    }
    judged(&cache, &ledger)
}

/// Reads everything back in a fresh process and compares it with the ledger.
pub(super) fn judged(cache: &CacheSpec, ledger: &std::path::Path) -> anyhow::Result<Outcome> {
    let told = Told::read(ledger)?;
    let read = read_back(cache, &told)?;
    let mut outcome = Outcome {
        acked: told.count(),
        violations: told.judge(&read.exported),
        figures: vec![
            ("open ms", read.open_ms),
            ("first read ms", read.first_read_ms),
        ],
        ..Outcome::default()
    };
    outcome.violations.extend(read.torn_contexts());
    outcome.violations.extend(read.violations);
    Ok(outcome)
}

/// What a fresh process reads of every session in the ledger.
pub(super) fn read_back(cache: &CacheSpec, told: &Told) -> anyhow::Result<Read> {
    Process::start("reader", &reader(cache, told))?.line()
}

/// The reader of every session in the ledger.
pub(super) fn reader(cache: &CacheSpec, told: &Told) -> ReaderSpec {
    ReaderSpec {
        cache: cache.clone(),
        sessions: told.sessions().into_iter().map(str::to_owned).collect(),
    }
}
