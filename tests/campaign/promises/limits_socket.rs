//! P11: what bounds the control socket of a running bot: the size of a request, how many connections.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use harness::{Run, eventually, scrollback, serving};

use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[Trial {
    promise: "P11",
    fault: "the control socket's requests of 64 KiB and 16 connections at - 1, 0, + 1, x 10",
    ci: 1,
    full: 3,
    least: 20,
    alone: true,
    run: socket,
}];

const REQUEST: usize = 64 << 10;
const CONNECTIONS: usize = 16;

fn socket(round: &Round) -> anyhow::Result<Outcome> {
    let data = round.data();
    let bot = Run::start(scrollback(&data, ["console"])?)?;
    serving(&data)?;
    let mut outcome = Outcome::default();
    for size in [REQUEST - 1, REQUEST, REQUEST + 1, 10 * REQUEST] {
        let last = ask(&data, size)?;
        let answered = last.starts_with("{\"done\":");
        let told = answered || last.contains("64 KiB");
        outcome.must(told, || {
            format!("a request of {size} bytes is not told why: {last}")
        });
        outcome.must(answered == (size <= REQUEST), || {
            format!(
                "a request of {size} bytes was {}",
                if answered { "answered" } else { "refused" }
            )
        });
        outcome.acked += 1;
    }
    for held in [
        CONNECTIONS - 2,
        CONNECTIONS - 1,
        CONNECTIONS,
        10 * CONNECTIONS,
    ] {
        let mut all: Vec<UnixStream> = Vec::new();
        for _ in 0..held {
            all.push(UnixStream::connect(data.join("control.sock"))?);
        }
        // The held ones were accepted before: the socket takes them in order. Those of the round before may be in the way.
        let mut last = ask(&data, 100)?;
        if held < CONNECTIONS {
            last = eventually("an answer", || {
                let last = ask(&data, 100)?;
                Ok(last.starts_with("{\"done\":").then_some(last))
            })?;
        }
        let taken = last.starts_with("{\"done\":");
        outcome.must(taken == (held < CONNECTIONS), || {
            format!("beside {held} connections: {last}")
        });
        outcome.acked += held as u64;
        drop(all);
        serving(&data)?;
    }
    let ended = bot.finish()?;
    outcome.must(ended.code == Some(0), || {
        format!("the bot ended with {:?}", ended.code)
    });
    Ok(outcome)
}

/// Sends a request of so many bytes; the last line of the answer.
fn ask(data: &Path, size: usize) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(data.join("control.sock"))?;
    let mut line = br#"{"cmd":"stats"}"#.to_vec();
    line.resize(size - 1, b' ');
    line.push(b'\n');
    // A bot that hangs up in the middle says by that what it thinks of the request.
    let _ = stream.write_all(&line);
    let lines: Result<Vec<_>, _> = BufReader::new(stream).lines().collect();
    Ok(lines?.pop().unwrap_or_default())
}
