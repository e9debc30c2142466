//! `simulate`: what each time-to-live policy would have done on a log, or on what the bot has kept.
//!
//! The policies are those of the live path; only the oracle and k × EWMA exist for comparison alone. Streams its
//! input: holds the sizes of each session's newest messages and 80 bytes a session and policy.

use std::io::Write as _;

use anyhow::Context as _;

use crate::cli;
use crate::config::Config;
use crate::exit::{Exit, Failed};
use crate::signals::{self, Stop};

mod input;
mod plot;
mod rows;
mod table;

use input::{Key, Source};
use rows::{Rows, Trial};

/// Reads the input, prints the table or the JSON, draws the plot.
///
/// # Errors
/// A cost that makes no sense, input that cannot be read or is not in order of time, nothing to simulate.
pub(crate) async fn run(config: &Config, args: &cli::Simulate) -> anyhow::Result<Exit> {
    let cost = rows::cost(args.cost)?;
    let key: Key = args.key.parse()?;
    if let Some(path) = &args.plot {
        plot::check(path)?;
    }
    let stop = Stop::new();
    let _watching = signals::watch(stop.clone())?;
    let source = if args.from_store {
        input::from_store(config).await?
    } else {
        Source::files(&args.files)?
    };
    let trial = Trial::new(cost, config.ttl.bounds())?;
    let window = config.window;
    let going = stop.clone();
    let simulating = tokio::task::spawn_blocking(move || source.feed(trial, &key, window, &going));
    let rows = tokio::select! {
        rows = simulating => rows.context("the simulation ended early")??,
        // It may be waiting for standard input, and is not waited for.
        () = stop.wait() => return Ok(Exit::Interrupted),
    };
    let Some(rows) = rows else {
        return Ok(Exit::Interrupted);
    };
    if rows.touches == 0 {
        return Err(Failed::usage("there is no message to simulate"));
    }
    report(&rows, args)?;
    Ok(Exit::Ok)
}

fn report(rows: &Rows, args: &cli::Simulate) -> anyhow::Result<()> {
    if let Some(path) = &args.plot {
        plot::draw(rows, path)?;
    }
    let text = if args.json {
        serde_json::to_string(rows).context("cannot encode the rows")?
    } else {
        table::table(rows)
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
