//! P8: the bot's clock jumps by an hour or a year, ahead and back: nothing expires early, nothing is reordered.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kill::judged;
use crate::child::cache::CacheSpec;
use crate::child::timed::{Timed, TimedSpec};
use crate::process::{Process, pause};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        promise: "P8",
        fault: "the cache's clock jumps",
        ci: 10,
        full: 100,
        least: 1_000,
        alone: false,
        run: handed,
    },
    Trial {
        promise: "P8",
        fault: "the process's clock jumps (libfaketime)",
        ci: 10,
        full: 100,
        least: 1_000,
        alone: false,
        run: faked,
    },
];

/// Jumps, in seconds: an hour and a year, both ways.
const JUMPS: [i64; 4] = [3_600, -3_600, 31_536_000, -31_536_000];

/// Sessions that are written to in turn.
const SESSIONS: u64 = 20;

fn handed(round: &Round) -> anyhow::Result<Outcome> {
    jump(round, None)
}

fn faked(round: &Round) -> anyhow::Result<Outcome> {
    match library() {
        Some(library) => jump(round, Some(&library)),
        None => Ok(Outcome::not_run("libfaketime is not here")),
    }
}

/// Where the package puts it: `/usr/lib/ARCHITECTURE/faketime/`.
fn library() -> Option<PathBuf> {
    let places = std::fs::read_dir("/usr/lib").ok()?.flatten();
    let mut found = places.map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists())
}

fn jump(round: &Round, library: Option<&Path>) -> anyhow::Result<Outcome> {
    let mut rng = round.rng();
    let (ledger, offset) = (round.dir().join("ledger"), round.dir().join("offset"));
    let spec = TimedSpec {
        cache: CacheSpec::new(round.data()),
        ledger: ledger.clone(),
        sessions: SESSIONS,
    };
    let mut outcome = Outcome::default();
    // The second process starts with the right clock, and looks for what is past retention.
    for _ in 0..2 {
        let mut total = 0;
        let mut process = match library {
            Some(library) => {
                std::fs::write(&offset, format!("{total:+}"))?;
                let (library, offset) = (library.to_string_lossy(), offset.to_string_lossy());
                let variables = [
                    ("LD_PRELOAD", library.as_ref()),
                    ("FAKETIME_TIMESTAMP_FILE", offset.as_ref()),
                    ("FAKETIME_NO_CACHE", "1"),
                    ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                    ("DONT_FAKE_MONOTONIC", "1"),
                ];
                Process::start_with("timed", &spec, &variables)?
            }
            None => Process::start("timed", &spec)?,
        };
        process.line::<String>()?;
        for _ in 0..rng.u8(2..5) {
            pause(Duration::from_millis(rng.u64(50..200)));
            let by = rng.choice(JUMPS).unwrap_or_default();
            total += by;
            if library.is_some() {
                let fresh = round.dir().join("offset.new");
                std::fs::write(&fresh, format!("{total:+}"))?;
                std::fs::rename(&fresh, &offset)?;
            } else {
                process.tell(&format!("jump {by}"))?;
            }
        }
        pause(Duration::from_millis(rng.u64(50..200)));
        process.tell("stop")?;
        let timed: Timed = process.line()?;
        process.finish()?;
        look(&mut outcome, &timed, library.map(|_| total));
    }
    outcome.add(judged(&spec.cache, &ledger)?);
    Ok(outcome)
}

fn look(outcome: &mut Outcome, timed: &Timed, moved: Option<i64>) {
    // The first touch of each session in a process loads it.
    outcome.must(timed.misses <= SESSIONS, || {
        format!("{} misses of {SESSIONS} sessions", timed.misses)
    });
    outcome.must(timed.ran_ms < 60_000, || {
        format!("monotonic time jumped too: it ran {} ms", timed.ran_ms)
    });
    if let Some(moved) = moved {
        let off = timed.moved_ms - moved * 1_000;
        outcome.must((0..60_000).contains(&off), || {
            format!("the clock was {off} ms off where it was sent")
        });
    }
}
