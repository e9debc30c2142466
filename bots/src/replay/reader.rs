//! The reading thread: files in order, line by line, to the workers' queues.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::oneshot;

use super::input::Input;
use super::line::{Ids, Line};
use super::progress::Progress;
use super::workers::{Job, Queues, Tally};
use crate::cli::KeyBy;
use crate::lines::Found;
use crate::signals::Stop;

/// Reads lines and routes them.
#[derive(Debug)]
pub(super) struct Reader {
    by: KeyBy,
    max_bytes: usize,
    queues: Queues,
    tally: Arc<Tally>,
    ids: Ids,
    /// Hashes of the session keys met.
    sessions: HashSet<u64>,
}

/// The reader's thread.
#[derive(Debug)]
pub(super) struct Reading(oneshot::Receiver<anyhow::Result<()>>);

impl Reading {
    /// How the reading ended; when stopped, the thread may be waiting for input and is not waited for.
    pub(super) async fn outcome(self, stop: &Stop) -> anyhow::Result<()> {
        tokio::select! {
            biased;
            read = self.0 => read.context("the reading thread ended early")?,
            () = stop.wait() => Ok(()),
        }
    }
}

impl Reader {
    /// A reader that sends to `queues`.
    pub(super) fn new(by: KeyBy, max_bytes: usize, queues: Queues, tally: Arc<Tally>) -> Self {
        Self {
            by,
            max_bytes,
            queues,
            tally,
            ids: Ids::default(),
            sessions: HashSet::new(),
        }
    }

    /// Starts reading on a thread of its own: reading blocks.
    pub(super) fn start(
        mut self,
        inputs: Vec<Input>,
        progress: Progress,
        stop: Stop,
    ) -> anyhow::Result<Reading> {
        let (ended, outcome) = oneshot::channel();
        std::thread::Builder::new()
            .name("replay-reader".to_owned())
            .spawn(move || {
                let read = inputs
                    .iter()
                    .try_for_each(|input| self.file(input, &progress, &stop));
                // The workers end when the queues do; the outcome must be there before.
                let _ = ended.send(read);
                drop(self);
            })
            .context("cannot start the reading thread")?;
        Ok(Reading(outcome))
    }

    fn file(&mut self, input: &Input, progress: &Progress, stop: &Stop) -> anyhow::Result<()> {
        let name: Arc<str> = input.name().into();
        progress.file(&name);
        let mut lines = input
            .open(progress.clone())
            .with_context(|| format!("cannot read {name}"))?;
        let mut line = Vec::new();
        for number in 1_u64.. {
            if stop.raised() {
                break;
            }
            let found = lines
                .next(&mut line)
                .with_context(|| format!("cannot read {name}, line {number}"))?;
            let parsed = match found {
                Found::End => break,
                Found::TooLong => Err("longer than any message".to_owned()),
                Found::Line => Line::parse(&line, self.max_bytes),
            };
            self.tally.read.add(1);
            match parsed {
                Ok(line) => {
                    if !self.route(line, &name, number) {
                        break;
                    }
                }
                Err(why) => self.tally.skipped.say(progress, &name, number, &why),
            }
        }
        Ok(())
    }

    /// Sends a line to its session's worker; false when the workers are gone.
    fn route(&mut self, line: Line, file: &Arc<str>, number: u64) -> bool {
        let key = line.session(self.by);
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let hash = hasher.finish();
        if self.sessions.insert(hash) {
            self.tally.sessions.add(1);
        }
        let job = Job {
            key,
            message: line.message(&mut self.ids),
            file: Arc::clone(file),
            number,
        };
        self.queues.send(hash, job)
    }
}
