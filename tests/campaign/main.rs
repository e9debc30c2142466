//! The fault campaign: drives real processes over real servers and disks, breaks them, and checks the promises.
//!
//! `tests/faults` runs it; see `--help`. Reading order: [`trial`] is what a promise's test is, [`promises`] are the
//! tests, [`runner`] runs them, [`table`] prints what came out. A trial drives children ([`process`], [`child`]) that
//! write to a [`ledger`] outside their data directory what was sent and what was acknowledged; a [`proxy`] is the network.

use std::process::ExitCode;

use clap::Parser;

mod changes;
mod child;
mod forgets;
mod ledger;
mod process;
mod promises;
mod proxy;
mod runner;
mod self_test;
mod stage;
mod table;
mod trial;
mod volume;

/// Breaks Scrollback in every way it promises to survive, and counts what was lost.
#[derive(Debug, Parser)]
#[command(name = "faults", args_conflicts_with_subcommands = true)]
struct Arguments {
    /// The promises to test, such as `P2`; all when none is named.
    promises: Vec<String>,
    /// Rounds of each fault (default: the full number).
    #[arg(long, value_name = "N")]
    rounds: Option<u64>,
    /// Run this many percent of the full rounds, at least one.
    #[arg(long, value_name = "PERCENT", conflicts_with = "rounds")]
    share: Option<u64>,
    /// Run the few rounds that every change must pass.
    #[arg(long, conflicts_with_all = ["rounds", "share"])]
    ci: bool,
    /// The seed of the first round; the same seed makes the same choices.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only faults whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Rounds at the same time, where a fault allows it; most of a round is waiting.
    #[arg(long, value_name = "N", default_value_t = 3)]
    jobs: usize,
    /// Plant mistakes, one after the other, and show that each is found.
    #[arg(long, conflicts_with_all = ["rounds", "share"])]
    self_test: bool,
    /// Print the table as JSON on stdout.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    child: Option<Child>,
}

#[derive(Debug, clap::Subcommand)]
enum Child {
    /// What the campaign starts and breaks; not for people.
    #[command(hide = true)]
    Child { kind: String, spec: String },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.child {
        Some(Child::Child { kind, spec }) => child::run(&kind, &spec).map(|()| true),
        None if arguments.self_test => self_test::run(arguments.ci),
        None => campaign(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln(&format!("faults: {error:#}"));
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command line program")]
fn eprintln(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stdout, reason = "a command line program")]
fn println(line: &str) {
    println!("{line}");
}

/// True when everything that was asked for was run and held.
fn campaign(arguments: &Arguments) -> anyhow::Result<bool> {
    let seed = arguments
        .seed
        .unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    let amount = match (arguments.rounds, arguments.share, arguments.ci) {
        (Some(rounds), _, _) => trial::Amount::Rounds(rounds),
        (_, Some(percent), _) => trial::Amount::Share(percent),
        (_, _, true) => trial::Amount::Ci,
        _ => trial::Amount::Full,
    };
    let chosen = promises::chosen(&arguments.promises, arguments.only.as_deref())?;
    eprintln(&format!("faults: seed {seed}, {} faults", chosen.len()));
    let rows = runner::run(&chosen, amount, seed, arguments.jobs);
    table::print(&rows, arguments.json)?;
    // Where a fault cannot be made, a full campaign has not shown what it promises to show.
    let must_run = !matches!(amount, trial::Amount::Ci);
    Ok(rows.iter().all(|row| row.holds(must_run)))
}
