//! Appends and reads against the number of sessions, in a child for each number: what it takes is the child's alone.

use std::path::Path;
use std::time::{Duration, Instant};

use scrollback::{Cache, CacheBuilder, SledConfig};
use serde::{Deserialize, Serialize};

use super::children::{bytes_below, message, resident, session};
use super::figure::{count, each_us};
use super::{Running, say};
use crate::measure::cpu_time;
use crate::workload::Said;

/// Appends and reads that are measured: enough for a steady figure.
const MEASURED: usize = 50_000;

/// Appends between two flushes while a store is filled.
const STEP: usize = 50_000;

/// What it takes with so many sessions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// How many sessions, all hot.
    pub sessions: usize,
    /// Messages in the store.
    pub messages: usize,
    /// CPU time of an append in a session chosen at random, without its flush, µs.
    pub append_us: f64,
    /// CPU time of a context read, µs.
    pub read_us: f64,
    /// Memory of this process for a session: in-process hot tier, replica and all, bytes.
    pub memory_bytes: f64,
    /// Messages made durable in a second of flushing.
    pub flushed_per_s: f64,
    /// The store on the disk, bytes.
    pub store_bytes: u64,
    /// From the start of a process to its first answer, after a close, ms.
    pub start_ms: f64,
}

pub(super) async fn measure(sessions: usize, messages: usize) -> anyhow::Result<Size> {
    let data = tempfile::tempdir()?;
    let mut child = Running::start("size", data.path(), &[sessions, messages])?;
    let size = child.says().await?;
    child.end().await?;
    Ok(size)
}

fn opened(dir: &Path) -> CacheBuilder {
    Cache::builder()
        .store(SledConfig::new(dir))
        .flush_every(Duration::from_secs(600))
        .memory_limit(16 << 30)
        .replica_limit(16 << 30)
}

pub(super) async fn child(dir: &Path, sessions: usize, messages: usize) -> anyhow::Result<()> {
    let cache = opened(dir).build().await?;
    let before = resident()?;
    let mut flushing = Duration::ZERO;
    let mut waiting = 0;
    for n in 0..messages {
        for s in 0..sessions {
            let said = if n.is_multiple_of(2) {
                Said::by_person(s)
            } else {
                Said::by_bot()
            };
            session(&cache, s).append(message(said)).await?;
            waiting += 1;
            if waiting == STEP {
                flushing += flush(&cache).await?;
                waiting = 0;
            }
        }
    }
    flushing += flush(&cache).await?;
    let memory_bytes = count(resident()?.saturating_sub(before)) / count(sessions as u64);
    let append_us = appends(&cache, sessions).await?;
    let read_us = reads(&cache, sessions).await?;
    cache.close(Duration::from_secs(60)).await?;
    drop(cache);
    let began = Instant::now();
    let cache = opened(dir).build().await?;
    let shown = session(&cache, sessions / 2).context().await?;
    anyhow::ensure!(!shown.messages.is_empty(), "nothing was kept");
    let start_ms = began.elapsed().as_secs_f64() * 1e3;
    cache.close(Duration::from_secs(60)).await?;
    say(&Size {
        sessions,
        messages: sessions * messages,
        append_us,
        read_us,
        memory_bytes,
        flushed_per_s: count((sessions * messages) as u64) / flushing.as_secs_f64(),
        store_bytes: bytes_below(&dir.join("store"))?,
        start_ms,
    })
}

async fn flush(cache: &Cache) -> anyhow::Result<Duration> {
    let began = Instant::now();
    cache.flush().await?;
    Ok(began.elapsed())
}

async fn appends(cache: &Cache, sessions: usize) -> anyhow::Result<f64> {
    let said: Vec<_> = (0..MEASURED)
        .map(|_| fastrand::usize(..sessions))
        .map(|s| (s, message(Said::by_person(s))))
        .collect();
    let began = cpu_time();
    for (s, message) in said {
        session(cache, s).append(message).await?;
    }
    Ok(each_us(cpu_time() - began, MEASURED))
}

async fn reads(cache: &Cache, sessions: usize) -> anyhow::Result<f64> {
    let began = cpu_time();
    for _ in 0..MEASURED {
        let session = session(cache, fastrand::usize(..sessions));
        let shown = session.context_cached().await?;
        anyhow::ensure!(!shown.messages.is_empty(), "a context without a message");
    }
    Ok(each_us(cpu_time() - began, MEASURED))
}
