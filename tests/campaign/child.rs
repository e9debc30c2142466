//! The campaign's program in its other roles: what is started, broken and asked.
//!
//! A role reads its own argument as JSON, prints JSON lines and knows no fault that comes from outside.

use anyhow::bail;

pub(crate) mod bot_reader;
pub(crate) mod cache;
pub(crate) mod caller;
pub(crate) mod canary;
pub(crate) mod changer;
pub(crate) mod closer;
pub(crate) mod eraser;
pub(crate) mod forgetter;
pub(crate) mod pair;
pub(crate) mod patient;
pub(crate) mod reader;
pub(crate) mod teller;
pub(crate) mod timed;
pub(crate) mod writer;

/// Runs a role to its end.
///
/// # Errors
/// What the role fails with.
pub(crate) fn run(kind: &str, spec: &str) -> anyhow::Result<()> {
    cache::plant()?;
    match kind {
        "writer" => cache::block_on(writer::run(serde_json::from_str(spec)?)),
        "bot-reader" => cache::block_on(bot_reader::run(serde_json::from_str(spec)?)),
        "changer" => cache::block_on(changer::run(serde_json::from_str(spec)?)),
        "eraser" => cache::block_on(eraser::run(serde_json::from_str(spec)?)),
        "forgetter" => cache::block_on(forgetter::run(serde_json::from_str(spec)?)),
        "teller" => cache::block_on(teller::run(serde_json::from_str(spec)?)),
        "canary" => cache::block_on(canary::run(serde_json::from_str(spec)?)),
        "closer" => cache::block_on(closer::run(serde_json::from_str(spec)?)),
        "patient" => cache::block_on(patient::run(serde_json::from_str(spec)?)),
        "timed" => cache::block_on(timed::run(serde_json::from_str(spec)?)),
        "reader" => cache::block_on(reader::run(serde_json::from_str(spec)?)),
        "caller" => caller::run(serde_json::from_str(spec)?),
        "pair" => cache::block_on(pair::run(serde_json::from_str(spec)?)),
        "pair-reader" => cache::block_on(pair::read(serde_json::from_str(spec)?)),
        _ => bail!("no such role: {kind}"),
    }
}

/// Prints one line of JSON for the campaign.
///
/// # Errors
/// Nobody reads it.
pub(crate) fn say(value: &impl serde::Serialize) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line)?;
    Ok(stdout.flush()?)
}
