//! What encryption costs an append: the same appends with and without it, by turns, and the ratio of the medians.
//!
//! `cargo run --release -p scrollback --example encryption_cost`
#![expect(clippy::print_stdout, reason = "an example that shows figures")]

use std::time::{Duration, Instant};

use scrollback::{Author, Cache, MasterKey, Message, SessionKey, SledConfig};

const ROUNDS: usize = 7;
const APPENDS: u64 = 20_000;
const SESSIONS: u64 = 50;
const BYTES: usize = 200;

/// Nanoseconds an append takes on average, in a directory of its own.
async fn one(encrypted: bool) -> anyhow::Result<u64> {
    let dir = tempfile::tempdir()?;
    let mut store = SledConfig::new(dir.path());
    if encrypted {
        store = store.encrypt(MasterKey::generate());
    }
    let cache = Cache::builder()
        .store(store)
        .flush_every(Duration::from_millis(500))
        .journal_limits(1 << 30, 0)
        .build()
        .await?;
    let began = Instant::now();
    for n in 0..APPENDS {
        let session = cache.session(SessionKey::new("bench", 1).channel(n % SESSIONS));
        let said = Message::user(Author::new("bench", n % 7), "x".repeat(BYTES)).id(n + 1);
        session.append(said).await?;
    }
    let spent = began.elapsed();
    cache.close(Duration::from_secs(30)).await?;
    Ok(u64::try_from(spent.as_nanos())? / APPENDS)
}

fn median(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (mut plain, mut sealed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(one(false).await?);
        sealed.push(one(true).await?);
    }
    let (plain, sealed) = (median(plain), median(sealed));
    println!(
        "{APPENDS} appends of {BYTES} bytes in {SESSIONS} sessions, in process, median of {ROUNDS} rounds by turns"
    );
    println!("plain      {plain:>8} ns an append");
    println!("encrypted  {sealed:>8} ns an append");
    println!(
        "ratio      {:>8}.{:02}",
        sealed / plain.max(1),
        sealed * 100 / plain.max(1) % 100
    );
    Ok(())
}
