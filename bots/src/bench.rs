//! `bench`: what this machine carries, beside what one could write by hand.

use std::io::Write as _;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use scrollback_bench::{Options, Report};

use crate::config::Config;
use crate::exit::{Exit, warn};
use crate::signals::{self, Stop};

/// Measures and prints the table.
///
/// # Errors
/// A Redis that cannot be reached or used.
pub(crate) async fn run(config: &Config, json: bool) -> anyhow::Result<Exit> {
    let stop = Stop::new();
    let _watching = signals::watch(stop.clone())?;
    if cfg!(debug_assertions) {
        warn(
            "bench: this is a build without optimisations; measure with cargo run --release -- bench",
        );
    }
    let options = Options {
        redis: config.redis.as_ref().map(|url| url.expose().to_owned()),
        ..Options::default()
    };
    let bar = progress();
    let go_on = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
        !stop.raised()
    };
    let measured = scrollback_bench::run(&options, go_on).await;
    bar.finish_and_clear();
    if stop.raised() {
        return Ok(Exit::Interrupted);
    }
    let report = measured.context("bench")?;
    if !report.with_redis {
        warn("bench: no redis-server here and no --redis: only what runs without one was measured");
    }
    print(&report, json)?;
    Ok(Exit::Ok)
}

/// Hidden by itself where stderr is no terminal.
fn progress() -> ProgressBar {
    let bar = ProgressBar::no_length();
    let form = "{bar:30} round {pos} of {len} [{elapsed} < {eta}]";
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let text = if json {
        serde_json::to_string_pretty(report).context("cannot encode the report")?
    } else {
        report.to_string()
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).context("cannot write to standard output")
}
