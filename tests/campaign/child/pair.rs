//! Two caches over one store and one Redis, as two processes of a fleet: both write to the same sessions, both read.
//!
//! While it runs, every context that is read is compared with what was acknowledged before the read began: what this cache
//! acknowledged must be there always, what the other one did must be there in calm times (DESIGN.md, P1). The campaign tells it in
//! lines who writes (`a`, `b`, `both`), that a fault comes (`fault`), that it is over (`calm`), and asks for everything (`judge`; then nobody writes until told).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use parking_lot::Mutex;
use scrollback::{Author, Cache, Message, Messages};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::RwLock;

use super::cache::{CacheSpec, key};
use super::say;
use super::writer::until_accepted;
use crate::ledger::{Ledger, Said, said, text};

/// How the pair is set up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PairSpec {
    pub(crate) cache: CacheSpec,
    pub(crate) ledger: PathBuf,
    /// Sessions that both caches write to.
    pub(crate) sessions: u64,
    /// Sessions written once at the start, for timing a first read after a fault.
    pub(crate) cold: u64,
    pub(crate) pause_ms: u64,
    /// Writers rest while first reads are timed: as fast as they write, they would be what is timed.
    pub(crate) rest: bool,
}

/// What one of the two sees.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) exported: HashMap<String, Vec<Said>>,
    pub(crate) contexts: HashMap<String, Vec<Said>>,
}

/// What was read by both.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct PairRead {
    pub(crate) views: Vec<View>,
    /// What did not hold while it ran, and what the caches' own verification found.
    pub(crate) violations: Vec<String>,
    /// Contexts compared so far.
    pub(crate) reads: u64,
}

/// How it is after a fault.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Calm {
    /// Until neither cache was degraded any more and all was flushed.
    pub(crate) back_ms: u64,
    /// Every first read of a cold session, in microseconds.
    pub(crate) first_reads_us: Vec<u64>,
}

/// Messages of a cold session.
const COLD: u64 = 5;
/// The fewest messages in a context that the window has cut: three quarters of its 20.
const CUT: usize = 15;
/// How long everything may take to be as before.
const WITHIN: Duration = Duration::from_secs(15);
/// Violations that are kept.
const KEPT: usize = 20;

/// What the tasks share.
struct Shared {
    spec: PairSpec,
    caches: [Cache; 2],
    /// Which caches write; held for reading during an append.
    writing: RwLock<[bool; 2]>,
    calm: AtomicBool,
    /// The newest acknowledged number by session and writer.
    newest: Mutex<HashMap<(String, u64), u64>>,
    found: Mutex<PairRead>,
}

/// Runs the pair until its input ends.
///
/// # Errors
/// A cache cannot be opened, or the ledger not written.
pub(crate) async fn run(spec: PairSpec) -> anyhow::Result<()> {
    let caches = spec.cache.open_two().await?;
    let shared = Arc::new(Shared {
        spec,
        caches,
        writing: RwLock::new([true; 2]),
        calm: AtomicBool::new(true),
        newest: Mutex::default(),
        found: Mutex::default(),
    });
    fill_cold(&shared).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for side in 0..2 {
        tasks.spawn(write(Arc::clone(&shared), side));
        tasks.spawn(read_on(Arc::clone(&shared), side));
    }
    say(&"open")?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                obey(&shared, &line).await?;
            }
            Some(ended) = tasks.join_next() => ended??,
        }
    }
}

async fn obey(shared: &Shared, line: &str) -> anyhow::Result<()> {
    match line {
        "fault" => {
            shared.calm.store(false, SeqCst);
            say(&line)
        }
        "calm" => {
            let calm = calm(shared).await?;
            shared.calm.store(true, SeqCst);
            say(&calm)
        }
        "judge" => {
            // Nobody writes meanwhile, nor afterwards until told: the ledger is read then.
            *shared.writing.write().await = [false; 2];
            settled(&shared.caches, shared.spec.sessions).await?;
            let mut read = std::mem::take(&mut *shared.found.lock());
            read.views = views(&shared.caches, &shared.spec).await?;
            verified(&shared.caches, &mut read).await?;
            say(&read)
        }
        who => {
            *shared.writing.write().await = [who != "b", who != "a"];
            say(&who)
        }
    }
}

/// A fresh process that opens both journals and reads everything back.
///
/// # Errors
/// A cache cannot be opened or read.
pub(crate) async fn read(spec: PairSpec) -> anyhow::Result<()> {
    let caches = spec.cache.open_two().await?;
    settled(&caches, spec.sessions).await?;
    let mut read = PairRead {
        views: views(&caches, &spec).await?,
        ..PairRead::default()
    };
    verified(&caches, &mut read).await?;
    say(&read)
}

fn names(spec: &PairSpec) -> impl Iterator<Item = String> {
    let cold = (0..spec.cold).map(|n| format!("cold{n}"));
    (0..spec.sessions).map(|n| format!("s{n}")).chain(cold)
}

const fn of<T>([a, b]: &[T; 2], side: usize) -> &T {
    if side == 0 { a } else { b }
}

const fn writer(side: usize) -> u64 {
    if side == 0 { 1 } else { 2 }
}

async fn fill_cold(shared: &Shared) -> anyhow::Result<()> {
    let ledger = Ledger::open(&shared.spec.ledger)?;
    let never = AtomicBool::new(false);
    for cold in 0..shared.spec.cold {
        let name = format!("cold{cold}");
        for n in 1..=COLD {
            ledger.sent(&name, 1, n)?;
            let session = shared.caches[0].session(key(&name));
            until_accepted(&session, &message(1, n), &never).await;
            ledger.acknowledged(&name, 1, n)?;
        }
    }
    Ok(())
}

fn message(writer: u64, n: u64) -> Message {
    let author = Author::new("faults", format!("a{writer}"));
    Message::user(author, text(writer, n, 120)).id(format!("{writer}-{n}"))
}

/// Appends to the sessions by turns; each turn's context is compared.
async fn write(shared: Arc<Shared>, side: usize) -> anyhow::Result<()> {
    let ledger = Ledger::open(&shared.spec.ledger)?;
    let (cache, writer) = (of(&shared.caches, side), writer(side));
    for n in 1.. {
        for session in 0..shared.spec.sessions {
            let name = format!("s{session}");
            {
                let writing = loop {
                    let writing = shared.writing.read().await;
                    if *of(&writing, side) {
                        break writing;
                    }
                    drop(writing);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                };
                ledger.sent(&name, writer, n)?;
                let handle = cache.session(key(&name));
                let context = accepted(&handle, &message(writer, n)).await;
                ledger.acknowledged(&name, writer, n)?;
                let before = HashMap::from([(writer, n)]);
                shared.newest.lock().insert((name.clone(), writer), n);
                shared.compare(&name, &context, &before);
                drop(writing);
            }
            if shared.spec.pause_ms > 0 {
                tokio::time::sleep(Duration::from_millis(shared.spec.pause_ms)).await;
            }
        }
    }
    Ok(())
}

/// Appends until it is accepted; the context of that turn.
async fn accepted(session: &scrollback::Session, message: &Message) -> Messages {
    loop {
        match session.append(message.clone()).await {
            Ok(turn) => return turn.context().messages.clone(),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Reads contexts without end.
async fn read_on(shared: Arc<Shared>, side: usize) -> anyhow::Result<()> {
    let mut rng = fastrand::Rng::new();
    loop {
        let name = format!("s{}", rng.u64(..shared.spec.sessions));
        let calm = shared.calm.load(SeqCst);
        let mut before = HashMap::new();
        for writer in [1, 2] {
            let own = writer == self::writer(side);
            let newest = shared.newest.lock().get(&(name.clone(), writer)).copied();
            if let Some(n) = newest.filter(|_| own || calm) {
                before.insert(writer, n);
            }
        }
        let read = of(&shared.caches, side).session(key(&name)).context().await;
        // A fault that came meanwhile: the other's part of it is not judged.
        if calm && !shared.calm.load(SeqCst) {
            before.retain(|writer, _| *writer == self::writer(side));
        }
        match read {
            Ok(context) => shared.compare(&name, &context.messages, &before),
            Err(e) => shared.violation(format!("{name}: a read failed: {e}")),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Shared {
    fn violation(&self, what: String) {
        let mut found = self.found.lock();
        if found.violations.len() < KEPT {
            found.violations.push(what);
        }
    }

    /// A context holds each writer's messages in order and without a gap, and the newest that were acknowledged before it was
    /// read, unless the window has moved past them.
    fn compare(&self, name: &str, context: &Messages, before: &HashMap<u64, u64>) {
        self.found.lock().reads += 1;
        let mut last: HashMap<u64, u64> = HashMap::new();
        for m in context {
            let Some((writer, n)) = said(&m.text) else {
                self.violation(format!("{name}: a text that nobody wrote"));
                continue;
            };
            if let Some(before) = last.insert(writer, n)
                && before + 1 != n
            {
                let calm = self.calm.load(SeqCst);
                self.violation(format!(
                    "{name}: in a context {writer}.{n} comes after {writer}.{before} (calm: {calm})"
                ));
            }
        }
        for (writer, n) in before {
            let newest = last.get(writer);
            let there = newest.map_or(context.len() >= CUT, |newest| newest >= n);
            if !there {
                self.violation(format!(
                    "{name}: {writer}.{n} was acknowledged, a context of {} ends with {newest:?}",
                    context.len()
                ));
            }
        }
    }
}

/// Waits until both serve from Redis and everything is durable.
async fn settled(caches: &[Cache; 2], sessions: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let mut fine = true;
        for cache in caches {
            for session in 0..sessions {
                let context = cache.session(key(&format!("s{session}"))).context().await;
                fine &= context.is_ok_and(|c| !c.stale);
            }
            fine &= cache.flush().await.is_ok();
        }
        fine &= !caches.iter().any(|c| c.stats().degraded);
        if fine {
            return Ok(());
        }
        ensure!(began.elapsed() < WITHIN, "not as before within {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How long the threads of this process were ready to run and the machine ran something else; where the system does not
/// tell, never.
fn machine_waited() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task");
    let waited = tasks.into_iter().flatten().flatten().filter_map(|task| {
        let told = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        told.split(' ').nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waited.sum::<u64>())
}

async fn calm(shared: &Shared) -> anyhow::Result<Calm> {
    let Shared { caches, spec, .. } = shared;
    let began = Instant::now();
    settled(caches, spec.sessions).await?;
    let mut calm = Calm {
        back_ms: u64::try_from(began.elapsed().as_millis())?,
        ..Calm::default()
    };
    let _resting = if spec.rest {
        Some(shared.writing.write().await)
    } else {
        None
    };
    for cache in caches {
        for cold in 0..spec.cold {
            let session = cache.session(key(&format!("cold{cold}")));
            let (began, waited) = (Instant::now(), machine_waited());
            let context = session.context().await?;
            let waited = machine_waited().saturating_sub(waited);
            let took = began.elapsed().saturating_sub(waited);
            calm.first_reads_us.push(u64::try_from(took.as_micros())?);
            let all = context.messages.len() as u64;
            ensure!(all == COLD, "cold{cold}: {all} of {COLD} messages");
        }
    }
    Ok(calm)
}

async fn views(caches: &[Cache; 2], spec: &PairSpec) -> anyhow::Result<Vec<View>> {
    let mut views = Vec::new();
    for cache in caches {
        let mut view = View::default();
        for name in names(spec) {
            let session = cache.session(key(&name));
            let read = |text: &str| said(text).context("a text that nobody wrote");
            let context = session.context().await?;
            let context: Result<_, _> = context.messages.iter().map(|m| read(&m.text)).collect();
            view.contexts.insert(name.clone(), context?);
            let exported = session.export().await?;
            let exported: Result<_, _> = exported.iter().map(|(_, m)| read(&m.text)).collect();
            view.exported.insert(name, exported?);
        }
        views.push(view);
    }
    Ok(views)
}

async fn verified(caches: &[Cache; 2], read: &mut PairRead) -> anyhow::Result<()> {
    for cache in caches {
        read.violations.extend(cache.verify().await?.violations);
    }
    Ok(())
}
