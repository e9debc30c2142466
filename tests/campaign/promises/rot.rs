//! P7: a store or a journal is damaged while nobody has it open: no wrong data, no panic, and what can be kept is kept.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::kill::{read_back, reader};
use crate::child::cache::CacheSpec;
use crate::child::reader::Read;
use crate::child::writer::WriterSpec;
use crate::ledger::Told;
use crate::process::{Attempt, Process, pause};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[Trial {
    promise: "P7",
    fault: "bits flipped, files cut or zeroed, a half snapshot",
    ci: 50,
    full: 500,
    least: 1_000,
    alone: false,
    run: rot,
}];

/// What a description of damage says of a file that was cut.
const CUT: &str = "bytes cut to";
/// And of zeros up to its end, as of a file that had grown and was not written.
const TO_END: &str = "zeroed to the end";

/// How soon it must be open, in milliseconds.
const OPEN_MS: u64 = 5_000;

/// Where it rots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Store,
    Journal,
    Both,
}

/// What was there before the damage.
struct Had {
    /// What the first life was acknowledged.
    early: Told,
    /// The first life ended in good order: all of it is in the store.
    closed: bool,
    place: Where,
    /// A file of the journal was cut: its end is missing as after a power cut, and nobody can tell how much there was.
    torn: bool,
}

fn rot(round: &Round) -> anyhow::Result<Outcome> {
    let mut rng = round.rng();
    let ledger = round.dir().join("ledger");
    let mut cache = CacheSpec::new(round.data());
    let closed = rng.bool();
    write(
        &cache,
        &ledger,
        Duration::from_millis(rng.u64(100..400)),
        closed,
    )?;
    // What the second life says is in the journal only: it is there whatever becomes of the store.
    let early = Told::read(&ledger)?;
    cache.flush_every_ms = 60_000;
    write(&cache, &ledger, Duration::from_millis(150), false)?;
    cache.flush_every_ms = 50;
    let place = match rng.u8(..5) {
        0 => Where::Journal,
        1 => Where::Both,
        _ => Where::Store,
    };
    let done = damage(&cache.data, place, &mut rng)?;
    let had = Had {
        early,
        closed,
        place,
        torn: done
            .split(", ")
            .any(|one| one.contains("journal of") && (one.contains(CUT) || one.contains(TO_END))),
    };
    let mut outcome = judge(&cache, &ledger, &had)?;
    for violation in &mut outcome.violations {
        *violation = format!("{done}: {violation}");
    }
    Ok(outcome)
}

fn write(cache: &CacheSpec, ledger: &Path, time: Duration, close: bool) -> anyhow::Result<()> {
    let mut spec = WriterSpec::new(cache.clone(), ledger);
    (spec.again_every, spec.pause_ms) = (0, 1);
    let mut writer = Process::start("writer", &spec)?;
    writer.line::<String>()?;
    pause(time);
    if close {
        let (code, left) = writer.finish()?;
        ensure!(
            code == Some(0) && left.trim() == "0",
            "closing: {code:?} {left}"
        );
    } else {
        writer.kill()?;
    }
    Ok(())
}

/// Damages some files; what was done, in words.
fn damage(data: &Path, place: Where, rng: &mut fastrand::Rng) -> anyhow::Result<String> {
    let mut done = Vec::new();
    if place != Where::Journal {
        let store = files(&data.join("store"))?;
        done.push(one(&store, rng)?);
    }
    if place != Where::Store {
        let journal = files(&data.join("journal"))?;
        let journal: Vec<_> = journal
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "journal"))
            .collect();
        done.push(one(&journal, rng)?);
    }
    if rng.u8(..4) == 0 {
        std::fs::write(data.join("store/snap.00000000.generating"), b"")?;
        done.push("a half snapshot".to_owned());
    }
    Ok(done.join(", "))
}

fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_file() && path.metadata()?.len() > 0 {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn one(files: &[PathBuf], rng: &mut fastrand::Rng) -> anyhow::Result<String> {
    // Mostly the largest: sled's small files are damaged often enough.
    let largest = files
        .iter()
        .max_by_key(|path| path.metadata().map_or(0, |m| m.len()));
    let path = if rng.u8(..3) == 0 {
        rng.choice(files)
    } else {
        largest
    };
    let path = path.context("nothing to damage")?;
    let mut file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let name = path.file_name().unwrap_or_default().display();
    match rng.u8(..4) {
        0 | 1 => {
            let count = if rng.bool() { 1 } else { rng.u64(2..40) };
            for _ in 0..count {
                flip(&mut file, rng.u64(..length), rng.u8(..8))?;
            }
            Ok(format!("{count} bits flipped in {name} of {length} bytes"))
        }
        2 => {
            let to = rng.u64(..length);
            file.set_len(to)?;
            Ok(format!("{name} of {length} {CUT} {to}"))
        }
        _ => {
            let at = rng.u64(..length) / 4_096 * 4_096;
            let bytes = (rng.u64(1..4) * 4_096).min(length - at);
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&vec![0; usize::try_from(bytes)?])?;
            let to_end = at + bytes == length;
            let how = if to_end { TO_END } else { "zeroed" };
            Ok(format!("{bytes} bytes of {name} of {length} {how} at {at}"))
        }
    }
}

fn flip(file: &mut File, at: u64, bit: u8) -> anyhow::Result<()> {
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&byte.map(|b| b ^ (1 << bit)))?;
    Ok(())
}

fn judge(cache: &CacheSpec, ledger: &Path, had: &Had) -> anyhow::Result<Outcome> {
    let told = Told::read(ledger)?;
    let mut outcome = Outcome {
        acked: told.count(),
        ..Outcome::default()
    };
    // Damage that is found while it runs is moved aside by the next start: no start but the first may fail.
    let first = Attempt::<Read>::make("reader", &reader(cache, &told))?;
    let at_start = first.said.is_ok();
    failed_well(&mut outcome, &first);
    let read = match first.said {
        Ok(read) => read,
        Err(_) => read_back(cache, &told)?,
    };
    outcome.figures.push(("open ms", read.open_ms));
    outcome.must(read.open_ms <= OPEN_MS, || {
        format!("open after {} ms", read.open_ms)
    });
    outcome.violations.extend(read.torn_contexts());
    let (lost, wrong): (Vec<_>, Vec<_>) = told
        .judge(&read.exported)
        .into_iter()
        .partition(|line| line.contains("are lost"));
    outcome.violations.extend(wrong);
    let says = |what: &str| {
        let mut said = read.warnings.iter().chain(&read.violations);
        said.any(|line| line.contains(what))
    };
    let aside = says("moved to") || says("store.quarantined");
    let cut = says(".damaged");
    outcome.figures.push(("moved aside", u64::from(aside)));
    let is_told = aside || (cut && had.place != Where::Store);
    outcome.must(lost.is_empty() || is_told || had.torn, || {
        format!("lost and not told: {lost:?}")
    });
    if !is_told {
        let gaps = told.gaps(&read.exported);
        outcome.must(gaps.is_empty(), || {
            format!("lost before what is there: {gaps:?}")
        });
    }
    // Without the store, what the journal held at the start is there.
    if had.place == Where::Store && at_start {
        let lost = told.since(&had.early).lost(&read.exported);
        outcome.must(lost.is_empty(), || {
            format!("lost from the journal: {lost:?}")
        });
    }
    // Without the journal, what the store held is there.
    if had.place == Where::Journal && had.closed {
        let lost = had.early.lost(&read.exported);
        outcome.must(lost.is_empty(), || format!("lost from the store: {lost:?}"));
    }
    let unknown = read
        .violations
        .iter()
        .filter(|line| !line.contains("store.quarantined") && !line.contains(".damaged"));
    outcome.violations.extend(unknown.cloned());
    outcome.figures.push(("journal cut", u64::from(cut)));
    goes_on(&mut outcome, cache, ledger, &told)?;
    Ok(outcome)
}

/// A first start that fails does so by itself, soon, and says why.
fn failed_well(outcome: &mut Outcome, first: &Attempt<Read>) {
    let ms = first.took.as_millis();
    outcome.must(ms <= u128::from(OPEN_MS), || {
        format!("the first start took {ms} ms")
    });
    if let Err(error) = &first.said {
        outcome.figures.push(("first starts failed", 1));
        let clear = first.code == Some(2) && !error.is_empty() && !error.contains("panic");
        outcome.must(clear, || {
            format!("the first start ended with {:?}: {error}", first.code)
        });
    }
}

/// What is said afterwards is accepted, and is there.
fn goes_on(
    outcome: &mut Outcome,
    cache: &CacheSpec,
    ledger: &Path,
    before: &Told,
) -> anyhow::Result<()> {
    write(cache, ledger, Duration::from_millis(100), true)?;
    let mut told = Told::read(ledger)?;
    if told.count() == before.count() {
        write(cache, ledger, Duration::from_millis(100), true)?;
        told = Told::read(ledger)?;
    }
    outcome.must(told.count() > before.count(), || {
        "nothing is accepted any more".to_owned()
    });
    let later = read_back(cache, &told)?;
    let lost = told.since(before).lost(&later.exported);
    outcome.must(lost.is_empty(), || format!("lost after it: {lost:?}"));
    Ok(())
}
