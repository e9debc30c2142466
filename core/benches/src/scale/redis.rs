//! Figures with Redis: sparse turns, growth with the history, what a session takes there.

use std::sync::Arc;

use anyhow::Context as _;

use super::figure::{Figure, count};
use crate::Options;
use crate::measure::{self, Plan};
use crate::peers::{Ours, Trips, fill};
use crate::report::median;
use crate::server::{Monitor, Server};
use crate::workload::{Said, Turns as _};

/// Rounds of which the median counts.
const ROUNDS: usize = 5;

pub(super) async fn measure(name: &str, divided_by: usize) -> anyhow::Result<Vec<Figure>> {
    let server = Server::start(None).await?;
    let server = server.context("redis-server is not installed")?;
    match name {
        "sparse" => sparse(&server, 1_000 / divided_by).await,
        "growth" => growth(&server, divided_by).await,
        _ => kept(&server, 2_000 / divided_by).await,
    }
}

/// One turn of each session between two flushes.
async fn sparse(server: &Server, sessions: usize) -> anyhow::Result<Vec<Figure>> {
    let monitor = Monitor::connect(server.url()).await?;
    let ours = Ours::new(Some((server.url(), "sparse".to_owned())), Trips::Two).await?;
    let options = Options {
        sessions,
        ..Options::default()
    };
    fill(&ours, &options).await?;
    let mut commands = Vec::new();
    for _ in 0..ROUNDS {
        let before = monitor.load().await?;
        for session in 0..sessions {
            ours.turn(session, Said::by_person(session), Said::by_bot())
                .await?;
        }
        ours.rest().await?;
        let done = monitor.load().await?.since(&before);
        commands.push(count(done.commands) / count(sessions as u64));
    }
    ours.close().await?;
    let what = "sparse: one turn a session between two flushes, commands a turn";
    let each = median(commands.into_iter());
    Ok(vec![Figure::told(what, each, "commands").at_most(8.0)])
}

/// The same turns in sessions with longer and longer histories, round by round.
async fn growth(server: &Server, divided_by: usize) -> anyhow::Result<Vec<Figure>> {
    const TASKS: usize = 16;
    let sessions = 64;
    let mut all = Vec::new();
    for history in [50, 500 / divided_by.min(5), 5_000 / divided_by] {
        let options = Options {
            sessions,
            history,
            ..Options::default()
        };
        let prefix = format!("growth-{history}");
        let ours = Ours::new(Some((server.url(), prefix)), Trips::Two).await?;
        fill(&ours, &options).await?;
        let plan = Plan::new(&options, TASKS);
        all.push((history, Arc::new(ours), plan, Vec::new()));
    }
    for _ in 0..3 * ROUNDS {
        // Whoever comes first comes last in the next round: a place in the order costs something itself.
        all.rotate_left(1);
        for (_, ours, plan, cpu) in &mut all {
            let round = measure::round(ours, plan, None).await?;
            cpu.push(round.cpu.as_secs_f64() * 1e6 / count(round.turns));
        }
    }
    all.sort_by_key(|(history, ..)| *history);
    let mut figures = Vec::new();
    let mut least = None;
    for (history, ours, _, cpu) in all {
        ours.close().await?;
        let each = median(cpu.into_iter());
        let what = format!("client CPU a turn with a history of {history}, {TASKS} tasks");
        figures.push(Figure::told(what, each, "us"));
        let least = *least.get_or_insert(each);
        if history > 500 {
            let what = format!("growth: the same, {history} against 50");
            figures.push(Figure::told(what, each / least, "times").at_most(1.05));
        }
    }
    Ok(figures)
}

/// What a session takes in Redis that has had many turns, against the records of the messages that its context shows.
async fn kept(server: &Server, turns: usize) -> anyhow::Result<Vec<Figure>> {
    const SESSIONS: usize = 20;
    let ours = Ours::new(Some((server.url(), "kept".to_owned())), Trips::Two).await?;
    let options = Options {
        sessions: SESSIONS,
        ..Options::default()
    };
    fill(&ours, &options).await?;
    for turn in 0..turns {
        for session in 0..SESSIONS {
            ours.turn(session, Said::by_person(session), Said::by_bot())
                .await?;
        }
        if turn % 10 == 9 {
            ours.rest().await?;
        }
    }
    ours.rest().await?;
    let mut shown = 0;
    for session in 0..SESSIONS {
        shown += ours.shown(session).await?;
    }
    let Held {
        logs,
        memory,
        records,
        entries,
    } = held(server, "kept").await?;
    anyhow::ensure!(logs == SESSIONS as u64, "{logs} logs in Redis");
    // Each entry is one message; what is kept beyond the context is not counted.
    let encoded = count(records) / count(entries) * count(shown as u64);
    ours.close().await?;
    Ok(vec![
        Figure::told(
            "a session in Redis after many turns",
            count(memory) / count(SESSIONS as u64),
            "bytes",
        ),
        Figure::told(
            "the same against the encoded bytes of the messages in its context",
            count(memory) / encoded,
            "times",
        )
        .at_most(1.4),
    ])
}

/// What logs take in a Redis.
#[derive(Debug, Default)]
struct Held {
    logs: u64,
    /// Bytes of memory of the keys.
    memory: u64,
    /// Bytes of the entries' records, and how many they are.
    records: u64,
    entries: u64,
}

async fn held(server: &Server, prefix: &str) -> anyhow::Result<Held> {
    let mut connection = redis::Client::open(server.url())?
        .get_multiplexed_async_connection()
        .await?;
    let logs: Vec<String> = redis::cmd("KEYS")
        .arg(format!("{prefix}:*:log:*"))
        .query_async(&mut connection)
        .await?;
    let mut held = Held::default();
    for log in &logs {
        held.logs += 1;
        let bytes: u64 = redis::cmd("MEMORY")
            .arg("USAGE")
            .arg(log)
            .arg("SAMPLES")
            .arg(0)
            .query_async(&mut connection)
            .await?;
        held.memory += bytes;
        let found: redis::streams::StreamRangeReply = redis::cmd("XRANGE")
            .arg(log)
            .arg("-")
            .arg("+")
            .query_async(&mut connection)
            .await?;
        for id in found.ids {
            if let Some(bytes) = id.get::<Vec<u8>>("e") {
                held.records += bytes.len() as u64;
                held.entries += 1;
            }
        }
    }
    Ok(held)
}
