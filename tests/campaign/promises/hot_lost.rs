//! P1, P4: whatever becomes of Redis, nothing acknowledged is lost, doubled or reordered, no session forks, and Redis is filled again.
//!
//! Two caches over one store and one Redis write to the same sessions ([`pair`](crate::child::pair)) while Redis meets its fault, again
//! and again. It is judged twice: in the process that lived through it, and in a fresh one after a kill -9 of the process at a moment
//! when Redis has just met the fault once more. What is judged of time: the first reads of sessions after the fault, for each fault 99 of
//! 100 of all its rounds together.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use scrollback::testing::RedisServer;

use crate::child::cache::CacheSpec;
use crate::child::pair::{Calm, PairRead, PairSpec};
use crate::ledger::Told;
use crate::process::{Process, pause};
use crate::proxy::{Proxy, Weather};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[
    trial("Redis killed with kill -9", |r| run(r, Fault::Kill)),
    trial("FLUSHALL", |r| run(r, Fault::FlushAll)),
    trial("Redis full at 8 MB, refusing writes", |r| {
        run(r, Fault::Full)
    }),
    trial("Redis evicting at 8 MB (allkeys-lru)", |r| {
        run(r, Fault::Evicting)
    }),
    trial("Redis restarted empty", |r| run(r, Fault::Empty)),
    trial("Redis restarted older, one of two writers ahead", |r| {
        run(r, Fault::Older)
    }),
    trial("a replica promoted behind a cut", |r| {
        run(r, Fault::Promoted)
    }),
    Trial {
        alone: true,
        ..trial("first reads after a restart, by themselves", first_reads)
    },
];

const fn trial(fault: &'static str, run: fn(&Round) -> anyhow::Result<Outcome>) -> Trial {
    Trial {
        promise: "P1 P4",
        fault,
        ci: 5,
        full: 200,
        least: 1_000,
        alone: false,
        run,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    FlushAll,
    Full,
    Evicting,
    Empty,
    Older,
    Promoted,
}

/// Faults in a round, before the last.
const FAULTS: usize = 2;
/// Redis's database into which the campaign throws what fills it.
const JUNK: &str = "9";

/// The servers of a round.
struct Stage {
    primary: RedisServer,
    /// A replica behind a link that can be cut, and the way of the clients.
    failover: Option<(RedisServer, Proxy, Proxy)>,
    snapshot: Vec<u8>,
}

impl Stage {
    fn new(fault: Fault) -> anyhow::Result<Self> {
        let arguments: &[&str] = match fault {
            Fault::Full => &["--maxmemory", "8mb"],
            Fault::Evicting => &["--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru"],
            Fault::Promoted => &["--repl-diskless-sync-delay", "0"],
            _ => &[],
        };
        let primary = RedisServer::start_with(arguments);
        let failover = if fault == Fault::Promoted {
            let link = Proxy::to(primary.port())?;
            let port = link.port().to_string();
            let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]);
            let way = Proxy::to(primary.port())?;
            until("the replica is in step", || {
                replica
                    .cli(&["INFO", "replication"])
                    .contains("master_link_status:up")
            })?;
            Some((replica, link, way))
        } else {
            None
        };
        Ok(Self {
            primary,
            failover,
            snapshot: Vec::new(),
        })
    }

    fn url(&self) -> String {
        self.failover
            .as_ref()
            .map_or_else(|| self.primary.url(), |(_, _, way)| way.url())
    }

    /// The server that clients reach now.
    fn reached(&self) -> &RedisServer {
        self.failover
            .as_ref()
            .map_or(&self.primary, |(replica, _, _)| replica)
    }

    /// Makes the fault; when it returns Redis is of use again.
    fn strike(&mut self, fault: Fault, rng: &mut fastrand::Rng) -> anyhow::Result<()> {
        match fault {
            Fault::Kill => {
                self.primary.stop();
                pause(Duration::from_millis(rng.u64(20..300)));
                self.primary.restart();
            }
            Fault::FlushAll => ensure!(self.reached().cli(&["FLUSHALL"]).trim() == "OK"),
            Fault::Empty => {
                // Nothing is saved, so it prints nothing and is gone.
                let _ = self.primary.cli(&["SHUTDOWN", "NOSAVE"]);
                self.primary.restart();
            }
            Fault::Full => {
                self.fill(10_000)?;
                pause(Duration::from_millis(rng.u64(100..400)));
                let _ = self.primary.cli(&["-n", JUNK, "FLUSHDB"]);
            }
            Fault::Evicting => {
                self.fill(12_000)?;
                let _ = self.primary.cli(&["-n", JUNK, "FLUSHDB"]);
            }
            Fault::Older => {
                self.primary.stop();
                self.primary.put_dump(Some(&self.snapshot));
                self.primary.restart();
            }
            Fault::Promoted => {
                let (replica, link, way) = self.failover.as_ref().context("no replica")?;
                link.turn(Weather::BlackHole);
                pause(Duration::from_millis(rng.u64(500..2_000)));
                ensure!(replica.cli(&["REPLICAOF", "NO", "ONE"]).trim() == "OK");
                way.lead_to(replica.port());
            }
        }
        Ok(())
    }

    /// Throws a thousand bytes at a time into it.
    fn fill(&self, count: u32) -> anyhow::Result<()> {
        let script = "for i = 1, ARGV[1] do redis.call('SET', 'junk' .. i, string.rep('x', 1000)) end return 'all'";
        let count = count.to_string();
        let filled = self.primary.cli(&["-n", JUNK, "EVAL", script, "0", &count]);
        ensure!(
            filled.contains("all") || filled.contains("OOM"),
            "filling it: {filled}"
        );
        Ok(())
    }

    /// What is wrong with what Redis holds: fewer logs than sessions, or one that would stay for ever.
    fn lacks(&self, sessions: u64) -> Option<String> {
        let script = "local logs, bare = 0, 0
            for _, log in ipairs(redis.call('KEYS', '*:log:*')) do
              logs = logs + 1
              local dirty, session = string.match(log, '^(.-:{p%d+}:)log:(.*)$')
              local marks = redis.call('ZLEXCOUNT', dirty .. 'dirty', '[' .. session .. ' ', '(' .. session .. '!')
              if redis.call('PTTL', log) < 0 and marks == 0 then bare = bare + 1 end
            end
            return logs .. ' ' .. bare";
        let counted = self.reached().cli(&["EVAL", script, "0"]);
        let mut numbers = counted.trim().split(' ').map(str::parse::<u64>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(logs)), Some(Ok(0))) if logs >= sessions => None,
            _ => Some(format!(
                "of {sessions} sessions, Redis holds (logs, without mark and TTL): {counted}"
            )),
        }
    }
}

fn until(what: &str, mut check: impl FnMut() -> bool) -> anyhow::Result<()> {
    for _ in 0..2_000 {
        if check() {
            return Ok(());
        }
        pause(Duration::from_millis(5));
    }
    anyhow::bail!("not within 10 s: {what}")
}

fn run(round: &Round, fault: Fault) -> anyhow::Result<Outcome> {
    let mut rng = round.rng();
    let mut stage = Stage::new(fault)?;
    let spec = PairSpec {
        cache: CacheSpec {
            // Often something is not durable yet when the process is killed.
            flush_every_ms: rng.u64(50..400),
            ..CacheSpec::new(round.data()).redis(stage.url())
        },
        ledger: round.dir().join("ledger"),
        sessions: 6,
        cold: 12,
        pause_ms: rng.u64(0..3),
        rest: true,
    };
    let mut outcome = Outcome::default();
    let mut pair = Process::start("pair", &spec)?;
    pair.line::<String>()?;
    // A replica is promoted once.
    let faults = if fault == Fault::Promoted { 1 } else { FAULTS };
    for _ in 0..faults {
        lead_up(&mut stage, &mut pair, fault, &mut rng)?;
        say(&mut pair, "fault")?;
        stage.strike(fault, &mut rng)?;
        let calm: Calm = ask(&mut pair, "calm")?;
        outcome.figures.push(("back ms", calm.back_ms));
        outcome.first_reads_us.extend(calm.first_reads_us);
        say(&mut pair, "both")?;
        if let Some(lacks) = stage.lacks(spec.sessions + spec.cold) {
            outcome.violations.push(lacks);
        }
    }
    pause(Duration::from_millis(rng.u64(20..150)));
    let lived: PairRead = ask(&mut pair, "judge")?;
    judge(&mut outcome, &lived, &Told::read(&spec.ledger)?, "living");
    say(&mut pair, "both")?;
    lead_up(&mut stage, &mut pair, fault, &mut rng)?;
    pair.kill()?;
    // The promoted one loses everything.
    let last = if fault == Fault::Promoted {
        Fault::FlushAll
    } else {
        fault
    };
    stage.strike(last, &mut rng)?;
    let told = Told::read(&spec.ledger)?;
    let read: PairRead = Process::start("pair-reader", &spec)?.line()?;
    judge(&mut outcome, &read, &told, "after kill -9");
    outcome.acked = told.count();
    Ok(outcome)
}

/// Lets it write for a while; before it comes back older, one writer gets ahead of the snapshot.
fn lead_up(
    stage: &mut Stage,
    pair: &mut Process,
    fault: Fault,
    rng: &mut fastrand::Rng,
) -> anyhow::Result<()> {
    pause(Duration::from_millis(rng.u64(30..250)));
    if fault == Fault::Older {
        stage.snapshot = stage.primary.take_dump();
        pause(Duration::from_millis(rng.u64(0..50)));
        say(pair, if rng.bool() { "a" } else { "b" })?;
        pause(Duration::from_millis(rng.u64(30..250)));
    }
    Ok(())
}

fn say(pair: &mut Process, word: &str) -> anyhow::Result<()> {
    let heard: String = ask(pair, word)?;
    ensure!(heard == word, "it heard {heard}");
    Ok(())
}

fn ask<T: serde::de::DeserializeOwned>(pair: &mut Process, word: &str) -> anyhow::Result<T> {
    pair.tell(word)?;
    pair.line().with_context(|| format!("asked for {word}"))
}

fn judge(outcome: &mut Outcome, read: &PairRead, told: &Told, when: &str) {
    let mut wrong = read.violations.clone();
    for view in &read.views {
        // Where the log is lost with entries unflushed each writer keeps its own order, not the interleaving: a known limit
        // (ARCHITECTURE.md).
        wrong.extend(told.judge_by_writer(&view.exported));
        for (session, context) in &view.contexts {
            let history = view.exported.get(session);
            if !history.is_some_and(|all| all.ends_with(context)) || context.is_empty() {
                wrong.push(format!(
                    "{session}: its context is not the end of its history"
                ));
            }
        }
    }
    if let [a, b] = read.views.as_slice()
        && a.exported != b.exported
    {
        wrong.push("the caches tell different histories".to_owned());
    }
    let wrong = wrong.into_iter().map(|what| format!("{when}: {what}"));
    outcome.violations.extend(wrong);
}

/// A restart while a moderate load writes on; then the first reads of many sessions that nobody else touches.
fn first_reads(round: &Round) -> anyhow::Result<Outcome> {
    let mut rng = round.rng();
    let mut stage = Stage::new(Fault::Kill)?;
    let spec = PairSpec {
        cache: CacheSpec::new(round.data()).redis(stage.url()),
        ledger: round.dir().join("ledger"),
        sessions: 4,
        cold: 50,
        pause_ms: 10,
        rest: false,
    };
    let mut pair = Process::start("pair", &spec)?;
    pair.line::<String>()?;
    let mut first_reads_us = Vec::new();
    for _ in 0..3 {
        pause(Duration::from_millis(rng.u64(50..200)));
        say(&mut pair, "fault")?;
        stage.strike(Fault::Kill, &mut rng)?;
        first_reads_us.extend(ask::<Calm>(&mut pair, "calm")?.first_reads_us);
    }
    let lived: PairRead = ask(&mut pair, "judge")?;
    let told = Told::read(&spec.ledger)?;
    let mut outcome = Outcome {
        acked: told.count(),
        first_reads_us,
        ..Outcome::default()
    };
    judge(&mut outcome, &lived, &told, "living");
    Ok(outcome)
}
