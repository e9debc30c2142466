//! Appends without end, writing to the ledger what it sent and what was acknowledged, until something ends it.
//!
//! Prints `"open"` when its cache is open. A line on its standard input ends it in good order: it closes the cache and
//! prints what was left. An append that fails is tried again with the same id after a moment.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use anyhow::bail;
use scrollback::{Author, Cache, Message};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use super::cache::{CacheSpec, key};
use super::say;
use crate::ledger::{Ledger, Told, text};

/// What to write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WriterSpec {
    pub(crate) cache: CacheSpec,
    pub(crate) ledger: PathBuf,
    /// This writer's number in the ledger; each task adds its own to it.
    pub(crate) writer: u64,
    /// Tasks that write at the same time, each in sessions of its own.
    pub(crate) tasks: u64,
    pub(crate) sessions: u64,
    /// Bytes of text of a message.
    pub(crate) bytes: usize,
    /// Every this-many-th message is sent a second time with the same platform id; 0 for never.
    pub(crate) again_every: u64,
    /// Milliseconds between two appends of a task.
    pub(crate) pause_ms: u64,
    /// Every pass of a task over its sessions begins at a multiple of this many milliseconds; 0 for at once. Between
    /// two beats everything comes to rest, so that the journal leaves finished segments behind.
    #[serde(default)]
    pub(crate) beat_ms: u64,
}

impl WriterSpec {
    /// 4 tasks over 50 sessions, 10 % sent twice, as fast as it goes.
    pub(crate) fn new(cache: CacheSpec, ledger: impl Into<PathBuf>) -> Self {
        Self {
            cache,
            ledger: ledger.into(),
            writer: 1,
            tasks: 4,
            sessions: 50,
            bytes: 200,
            again_every: 10,
            pause_ms: 0,
            beat_ms: 0,
        }
    }
}

/// Writes until it is told to stop.
///
/// # Errors
/// The cache cannot be opened, or the ledger not written.
pub(crate) async fn run(spec: WriterSpec) -> anyhow::Result<()> {
    let cache = spec.cache.open().await?;
    // Before it says so: reading a long ledger takes longer than some lives.
    let before = Arc::new(Told::read(&spec.ledger)?);
    say(&"open")?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..spec.tasks {
        let (cache, spec, stop) = (cache.clone(), spec.clone(), Arc::clone(&stop));
        tasks.spawn(write(cache, spec, task, Arc::clone(&before), stop));
    }
    let mut told = [0];
    let mut stdin = tokio::io::stdin();
    tokio::select! {
        // Told, or nobody is there any more to tell.
        _ = stdin.read(&mut told) => {}
        // None ends by itself: a task that does has failed, and so has the writer.
        Some(ended) = tasks.join_next() => {
            ended??;
            bail!("a task ended before it was told to");
        }
    }
    stop.store(true, SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let closed = cache.close(Duration::from_secs(10)).await?;
    say(&closed.left)
}

async fn write(
    cache: Cache,
    spec: WriterSpec,
    task: u64,
    before: Arc<Told>,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let ledger = Ledger::open(&spec.ledger)?;
    let mine: Vec<_> = (0..spec.sessions)
        .filter(|s| s % spec.tasks == task)
        .map(|s| format!("s{s}"))
        .collect();
    let mut next: Vec<u64> = mine.iter().map(|s| before.next(s, spec.writer)).collect();
    let mut beat = tokio::time::interval(Duration::from_millis(spec.beat_ms.max(1)));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while !stop.load(SeqCst) {
        if spec.beat_ms > 0 {
            beat.tick().await;
        }
        for (name, n) in mine.iter().zip(&mut next) {
            let session = cache.session(key(name));
            let author = Author::new("faults", format!("a{}", *n % 3));
            let message = Message::user(author, text(spec.writer, *n, spec.bytes))
                .id(format!("{}-{n}", spec.writer));
            ledger.sent(name, spec.writer, *n)?;
            if !until_accepted(&session, &message, &stop).await {
                return Ok(());
            }
            ledger.acknowledged(name, spec.writer, *n)?;
            if spec.again_every > 0 && n.is_multiple_of(spec.again_every) {
                // A platform delivers it once more: nothing may come of it.
                let _ = session.append(message).await;
            }
            *n += 1;
            if spec.pause_ms > 0 {
                tokio::time::sleep(Duration::from_millis(spec.pause_ms)).await;
            }
        }
    }
    Ok(())
}

/// Appends, again and again with the same id; false when it was told to stop first.
pub(crate) async fn until_accepted(
    session: &scrollback::Session,
    message: &Message,
    stop: &AtomicBool,
) -> bool {
    while !stop.load(SeqCst) {
        match session.append(message.clone()).await {
            Ok(_) => return true,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    false
}
