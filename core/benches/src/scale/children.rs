//! Figures of one process without Redis, each in a child: flushes, starts, memory, a read.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use scrollback::{Cache, CacheBuilder, Message, Session, SessionKey, SledConfig};

use super::figure::{Figure, count, each_us};
use super::{Running, say};
use crate::peers::message_of;
use crate::workload::{CONTEXT, Said};

/// What is said in these figures, bytes.
const TEXT: usize = 120;

pub(super) async fn measure(name: &str, divided_by: usize) -> anyhow::Result<Vec<Figure>> {
    match name {
        "flush" => flushed(100_000 / divided_by).await,
        "start" => started(100_000 / divided_by, 1_000_000 / divided_by).await,
        "memory" => remembered(100_000 / divided_by).await,
        _ => read(1_000_000 / divided_by).await,
    }
}

/// What a child does.
pub(super) async fn child(name: &str, dir: &Path, n: usize) -> anyhow::Result<()> {
    let cache = opened(dir).build().await?;
    match name {
        "flush" => {
            fill(&cache, n, n / 1_000).await?;
            let began = Instant::now();
            cache.flush().await?;
            say(&began.elapsed())?;
        }
        "unflushed" => {
            fill(&cache, n, n / 1_000).await?;
            say(&n)?;
            // Until it is killed.
            return std::future::pending().await;
        }
        "stored" => {
            for _ in 0..10 {
                fill(&cache, n / 10, n / 10_000).await?;
                cache.flush().await?;
            }
            say(&n)?;
            return std::future::pending().await;
        }
        "memory" => {
            let before = resident()?;
            let mut letters = Letters(1);
            for s in 0..n {
                for _ in 0..50 {
                    let mut said = Said::by_person(s);
                    letters.write(&mut said.text);
                    session(&cache, s).append(message(said)).await?;
                }
                if s % 1_000 == 999 {
                    cache.flush().await?;
                }
            }
            cache.flush().await?;
            say(&(resident()?.saturating_sub(before)))?;
        }
        "read" => say(&read_one(&cache, n).await?)?,
        _ => anyhow::bail!("unknown to a child: {name}"),
    }
    cache.close(Duration::from_secs(60)).await?;
    Ok(())
}

/// Letters by chance: what is packed while it sleeps gets smaller by less than what people write.
struct Letters(u64);

impl Letters {
    /// As many of them as the text has now.
    fn write(&mut self, text: &mut String) {
        let length = text.len();
        text.clear();
        while text.len() < length {
            // Knuth's constants (MMIX); the high bits are the good ones.
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
            self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
            let letter = u8::try_from((self.0 >> 33) % 27).unwrap_or_default();
            text.push(if letter == 26 {
                ' '
            } else {
                char::from(b'a' + letter)
            });
        }
    }
}

fn opened(dir: &Path) -> CacheBuilder {
    Cache::builder()
        .store(SledConfig::new(dir))
        .flush_every(Duration::from_secs(600))
        .memory_limit(2 << 30)
        .backlog(1 << 30, 2_000_000, Duration::from_secs(2))
}

async fn flushed(messages: usize) -> anyhow::Result<Vec<Figure>> {
    let took: Duration = one("flush", messages).await?;
    let each = count(messages as u64) / took.as_secs_f64();
    let what = format!("messages made durable in a second, {messages} in one flush");
    Ok(vec![Figure::told(what, each, "1/s").at_least(25_000.0)])
}

async fn started(unflushed: usize, stored: usize) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (name, n) in [("unflushed", unflushed), ("stored", stored)] {
        let data = tempfile::tempdir()?;
        let mut child = Running::start(name, data.path(), &[n])?;
        let _: usize = child.says().await?;
        child.kill().await?;
        let began = Instant::now();
        let cache = opened(data.path()).build().await?;
        let shown = session(&cache, 0).context().await?;
        anyhow::ensure!(!shown.messages.is_empty(), "nothing was kept");
        let took = began.elapsed().as_secs_f64();
        cache.close(Duration::from_secs(60)).await?;
        let what = format!("start after kill -9 with {n} messages {name}, to the first answer");
        figures.push(Figure::told(what, took, "s").at_most(3.0));
    }
    Ok(figures)
}

async fn remembered(sessions: usize) -> anyhow::Result<Vec<Figure>> {
    let grown: u64 = one("memory", sessions).await?;
    let encoded = encoded_bytes().await? * 50.0;
    let each = count(grown) / count(sessions as u64);
    let what =
        format!("memory of a session of 50 messages of {TEXT} bytes, of {sessions} in process");
    let ratio = "the same against the encoded bytes of its messages";
    Ok(vec![
        Figure::told(what, each, "bytes"),
        Figure::told(ratio, each / encoded, "times").at_most(2.0),
    ])
}

/// What a message of these figures takes in the journal: encoded, with its key and all.
async fn encoded_bytes() -> anyhow::Result<f64> {
    const MESSAGES: usize = 1_000;
    let data = tempfile::tempdir()?;
    let cache = opened(data.path()).build().await?;
    fill_one(&cache, 77_777, MESSAGES).await?;
    let bytes = bytes_below(&data.path().join("journal"))?;
    cache.close(Duration::from_secs(60)).await?;
    Ok(count(bytes) / count(MESSAGES as u64))
}

async fn read(times: usize) -> anyhow::Result<Vec<Figure>> {
    let each: f64 = one("read", times).await?;
    let what = format!("a context read from a replica, {CONTEXT} messages visited");
    Ok(vec![Figure::told(what, each * 1e3, "ns").at_most(300.0)])
}

async fn one<T: serde::de::DeserializeOwned>(name: &str, n: usize) -> anyhow::Result<T> {
    let data = tempfile::tempdir()?;
    let mut child = Running::start(name, data.path(), &[n])?;
    let said = child.says().await?;
    child.end().await?;
    Ok(said)
}

/// `n` messages, over so many sessions by turns.
async fn fill(cache: &Cache, n: usize, sessions: usize) -> anyhow::Result<()> {
    let sessions = sessions.max(1);
    for n in 0..n {
        append(cache, n % sessions).await?;
    }
    Ok(())
}

async fn fill_one(cache: &Cache, s: usize, messages: usize) -> anyhow::Result<()> {
    for _ in 0..messages {
        append(cache, s).await?;
    }
    Ok(())
}

async fn append(cache: &Cache, s: usize) -> anyhow::Result<()> {
    session(cache, s)
        .append(message(Said::by_person(s)))
        .await?;
    Ok(())
}

async fn read_one(cache: &Cache, times: usize) -> anyhow::Result<f64> {
    fill_one(cache, 0, 50).await?;
    let session = session(cache, 0);
    let began = Instant::now();
    let mut bytes = 0;
    for _ in 0..times {
        let shown = session.context_cached().await?;
        let newest = shown.messages.iter().rev().take(CONTEXT);
        bytes += newest.map(|m| m.text.len()).sum::<usize>();
    }
    let each = each_us(began.elapsed(), times);
    anyhow::ensure!(bytes == times * CONTEXT * TEXT, "other messages were read");
    Ok(each)
}

pub(super) fn session(cache: &Cache, s: usize) -> Session {
    let key = SessionKey::new("bench", 1).space(s / 10).channel(s);
    cache.session(key)
}

pub(super) fn message(said: Said) -> Message {
    message_of(said)
}

/// The memory that this process has from the system, bytes.
pub(super) fn resident() -> anyhow::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").context("needs Linux's /proc")?;
    let pages = statm
        .split(' ')
        .nth(1)
        .context("statm has no second field")?;
    Ok(pages.parse::<u64>()? * rustix::param::page_size() as u64)
}

/// What the files below a directory take, bytes.
pub(super) fn bytes_below(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() {
            bytes_below(&entry.path())?
        } else {
            found.len()
        };
    }
    Ok(bytes)
}
