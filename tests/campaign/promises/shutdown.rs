//! P12: SIGTERM under load, of the library and of the binary, also while the store hangs; and the lag that is reported
//! meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use harness::{LogLine, Run, read_export, scrollback, serving, write_log};

use super::kill::judged;
use crate::child::cache::CacheSpec;
use crate::child::closer::{CloserSpec, Closing};
use crate::process::{Process, pause};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        promise: "P12",
        fault: "SIGTERM under load of what embeds the library",
        ci: 5,
        full: 50,
        least: 1_000,
        alone: false,
        run: library,
    },
    Trial {
        promise: "P12",
        fault: "SIGTERM during a replay by the binary",
        ci: 3,
        full: 25,
        least: 1_000,
        alone: false,
        run: replay,
    },
    Trial {
        promise: "P12",
        fault: "SIGTERM during a chat with the binary",
        ci: 2,
        full: 25,
        least: 20,
        alone: false,
        run: console,
    },
    Trial {
        promise: "P12",
        fault: "SIGTERM while the store hangs for 60 s, and the lag reported meanwhile",
        // Six at a time: 54 closings. The last round takes the whole minute.
        ci: 1,
        full: LONG + 1,
        least: 1_000,
        alone: true,
        run: hanging,
    },
];

/// The round in which the store has hung for all of the 60 s before the close.
const LONG: u64 = 8;

/// What a close may take beyond its deadline: its own half second, and a busy machine.
const SLACK_MS: u64 = 1_500;

fn spec(round: &Round, name: &str, deadline_ms: u64) -> CloserSpec {
    CloserSpec {
        data: round.dir().join(name),
        ledger: round.dir().join(format!("{name}.ledger")),
        deadline_ms,
        pause_ms: 1,
    }
}

fn library(round: &Round) -> anyhow::Result<Outcome> {
    let spec = spec(round, "data", 10_000);
    let mut closer = Process::start("closer", &spec)?;
    closer.line::<String>()?;
    pause(Duration::from_millis(round.rng().u64(300..900)));
    closer.signal("TERM")?;
    let closing: Closing = closer.line()?;
    let (code, _) = closer.finish()?;
    let mut outcome = judged(&CacheSpec::new(&spec.data), &spec.ledger)?;
    outcome.must(closing.left == 0 && code == Some(0), || {
        format!("{closing:?}, code {code:?}")
    });
    outcome.must(closing.ms <= 10_000, || {
        format!("closed after {} ms", closing.ms)
    });
    refusals(&mut outcome, &closing);
    outcome.figures.push(("close ms", closing.ms));
    Ok(outcome)
}

fn refusals(outcome: &mut Outcome, closing: &Closing) {
    outcome.must(closing.late == 0 && closing.other == 0, || {
        format!("work was taken or refused wrongly while closing: {closing:?}")
    });
}

/// Closes over stores that hang, some at the same time so that they cost no more time than one.
fn hanging(round: &Round) -> anyhow::Result<Outcome> {
    let deadlines = [10_000, 3_000, 1_000, 3_000, 0, 500];
    let mut outcome = Outcome::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = deadlines
            .iter()
            .enumerate()
            .map(|(n, deadline)| scope.spawn(move || one_hanging(round, n, *deadline)))
            .collect();
        for one in running {
            let one = one
                .join()
                .map_err(|_| anyhow::anyhow!("a round panicked"))?;
            outcome.add(one?);
        }
        Ok(outcome)
    })
}

fn one_hanging(round: &Round, n: usize, deadline_ms: u64) -> anyhow::Result<Outcome> {
    let spec = spec(round, &format!("data-{n}"), deadline_ms);
    let mut closer = Process::start("closer", &spec)?;
    closer.line::<String>()?;
    pause(Duration::from_millis(300));
    closer.tell("stall")?;
    closer.line::<String>()?;
    let stalled = Instant::now();
    let mut wrong = Vec::new();
    let long = round.number == LONG;
    let (looks, slack) = if long {
        ([30_000, 60_000], 0)
    } else {
        ([2_000, 3_000], 150)
    };
    for after in looks {
        pause(Duration::from_millis(after).saturating_sub(stalled.elapsed()));
        closer.tell("lag")?;
        let least = millis(stalled);
        let lag: u64 = closer.line()?;
        let most = millis(stalled);
        // What was last flushed before is older by a flush at most, which is nothing after a minute; others wait from then on.
        if lag < least * 9 / 10 || lag > most * 11 / 10 + slack {
            wrong.push(format!(
                "a lag of {lag} ms reported, {least} to {most} ms true"
            ));
        }
    }
    closer.signal("TERM")?;
    let closing: Closing = closer.line()?;
    let (code, _) = closer.finish()?;
    let mut outcome = judged(&CacheSpec::new(&spec.data), &spec.ledger)?;
    outcome.violations.extend(wrong);
    outcome.must(closing.left > 0 && code == Some(5), || {
        format!("{closing:?}, code {code:?}")
    });
    outcome.must(closing.ms <= deadline_ms + SLACK_MS, || {
        format!("closed after {} ms, deadline {deadline_ms} ms", closing.ms)
    });
    refusals(&mut outcome, &closing);
    let over = closing.ms.saturating_sub(deadline_ms);
    outcome.figures.extend([
        ("close over deadline ms", over),
        ("left in the journal", closing.left),
    ]);
    Ok(outcome)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn replay(round: &Round) -> anyhow::Result<Outcome> {
    const LINES: u32 = 60_000;
    let mut rng = round.rng();
    let data = round.data();
    let lines: Vec<LogLine> = (0..LINES)
        .map(|n| {
            LogLine::new(
                1_000_000 + n,
                &format!("#c{}", n % 23),
                "ann",
                &format!("line {n}"),
            )
        })
        .collect();
    let log = round.dir().join("log.jsonl");
    write_log(&log, &lines)?;
    let text = std::fs::read_to_string(&log)?;
    let mut bot = Run::start(scrollback(&data, ["replay", "-", "--json"])?)?;
    serving(&data)?;
    let until = Instant::now() + Duration::from_millis(rng.u64(100..500));
    let mut rest = text.as_str();
    while Instant::now() < until && !rest.is_empty() {
        let (head, tail) = rest.split_at(rest.floor_char_boundary(8 << 10));
        bot.write(head.as_bytes())?;
        rest = tail;
    }
    let asked = Instant::now();
    bot.signal("TERM")?;
    let ended = bot.ended()?;
    let took = asked.elapsed();
    let mut outcome = Outcome::default();
    outcome.must(ended.code == Some(6), || {
        format!("ended with {:?}: {}", ended.code, ended.stderr)
    });
    outcome.must(took < Duration::from_secs(10), || {
        format!("ended after {took:?}")
    });
    let summary: serde_json::Value = serde_json::from_str(ended.stdout.trim())
        .with_context(|| format!("no summary: {ended:?}"))?;
    let appended = summary
        .get("appended")
        .and_then(serde_json::Value::as_u64)
        .context("no count")?;
    all_there(&data, appended, &mut outcome)?;
    outcome.acked += appended;
    outcome
        .figures
        .push(("ended after ms", u64::try_from(took.as_millis())?));
    Ok(outcome)
}

/// Exactly so many lines are there, in order in each channel.
fn all_there(data: &Path, appended: u64, outcome: &mut Outcome) -> anyhow::Result<()> {
    let exported = Run::to_end(scrollback(data, ["export", "--all"])?, b"")?.expect(0)?;
    let rows = read_export(&exported.stdout)?;
    outcome.must(rows.len() as u64 == appended, || {
        format!(
            "{} rows are there, {appended} were acknowledged",
            rows.len()
        )
    });
    for channel in 0..23 {
        let key = format!("/channel=#c{channel}");
        let said = rows.iter().filter(|row| row.session.ends_with(&key));
        let mut wanted = (0u64..).map(|n| format!("line {}", n * 23 + channel));
        let right = said
            .into_iter()
            .all(|row| wanted.next().as_ref() == Some(&row.text));
        outcome.must(right, || {
            format!("channel {channel} has a gap or is out of order")
        });
    }
    Ok(())
}

fn console(round: &Round) -> anyhow::Result<Outcome> {
    let data = round.data();
    let mut bot = Run::start(scrollback(&data, ["console", "--flush-every", "1h"])?)?;
    serving(&data)?;
    let count = 30 + round.rng().usize(..30);
    for n in 0..count {
        bot.write(format!("my cat number {n} is called Mog{n}\n").as_bytes())?;
    }
    pause(Duration::from_millis(round.rng().u64(100..600)));
    let asked = Instant::now();
    bot.signal("TERM")?;
    let ended = bot.ended()?;
    let took = asked.elapsed();
    let mut outcome = Outcome::default();
    outcome.must(ended.code == Some(0) && ended.stderr.is_empty(), || {
        format!("{ended:?}")
    });
    outcome.must(took < Duration::from_secs(10), || {
        format!("ended after {took:?}")
    });
    let answered = ended.stdout.lines().count();
    let journal = std::fs::read_dir(data.join("journal"))?;
    let left = journal
        .flatten()
        .filter(|e| e.path().extension().is_some_and(|x| x == "journal"));
    outcome.must(left.count() == 0, || {
        "something is left in the journal".to_owned()
    });
    let exported = Run::to_end(scrollback(&data, ["export", "--all"])?, b"")?.expect(0)?;
    let rows = read_export(&exported.stdout)?;
    let said: Vec<_> = rows.iter().filter(|row| row.role == "user").collect();
    ensure!(!said.is_empty(), "nothing was said before the signal");
    let in_order = said
        .iter()
        .enumerate()
        .all(|(n, row)| row.text == format!("my cat number {n} is called Mog{n}"));
    outcome.must(in_order, || "a line is missing or twice".to_owned());
    // What was taken in was answered too: the work in hand is finished.
    let replies = rows.len() - said.len();
    outcome.must(answered > 0 && replies == said.len(), || {
        format!("{} lines were taken, {replies} answered", said.len())
    });
    outcome.acked += said.len() as u64;
    Ok(outcome)
}
