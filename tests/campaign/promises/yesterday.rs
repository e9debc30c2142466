//! P14: yesterday's copy of a data directory, put back beside today's keys, brings back nothing that was forgotten since.
//!
//! Encrypted, since nothing else can keep texts from a copy that was made before they were forgotten. The file of keys is
//! no part of the copy, as the README tells operators to leave it out of backups.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;

use super::kill::read_back;
use crate::child::cache::CacheSpec;
use crate::child::eraser::EraserSpec;
use crate::child::writer::WriterSpec;
use crate::ledger::Told;
use crate::process::{Process, pause};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[Trial {
    promise: "P14",
    fault: "yesterday's copy put back beside today's keys, encrypted",
    ci: 4,
    full: 100,
    least: 1_000,
    alone: false,
    run: put_back,
}];

/// The sessions that are forgotten, and the rest of `n / 3` by which a message's author is known.
const FORGOTTEN: [&str; 3] = ["s0", "s7", "s11"];
const AUTHOR: u64 = 1;

fn put_back(round: &Round) -> anyhow::Result<Outcome> {
    let mut rng = round.rng();
    let (data, ledger) = (round.data(), round.dir().join("ledger"));
    let mut cache = CacheSpec::new(&data).encrypted(true);
    // Half of them copy a journal that holds much, half a store that does.
    cache.flush_every_ms = if rng.bool() { 20 } else { 60_000 };
    let mut writer = Process::start("writer", &WriterSpec::new(cache.clone(), &ledger))?;
    writer.line::<String>()?;
    pause(Duration::from_millis(rng.u64(100..500)));
    writer.kill()?;
    let yesterday = round.dir().join("yesterday");
    copy(&data, &yesterday)?;
    fs::remove_file(yesterday.join("keys"))?;
    let mut told = Told::read(&ledger)?;
    let acked = told.count();
    let spec = EraserSpec {
        cache: cache.clone(),
        sessions: FORGOTTEN.map(str::to_owned).into(),
        author: format!("a{AUTHOR}"),
    };
    let receipt: u64 = Process::start("eraser", &spec)?.line()?;
    for entry in fs::read_dir(&data)? {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        } else if !path.ends_with("keys") {
            fs::remove_file(path)?;
        }
    }
    copy(&yesterday, &data)?;
    let gone = |session: &str, n: u64| FORGOTTEN.contains(&session) || n % 3 == AUTHOR;
    let forgotten = told.let_go(gone);
    let read = read_back(&cache, &told)?;
    let mut outcome = Outcome {
        acked,
        violations: told.judge(&read.exported),
        figures: vec![("open ms", read.open_ms), ("forgotten", receipt)],
        ..Outcome::default()
    };
    outcome.must(receipt >= forgotten, || {
        format!("the receipt says {receipt}, {forgotten} were acknowledged")
    });
    for (session, said) in read.exported.iter().chain(&read.contexts) {
        let back = said.iter().filter(|(_, n)| gone(session, *n)).count();
        outcome.must(back == 0, || {
            format!("{session}: {back} forgotten messages are back")
        });
    }
    outcome.violations.extend(read.torn_contexts());
    outcome.violations.extend(read.violations);
    outcome.must(read.warnings.is_empty(), || format!("{:?}", read.warnings));
    Ok(outcome)
}

/// Copies a directory and all below it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            let copied = fs::copy(entry.path(), &target)?;
            ensure!(
                copied == entry.metadata()?.len(),
                "a file grew while it was copied"
            );
        }
    }
    Ok(())
}
