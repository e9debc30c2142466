//! P5: Redis slow, cut off or half-open. Every call returns by its deadline, the bot goes on, says so, and is back soon after.
//!
//! A [`caller`](crate::child::caller) with one worker thread calls everything while the network breaks. Judged of time: every
//! call ends within the deadline and 50 ms, the worker's heartbeat is never late by more than 100 ms, and two seconds after the fault
//! nothing is degraded any more; without the time in which the machine let the worker wait, and with so much more as a thread that
//! only waits was late itself, because the machine's own lateness is not the cache's. For the same reason files lie in memory where the system has room for them there: what
//! a slow disk costs is no matter of the network. In the end a fresh process reads everything back: exactly once.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use scrollback::testing::RedisServer;
use tempfile::TempDir;

use super::kill::judged;
use crate::child::cache::CacheSpec;
use crate::child::caller::{CallerSpec, Report};
use crate::process::{Process, pause};
use crate::proxy::{Proxy, Weather};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[
    trial("connections cut", |r| storm(r, Weather::Cut)),
    trial("connections reset", |r| storm(r, Weather::Reset)),
    trial("a black hole", |r| storm(r, Weather::BlackHole)),
    trial("replies of 1 byte a second", |r| storm(r, Weather::Trickle)),
    trial("replies 5 s late", |r| storm(r, Weather::Late(LATE))),
    trial("replies late, but within the time-out", |r| {
        storm(
            r,
            Weather::Late(Duration::from_millis(r.rng().u64(60..190))),
        )
    }),
    trial("replies split at every byte", |r| storm(r, Weather::Split)),
    Trial {
        // Three servers at a time: 200 outages.
        ci: 2,
        full: 67,
        ..trial("Redis stopped for 6 s (SIGSTOP), three at a time", frozen)
    },
    Trial {
        full: 50,
        least: OPERATIONS,
        ..trial(
            "cross reads: replies past the time-out, calls dropped",
            cross_reads,
        )
    },
];

const fn trial(fault: &'static str, run: fn(&Round) -> anyhow::Result<Outcome>) -> Trial {
    Trial {
        promise: "P5",
        fault,
        ci: 5,
        full: 200,
        least: 1_000,
        alone: true,
        run,
    }
}

/// The default deadline and what is allowed over it.
const CALL_MS: u64 = 250 + 50;
/// What of it a call waits for the tier.
const TIME_OUT: Duration = Duration::from_millis(200);
const HEARTBEAT_MS: u64 = 100;
const BACK_MS: u64 = 2_000;
const LATE: Duration = Duration::from_secs(5);
/// Operations of a round of cross reads: 10^5 in five rounds, 10^6 in fifty.
const OPERATIONS: u64 = 20_000;

/// A directory in memory, or the round's own.
struct Files {
    dir: PathBuf,
    /// Removes it in the end.
    _memory: Option<TempDir>,
}

impl Files {
    fn new(round: &Round) -> Self {
        let prefix = "scrollback-faults-";
        let memory = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in("/dev/shm");
        let memory = memory.ok();
        let dir = memory.as_ref().map_or(round.dir(), |memory| memory.path());
        Self {
            dir: dir.to_owned(),
            _memory: memory,
        }
    }
}

fn spec(files: &Files, name: &str, url: &str) -> CallerSpec {
    CallerSpec {
        cache: CacheSpec::new(files.dir.join(format!("data{name}"))).redis(url),
        ledger: files.dir.join(format!("ledger{name}")),
        sessions: 10,
        crowd: 6,
        pause_ms: 10,
        dropped: 0,
    }
}

fn ask<T: serde::de::DeserializeOwned>(caller: &mut Process, word: &str) -> anyhow::Result<T> {
    caller.tell(word)?;
    caller.line()
}

fn storm(round: &Round, weather: Weather) -> anyhow::Result<Outcome> {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port())?;
    let mut fault = Duration::from_millis(round.rng().u64(600..1_000));
    // Now and then until the first of the late replies has come.
    let late = matches!(weather, Weather::Trickle | Weather::Late(LATE));
    if late && round.number.is_multiple_of(5) {
        fault += LATE;
    }
    let files = Files::new(round);
    let spec = spec(&files, "", &proxy.url());
    let outage = match weather {
        Weather::Split => false,
        Weather::Late(time) => time > TIME_OUT,
        _ => true,
    };
    outlive(
        round,
        &spec,
        outage,
        || {
            proxy.turn(weather);
            pause(fault);
        },
        || proxy.turn(Weather::Fair),
    )
}

fn frozen(round: &Round) -> anyhow::Result<Outcome> {
    let files = Files::new(round);
    let one = |name: &str| {
        let server = RedisServer::start();
        let spec = CallerSpec {
            sessions: 3,
            crowd: 3,
            ..spec(&files, name, &server.url())
        };
        let freeze = || {
            server.freeze();
            pause(Duration::from_secs(6));
        };
        outlive(round, &spec, true, freeze, || server.thaw())
    };
    let mut outcome = Outcome::default();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let all = ["-a", "-b", "-c"].map(|name| scope.spawn(move || one(name)));
        for thread in all {
            let ended = thread.join();
            outcome.add(ended.map_err(|_| anyhow::anyhow!("a thread of the round panicked"))??);
        }
        Ok(())
    })?;
    Ok(outcome)
}

/// A caller lives through a fault; then it is judged.
fn outlive(
    round: &Round,
    spec: &CallerSpec,
    outage: bool,
    fault: impl FnOnce(),
    over: impl FnOnce(),
) -> anyhow::Result<Outcome> {
    let mut rng = round.rng();
    let mut outcome = Outcome::default();
    let mut caller = Process::start("caller", spec)?;
    caller.line::<String>()?;
    pause(Duration::from_millis(rng.u64(100..200)));
    timely(&mut outcome, &ask(&mut caller, "report")?, "before");
    fault();
    let during: Report = ask(&mut caller, "report")?;
    over();
    timely(&mut outcome, &during, "during");
    if outage {
        outcome.must(during.degraded > 0 && during.is_degraded, || {
            format!("it did not say that it was degraded: {during:?}")
        });
    }
    outcome.must(during.fine + during.degraded > 0, || {
        "it accepted nothing during the fault".to_owned()
    });
    let after = is_back(&mut outcome, &mut caller)?;
    timely(&mut outcome, &after, "after");
    // Calls that began before are over by then.
    pause(Duration::from_millis(CALL_MS));
    let _: Report = ask(&mut caller, "report")?;
    pause(Duration::from_millis(100));
    let again: Report = ask(&mut caller, "report")?;
    outcome.must(again.degraded == 0 && !again.is_degraded, || {
        format!("it still says degraded: {again:?}")
    });
    end(caller, &mut rng)?;
    outcome.add(judged(&spec.cache, &spec.ledger)?);
    Ok(outcome)
}

/// Waits until nothing is degraded any more, and judges how long that takes; the report of that time.
fn is_back(outcome: &mut Outcome, caller: &mut Process) -> anyhow::Result<Report> {
    let back: u64 = ask(caller, "back")?;
    let after: Report = ask(caller, "report")?;
    outcome.figures.push(("back ms", back));
    outcome.must(back <= BACK_MS + after.machine_ms, || {
        format!("it was back only after {back} ms")
    });
    Ok(after)
}

/// Ends it in good order or at once.
fn end(caller: Process, rng: &mut fastrand::Rng) -> anyhow::Result<()> {
    if rng.bool() {
        caller.kill()?;
        return Ok(());
    }
    let (code, said) = caller.finish()?;
    ensure!(
        code == Some(0) && said.trim() == "0",
        "closing: {code:?} {said}"
    );
    Ok(())
}

fn timely(outcome: &mut Outcome, report: &Report, when: &str) {
    timely_but(outcome, report, when, report.machine_ms);
}

/// Judges all but what was late for another reason, by at most `late` milliseconds.
fn timely_but(outcome: &mut Outcome, report: &Report, when: &str, late: u64) {
    for (call, ms) in &report.longest {
        outcome.must(*ms <= CALL_MS + late, || {
            format!("{when}: {call} took {ms} ms ({late} ms are not its own)")
        });
        outcome.figures.push(("longest call ms", *ms));
    }
    let beat = report.heartbeat_ms;
    outcome.must(beat <= HEARTBEAT_MS + report.machine_ms, || {
        let late = report.machine_ms;
        format!("{when}: the worker was held for {beat} ms (the machine was late by {late} ms)")
    });
    outcome.figures.push(("heartbeat late ms", beat));
    outcome.figures.push(("machine late ms", report.machine_ms));
    let wrong = report
        .violations
        .iter()
        .map(|what| format!("{when}: {what}"));
    outcome.violations.extend(wrong);
}

/// Some replies come just before, at or past the time-out, some calls are dropped; `acked` are calls.
fn cross_reads(round: &Round) -> anyhow::Result<Outcome> {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port())?;
    let files = Files::new(round);
    let spec = CallerSpec {
        sessions: 8,
        crowd: 4,
        pause_ms: 1,
        dropped: 20,
        ..spec(&files, "", &proxy.url())
    };
    let mut outcome = Outcome::default();
    let mut caller = Process::start("caller", &spec)?;
    caller.line::<String>()?;
    proxy.turn(Weather::SomeLate(2, 150, 270));
    let (mut calls, mut degraded) = (0, 0);
    while calls < OPERATIONS {
        pause(Duration::from_millis(200));
        let report: Report = ask(&mut caller, "report")?;
        calls += report.calls;
        degraded += report.degraded;
        // So many calls at once keep the one worker busy; how busy it may be is judged by its heartbeat.
        let late = report.machine_ms.max(report.heartbeat_ms);
        timely_but(&mut outcome, &report, "late", late);
    }
    proxy.turn(Weather::Fair);
    outcome.must(degraded > 0, || {
        "no reply has passed its time-out".to_owned()
    });
    is_back(&mut outcome, &mut caller)?;
    end(caller, &mut round.rng())?;
    outcome.add(judged(&spec.cache, &spec.ledger)?);
    outcome.acked = calls;
    Ok(outcome)
}
