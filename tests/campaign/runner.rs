//! Runs the rounds of the chosen faults, some at the same time, and gathers what came out.
//!
//! Invariant: an error of the harness itself is a violation: a round that could not be judged has not passed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use crate::table::Row;
use crate::trial::{Amount, Outcome, Round, Trial};

/// Violations that are told of one fault; the rest is counted.
const TOLD: usize = 20;

/// Runs every trial, one after the other.
pub(crate) fn run(trials: &[&'static Trial], amount: Amount, seed: u64, jobs: usize) -> Vec<Row> {
    let total: u64 = trials.iter().map(|t| t.rounds(amount)).sum();
    let bar = ProgressBar::new(total);
    if let Ok(style) =
        ProgressStyle::with_template("[{elapsed_precise}] {bar:30} {pos}/{len} {wide_msg}")
    {
        bar.set_style(style);
    }
    let rows = trials
        .iter()
        .map(|trial| one(trial, amount, seed, jobs, &bar))
        .collect();
    bar.finish_and_clear();
    rows
}

fn one(trial: &'static Trial, amount: Amount, seed: u64, jobs: usize, bar: &ProgressBar) -> Row {
    let rounds = trial.rounds(amount);
    let jobs = if trial.alone { 1 } else { jobs.max(1) };
    let began = Instant::now();
    bar.set_message(format!("{} {}", trial.promise, trial.fault));
    let next = AtomicU64::new(0);
    let gathered = Mutex::new(Gathered::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= rounds || gathered.lock().not_run.is_some() {
                        return;
                    }
                    // Every round of every fault its own choices, the same for the same seed.
                    let seed = seed.wrapping_mul(1_000_003).wrapping_add(number);
                    gathered
                        .lock()
                        .add(trial, number, seed, round(trial, number, seed), bar);
                    bar.inc(1);
                }
            });
        }
    });
    gathered.into_inner().row(trial, began.elapsed().as_secs())
}

fn round(trial: &Trial, number: u64, seed: u64) -> Outcome {
    let failed = |what: String| Outcome {
        violations: vec![what],
        ..Outcome::default()
    };
    let round = match Round::new(number, seed) {
        Ok(round) => round,
        Err(error) => return failed(format!("no directory: {error:#}")),
    };
    let run = std::panic::AssertUnwindSafe(|| (trial.run)(&round));
    let mut outcome = match std::panic::catch_unwind(run) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => failed(format!("the round ended early: {error:#}")),
        Err(_) => failed("the round panicked".to_owned()),
    };
    if outcome.violations.is_empty() {
        if let Err(error) = round.clean() {
            outcome
                .violations
                .push(format!("cannot clean up: {error:#}"));
        }
    } else {
        let kept = format!("kept in {}", round.dir().display());
        outcome.violations.push(kept);
    }
    outcome
}

#[derive(Debug, Default)]
struct Gathered {
    rounds: u64,
    acked: u64,
    /// Rounds with at least one violation.
    violated: u64,
    told: usize,
    figures: BTreeMap<&'static str, u64>,
    not_run: Option<String>,
}

impl Gathered {
    fn add(&mut self, trial: &Trial, number: u64, seed: u64, outcome: Outcome, bar: &ProgressBar) {
        self.not_run = self.not_run.take().or(outcome.not_run);
        if self.not_run.is_some() {
            return;
        }
        self.rounds += 1;
        self.acked += outcome.acked;
        self.violated += u64::from(!outcome.violations.is_empty());
        for (name, value) in outcome.figures {
            let largest = self.figures.entry(name).or_default();
            *largest = (*largest).max(value);
        }
        for violation in outcome.violations {
            if self.told < TOLD {
                let head = format!(
                    "{} {}, round {number}, seed {seed}",
                    trial.promise, trial.fault
                );
                bar.suspend(|| crate::eprintln(&format!("VIOLATION {head}: {violation}")));
            }
            self.told += 1;
        }
    }

    fn row(self, trial: &Trial, seconds: u64) -> Row {
        Row {
            promise: trial.promise,
            fault: trial.fault,
            rounds: self.rounds,
            acked: self.acked,
            violations: self.violated,
            counts: self.acked >= trial.least || self.not_run.is_some(),
            seconds,
            figures: self.figures,
            not_run: self.not_run,
        }
    }
}
