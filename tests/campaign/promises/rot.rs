//! P7: a store or a journal is damaged while nobody has it open: no wrong data, no panic, and what can be kept is kept.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::kill::read_back;
use crate::child::cache::CacheSpec;
use crate::child::reader::Read;
use crate::child::writer::WriterSpec;
use crate::ledger::Told;
use crate::process::{Process, pause};
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

/// How soon it must be open, in milliseconds.
const OPEN_MS: u64 = 5_000;

/// Where it rots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Store,
    Journal,
    Both,
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
    let mut outcome = judge(&cache, &ledger, &early, place)?;
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
        writer.finish()?;
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
            Ok(format!("{name} of {length} bytes cut to {to}"))
        }
        _ => {
            let at = rng.u64(..length) / 4_096 * 4_096;
            let bytes = (rng.u64(1..4) * 4_096).min(length - at);
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&vec![0; usize::try_from(bytes)?])?;
            Ok(format!(
                "{bytes} bytes of {name} of {length} zeroed at {at}"
            ))
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

fn judge(cache: &CacheSpec, ledger: &Path, early: &Told, place: Where) -> anyhow::Result<Outcome> {
    let told = Told::read(ledger)?;
    // Damage that is found while it runs is moved aside by the next start: no start but the first may fail.
    let first = read_back(cache, &told);
    let at_start = first.is_ok();
    let read = first.or_else(|_| read_back(cache, &told))?;
    let mut outcome = Outcome {
        acked: told.count(),
        figures: vec![("open ms", read.open_ms)],
        ..Outcome::default()
    };
    outcome.must(read.open_ms <= OPEN_MS, || {
        format!("open after {} ms", read.open_ms)
    });
    outcome.violations.extend(read.torn_contexts());
    let (lost, wrong): (Vec<_>, Vec<_>) = told
        .judge(&read.exported)
        .into_iter()
        .partition(|line| line.contains("are lost"));
    outcome.violations.extend(wrong);
    let says = |read: &Read, what: &str| {
        let mut said = read.warnings.iter().chain(&read.violations);
        said.any(|line| line.contains(what))
    };
    let aside = says(&read, "moved to") || says(&read, "store.quarantined");
    let cut = says(&read, ".damaged");
    outcome.figures.push(("moved aside", u64::from(aside)));
    outcome.must(lost.is_empty() || aside || place != Where::Store, || {
        format!("lost and not told: {lost:?}")
    });
    // Without the store, what the journal held at the start is there.
    if place == Where::Store && at_start {
        let lost = told.since(early).lost(&read.exported);
        outcome.must(lost.is_empty(), || {
            format!("lost from the journal: {lost:?}")
        });
    }
    let unknown = read
        .violations
        .iter()
        .filter(|line| !line.contains("store.quarantined") && !line.contains(".damaged"));
    outcome.violations.extend(unknown.cloned());
    outcome.figures.push(("journal cut", u64::from(cut)));
    // It goes on.
    let before = told;
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
    let lost = told.since(&before).lost(&later.exported);
    outcome.must(lost.is_empty(), || format!("lost after it: {lost:?}"));
    Ok(outcome)
}
