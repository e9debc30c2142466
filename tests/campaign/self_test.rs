//! The campaign's test of itself: each planted mistake must be found by the promise that it breaks.
//!
//! Every plant is run by this same program with `SCROLLBACK_PLANT` set, which only its children heed.

use std::collections::HashSet;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// A plant, where it must be found, and within how many rounds.
struct Case {
    plant: &'static str,
    promise: &'static str,
    only: &'static str,
    rounds: u32,
    /// What a violation says that only this plant's mistake causes: any of these.
    says: &'static [&'static str],
}

const LOST: &str = "are lost";
const LATE: &str = "comes too late";
const TWICE: &str = "is there twice";

const CASES: [Case; 5] = [
    Case {
        plant: "plain-sled-flush",
        promise: "P3",
        only: "power cut, synced",
        rounds: 10,
        says: &[LOST],
    },
    Case {
        plant: "skipped-fsync",
        promise: "P3",
        only: "power cut, synced",
        rounds: 10,
        says: &[LOST],
    },
    Case {
        plant: "acknowledge-before-journal",
        promise: "P2",
        only: "",
        rounds: 8,
        // What was written in time stands in the journal in any order.
        says: &[LOST, LATE],
    },
    Case {
        plant: "redis-only-acknowledge",
        promise: "P4",
        only: "FLUSHALL",
        rounds: 4,
        says: &[LOST],
    },
    Case {
        plant: "no-duplicate-check",
        promise: "P2",
        only: "",
        rounds: 4,
        says: &[TWICE],
    },
];

/// True when every planted mistake was found; in `ci`, also when a fault cannot be made on this machine.
///
/// # Errors
/// The campaign cannot be run.
pub(crate) fn run(ci: bool) -> anyhow::Result<bool> {
    let mut all = true;
    for case in &CASES {
        let verdict = case.run()?;
        all &= match verdict {
            Verdict::Found(_) => true,
            Verdict::NotRun => ci,
            Verdict::Missed => false,
        };
        let Case {
            plant,
            promise,
            only,
            rounds,
            ..
        } = case;
        let told = match verdict {
            Verdict::Found(n) => format!("found, in {n} of {rounds} rounds or more"),
            Verdict::NotRun => "not run: its fault cannot be made on this machine".to_owned(),
            Verdict::Missed => "NOT FOUND".to_owned(),
        };
        crate::println(&format!("{plant:28} {promise:3} {only:18} {told}"));
    }
    Ok(all)
}

/// The round of which a line tells a violation.
fn round(line: &str) -> Option<&str> {
    let (_, rest) = line.strip_prefix("VIOLATION ")?.split_once(", round ")?;
    rest.split(',').next()
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Found(u64),
    NotRun,
    Missed,
}

impl Case {
    fn run(&self) -> anyhow::Result<Verdict> {
        let ran = Command::new(std::env::current_exe()?)
            .args([self.promise, "--only", self.only, "--json", "--rounds"])
            .arg(self.rounds.to_string())
            .env("SCROLLBACK_PLANT", self.plant)
            .output()
            .context("cannot run the campaign")?;
        ensure!(
            ran.status.code().is_some_and(|code| code < 2),
            "the campaign failed: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        let table: Value = serde_json::from_slice(&ran.stdout)?;
        let row = table.pointer("/rows/0").context("no row")?;
        if row.get("not_run").and_then(Value::as_bool) == Some(true) {
            return Ok(Verdict::NotRun);
        }
        let told = String::from_utf8_lossy(&ran.stderr);
        let of_plant = told
            .lines()
            .filter(|line| self.says.iter().any(|says| line.contains(says)));
        let rounds: HashSet<_> = of_plant.filter_map(round).collect();
        Ok(match rounds.len() {
            0 => Verdict::Missed,
            n => Verdict::Found(n as u64),
        })
    }
}
