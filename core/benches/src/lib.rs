//! The turn workload, through Scrollback's public API and through what one could write by hand, in one run.
//!
//! A *turn* is what a chat bot does with its memory for each message: append what was said, take the newest messages as
//! context, append the reply. Peers are measured by turns in rounds, so that a noisy machine disturbs all alike; a
//! figure is the median over the rounds. Knows no command line.

mod measure;
mod peers;
mod report;
pub mod scale;
mod server;
mod workload;

use std::time::Duration;

pub use report::{Report, Row};

use measure::{Plan, Round};
use peers::Peer;
use server::{Monitor, Server};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// A Redis to measure on; without one a `redis-server` is started for the time of the run.
    pub redis: Option<String>,
    /// How many tasks turn at once, one row each.
    pub tasks: Vec<usize>,
    /// How many rounds, of which the median counts.
    pub rounds: usize,
    /// How long a round lasts at most.
    pub window: Duration,
    /// How many turns a round has at most.
    pub turns: u64,
    /// How many sessions take turns.
    pub sessions: usize,
    /// How many messages each of them has before.
    pub history: usize,
    /// The rows to measure, by name; all when empty.
    pub only: Vec<String>,
    /// Counts allocations, if the process can.
    pub allocations: Option<fn() -> u64>,
}

impl Default for Options {
    /// 1,000 sessions of 50 messages, 5 rounds of at most half a second: one to two minutes in all.
    fn default() -> Self {
        Self {
            redis: None,
            tasks: vec![1, 16, 64, 256],
            rounds: 5,
            window: Duration::from_millis(500),
            turns: 10_000,
            sessions: 1_000,
            history: 50,
            only: Vec::new(),
            allocations: None,
        }
    }
}

/// Measures every peer; `go_on` is told how many of how many rounds are done, and ends the run by saying no. What was
/// written to Redis is removed, however the run ends.
///
/// # Errors
/// Redis cannot be started or reached, a peer fails, or one hands out another context than it was given.
pub async fn run(options: &Options, go_on: impl Fn(u64, u64) -> bool) -> anyhow::Result<Report> {
    let server = Server::start(options.redis.as_deref()).await?;
    let monitor = match &server {
        Some(server) => Some(Monitor::connect(server.url()).await?),
        None => None,
    };
    let peers = peers::all(server.as_ref().map(Server::url), options).await?;
    anyhow::ensure!(!peers.is_empty(), "nothing to measure: no such row");
    let measured = measure(&peers, options, monitor.as_ref(), go_on).await;
    let mut closed = Ok(());
    for peer in peers {
        closed = closed.and(peer.close().await);
    }
    let rows = measured?;
    closed?;
    Ok(Report {
        rows,
        with_redis: server.is_some(),
    })
}

async fn measure(
    peers: &[Peer],
    options: &Options,
    monitor: Option<&Monitor>,
    go_on: impl Fn(u64, u64) -> bool,
) -> anyhow::Result<Vec<Row>> {
    let total = (options.tasks.len() * options.rounds * peers.len()) as u64;
    let mut done = 0;
    for peer in peers {
        peer.fill(options).await?;
        anyhow::ensure!(go_on(done, total), "stopped");
    }
    let mut rows = Vec::new();
    for tasks in &options.tasks {
        let plan = Plan::new(options, *tasks);
        let mut measured: Vec<Vec<Round>> = peers.iter().map(|_| Vec::new()).collect();
        for _ in 0..options.rounds {
            for (peer, rounds) in peers.iter().zip(&mut measured) {
                rounds.push(peer.round(&plan, monitor).await?);
                done += 1;
                anyhow::ensure!(go_on(done, total), "stopped");
            }
        }
        for (peer, rounds) in peers.iter().zip(measured) {
            rows.push(Row::of(peer.name(), *tasks, &rounds));
        }
    }
    Ok(rows)
}
