//! Appends under load and closes on SIGTERM, as the binary does, over a store that can be made to hang.
//!
//! Prints `"open"`. A line `stall` on its input makes every call of the store hang, and one more append is then
//! acknowledged and told; `lag` prints the reported lag in milliseconds. SIGTERM closes the cache while the appends go on;
//! it prints how that went and exits as the binary does: 0, or 5 when something is left in the journal.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use harness::faulty::{FaultyStore, Stall};
use scrollback::store::sled::SledStore;
use scrollback::{Author, Cache, Error, Message, SledConfig, Window};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::signal::unix::{SignalKind, signal};

use super::cache::key;
use super::say;
use crate::ledger::{Ledger, text};

/// What to write, and how long the close may take.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CloserSpec {
    pub(crate) data: PathBuf,
    pub(crate) ledger: PathBuf,
    pub(crate) deadline_ms: u64,
    /// Milliseconds between two appends of a task.
    pub(crate) pause_ms: u64,
}

/// How a close went.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Closing {
    /// Entries left in the journal.
    pub(crate) left: u64,
    /// How long it took.
    pub(crate) ms: u64,
    /// Appends accepted after the close had begun and their tasks had seen one refused.
    pub(crate) late: u64,
    /// Appends refused with anything but `Closed`.
    pub(crate) other: u64,
}

const TASKS: u64 = 4;
const SESSIONS: u64 = 40;

#[derive(Debug, Default)]
struct Told {
    stop: AtomicBool,
    late: AtomicU64,
    other: AtomicU64,
}

/// Writes until SIGTERM, then closes and ends the process.
///
/// # Errors
/// The cache cannot be opened, or the ledger not written.
pub(crate) async fn run(spec: CloserSpec) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let config = SledConfig::new(&spec.data).wait_lock(Duration::from_secs(5));
    let store = FaultyStore::new(Arc::new(SledStore::open(&config)?.0));
    let builder = Cache::builder()
        .shared_store(Arc::clone(&store) as Arc<_>)
        .journal(spec.data.join("journal"))
        .journal_limits(1 << 30, 8 << 20)
        .window(Window::messages(20))
        .flush_every(Duration::from_millis(50));
    let cache = builder.build().await.context("cannot open the cache")?;
    let told = Arc::new(Told::default());
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (cache, spec, told) = (cache.clone(), spec.clone(), Arc::clone(&told));
        tasks.push(tokio::spawn(write(cache, spec, task, told)));
    }
    say(&"open")?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line?.as_deref() {
                Some("stall") => stall(&spec, &cache, &store).await?,
                Some("lag") => say(&cache.stats().lag_ms)?,
                _ => break,
            },
            _ = terminated.recv() => break,
        }
    }
    let began = Instant::now();
    let closed = cache.close(Duration::from_millis(spec.deadline_ms)).await?;
    let ms = u64::try_from(began.elapsed().as_millis())?;
    told.stop.store(true, SeqCst);
    for task in tasks {
        task.await??;
    }
    say(&Closing {
        left: closed.left,
        ms,
        late: told.late.load(SeqCst),
        other: told.other.load(SeqCst),
    })?;
    // A call of the store that hangs would hold up an orderly end of the runtime.
    std::process::exit(if closed.left == 0 { 0 } else { 5 });
}

/// Everything so far becomes durable, then nothing does.
async fn stall(spec: &CloserSpec, cache: &Cache, store: &FaultyStore) -> anyhow::Result<()> {
    let session = cache.session(key("last"));
    // Its session is current, so that no append needs the store.
    let ledger = Ledger::open(&spec.ledger)?;
    for n in 1..=2 {
        if n == 2 {
            store.set_stall(Stall::Everything);
        }
        let author = Author::new("faults", "ann");
        ledger.sent("last", 9, n)?;
        session
            .append(Message::user(author, text(9, n, 50)).id(n))
            .await?;
        ledger.acknowledged("last", 9, n)?;
    }
    say(&"stalled")
}

async fn write(cache: Cache, spec: CloserSpec, task: u64, told: Arc<Told>) -> anyhow::Result<()> {
    let ledger = Ledger::open(&spec.ledger)?;
    let mut refused = false;
    for n in 1.. {
        for s in (task..SESSIONS).step_by(usize::try_from(TASKS)?) {
            if told.stop.load(SeqCst) {
                return Ok(());
            }
            let name = format!("s{s}");
            let author = Author::new("faults", format!("a{}", n % 3));
            let message = Message::user(author, text(task, n, 150)).id(format!("{task}-{n}"));
            ledger.sent(&name, task, n)?;
            match cache.session(key(&name)).append(message).await {
                Ok(_) => {
                    ledger.acknowledged(&name, task, n)?;
                    told.late.fetch_add(u64::from(refused), SeqCst);
                }
                Err(Error::Closed) => {
                    refused = true;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(_) => {
                    told.other.fetch_add(1, SeqCst);
                }
            }
            if spec.pause_ms > 0 {
                tokio::time::sleep(Duration::from_millis(spec.pause_ms)).await;
            }
        }
    }
    Ok(())
}
