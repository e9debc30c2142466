//! Appends while its clock jumps, and tells what it missed.
//!
//! A line `jump SECONDS` on its standard input moves the wall clock that it hands to the cache; the machine's own may be
//! moved from outside. Monotonic time is the machine's. Prints `"open"`; `stop` ends it with a [`Timed`].

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use scrollback::clock::{Clock, SystemClock};
use scrollback::{Author, Message};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::cache::{CacheSpec, key};
use super::say;
use super::writer::until_accepted;
use crate::ledger::{Ledger, Told, now_ms, text};

/// Which cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TimedSpec {
    pub(crate) cache: CacheSpec,
    pub(crate) ledger: PathBuf,
    pub(crate) sessions: u64,
}

/// What it saw.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Timed {
    pub(crate) misses: u64,
    /// Milliseconds that it ran, by monotonic time.
    pub(crate) ran_ms: u64,
    /// How far the machine's wall clock moved meanwhile, in milliseconds.
    pub(crate) moved_ms: i64,
}

/// The machine's clocks, the wall clock moved.
#[derive(Debug, Default)]
struct Jumping {
    machine: SystemClock,
    by_ms: AtomicI64,
}

impl Clock for Jumping {
    fn wall_ms(&self) -> u64 {
        self.machine
            .wall_ms()
            .saturating_add_signed(self.by_ms.load(SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.machine.monotonic()
    }
}

/// Writes until it is told to stop.
///
/// # Errors
/// The cache cannot be opened, or the ledger not written.
pub(crate) async fn run(spec: TimedSpec) -> anyhow::Result<()> {
    let clock = Arc::new(Jumping::default());
    let (began, wall) = (Instant::now(), now_ms());
    let builder = spec.cache.with_store()?.clock(Arc::clone(&clock) as _);
    // Messages of a month stay: no jump is believed to have made them older.
    let cache = builder
        .retention(Duration::from_secs(30 * 86_400))
        .build()
        .await?;
    say(&"open")?;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write(cache.clone(), spec, Arc::clone(&stop)));
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        let Some(by) = order.strip_prefix("jump ") else {
            break;
        };
        clock
            .by_ms
            .fetch_add(by.parse::<i64>()?.saturating_mul(1_000), SeqCst);
    }
    stop.store(true, SeqCst);
    writing.await??;
    let misses = cache.stats().misses;
    cache.close(Duration::from_secs(10)).await?;
    say(&Timed {
        misses,
        ran_ms: u64::try_from(began.elapsed().as_millis())?,
        moved_ms: now_ms() - wall,
    })
}

async fn write(
    cache: scrollback::Cache,
    spec: TimedSpec,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let ledger = Ledger::open(&spec.ledger)?;
    let before = Told::read(&spec.ledger)?;
    let mut all: Vec<_> = (0..spec.sessions)
        .map(|s| format!("s{s}"))
        .map(|name| (before.next(&name, 1), name))
        .collect();
    while !stop.load(SeqCst) {
        for (n, name) in &mut all {
            let session = cache.session(key(name));
            let message = Message::user(Author::new("faults", "a"), text(1, *n, 60));
            ledger.sent(name, 1, *n)?;
            if !until_accepted(&session, &message.id(n.to_string()), &stop).await {
                return Ok(());
            }
            ledger.acknowledged(name, 1, *n)?;
            *n += 1;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
