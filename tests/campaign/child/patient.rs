//! Appends and reads while it is made to suffer, measures how long every call took, and tells what came of it.
//!
//! Orders come as lines on its standard input: `arm POINT ACTION`, `sled POINT,BITS`, `await POINT` (until something has
//! failed there, or for a while), `well` (disarms everything, then appends until something is durable and prints a
//! [`Well`]), `suffered` (prints a [`Suffered`]), `stop` (ends in good order and prints one).
//! It opens its cache again and again until it is open, and prints `"open"` then. Knows no fault's meaning.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use parking_lot::Mutex;
use scrollback::testing::faults;
use scrollback::{Author, Cache, Message, Session};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::cache::{CacheSpec, key};
use super::say;
use crate::ledger::{Ledger, Told, text};

/// How long it may take until it is well again.
const WELL: Duration = Duration::from_secs(20);

/// How long it may take until a point is passed.
const PASSED: Duration = Duration::from_secs(3);

/// Which process suffers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PatientSpec {
    pub(crate) cache: CacheSpec,
    pub(crate) ledger: PathBuf,
    pub(crate) sessions: u64,
    pub(crate) bytes: usize,
    pub(crate) pause_ms: u64,
    /// Orders that are carried out before it opens its cache.
    pub(crate) before: Vec<String>,
}

/// How it became well.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Well {
    /// Milliseconds until an append was durable; none when it never was.
    pub(crate) after_ms: Option<u64>,
    pub(crate) last_error: String,
    /// Points at which something has failed.
    pub(crate) failed: Vec<String>,
}

/// What it went through.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Suffered {
    /// The slowest append that failed, in milliseconds.
    pub(crate) append_ms: u64,
    /// The slowest that was accepted: it may have waited for the store, which was being opened again.
    pub(crate) accepted_ms: u64,
    /// The slowest read, in milliseconds.
    pub(crate) read_ms: u64,
    /// The slowest attempt to open the cache, in milliseconds.
    pub(crate) open_ms: u64,
    /// What appends failed with.
    pub(crate) errors: BTreeSet<String>,
    /// What reads failed with.
    pub(crate) read_errors: BTreeSet<String>,
    /// What opening failed with.
    pub(crate) open_errors: BTreeSet<String>,
    pub(crate) warnings: Vec<String>,
    /// Tasks that panicked, or ended before they were told to.
    pub(crate) panics: u64,
}

type Shared = Arc<Mutex<Suffered>>;

/// Suffers until it is told to stop.
///
/// # Errors
/// The ledger cannot be written, or an order cannot be carried out.
pub(crate) async fn run(spec: PatientSpec) -> anyhow::Result<()> {
    let mut armed = Vec::new();
    for order in &spec.before {
        armed.extend(obey(order)?);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let suffered = Shared::default();
    let life = tokio::spawn(live(spec.clone(), Arc::clone(&stop), Arc::clone(&suffered)));
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let mut open = Some(life);
    let mut cache: Option<(Cache, Vec<tokio::task::JoinHandle<anyhow::Result<()>>>)> = None;
    loop {
        tokio::select! {
            opened = async { open.as_mut().unwrap_or_else(|| unreachable!()).await }, if open.is_some() => {
                open = None;
                cache = Some(opened??);
                say(&"open")?;
            }
            order = orders.next_line() => match order?.as_deref() {
                None | Some("stop") => break,
                Some("well") => {
                    let failed = well_faults(&armed)?;
                    if let Some(life) = open.take() {
                        cache = Some(life.await??);
                        say(&"open")?;
                    }
                    let (cache, _) = cache.as_ref().context("not open")?;
                    say(&recover(cache, &spec, failed).await?)?;
                }
                Some("suffered") => {
                    let mut so_far = suffered.lock().clone();
                    let tasks = cache.iter().flat_map(|(_, tasks)| tasks);
                    // None ends by itself.
                    so_far.panics += tasks.filter(|task| task.is_finished()).count() as u64;
                    say(&so_far)?;
                }
                Some(order) => match order.strip_prefix("await ") {
                    Some(point) => passed(point).await,
                    None => armed.extend(obey(order)?),
                },
            },
        }
    }
    stop.store(true, SeqCst);
    let (cache, tasks) = cache.context("it was never open")?;
    for task in tasks {
        match task.await {
            Ok(done) => done?,
            Err(e) if e.is_panic() => suffered.lock().panics += 1,
            Err(e) => return Err(e.into()),
        }
    }
    cache.close(Duration::from_secs(10)).await?;
    let told = suffered.lock().clone();
    say(&told)
}

/// Waits until something has failed at a point of the crate.
async fn passed(point: &str) {
    let until = Instant::now() + PASSED;
    while !faults::failed().contains(&point) && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A point of sled, and how many of its passages were to fail.
type Armed = (&'static str, u32);

/// The order of a line: `arm POINT ACTION` or `sled POINT,BITS`.
fn obey(order: &str) -> anyhow::Result<Option<Armed>> {
    match order.split_once(' ').context("an order")? {
        ("arm", rest) => {
            let (point, action) = rest.split_once(' ').context("an action")?;
            faults::arm(point, action).map_err(anyhow::Error::msg)?;
            Ok(None)
        }
        ("sled", rest) => {
            let (name, bits) = rest.split_once(',').context("bits")?;
            let point = faults::SLED_POINTS.into_iter().find(|p| *p == name);
            let (point, bits) = (
                point.context("no such point in sled")?,
                bits.parse::<u64>()?,
            );
            faults::arm_sled(point, bits);
            Ok(Some((point, bits.count_ones())))
        }
        (other, _) => anyhow::bail!("no such order: {other}"),
    }
}

/// Disarms everything; the points at which something has failed.
fn well_faults(armed: &[Armed]) -> anyhow::Result<Vec<String>> {
    for point in faults::POINTS {
        faults::arm(point, "off").map_err(anyhow::Error::msg)?;
    }
    let mut failed = faults::failed();
    for (point, bits) in armed {
        if faults::disarm_sled(point) < *bits {
            failed.push(point);
        }
    }
    Ok(failed.into_iter().map(str::to_owned).collect())
}

/// Opens its cache, however often that takes, and begins to write.
async fn live(
    spec: PatientSpec,
    stop: Arc<AtomicBool>,
    suffered: Shared,
) -> anyhow::Result<(Cache, Vec<tokio::task::JoinHandle<anyhow::Result<()>>>)> {
    let cache = loop {
        let began = Instant::now();
        let opened = spec.cache.open().await;
        {
            let mut suffered = suffered.lock();
            suffered.open_ms = suffered.open_ms.max(millis(began));
        }
        match opened {
            Ok(cache) => break cache,
            Err(error) => {
                suffered.lock().open_errors.insert(format!("{error:#}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    suffered.lock().warnings = cache.warnings().to_vec();
    let tasks = 0..spec.sessions.min(4);
    let tasks = tasks.map(|task| {
        let (cache, spec) = (cache.clone(), spec.clone());
        tokio::spawn(write(
            cache,
            spec,
            task,
            Arc::clone(&stop),
            Arc::clone(&suffered),
        ))
    });
    let tasks = tasks.collect();
    Ok((cache, tasks))
}

async fn write(
    cache: Cache,
    spec: PatientSpec,
    task: u64,
    stop: Arc<AtomicBool>,
    suffered: Shared,
) -> anyhow::Result<()> {
    let ledger = Ledger::open(&spec.ledger)?;
    let before = Told::read(&spec.ledger)?;
    let mine = (0..spec.sessions).filter(|s| s % 4 == task);
    let mut mine: Vec<_> = mine
        .map(|s| format!("s{s}"))
        .map(|name| (before.next(&name, 1), name))
        .collect();
    while !stop.load(SeqCst) {
        for (n, name) in &mut mine {
            let session = cache.session(key(name));
            let author = Author::new("faults", format!("a{}", *n % 3));
            let message = Message::user(author, text(1, *n, spec.bytes)).id(format!("1-{n}"));
            ledger.sent(name, 1, *n)?;
            while !append(&session, &message, &suffered).await {
                if stop.load(SeqCst) {
                    return Ok(());
                }
                read(&session, &suffered).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            ledger.acknowledged(name, 1, *n)?;
            *n += 1;
            tokio::time::sleep(Duration::from_millis(spec.pause_ms)).await;
        }
        if let Some((_, name)) = mine.first() {
            read(&cache.session(key(name)), &suffered).await;
        }
    }
    Ok(())
}

async fn append(session: &Session, message: &Message, suffered: &Shared) -> bool {
    let began = Instant::now();
    let done = session.append(message.clone()).await;
    let mut suffered = suffered.lock();
    if let Err(error) = &done {
        suffered.append_ms = suffered.append_ms.max(millis(began));
        suffered.errors.insert(explained(error));
    } else {
        suffered.accepted_ms = suffered.accepted_ms.max(millis(began));
    }
    done.is_ok()
}

async fn read(session: &Session, suffered: &Shared) {
    let began = Instant::now();
    let context = session.context().await.map(|_| ());
    let mut took = millis(began);
    let began = Instant::now();
    let page = scrollback::store::Page {
        before: None,
        limit: 5,
    };
    let history = session.history(page).await.map(|_| ());
    took = took.max(millis(began));
    let mut suffered = suffered.lock();
    suffered.read_ms = suffered.read_ms.max(took);
    for error in [context, history].into_iter().filter_map(Result::err) {
        suffered.read_errors.insert(explained(&error));
    }
}

/// Until something that is said now is durable.
async fn recover(cache: &Cache, spec: &PatientSpec, failed: Vec<String>) -> anyhow::Result<Well> {
    let ledger = Ledger::open(&spec.ledger)?;
    let began = Instant::now();
    let session = cache.session(key("well"));
    let n = Told::read(&spec.ledger)?.next("well", 1);
    ledger.sent("well", 1, n)?;
    let mut well = Well {
        after_ms: None,
        last_error: String::new(),
        failed,
    };
    while began.elapsed() < WELL {
        let message =
            Message::user(Author::new("faults", "a"), text(1, n, 20)).id(format!("1-{n}"));
        let durable = match session.append(message).await {
            Ok(turn) => turn.durable().await,
            Err(error) => Err(error),
        };
        match durable {
            Ok(()) => {
                ledger.acknowledged("well", 1, n)?;
                well.after_ms = Some(millis(began));
                break;
            }
            Err(error) => well.last_error = explained(&error),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(well)
}

fn explained(error: &scrollback::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn millis(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}
