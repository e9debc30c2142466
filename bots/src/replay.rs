//! `replay`: reads chat logs through the same path as a live adapter, as fast as it can.
//!
//! One thread reads and parses; lines go by session to a bounded number of workers, so that each
//! session keeps its order and sessions run in parallel; memory is bounded by the workers' queues.
//! Every line has a stable platform id, so what was appended before is a duplicate and changes nothing.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use scrollback::Cache;
use serde::Serialize;

use crate::cli;
use crate::config::Config;
use crate::control::Server;
use crate::exit::{Exit, warn};
use crate::open;
use crate::signals::{self, Stop};

pub(crate) mod input;
pub(crate) mod line;
pub(crate) mod progress;
mod reader;
mod workers;

use progress::Progress;
use reader::Reader;
use workers::Workers;

/// What came of a replay; `--json` prints exactly these names.
#[derive(Debug, Serialize)]
struct Summary {
    /// Lines read, skipped ones included.
    read: u64,
    /// Messages appended.
    appended: u64,
    /// Messages that were there already.
    duplicates: u64,
    /// Lines that are no message, or too large a one.
    skipped: u64,
    /// Sessions to which the lines belong.
    sessions: u64,
    /// Seconds from the first line to everything being durable.
    elapsed_s: f64,
    /// Touches of a session that was hot, among all.
    hit_ratio: f64,
    /// Flushes to the durable store.
    flushes: u64,
}

/// Replays files; reports when everything is durable.
///
/// # Errors
/// A file that cannot be read, a cache that refuses.
pub(crate) async fn run(config: &Config, args: cli::Replay) -> anyhow::Result<Exit> {
    let stop = Stop::new();
    let _watching = signals::watch(stop.clone())?;
    let inputs = input::Input::check_all(&args.files)?;
    let cache = open::open(config).await?;
    let server = Server::start(&config.data, &cache);
    let progress = Progress::new(&inputs);
    let replayed = replay(config, &cache, &args, inputs, &progress, &stop).await;
    progress.finish();
    let reported = replayed.and_then(|summary| report(&summary, args.json));
    if let Some(server) = server {
        server.stop().await;
    }
    let interrupted = if stop.raised() {
        Exit::Interrupted
    } else {
        Exit::Ok
    };
    let closed = open::close(&cache, interrupted, stop.left()).await;
    reported.and(closed)
}

async fn replay(
    config: &Config,
    cache: &Cache,
    args: &cli::Replay,
    inputs: Vec<input::Input>,
    progress: &Progress,
    stop: &Stop,
) -> anyhow::Result<Summary> {
    let started = Instant::now();
    let (workers, queues) = Workers::start(cache, progress, stop);
    let tally = Arc::clone(&workers.tally);
    let reader = Reader::new(
        args.key,
        config.max_message_bytes,
        queues,
        Arc::clone(&tally),
    );
    let reading = reader.start(inputs, progress.clone(), stop.clone())?;
    tokio::select! {
        finished = workers.finish() => finished?,
        () = signals::overdue(stop) => {}
    }
    // The workers end when the reader has, or when stopped; a reader that waits for standard input
    // then is left behind.
    reading.outcome(stop).await?;
    tokio::select! {
        flushed = cache.flush() => flushed.context("cannot make everything durable")?,
        // The close makes durable what it can by its deadline, and tells the rest.
        () = stop.wait() => {}
    }
    tally.skipped.say_rest();
    let stats = cache.stats();
    Ok(Summary {
        read: tally.read.get(),
        appended: tally.appended.get(),
        duplicates: tally.duplicates.get(),
        skipped: tally.skipped.count(),
        sessions: tally.sessions.get(),
        elapsed_s: (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        hit_ratio: stats.hit_ratio(),
        flushes: stats.flushes,
    })
}

fn report(summary: &Summary, json: bool) -> anyhow::Result<()> {
    let text = if json {
        serde_json::to_string(summary).context("cannot encode the summary")?
    } else {
        format!(
            "{} lines read: {} appended, {} there already, {} skipped\n\
             {} sessions, {:.3} s, hit ratio {:.4}, {} flushes",
            summary.read,
            summary.appended,
            summary.duplicates,
            summary.skipped,
            summary.sessions,
            summary.elapsed_s,
            summary.hit_ratio,
            summary.flushes
        )
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("stdout")
}

/// True when a person watches stderr.
pub(crate) fn watched() -> bool {
    std::io::stderr().is_terminal()
}

/// A line for the user that does not tear the progress bar.
fn say(progress: &Progress, line: &str) {
    progress.aside(|| warn(line));
}
