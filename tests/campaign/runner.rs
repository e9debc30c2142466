//! Runs the rounds of the chosen faults, some at the same time, and gathers what came out.
//!
//! Invariant: an error of the harness itself is a violation: a round that could not be judged has not passed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use crate::table::Row;
use crate::trial::{Amount, Outcome, Round, Trial};

/// Violations that are told of one fault; the rest is counted.
const TOLD: usize = 20;

/// The longest a first read may take (99 of 100), in microseconds.
const FIRST_READ_US: u64 = 50_000;

/// Runs every trial: the rounds of those that may share the machine side by side, then the others one after the other.
pub(crate) fn run(trials: &[&'static Trial], amount: Amount, seed: u64, jobs: usize) -> Vec<Row> {
    let runner = Runner {
        bar: bar(trials.iter().map(|t| t.rounds(amount)).sum()),
        amount,
        seed,
        rows: trials
            .iter()
            .map(|trial| (*trial, Mutex::default()))
            .collect(),
    };
    runner.rounds(|trial| !trial.alone, jobs.max(1));
    // Most of an outage is waited for, and a caller leaves out what its machine was late by: two do not disturb each other.
    // Cross reads are as many calls as can be made at once, and stay by themselves.
    let pairs = |trial: &Trial| {
        trial.alone && trial.promise == "P5" && !trial.fault.starts_with("cross reads")
    };
    runner.rounds(pairs, jobs.clamp(1, 2));
    runner.rounds(|trial| trial.alone && !pairs(trial), 1);
    runner.bar.finish_and_clear();
    let rows = runner.rows.into_iter();
    rows.map(|(trial, gathered)| gathered.into_inner().row(trial))
        .collect()
}

fn bar(rounds: u64) -> ProgressBar {
    let bar = ProgressBar::new(rounds);
    let style = "[{elapsed_precise}] {bar:30} {pos}/{len} {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

struct Runner {
    bar: ProgressBar,
    amount: Amount,
    seed: u64,
    rows: Vec<(&'static Trial, Mutex<Gathered>)>,
}

impl Runner {
    /// Runs all rounds of the trials for which `is` holds, so many at the same time.
    fn rounds(&self, is: impl Fn(&Trial) -> bool, jobs: usize) {
        let mut rows: Vec<_> = self.rows.iter().filter(|(trial, _)| is(trial)).collect();
        // Where rounds are few they are long: they come first, so that short ones fill what is left in the end.
        rows.sort_by_key(|(trial, _)| trial.rounds(self.amount));
        let all = rows
            .into_iter()
            .flat_map(|row| (0..row.0.rounds(self.amount)).map(move |n| (row, n)));
        let all = Mutex::new(all.collect::<Vec<_>>().into_iter());
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        let next = all.lock().next();
                        let Some(((trial, gathered), number)) = next else {
                            return;
                        };
                        self.one(trial, gathered, number);
                    }
                });
            }
        });
    }

    fn one(&self, trial: &'static Trial, gathered: &Mutex<Gathered>, number: u64) {
        let Self { bar, amount, .. } = self;
        bar.set_message(format!("{} {}", trial.promise, trial.fault));
        // Every round of every fault its own choices, the same for the same seed.
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(number);
        if gathered.lock().not_run.is_none() {
            let began = Instant::now();
            let outcome = round(trial, number, seed);
            let mut gathered = gathered.lock();
            gathered.took += began.elapsed();
            gathered.add(trial, number, seed, outcome, bar);
        }
        bar.inc(1);
        let mut gathered = gathered.lock();
        gathered.over += 1;
        if gathered.over == trial.rounds(*amount) {
            let of_all = format!("seed {}", self.seed);
            for wrong in gathered.of_all_rounds(*amount) {
                gathered.violated += 1;
                gathered.tell(trial, &of_all, &wrong, bar);
            }
            let seconds = gathered.took.as_secs();
            let Trial { promise, fault, .. } = trial;
            bar.suspend(|| crate::eprintln(&format!("{seconds:4} s  {promise} {fault}")));
        }
    }
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
    /// Rounds that are over, run or not.
    over: u64,
    /// What its rounds took together; some ran at the same time.
    took: Duration,
    rounds: u64,
    acked: u64,
    /// Rounds with at least one violation.
    violated: u64,
    told: usize,
    figures: BTreeMap<&'static str, u64>,
    first_reads_us: Vec<u64>,
    /// In how many rounds something failed at each point.
    points: BTreeMap<&'static str, u64>,
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
        self.first_reads_us.extend(outcome.first_reads_us);
        for (point, failed) in outcome.points {
            *self.points.entry(point).or_default() += u64::from(failed);
        }
        for violation in outcome.violations {
            let round = format!("round {number}, seed {seed}");
            self.tell(trial, &round, &violation, bar);
        }
    }

    /// What does not hold of all rounds together.
    fn of_all_rounds(&mut self, amount: Amount) -> Vec<String> {
        let least = amount.least_failures();
        let spared = self.points.iter().filter(|(_, rounds)| **rounds < least);
        let mut wrong: Vec<_> = spared
            .map(|(point, rounds)| format!("something failed at {point} in {rounds} rounds only"))
            .collect();
        self.first_reads_us.sort_unstable();
        let all = self.first_reads_us.len();
        let at = (all * 99).div_ceil(100).saturating_sub(1);
        if let Some(p99) = self.first_reads_us.get(at) {
            self.figures.insert("first read p99 ms", p99 / 1_000);
            if *p99 > FIRST_READ_US {
                wrong.push(format!(
                    "99 of 100 of {all} first reads took up to {p99} µs"
                ));
            }
        }
        wrong
    }

    fn tell(&mut self, trial: &Trial, round: &str, violation: &str, bar: &ProgressBar) {
        if self.told < TOLD {
            let Trial { promise, fault, .. } = trial;
            let line = format!("VIOLATION {promise} {fault}, {round}: {violation}");
            bar.suspend(|| crate::eprintln(&line));
        }
        self.told += 1;
    }

    fn row(self, trial: &Trial) -> Row {
        Row {
            promise: trial.promise,
            fault: trial.fault,
            rounds: self.rounds,
            acked: self.acked,
            violations: self.violated,
            counts: self.acked >= trial.least || self.not_run.is_some(),
            seconds: self.took.as_secs(),
            figures: self.figures,
            not_run: self.not_run,
        }
    }
}
