//! Stopping: SIGINT and SIGTERM ask for an orderly end, a second one ends the process at once.

use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::exit::{Exit, warn};

/// How long an orderly end may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A flag that is raised once and that any number of tasks and threads can watch.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Sender<bool>);

impl Stop {
    /// A flag that is not raised.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Raises the flag.
    pub(crate) fn raise(&self) {
        self.0.send_replace(true);
    }

    /// True once raised.
    pub(crate) fn raised(&self) -> bool {
        *self.0.borrow()
    }

    /// Completes once raised.
    pub(crate) async fn wait(&self) {
        // The only error is a dropped sender, and `self` holds one.
        let _ = self.0.subscribe().wait_for(|raised| *raised).await;
    }
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
