//! Calls everything a bot calls, without end and from many tasks, on a runtime with one worker thread, and times each call.
//!
//! What it notes: the longest call of each kind and how late a heartbeat on the same worker was, both without the time in which
//! the worker was ready to run and the machine ran something else; how late a thread that does nothing else was; appends by
//! whether their receipt says degraded; every value that is not of the session it was asked from. The campaign asks for it in lines: `report`, `back`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use scrollback::store::Page;
use scrollback::{Author, Cache, Message, Session};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::cache::{CacheSpec, key};
use super::say;
use crate::ledger::{Ledger, said, text};
use crate::process::pause;

/// What to call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CallerSpec {
    pub(crate) cache: CacheSpec,
    pub(crate) ledger: PathBuf,
    /// Sessions of one writer and two readers each; another task appends to a new session each time.
    pub(crate) sessions: u64,
    /// Writers that crowd into one more session.
    pub(crate) crowd: u64,
    pub(crate) pause_ms: u64,
    /// Of a hundred calls so many are dropped before they end.
    pub(crate) dropped: u8,
}

/// What was noted since the last report.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) calls: u64,
    /// Milliseconds of the longest call of each kind.
    pub(crate) longest: BTreeMap<String, u64>,
    /// Milliseconds by which the worker's heartbeat was late.
    pub(crate) heartbeat_ms: u64,
    /// Milliseconds by which a thread that only waits was late, also in the report before: calls began then.
    pub(crate) machine_ms: u64,
    /// Accepted appends that said degraded, and that did not.
    pub(crate) degraded: u64,
    pub(crate) fine: u64,
    /// What the cache says of itself now.
    pub(crate) is_degraded: bool,
    pub(crate) violations: Vec<String>,
}

/// The first writer's number; each session has one of its own, so that a text tells where it belongs.
const WRITER: u64 = 1_000;
/// The same for the crowd, and for sessions that are new at each call.
const CROWD: u64 = 2_000;
const NEW: u64 = 3_000;
const TICK: Duration = Duration::from_millis(5);
const KEPT: usize = 20;

struct Caller {
    spec: CallerSpec,
    cache: Cache,
    stop: AtomicBool,
    calls: AtomicU64,
    noted: Mutex<Report>,
    /// The machine's lateness of the report before.
    before: AtomicU64,
}

/// Runs until its input ends, then closes the cache.
///
/// # Errors
/// The cache cannot be opened or closed.
pub(crate) fn run(spec: CallerSpec) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let worker = runtime.spawn(call(spec));
    runtime.block_on(worker)?
}

async fn call(spec: CallerSpec) -> anyhow::Result<()> {
    let caller = Arc::new(Caller {
        cache: spec.cache.open().await?,
        spec,
        stop: AtomicBool::new(false),
        calls: AtomicU64::new(0),
        noted: Mutex::default(),
        before: AtomicU64::new(0),
    });
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(Arc::clone(&caller).beat());
    let machine = std::thread::spawn({
        let caller = Arc::clone(&caller);
        move || caller.watch()
    });
    for n in 0..caller.spec.sessions {
        tasks.spawn(Arc::clone(&caller).write(format!("s{n}"), WRITER + n));
        tasks.spawn(Arc::clone(&caller).read(format!("s{n}"), WRITER + n));
        tasks.spawn(Arc::clone(&caller).page(format!("s{n}"), WRITER + n));
    }
    for n in 0..caller.spec.crowd {
        tasks.spawn(Arc::clone(&caller).write("crowd".to_owned(), CROWD + n));
    }
    tasks.spawn(Arc::clone(&caller).newcomers());
    say(&"open")?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line?.as_deref() {
                None => break,
                Some("back") => say(&caller.back().await)?,
                Some(_) => say(&caller.report())?,
            },
            // None ends by itself: a task that does has failed.
            Some(ended) = tasks.join_next() => ended??,
        }
    }
    caller.stop.store(true, SeqCst);
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    let _ = machine.join();
    let closed = caller.cache.close(Duration::from_secs(10)).await?;
    say(&closed.left)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How long this thread, the one worker, was ready to run in all its life and was not run; where the system does not tell, never.
fn not_run() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = told
        .split(' ')
        .nth(1)
        .and_then(|waited| waited.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

impl Caller {
    fn report(&self) -> Report {
        let mut report = std::mem::take(&mut *self.noted.lock());
        report.calls = self.calls.swap(0, SeqCst);
        let before = self.before.swap(report.machine_ms, SeqCst);
        report.machine_ms = report.machine_ms.max(before);
        report.is_degraded = self.cache.stats().degraded;
        report
    }

    /// Milliseconds until nothing says degraded any more.
    async fn back(&self) -> u64 {
        let began = Instant::now();
        let probe = self.cache.session(key("probe"));
        loop {
            let fine = probe.context().await.is_ok_and(|c| !c.stale);
            if fine && !self.cache.stats().degraded {
                return millis(began.elapsed());
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Ticks on the worker that everything runs on.
    async fn beat(self: Arc<Self>) -> anyhow::Result<()> {
        while !self.stop.load(SeqCst) {
            let (began, held) = (Instant::now(), not_run());
            tokio::time::sleep(TICK).await;
            let not_run = not_run().saturating_sub(held);
            let late = millis(began.elapsed().saturating_sub(TICK + not_run));
            let mut noted = self.noted.lock();
            noted.heartbeat_ms = noted.heartbeat_ms.max(late);
        }
        Ok(())
    }

    /// Ticks on a thread of its own.
    fn watch(&self) {
        while !self.stop.load(SeqCst) {
            let began = Instant::now();
            pause(TICK);
            let late = millis(began.elapsed().saturating_sub(TICK));
            let mut noted = self.noted.lock();
            noted.machine_ms = noted.machine_ms.max(late);
        }
    }

    /// Makes a call and notes how long it took; `None` when it was dropped before its end.
    async fn timed<T>(&self, what: &'static str, call: impl Future<Output = T>) -> Option<T> {
        let (began, held) = (Instant::now(), not_run());
        let done = if fastrand::u8(..100) < self.spec.dropped {
            let patience = Duration::from_micros(fastrand::u64(..2_000));
            tokio::time::timeout(patience, call).await.ok()
        } else {
            Some(call.await)
        };
        let not_run = not_run().saturating_sub(held);
        let took = millis(began.elapsed().saturating_sub(not_run));
        self.calls.fetch_add(1, SeqCst);
        let mut noted = self.noted.lock();
        let longest = noted.longest.entry(what.to_owned()).or_default();
        *longest = (*longest).max(took);
        done
    }

    fn violation(&self, what: String) {
        let mut noted = self.noted.lock();
        if noted.violations.len() < KEPT {
            noted.violations.push(what);
        }
    }

    /// Every message must be the session's own.
    fn check<'a>(&self, name: &str, writer: u64, texts: impl Iterator<Item = &'a str>) {
        for text in texts {
            let own = said(text).is_some_and(|(w, _)| {
                w == writer || (name == "crowd" && (CROWD..CROWD + self.spec.crowd).contains(&w))
            });
            if !own {
                let start: String = text.chars().take(16).collect();
                self.violation(format!("CROSS READ: {name} was given {start}"));
            }
        }
    }

    fn failed(&self, what: &str, error: &scrollback::Error) {
        self.violation(format!("{what} failed: {error}"));
    }

    async fn pause(&self) {
        tokio::time::sleep(Duration::from_millis(self.spec.pause_ms)).await;
    }

    async fn write(self: Arc<Self>, name: String, writer: u64) -> anyhow::Result<()> {
        let ledger = Ledger::open(&self.spec.ledger)?;
        let session = self.cache.session(key(&name));
        for n in 1.. {
            if self.stop.load(SeqCst) {
                break;
            }
            self.append(&session, &ledger, &name, (writer, n)).await?;
            self.pause().await;
        }
        Ok(())
    }

    /// First touches: each append in a session that nobody knows.
    async fn newcomers(self: Arc<Self>) -> anyhow::Result<()> {
        let ledger = Ledger::open(&self.spec.ledger)?;
        for n in 0.. {
            if self.stop.load(SeqCst) {
                break;
            }
            let name = format!("new{n}");
            let session = self.cache.session(key(&name));
            self.append(&session, &ledger, &name, (NEW + n, 1)).await?;
            self.pause().await;
        }
        Ok(())
    }

    /// Appends until it is accepted, each time with the same id.
    async fn append(
        &self,
        session: &Session,
        ledger: &Ledger,
        name: &str,
        (writer, n): (u64, u64),
    ) -> anyhow::Result<()> {
        let author = Author::new("faults", writer);
        let message = Message::user(author, text(writer, n, 100)).id(format!("{writer}-{n}"));
        ledger.sent(name, writer, n)?;
        while !self.stop.load(SeqCst) {
            let turn = match self.timed("append", session.append(message.clone())).await {
                None => continue,
                Some(Err(e)) => {
                    self.failed("an append", &e);
                    self.pause().await;
                    continue;
                }
                Some(Ok(turn)) => turn,
            };
            ledger.acknowledged(name, writer, n)?;
            let context = turn.context();
            self.check(
                name,
                writer,
                context.messages.iter().map(|m| m.text.as_str()),
            );
            let degraded = turn.receipt().degraded;
            let mut noted = self.noted.lock();
            noted.degraded += u64::from(degraded);
            noted.fine += u64::from(!degraded);
            break;
        }
        Ok(())
    }

    async fn read(self: Arc<Self>, name: String, writer: u64) -> anyhow::Result<()> {
        let session = self.cache.session(key(&name));
        while !self.stop.load(SeqCst) {
            match self.timed("context", session.context()).await {
                Some(Ok(context)) => {
                    self.check(
                        &name,
                        writer,
                        context.messages.iter().map(|m| m.text.as_str()),
                    );
                }
                Some(Err(e)) => self.failed("a context", &e),
                None => {}
            }
            self.state(&session, writer).await;
            self.pause().await;
        }
        Ok(())
    }

    /// A state names its session's writer; while Redis is away it cannot be set.
    async fn state(&self, session: &Session, writer: u64) {
        match self.timed("state", session.state::<u64>()).await {
            Some(Ok(Some((_, state)))) if state != writer => {
                self.violation(format!("CROSS READ: a state of {state} for {writer}"));
            }
            Some(Err(e)) => self.failed("a state", &e),
            _ => {}
        }
        match self.timed("set_state", session.set_state(&writer)).await {
            Some(Err(e)) if !e.is_outage() && !matches!(e, scrollback::Error::Conflict { .. }) => {
                self.failed("setting a state", &e);
            }
            _ => {}
        }
    }

    async fn page(self: Arc<Self>, name: String, writer: u64) -> anyhow::Result<()> {
        let session = self.cache.session(key(&name));
        let newest = Page {
            before: None,
            limit: 20,
        };
        while !self.stop.load(SeqCst) {
            match self.timed("history", session.history(newest)).await {
                Some(Ok(page)) => {
                    self.check(&name, writer, page.iter().map(|(_, m)| m.text.as_str()));
                }
                Some(Err(e)) => self.failed("a history", &e),
                None => {}
            }
            match self.timed("context_cached", session.context_cached()).await {
                Some(Err(e)) => self.failed("a cached context", &e),
                _ => self.pause().await,
            }
        }
        Ok(())
    }
}
