//! Stopping: SIGINT and SIGTERM ask for an orderly end, a second one ends the process at once.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::exit::{Exit, warn};

/// How long an orderly end may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A flag that is raised once and that any number of tasks and threads can watch.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    raised: watch::Sender<bool>,
    since: Arc<OnceLock<Instant>>,
}

impl Stop {
    /// A flag that is not raised.
    pub(crate) fn new() -> Self {
        Self {
            raised: watch::Sender::new(false),
            since: Arc::default(),
        }
    }

    /// Raises the flag.
    pub(crate) fn raise(&self) {
        self.since.get_or_init(Instant::now);
        self.raised.send_replace(true);
    }

    /// True once raised.
    pub(crate) fn raised(&self) -> bool {
        *self.raised.borrow()
    }

    /// How much of the time for an orderly end is left; a close always has some.
    pub(crate) fn left(&self) -> Duration {
        let passed = self.since.get().map_or(Duration::ZERO, Instant::elapsed);
        DEADLINE.saturating_sub(passed).max(DEADLINE / 4)
    }

    /// Completes once raised.
    pub(crate) async fn wait(&self) {
        // The only error is a dropped sender, and `self` holds one.
        let _ = self.raised.subscribe().wait_for(|raised| *raised).await;
    }
}

/// Completes when a stop was asked for and the work in hand has had its half of the time; the close has the other.
pub(crate) async fn overdue(stop: &Stop) {
    stop.wait().await;
    tokio::time::sleep(DEADLINE / 2).await;
}

/// The task that watches for signals; ends with the value.
#[derive(Debug)]
pub(crate) struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Raises `stop` at the first SIGINT or SIGTERM, and ends the process at the second.
pub(crate) fn watch(stop: Stop) -> anyhow::Result<Watching> {
    let mut int = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut term = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    Ok(Watching(tokio::spawn(async move {
        either(&mut int, &mut term).await;
        tracing::info!("stopping; a second signal stops at once");
        stop.raise();
        either(&mut int, &mut term).await;
        warn("stopped at once; what was acknowledged is in the journal");
        std::process::exit(i32::from(Exit::Killed.code()));
    })))
}

async fn either(int: &mut Signal, term: &mut Signal) {
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}
