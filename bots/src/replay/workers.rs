//! The workers: append each session's lines in order, many sessions at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use scrollback::{Cache, Error, Message, SessionKey};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::progress::Progress;
use super::say;
use crate::signals::Stop;

/// Appends in flight at a time: enough to fill a hot tier's batches when sessions are many.
const WORKERS: usize = 64;

/// Lines that wait for a worker; with the largest default message, 64 × 16 × 64 KiB = 64 MiB in all.
const QUEUE: usize = 16;

/// How long a worker goes on trying while the cache says to slow down or does not answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Broken lines that are named; the others are only counted.
const NAMED: u64 = 20;

/// One line to append.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: SessionKey,
    pub(super) message: Message,
    pub(super) file: Arc<str>,
    pub(super) number: u64,
}

/// A count that reader and workers share.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Counts up; returns what it was.
    pub(super) fn add(&self, more: u64) -> u64 {
        self.0.fetch_add(more, Ordering::Relaxed)
    }

    /// The count.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Lines that were passed over, the first few by name.
#[derive(Debug, Default)]
pub(super) struct Skipped(Count);

impl Skipped {
    /// Counts a line, and names it unless many were named.
    pub(super) fn say(&self, progress: &Progress, file: &str, number: u64, why: &str) {
        if self.0.add(1) < NAMED {
            say(progress, &format!("{file}:{number}: skipped: {why}"));
        }
    }

    /// Says how many were not named.
    pub(super) fn say_rest(&self) {
        let rest = self.count().saturating_sub(NAMED);
        if rest > 0 {
            crate::exit::warn(format_args!("{rest} more lines skipped"));
        }
    }

    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.0.get()
    }
}

/// The counts of a replay.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) read: Count,
    pub(super) appended: Count,
    pub(super) duplicates: Count,
    pub(super) skipped: Skipped,
    pub(super) sessions: Count,
}

/// The way to the workers.
#[derive(Debug)]
pub(super) struct Queues(Vec<Sender<Job>>);

impl Queues {
    /// Sends a job to its session's worker, waiting for room; false when that worker has ended.
    pub(super) fn send(&self, hash: u64, job: Job) -> bool {
        let workers = u64::try_from(self.0.len()).unwrap_or(1).max(1);
        let queue = usize::try_from(hash % workers)
            .ok()
            .and_then(|at| self.0.get(at));
        queue.is_some_and(|queue| queue.blocking_send(job).is_ok())
    }
}

/// The running workers.
#[derive(Debug)]
pub(super) struct Workers {
    running: JoinSet<anyhow::Result<()>>,
    /// What they did.
    pub(super) tally: Arc<Tally>,
}

impl Workers {
    /// Starts the workers; they end when the queues are dropped, or when stopped.
    pub(super) fn start(cache: &Cache, progress: &Progress, stop: &Stop) -> (Self, Queues) {
        let tally = Arc::new(Tally::default());
        let mut running = JoinSet::new();
        let mut queues = Vec::with_capacity(WORKERS);
        for _ in 0..WORKERS {
            let (queue, jobs) = channel(QUEUE);
            queues.push(queue);
            let worker = Worker {
                cache: cache.clone(),
                tally: Arc::clone(&tally),
                progress: progress.clone(),
            };
            running.spawn(worker.run(jobs, stop.clone()));
        }
        (Self { running, tally }, Queues(queues))
    }

    /// Waits for all to end; the first failure ends the others where they are.
    pub(super) async fn finish(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.running.join_next().await {
            ended.context("a worker ended early")??;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Worker {
    cache: Cache,
    tally: Arc<Tally>,
    progress: Progress,
}

impl Worker {
    async fn run(self, mut jobs: Receiver<Job>, stop: Stop) -> anyhow::Result<()> {
        loop {
            let job = tokio::select! {
                biased;
                job = jobs.recv() => job,
                () = stop.wait(), if !jobs.is_closed() => {
                    // What is queued is appended still; the reader can send no more.
                    jobs.close();
                    continue;
                }
            };
            let Some(job) = job else { return Ok(()) };
            self.append(job).await?;
        }
    }

    async fn append(&self, job: Job) -> anyhow::Result<()> {
        let Job {
            key,
            message,
            file,
            number,
        } = job;
        match self.accepted(key, message).await {
            Ok(true) => self.tally.duplicates.add(1),
            Ok(false) => self.tally.appended.add(1),
            // These say that this line can never be taken; the lines after it can.
            Err(error @ (Error::TooLarge { .. } | Error::Invalid(_))) => {
                self.tally
                    .skipped
                    .say(&self.progress, &file, number, &error.to_string());
                0
            }
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("{file}:{number}: not appended (the same command goes on from here)")
                });
            }
        };
        Ok(())
    }

    /// Appends, trying again while the cache says to slow down or its answer is lost: the message's
    /// platform id makes a second try harmless. True when the message was there already.
    async fn accepted(&self, key: SessionKey, message: Message) -> Result<bool, Error> {
        let session = self.cache.session(key);
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(10);
        loop {
            match session.append(message.clone()).await {
                Ok(turn) => return Ok(turn.receipt().duplicate),
                Err(error) if passes(&error) && Instant::now() + pause < until => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// True for what may be over after a while.
const fn passes(error: &Error) -> bool {
    matches!(error, Error::Backpressure { .. }) || error.is_outage()
}
