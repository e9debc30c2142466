//! P6: an operation on a file fails, at every place where one can, while the store is opened and while it runs.
//!
//! Each point of the crate and of the sled beneath it in turn, with an I/O error or a full disk, for some of its passages.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use scrollback::testing::faults::{POINTS, SLED_POINTS};

use super::kill::read_back;
use crate::child::cache::CacheSpec;
use crate::child::patient::{PatientSpec, Suffered, Well};
use crate::child::writer::WriterSpec;
use crate::ledger::Told;
use crate::process::{Process, pause};
use crate::trial::{Outcome, Round, Trial};

// Of each point's 25 rounds 20 must have made something fail there.
pub(super) const TRIALS: &[Trial] = &[
    Trial {
        promise: "P6",
        fault: "a write, fsync, rename or removal fails",
        ci: POINTS.len() as u64,
        full: POINTS.len() as u64 * 25,
        least: 1_000,
        alone: false,
        run: ours,
    },
    Trial {
        promise: "P6",
        fault: "a write, fsync or rename fails inside sled",
        ci: SLED_POINTS.len() as u64,
        full: SLED_POINTS.len() as u64 * 25,
        least: 1_000,
        alone: false,
        run: sleds,
    },
];

/// How long a call may take, in milliseconds.
pub(super) const CALL_MS: u64 = 1_000;

/// The same of an append that is accepted after all: the store's deadline of 2 s, and half of that for the rest.
const ACCEPTED_MS: u64 = 3_000;

/// Passed by sled when it shortens its file because the last segments are free: a store that grows hardly ever does, and
/// no failure is demanded there.
const SELDOM: &str = "file truncation";

/// Passed when a store is opened in which segments were free.
const GARBAGE: &str = "zero garbage segment SA";

/// How soon it is well again, in milliseconds.
pub(super) const WELL_MS: u64 = 10_000;

fn ours(round: &Round) -> anyhow::Result<Outcome> {
    let point = nth(POINTS, round.number).context("no point")?;
    let mut rng = round.rng();
    let kind = if rng.bool() { "eio" } else { "enospc" };
    // A point that is passed once fails then; and each does in its first round.
    let once = is_passed_once(point) || round.number < POINTS.len() as u64;
    let spared = if once { 0 } else { rng.u8(..20) };
    let (action, certain) = match rng.u8(..3) {
        0 => (format!("return({kind})"), true),
        1 if spared > 0 => {
            let times = rng.u8(1..6);
            (format!("{spared}*off->{times}*return({kind})"), false)
        }
        _ => (format!("{}*return({kind})", rng.u8(1..6)), true),
    };
    let mut orders = vec![format!("arm {point} {action}")];
    orders.extend(on_the_way_to(point).map(|way| format!("arm {way}")));
    suffer(round, &mut rng, point, &orders, certain)
}

fn sleds(round: &Round) -> anyhow::Result<Outcome> {
    let point = nth(&SLED_POINTS, round.number).context("no point")?;
    let mut rng = round.rng();
    let first = u64::from(is_of_open(point));
    let passages = match rng.u8(..3) {
        0 => u64::MAX,
        1 => 1 << rng.u8(..8) | first,
        _ => rng.u64(1..256) | first,
    };
    suffer(
        round,
        &mut rng,
        point,
        &[format!("sled {point},{passages}")],
        false,
    )
}

fn nth(points: &[&'static str], round: u64) -> Option<&'static str> {
    let round = usize::try_from(round).unwrap_or_default();
    points.get(round % points.len()).copied()
}

/// Points that are passed once in a life, or once for the failure on the way to them.
fn is_passed_once(point: &str) -> bool {
    is_of_open(point)
        || is_aside(point)
        || point.starts_with("keys.")
        || point.starts_with("ballast.")
        || on_the_way_to(point).is_some()
}

/// Points that are passed when a store is moved aside.
fn is_aside(point: &str) -> bool {
    matches!(point, "store.quarantine" | "store.unmark")
}

/// What must fail too, so that a point is passed at all.
fn on_the_way_to(point: &str) -> Option<&'static str> {
    match point {
        "store.suspect" | "store.trust" => Some("store.file-sync 1*return(eio)"),
        "journal.truncate" => Some("journal.write 3*return(eio)"),
        "ballast.remove" => Some("store.apply 2*return(enospc)"),
        _ if point.starts_with("store.rewrite") => Some("store.file-sync 1*return(eio)"),
        _ => None,
    }
}

fn suffer(
    round: &Round,
    rng: &mut fastrand::Rng,
    point: &'static str,
    orders: &[String],
    certain: bool,
) -> anyhow::Result<Outcome> {
    let ledger = round.dir().join("ledger");
    let mut cache = CacheSpec::new(round.data());
    cache.synced = rng.bool();
    // A store whose first file was cut short cannot be read; nothing was in it yet.
    let aside = is_aside(point) || point.starts_with("write_config");
    earlier_life(&cache, &ledger, point)?;
    // The file of keys is made when a plain directory is first opened with a master key.
    cache.encrypted = point.starts_with("keys.");
    // The ballast is made after a while, and what makes it go would fail before.
    let late = point == "ballast.remove";
    let at_open = aside || cache.encrypted || is_of_open(point) || (rng.bool() && !late);
    let spec = PatientSpec {
        cache: cache.clone(),
        ledger: ledger.clone(),
        sessions: 12,
        bytes: 100,
        pause_ms: 2,
        before: if at_open { orders.to_vec() } else { Vec::new() },
    };
    let mut patient = Process::start("patient", &spec)?;
    if !at_open {
        patient.line::<String>()?;
        let longer = if late { 1_500 } else { 0 };
        pause(Duration::from_millis(longer + rng.u64(20..200)));
        for order in orders {
            patient.tell(order)?;
        }
    }
    // Until the point has been come by, and a while.
    if POINTS.contains(&point) {
        patient.tell(&format!("await {point}"))?;
    }
    pause(Duration::from_millis(rng.u64(100..900)));
    patient.tell("well")?;
    if at_open {
        patient.line::<String>()?;
    }
    let well: Well = patient.line()?;
    let mut outcome = Outcome::default();
    let has_failed = well.failed.iter().any(|failed| failed == point);
    if has_failed || point != SELDOM {
        outcome.points.push((point, has_failed));
    }
    outcome.must(has_failed || !certain, || "nothing failed there".to_owned());
    if rng.bool() {
        patient.tell("suffered")?;
        check(&mut outcome, &patient.line()?, aside);
        patient.kill()?;
    } else {
        patient.tell("stop")?;
        let suffered: Suffered = patient.line()?;
        check(&mut outcome, &suffered, aside);
        patient.finish()?;
    }
    resumed(&mut outcome, &well);
    judge(&mut outcome, &cache, &ledger, |line| {
        (aside && line.contains("store.quarantined"))
            || (point == "journal.keep" && line.contains(".damaged"))
    })?;
    for violation in &mut outcome.violations {
        *violation = format!("{} {violation}", orders.join(", "));
    }
    Ok(outcome)
}

/// Points that are passed only while the store is opened, or soon after: an earlier life's segments of the journal go then.
fn is_of_open(point: &str) -> bool {
    let at_open = [
        "journal.dir",
        "journal.create",
        "journal.dir-sync",
        "journal.read",
        "journal.keep",
        "journal.remove",
        "store.dir",
        "store.lock",
        "store.clean",
        "store.open-sync",
        "store.open-mark",
        "ballast.create",
        "ballast.write",
    ];
    let starts = ["writer.", "write_config", "snap write", GARBAGE];
    at_open.contains(&point) || starts.iter().any(|start| point.starts_with(start))
}

/// Lets an earlier process leave something behind: what is replayed, and what makes the point be passed.
fn earlier_life(cache: &CacheSpec, ledger: &Path, point: &str) -> anyhow::Result<()> {
    if point.starts_with("writer.") || point.starts_with("write_config") {
        return Ok(());
    }
    let mut cache = cache.clone();
    let aside = is_aside(point);
    if aside {
        // Everything is in the journal when the store is lost.
        cache.flush_every_ms = 60_000;
    }
    let mut spec = WriterSpec::new(cache.clone(), ledger);
    let mut time = 80;
    if point == GARBAGE {
        // Long enough for segments of sled to become free, and no faster than the flusher, so that what is measured is
        // not how soon a backlog is made durable.
        (time, spec.pause_ms, spec.bytes) = (1_500, 1, 2_000);
    }
    let mut writer = Process::start("writer", &spec)?;
    writer.line::<String>()?;
    pause(Duration::from_millis(time));
    writer.kill()?;
    let data = &cache.data;
    if aside {
        std::fs::write(data.join("store/db"), vec![0xA5; 300_000])?;
    }
    if point == "store.clean" {
        std::fs::write(data.join("store/snap.0.generating"), b"")?;
    }
    if point == "journal.keep" {
        for entry in std::fs::read_dir(data.join("journal"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "journal") {
                let mut bytes = b"rot".to_vec();
                bytes.extend(std::fs::read(&path)?);
                std::fs::write(&path, bytes)?;
            }
        }
    }
    Ok(())
}

/// Every call by its deadline, no panic, nothing moved aside.
pub(super) fn check(outcome: &mut Outcome, suffered: &Suffered, aside: bool) {
    outcome.figures.push(("append ms", suffered.append_ms));
    outcome.figures.push(("read ms", suffered.read_ms));
    outcome.figures.push(("open ms", suffered.open_ms));
    outcome.must(suffered.append_ms <= CALL_MS, || {
        format!(
            "an append failed after {} ms: {:?}",
            suffered.append_ms, suffered.errors
        )
    });
    outcome.figures.push(("accepted ms", suffered.accepted_ms));
    outcome.must(suffered.accepted_ms <= ACCEPTED_MS, || {
        format!("an append was accepted after {} ms", suffered.accepted_ms)
    });
    outcome.must(suffered.read_ms <= CALL_MS, || {
        format!(
            "a read took {} ms: {:?}",
            suffered.read_ms, suffered.read_errors
        )
    });
    outcome.must(suffered.panics == 0, || {
        format!("{} tasks panicked", suffered.panics)
    });
    outcome.must(aside || suffered.warnings.is_empty(), || {
        format!("{:?}", suffered.warnings)
    });
}

pub(super) fn resumed(outcome: &mut Outcome, well: &Well) {
    outcome
        .figures
        .push(("well ms", well.after_ms.unwrap_or_default()));
    outcome.must(well.after_ms.is_some_and(|ms| ms <= WELL_MS), || {
        format!("well after {:?} ms: {}", well.after_ms, well.last_error)
    });
}

/// Nothing acknowledged is lost, as a fresh process sees it.
pub(super) fn judge(
    outcome: &mut Outcome,
    cache: &CacheSpec,
    ledger: &Path,
    is_known: impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    let told = Told::read(ledger)?;
    let read = read_back(cache, &told)?;
    outcome.acked += told.count();
    outcome.violations.extend(told.judge(&read.exported));
    outcome.violations.extend(read.torn_contexts());
    let said = read.violations.into_iter().chain(read.warnings);
    outcome
        .violations
        .extend(said.filter(|line| !is_known(line)));
    Ok(())
}
