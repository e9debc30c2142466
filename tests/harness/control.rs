//! Talking to a running bot's control socket, as another program would.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use crate::wait::eventually;

/// Sends one line to the control socket in `data` and reads the answer's lines.
///
/// # Errors
/// Nobody serves the socket, or an answer is no JSON.
pub fn ask_control(data: &Path, request: &[u8]) -> anyhow::Result<Vec<Value>> {
    let mut stream = UnixStream::connect(data.join("control.sock"))?;
    stream.write_all(request)?;
    stream.write_all(b"\n")?;
    BufReader::new(stream)
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect()
}

/// A running bot's counter or gauge, by its name in `stats`; `None` while nobody serves the socket, or
/// others keep it busy.
///
/// # Errors
/// The bot answers something else.
pub fn counter(data: &Path, name: &str) -> anyhow::Result<Option<u64>> {
    let Ok(answer) = ask_control(data, br#"{"cmd":"stats"}"#) else {
        return Ok(None);
    };
    let last = answer.last().context("an empty answer")?;
    if last.to_string().contains("too many commands at a time") {
        return Ok(None);
    }
    let value = last.get("done").and_then(|done| done.get(name));
    value
        .and_then(Value::as_u64)
        .map(Some)
        .with_context(|| format!("no counter {name} in {last}"))
}

/// Waits until a bot serves the control socket in `data`.
///
/// # Errors
/// None does within 60 s.
pub fn serving(data: &Path) -> anyhow::Result<()> {
    eventually("the bot serves its control socket", || {
        Ok(counter(data, "appended")?.map(drop))
    })
}
