//! P11: what bounds a message and the work that waits: refused or waiting at the bound, nothing dropped.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::join_all;
use harness::faulty::Stall;
use scrollback::{Attachment, Author, Cache, Error, Message, Session, SessionKey, Turn};

use crate::stage::{Stage, message, soon};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        promise: "P11",
        fault: "the defaults are the limits that were promised",
        ci: 1,
        full: 1,
        least: 0,
        alone: false,
        run: defaults,
    },
    Trial {
        promise: "P11",
        fault: "a message of 64 KiB - 1, 0, + 1, x 10, and every part of it",
        ci: 1,
        full: 5,
        least: 20,
        alone: false,
        run: message_bytes,
    },
    Trial {
        promise: "P11",
        fault: "the backlog's appends at - 1, 0, + 1, x 10 over a stalled store",
        ci: 1,
        full: 5,
        least: 1_000,
        alone: true,
        run: backlog_appends,
    },
    Trial {
        promise: "P11",
        fault: "the backlog's bytes at - 1, 0, + 1, x 10 over a stalled store",
        ci: 1,
        full: 5,
        least: 100,
        alone: true,
        run: backlog_bytes,
    },
];

fn defaults(_: &Round) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let built = format!("{:?}", Cache::builder());
    for wanted in [
        "message_bytes: 65536,",
        "backlog_bytes: 67108864,",
        "backlog_appends: 100000,",
        "memory_limit: 268435456 ",
        "journal_bytes: 1073741824,",
        "free_floor_bytes: 268435456 ",
        "replica_bytes: 134217728,",
        "messages: 50, bytes: 1048576,",
    ] {
        outcome.must(built.contains(wanted), || {
            format!("not `{wanted}`: {built}")
        });
    }
    let most = (
        scrollback::Window::MAX_MESSAGES,
        scrollback::Window::MAX_BYTES,
    );
    outcome.must(most == (2_000, 1 << 20), || {
        format!("a window holds {most:?}")
    });
    Ok(outcome)
}

const LIMIT: usize = 64 << 10;

/// Each part of a message that a stranger can make large, `n` bytes of it.
fn parts(n: usize) -> Vec<(&'static str, Message)> {
    let large = || "y".repeat(n);
    let ann = || Author::new("faults", "ann");
    let file = |name: Option<String>, reference: String| Attachment {
        reference,
        media_type: None,
        name,
        size: None,
    };
    let said = || Message::user(ann(), "hello");
    vec![
        ("text", Message::user(ann(), large())),
        ("id", said().id(large())),
        ("reply-to", said().reply_to(large())),
        (
            "author's name",
            Message::user(ann().named(large()), "hello"),
        ),
        (
            "author's id",
            Message::user(Author::new("faults", large()), "hello"),
        ),
        (
            "author's platform",
            Message::user(Author::new(large(), "ann"), "hello"),
        ),
        // An attachment or a tool call counts with the text and costs 64 bytes of its own.
        (
            "attachment",
            Message::user(ann(), "").attach(file(None, "y".repeat(n - 64))),
        ),
        (
            "attachment's name",
            Message::user(ann(), "").attach(file(Some("y".repeat(n - 64)), String::new())),
        ),
        ("tool call's id", Message::tool(large(), "done")),
    ]
}

fn message_bytes(round: &Round) -> anyhow::Result<Outcome> {
    let stage = Stage::open(&round.data(), 256 << 20, |builder| builder)?;
    let mut outcome = Outcome::default();
    let sizes = [LIMIT - 1, LIMIT, LIMIT + 1, 10 * LIMIT];
    for size in sizes {
        for (what, message) in parts(size) {
            let session = stage.session(format!("{what} {size}"));
            let done = stage.runtime.block_on(session.append(message));
            judge(&mut outcome, size <= LIMIT, what, size, &done);
            let there = stage.exported(format!("{what} {size}"))?.len();
            outcome.must(there == usize::from(size <= LIMIT), || {
                format!("{what} of {size} bytes: {there} messages are there")
            });
        }
        let said = stage.session("edited");
        let large = || "z".repeat(size);
        stage.runtime.block_on(said.append(message(1, 10)))?;
        let edited = stage.runtime.block_on(said.edit(1, large()));
        judge(&mut outcome, size <= LIMIT, "an edit", size, &edited);
        let deleted = stage.runtime.block_on(said.delete(large()));
        judge(&mut outcome, size <= LIMIT, "a delete's id", size, &deleted);
        // Three bytes of encoding.
        let state = stage.session(format!("state {size}"));
        let set = stage
            .runtime
            .block_on(state.set_state(&"s".repeat(size - 3)));
        outcome.must(set.is_ok() == (size <= LIMIT), || {
            format!("a state of {size} bytes: {set:?}")
        });
        let key = SessionKey::new("faults", "bot")
            .channel(large())
            .user(large());
        let named = stage
            .runtime
            .block_on(stage.cache.session(key).append(message(1, 10)));
        judge(&mut outcome, size <= LIMIT, "a key's part", size, &named);
    }
    together(&stage, &mut outcome);
    stage.close()?;
    Ok(outcome)
}

/// Messages appended as one entry are bounded as a window is.
fn together(stage: &Stage, outcome: &mut Outcome) {
    let most = scrollback::Window::MAX_BYTES;
    let own = message(1, 0)
        .author
        .map_or(0, |a| a.platform.len() + a.id.len());
    for (count, size) in [(16, LIMIT - own - 2), (17, LIMIT), (160, LIMIT)] {
        let all: Vec<_> = (10..10 + count).map(|n| message(n, size)).collect();
        let holds = usize::try_from(count).is_ok_and(|count| count * size <= most);
        let session = stage.session(format!("together {count}"));
        let done = stage.runtime.block_on(session.append_all(all));
        judge(outcome, holds, "one entry", size, &done);
    }
}

fn judge(outcome: &mut Outcome, holds: bool, what: &str, size: usize, done: &Result<Turn, Error>) {
    outcome.acked += u64::from(done.is_ok());
    let right = if holds {
        done.is_ok()
    } else {
        matches!(done, Err(Error::TooLarge { .. }))
    };
    outcome.must(right, || {
        format!(
            "{what} of {size} bytes: {:?}",
            done.as_ref().map(Turn::receipt)
        )
    });
}

const WAIT: Duration = Duration::from_secs(2);

/// Appends until the first that is refused; how many were taken, and how long that one waited.
async fn until_refused(session: &Session, from: u64, bytes: usize) -> (u64, Error, Duration) {
    for n in from.. {
        let began = Instant::now();
        if let Err(error) = session.append(message(n, bytes)).await {
            return (n - from, error, began.elapsed());
        }
    }
    unreachable!("a bound is reached")
}

fn backlog_appends(round: &Round) -> anyhow::Result<Outcome> {
    backlog(round, 1_000, u64::MAX / 4, 100, |_| 1_000, 0)
}

fn backlog_bytes(round: &Round) -> anyhow::Result<Outcome> {
    // What an entry takes is found out by the round itself.
    let most = |entry| (4 << 20) / entry;
    backlog(round, 1_000_000, 4 << 20, 16 << 10, most, 50)
}

/// Fills a backlog over a stalled store, to which `most` appends fit when an entry takes so many bytes, exactly or but for
/// one in `about`.
fn backlog(
    round: &Round,
    appends: u64,
    bytes: u64,
    size: usize,
    most: impl Fn(u64) -> u64,
    about: u64,
) -> anyhow::Result<Outcome> {
    let stage = Stage::open(&round.data(), 256 << 20, |b| {
        b.backlog(bytes, appends, WAIT)
    })?;
    let mut outcome = Outcome::default();
    let session = stage.session("s");
    stage.runtime.block_on(session.append(message(1, size)))?;
    let most = most(size as u64 + 100);
    // Well below half no flush begins; above it one does at once, though the interval is a day.
    let low = most / 2 - most / 20;
    let (next, before) = fill_below_half(&stage, &session, low, size)?;
    let early = stage.store.flushes() != before;
    outcome.must(!early, || "a flush below half".to_owned());
    let (taken, error, waited) = stage.runtime.block_on(until_refused(&session, next, size));
    outcome.must(stage.store.flushes() > before, || {
        "no flush above half".to_owned()
    });
    let all = low + taken;
    let off = most.checked_div(about).unwrap_or_default();
    outcome.must(all.abs_diff(most) <= off, || {
        format!("{all} appends fit, not {most}")
    });
    refused(&mut outcome, &error, waited);
    crowd(&stage, &mut outcome, 10 * most.min(1_000), size)?;
    // One that waits when there is room again is taken.
    let waiting = stage
        .runtime
        .spawn(async move { session.append(message(1_000_000, size)).await.is_ok() });
    stage.store.set_stall(Stall::No);
    let taken = stage.runtime.block_on(waiting)?;
    outcome.must(taken, || {
        "an append that waited was refused though room came".to_owned()
    });
    let texts = stage.exported("s")?;
    let numbers: Vec<u64> = texts
        .iter()
        .filter_map(|t| t.split(' ').next()?.parse().ok())
        .collect();
    let wanted: Vec<u64> = (1..next - low + all).chain([1_000_000]).collect();
    outcome.must(numbers == wanted, || {
        format!("{} of {} are there", numbers.len(), wanted.len())
    });
    stage.runtime.block_on(stage.cache.flush())?;
    outcome.must(soon(|| stage.cache.stats().waiting == 0), || {
        "something waits still".to_owned()
    });
    outcome.acked += numbers.len() as u64;
    stage.close().context("after a stall")?;
    Ok(outcome)
}

/// Appends `low` messages over a store that stalls from then on; the next number, and the flushes before them.
fn fill_below_half(
    stage: &Stage,
    session: &Session,
    low: u64,
    size: usize,
) -> anyhow::Result<(u64, u64)> {
    let mut next = 2;
    loop {
        stage.store.set_stall(Stall::No);
        stage.runtime.block_on(stage.cache.flush())?;
        stage.store.set_stall(Stall::Flushes);
        let before = stage.store.flushes();
        for n in next..next + low {
            stage.runtime.block_on(session.append(message(n, size)))?;
        }
        next += low;
        // The first round after a start comes by itself, and late on a busy machine: once.
        if stage.store.flushes() == before || next > 2 + 2 * low {
            return Ok((next, before));
        }
    }
}

fn refused(outcome: &mut Outcome, error: &Error, waited: Duration) {
    let right = matches!(error, Error::Backpressure { .. });
    outcome.must(right, || format!("refused with {error}"));
    outcome.must(waited >= WAIT && waited < WAIT * 3, || {
        format!("refused after {waited:?}")
    });
}

/// Many at once against a full backlog: each waits and is refused, none gets in.
fn crowd(stage: &Stage, outcome: &mut Outcome, count: u64, size: usize) -> anyhow::Result<()> {
    let more = join_all((0..count).map(|n| {
        let session = stage.session(format!("more {}", n % 50));
        async move {
            let began = Instant::now();
            let error = session.append(message(n, 100)).await.err();
            (error, began.elapsed())
        }
    }));
    let more = stage.runtime.block_on(more);
    let got_in = more.iter().filter(|(e, _)| e.is_none()).count();
    // A small one may find the room that a large one did not.
    let brim = usize::try_from(size as u64 / 200)?;
    outcome.must(got_in <= brim, || {
        format!("{got_in} got in beyond the bound")
    });
    for (error, waited) in &more {
        if let Some(error) = error {
            refused(outcome, error, *waited);
        }
    }
    Ok(())
}
