//! What a promise's test is: a fault, how often it is made, and one round of it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// How many rounds to run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Amount {
    /// What every change must pass.
    Ci,
    /// The full campaign.
    Full,
    /// This many percent of the full campaign.
    Share(u64),
    /// So many.
    Rounds(u64),
}

/// One fault under one promise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trial {
    /// `P2`; several as `P1 P4`.
    pub(crate) promise: &'static str,
    /// What is done, in a few words; unique.
    pub(crate) fault: &'static str,
    pub(crate) ci: u64,
    pub(crate) full: u64,
    /// The fewest acknowledged appends (or checked pairs, or updates) of all rounds together with which the result counts.
    pub(crate) least: u64,
    /// True when nothing else may run meanwhile: it measures time, or fills the machine.
    pub(crate) alone: bool,
    pub(crate) run: fn(&Round) -> anyhow::Result<Outcome>,
}

impl Trial {
    /// The number of rounds for this amount.
    pub(crate) fn rounds(&self, amount: Amount) -> u64 {
        match amount {
            Amount::Ci => self.ci,
            Amount::Full => self.full,
            Amount::Share(percent) => (self.full * percent).div_ceil(100).max(1),
            Amount::Rounds(rounds) => rounds,
        }
    }
}

impl Amount {
    /// The fewest rounds in which each point must have failed.
    pub(crate) const fn least_failures(self) -> u64 {
        match self {
            Self::Full => 20,
            Self::Ci => 1,
            // Not every point's turn comes.
            Self::Share(_) | Self::Rounds(_) => 0,
        }
    }
}

/// One round: its seed and a directory of its own that goes when the round is over, unless it failed.
#[derive(Debug)]
pub(crate) struct Round {
    /// Counted from 0: rounds may take turns with variants of their fault.
    pub(crate) number: u64,
    pub(crate) seed: u64,
    dir: PathBuf,
}

impl Round {
    /// # Errors
    /// No directory can be made.
    pub(crate) fn new(number: u64, seed: u64) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("scrollback-faults-")
            .tempdir()?;
        Ok(Self {
            number,
            seed,
            dir: dir.keep(),
        })
    }

    /// A generator that makes the same choices for the same seed.
    pub(crate) fn rng(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }

    /// The round's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The data directory of the process under test, not made yet.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Removes the directory; of a round that failed it stays.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(crate) fn clean(&self) -> anyhow::Result<()> {
        std::fs::remove_dir_all(&self.dir).with_context(|| self.dir.display().to_string())
    }
}

/// What came out of a round.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Appends acknowledged (or pairs, or updates checked).
    pub(crate) acked: u64,
    /// What did not hold, in words.
    pub(crate) violations: Vec<String>,
    /// Figures by name, of which the table shows the largest: milliseconds of a first read, for example.
    pub(crate) figures: Vec<(&'static str, u64)>,
    /// How long first reads took, in microseconds: 99 of 100 of all rounds together are judged.
    pub(crate) first_reads_us: Vec<u64>,
    /// Points that were armed, and whether something failed there: the table demands so many failures of each.
    pub(crate) points: Vec<(&'static str, bool)>,
    /// Why this fault cannot be made on this machine.
    pub(crate) not_run: Option<String>,
}

impl Outcome {
    /// A round that could not be run here.
    pub(crate) fn not_run(why: impl Into<String>) -> Self {
        Self {
            not_run: Some(why.into()),
            ..Self::default()
        }
    }

    /// Notes a violation unless `holds`.
    pub(crate) fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(what());
        }
    }

    /// Takes in another's counts and violations.
    pub(crate) fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.violations.extend(other.violations);
        self.figures.extend(other.figures);
        self.points.extend(other.points);
        self.first_reads_us.extend(other.first_reads_us);
        self.not_run = self.not_run.take().or(other.not_run);
    }
}
