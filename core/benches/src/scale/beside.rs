//! Turns while a large flush runs beside them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use super::figure::Figure;
use crate::Options;
use crate::measure::{self, Plan, Round};
use crate::peers::{Ours, R3, Trips, fill};
use crate::report::{median, percentile};
use crate::server::Server;
use crate::workload::{Said, Turns as _};

const TASKS: usize = 64;

/// Rounds of each, by turns.
const ROUNDS: usize = 5;

pub(super) async fn measure(divided_by: usize) -> anyhow::Result<Vec<Figure>> {
    let server = Server::start(None).await?;
    let server = server.context("redis-server is not installed")?;
    let options = Options {
        // Shorter than the flush.
        window: Duration::from_secs(1),
        turns: u64::MAX,
        ..Options::default()
    };
    let r3 = R3::new(
        server.url(),
        "beside-r3".to_owned(),
        Trips::Two,
        options.history,
    )
    .await?;
    fill(&r3, &options).await?;
    let ours = Ours::new(Some((server.url(), "beside".to_owned())), Trips::Two).await?;
    fill(&ours, &options).await?;
    let (r3, ours) = (Arc::new(r3), Arc::new(ours));
    let plan = Plan::new(&options, TASKS);
    let (mut alone, mut flushing) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(p99(&measure::round(&r3, &plan, None).await?));
        let waiting = 100_000 / divided_by;
        // In other sessions than those that take turns: both halves of the flusher's work are there.
        for n in 0..waiting {
            let session = options.sessions + n % 1_000;
            ours.append(session, Said::by_person(session)).await?;
        }
        let flush = tokio::spawn({
            let ours = Arc::clone(&ours);
            async move { ours.rest().await }
        });
        let round = measure::turns(&ours, &plan, None).await?;
        anyhow::ensure!(
            divided_by > 1 || !flush.is_finished(),
            "the flush ended before the turns did"
        );
        flushing.push(p99(&round));
        flush.await??;
    }
    ours.close().await?;
    r3.close().await?;
    let (alone, flushing) = (median(alone.into_iter()), median(flushing.into_iter()));
    let what = format!(
        "p99 of a turn at {TASKS} tasks while {} messages are flushed",
        100_000 / divided_by
    );
    Ok(vec![
        Figure::told(format!("p99 of a turn of r3 at {TASKS} tasks"), alone, "us"),
        Figure::told(&what, flushing, "us"),
        Figure::told("the same against r3's", flushing / alone, "times").at_most(3.0),
    ])
}

fn p99(round: &Round) -> f64 {
    percentile(&round.each_ns, 99)
}
