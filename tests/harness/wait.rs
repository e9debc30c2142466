//! Waiting for something outside this process, with a deadline.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::bail;

/// Asks again and again until `check` has a value.
///
/// # Errors
/// `what` did not come true in 60 s, or `check` failed.
pub fn eventually<T>(
    what: &str,
    mut check: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        if let Some(value) = check()? {
            return Ok(value);
        }
        pause(Duration::from_millis(10));
    }
    bail!("not within 60 s: {what}")
}

/// Gives way to other processes for a moment.
pub(crate) fn pause(time: Duration) {
    let (_open, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}
