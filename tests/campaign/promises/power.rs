//! P3: a power cut loses nothing synced, and at most 250 ms of what is journaled.
//!
//! The data directory is on a file system of its own, which is shut down as by a cut; the ledger is not.

use std::path::PathBuf;
use std::time::Duration;

use super::kill::read_back;
use crate::child::cache::CacheSpec;
use crate::child::writer::WriterSpec;
use crate::ledger::Told;
use crate::process::{Process, pause};
use crate::trial::{Outcome, Round, Trial};
use crate::volume::{Volume, cannot_mount};

const POWER: Trial = Trial {
    promise: "P3",
    fault: "",
    ci: 10,
    full: 300,
    least: 1_000,
    alone: false,
    run: synced,
};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        fault: "power cut, synced",
        run: synced,
        ..POWER
    },
    Trial {
        fault: "power cut, journaled",
        // It measures time.
        alone: true,
        run: journaled,
        ..POWER
    },
    Trial {
        fault: "power cut during open and replay, synced",
        run: opening,
        ..POWER
    },
];

/// So much that a flush takes many of sled's segments, and that it uses old ones again.
const HEAVY_BYTES: usize = 3_000;

/// How many cuts one data directory lives through.
const LIVES: u64 = 2;

/// What a cut may take of what was journaled, in milliseconds.
const JOURNALED_MS: i64 = 250;

fn synced(round: &Round) -> anyhow::Result<Outcome> {
    cut(round, true)
}

fn journaled(round: &Round) -> anyhow::Result<Outcome> {
    cut(round, false)
}

fn cut(round: &Round, synced: bool) -> anyhow::Result<Outcome> {
    if let Some(why) = cannot_mount() {
        return Ok(Outcome::not_run(why));
    }
    let mut rng = round.rng();
    let mut stage = Stage::new(round)?;
    stage.cache.synced = synced;
    let elsewhere = round.number % 3 == 2;
    if elsewhere {
        stage.cache.journal = Some(round.dir().join("journal"));
    }
    let heavy = synced && elsewhere && !(round.number / 3).is_multiple_of(3);
    let (flush_ms, life_ms) = match heavy {
        true => (100..500, 500..2_500),
        false => (20..50, 100..1_000),
    };
    for _ in 0..LIVES {
        stage.cache.flush_every_ms = rng.u64(flush_ms.clone());
        let mut spec = stage.writer();
        // In every third round no fsync of the journal helps the store. Half of all come to rest now and then, so that
        // segments of the journal go: what was flushed is nowhere else from then on.
        if heavy {
            spec.bytes = HEAVY_BYTES;
        } else if !round.number.is_multiple_of(3) {
            (spec.bytes, spec.beat_ms) = (8_000, 150);
        }
        let mut writer = Process::start("writer", &spec)?;
        writer.line::<String>()?;
        stage.cut_after(Duration::from_millis(rng.u64(life_ms.clone())), writer)?;
    }
    stage.judged()
}

fn opening(round: &Round) -> anyhow::Result<Outcome> {
    if let Some(why) = cannot_mount() {
        return Ok(Outcome::not_run(why));
    }
    let mut rng = round.rng();
    let mut stage = Stage::new(round)?;
    stage.cache.synced = true;
    // Much is left to be replayed.
    stage.cache.flush_every_ms = 60_000;
    let mut writer = Process::start("writer", &stage.writer())?;
    writer.line::<String>()?;
    stage.cut_after(Duration::from_millis(rng.u64(300..600)), writer)?;
    stage.cache.flush_every_ms = 20;
    for _ in 0..2 {
        let writer = Process::start("writer", &stage.writer())?;
        stage.cut_after(Duration::from_millis(rng.u64(0..150)), writer)?;
    }
    stage.judged()
}

/// A data directory on a file system that loses power, and the ledger beside it.
struct Stage {
    volume: Volume,
    cache: CacheSpec,
    ledger: PathBuf,
    /// From when to when each cut was made.
    cuts: Vec<(i64, i64)>,
}

impl Stage {
    fn new(round: &Round) -> anyhow::Result<Self> {
        let volume = Volume::ext4(round.dir(), 512)?;
        Ok(Self {
            cache: CacheSpec::new(volume.path().join("data"))
                .encrypted(round.number.is_multiple_of(2)),
            volume,
            ledger: round.dir().join("ledger"),
            cuts: Vec::new(),
        })
    }

    fn writer(&self) -> WriterSpec {
        let mut spec = WriterSpec::new(self.cache.clone(), &self.ledger);
        // Many share one fsync.
        spec.tasks = 12;
        spec
    }

    /// Cuts the power after a while, ends the writer, and brings the power back.
    fn cut_after(&mut self, time: Duration, writer: Process) -> anyhow::Result<()> {
        let cutter = self.volume.cutter()?;
        pause(time);
        self.cuts.push(cutter.cut()?);
        writer.kill()?;
        self.volume.unmount()?;
        self.volume.mount()
    }

    fn judged(mut self) -> anyhow::Result<Outcome> {
        let mut told = Told::read(&self.ledger)?;
        let read = read_back(&self.cache, &told)?;
        let mut outcome = Outcome {
            acked: told.count(),
            figures: vec![("open ms", read.open_ms)],
            ..Outcome::default()
        };
        if !self.cache.synced {
            let lost = told.lost_at(&read.exported);
            let ages = lost.iter().filter_map(|at| self.age(*at));
            outcome
                .figures
                .push(("lost ms", ages.max().unwrap_or_default()));
        }
        // While the file system is being shut down an fsync may say yes to what was not written: its transaction is
        // aborted and over when it is asked for. A machine without power says nothing.
        let may_go = if self.cache.synced { 0 } else { JOURNALED_MS };
        let taken = self.cuts.iter().map(|(from, to)| (from - may_go, *to));
        told.forgive(&taken.collect::<Vec<_>>(), &read.exported);
        outcome.violations.extend(told.judge(&read.exported));
        outcome.violations.extend(read.torn_contexts());
        outcome.violations.extend(read.violations);
        outcome.violations.extend(read.warnings);
        self.volume.unmount()?;
        Ok(outcome)
    }

    /// How old what was acknowledged then was at the next cut, in milliseconds.
    fn age(&self, at: i64) -> Option<u64> {
        let next = self.cuts.iter().find(|(_, to)| at <= *to)?;
        Some(u64::try_from(next.0 - at).unwrap_or_default())
    }
}
