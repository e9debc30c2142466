//! P6: the disk runs full to the last byte, and has room again.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::points::{check, judge, resumed};
use crate::child::cache::CacheSpec;
use crate::child::patient::{PatientSpec, Suffered, Well};
use crate::process::{Process, pause};
use crate::trial::{Outcome, Round, Trial};
use crate::volume::{Volume, cannot_mount};

pub(super) const TRIALS: &[Trial] = &[Trial {
    promise: "P6",
    fault: "the disk runs full and has room again",
    ci: 3,
    full: 50,
    least: 1_000,
    alone: true,
    run: fill,
}];

/// The file system's size, in MiB.
const MIB: u64 = 96;

fn fill(round: &Round) -> anyhow::Result<Outcome> {
    if let Some(why) = cannot_mount() {
        return Ok(Outcome::not_run(why));
    }
    let mut rng = round.rng();
    let mut volume = Volume::memory(round.dir(), MIB)?;
    let ledger = round.dir().join("ledger");
    let mut cache = CacheSpec::new(volume.path().join("data"));
    cache.synced = rng.bool();
    let filler = Filler::new(volume.path());
    let spec = PatientSpec {
        cache: cache.clone(),
        ledger: ledger.clone(),
        sessions: 40,
        bytes: 500,
        pause_ms: 1,
        before: Vec::new(),
    };
    let mut outcome = Outcome::default();
    let mut patient = Process::start("patient", &spec)?;
    patient.line::<String>()?;
    // Sometimes with the ballast, which is made after a second, and sometimes before.
    pause(Duration::from_millis(rng.u64(100..2_500)));
    filler.fill()?;
    // What others still write into the last gaps, and what the ballast gave up.
    let until = Instant::now() + Duration::from_millis(rng.u64(500..2_500));
    while Instant::now() < until {
        pause(Duration::from_millis(20));
        if rng.u8(..3) > 0 {
            filler.fill()?;
        }
    }
    let killed = rng.bool();
    if killed {
        // Killed while it is full, and started again while it still is.
        patient.kill()?;
        filler.fill()?;
        patient = Process::start("patient", &spec)?;
        pause(Duration::from_millis(rng.u64(200..1_500)));
        filler.empty()?;
        patient.line::<String>()?;
    } else {
        filler.empty()?;
    }
    patient.tell("well")?;
    let well: Well = patient.line()?;
    resumed(&mut outcome, &well);
    patient.tell("stop")?;
    let suffered: Suffered = patient.line()?;
    patient.finish()?;
    check(&mut outcome, &suffered, false);
    // What a killed process suffered went with it.
    let was_full = killed || !suffered.errors.is_empty() || !suffered.open_errors.is_empty();
    outcome.must(was_full, || "nothing failed: it was never full".to_owned());
    clear(&mut outcome, &suffered);
    judge(&mut outcome, &cache, &ledger, |_| false)?;
    volume.unmount()?;
    Ok(outcome)
}

/// Errors say what to do, and reads go on.
fn clear(outcome: &mut Outcome, suffered: &Suffered) {
    let says = |error: &&String| error.contains("free") && error.contains("space");
    for error in suffered.errors.iter().filter(|e| !says(e)) {
        outcome.violations.push(format!(
            "an append's error does not say what to do: {error}"
        ));
    }
    for error in suffered.open_errors.iter().filter(|e| !says(e)) {
        outcome.violations.push(format!(
            "an opening's error does not say what to do: {error}"
        ));
    }
    // A store that was opened again in the gap before the last byte was taken too cannot be, until there is room:
    // then history says so, while what is hot goes on.
    for error in suffered.read_errors.iter().filter(|e| !says(e)) {
        outcome.violations.push(format!("a read failed: {error}"));
    }
}

/// A file that takes up all the room there is.
struct Filler {
    path: PathBuf,
}

impl Filler {
    fn new(dir: &Path) -> Self {
        let path = dir.join("filler");
        Self { path }
    }

    /// Grows until there is no room for a byte more.
    fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        for size in [1 << 20, 4_096, 1] {
            let bytes = vec![0; size];
            loop {
                match file.write(&bytes) {
                    Ok(0) => break,
                    Err(e) if e.kind() == std::io::ErrorKind::StorageFull => break,
                    other => other?,
                };
            }
        }
        Ok(())
    }

    fn empty(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(&self.path)?)
    }
}
