//! Goes down every error path of the core with canary secrets, logging everything at TRACE, and tells how many paths
//! there were and how often a canary was seen in a log line, an error with its causes, or a `Debug` form.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use scrollback::testing::faults;
use scrollback::{Author, Cache, Message, RedisConfig, Session, SledConfig, session};
use serde::{Deserialize, Serialize};

use super::cache::key;
use super::say;

/// What begins every canary: the password of Redis, and what people write and are called.
pub(crate) const CANARY: &str = "CANARYx";

/// Which faults Redis has, and where to keep data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CanarySpec {
    pub(crate) dir: PathBuf,
    /// URLs with a canary for a password, each of a server that refuses something else.
    pub(crate) redis: Vec<String>,
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sung {
    /// Calls that failed, were degraded or warned.
    pub(crate) paths: u64,
    /// Lines written.
    pub(crate) lines: u64,
    /// Lines in which a canary was seen, cut short.
    pub(crate) hits: Vec<String>,
}

/// Everything that was logged or shown.
#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Singer {
    buffer: Buffer,
    paths: u64,
}

impl Singer {
    fn show(&mut self, what: &impl std::fmt::Debug) {
        // Writing to memory does not fail.
        let _ = writeln!(self.buffer, "{what:?}");
    }

    /// Notes how a call ended; one that failed is a path.
    fn note<T: std::fmt::Debug>(&mut self, done: &scrollback::Result<T>) {
        match done {
            Ok(value) => self.show(value),
            Err(error) => {
                self.paths += 1;
                self.show(error);
                let mut cause: Option<&dyn std::error::Error> = Some(error);
                while let Some(error) = cause {
                    let _ = writeln!(self.buffer, "{error}");
                    cause = error.source();
                }
            }
        }
    }

    /// Every call there is, with canaries in all that a person can write.
    async fn calls(&mut self, cache: &Cache, round: u64) {
        let session: Session = cache.session(key(&format!("s{}", round % 3)));
        let ann = || Author::new("faults", "CANARYxAUTHOR").named("CANARYxNAME");
        let said = || Message::user(ann(), "CANARYxTEXT").id(round);
        let appended = session.append(said()).await;
        let degraded = appended.as_ref().is_ok_and(|turn| turn.receipt().degraded);
        self.paths += u64::from(degraded);
        self.note(&appended);
        let large = Message::user(ann(), CANARY.repeat(20_000));
        self.note(&session.append(large).await);
        self.note(&session.append_all([]).await);
        self.note(&session.edit(round, "CANARYxEDIT").await);
        self.note(&session.set_state(&"CANARYxSTATE").await);
        let other: scrollback::Result<Option<(u64, Vec<u64>)>> = session.state().await;
        self.note(&other);
        self.note(&session.context().await);
        self.note(&session.delete(round).await);
        self.note(&session.reset().await);
        self.note(&cache.flush().await);
        self.note(&session.export().await);
        self.note(&cache.verify().await);
        self.note(&session.forget().await);
        self.note(&cache.forget_author(&ann()).await);
        self.show(&session);
        self.show(&cache);
        self.paths += cache.warnings().len() as u64;
        self.show(&cache.warnings().to_vec());
    }
}

/// Sings.
///
/// # Errors
/// Nobody listens.
pub(crate) async fn run(spec: CanarySpec) -> anyhow::Result<()> {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    let mut singer = Singer { buffer, paths: 0 };
    for (n, url) in spec.redis.iter().enumerate() {
        over_redis(&mut singer, &spec, n, url).await;
    }
    on_disk(&mut singer, &spec).await?;
    let log = String::from_utf8_lossy(&singer.buffer.0.lock()).into_owned();
    let seen = log.lines().filter(|line| line.contains(CANARY));
    say(&Sung {
        paths: singer.paths,
        lines: log.lines().count() as u64,
        hits: seen
            .take(20)
            .map(|line| line.chars().take(300).collect())
            .collect(),
    })
}

async fn over_redis(singer: &mut Singer, spec: &CanarySpec, n: usize, url: &str) {
    let config = RedisConfig::new(url);
    singer.show(&config);
    let builder = Cache::builder()
        .hot(config)
        .store(SledConfig::new(spec.dir.join(format!("redis-{n}"))))
        .journal_limits(1 << 30, 1 << 20)
        .deadline(Duration::from_millis(100));
    singer.show(&builder);
    let built = builder.build().await;
    singer.note(&built);
    if let Ok(cache) = built {
        singer.calls(&cache, n as u64).await;
        singer.note(&cache.close(Duration::from_millis(500)).await);
        singer.calls(&cache, 1_000 + n as u64).await;
    }
}

/// Every fault point fails, at the start and under way, with both kinds of error.
async fn on_disk(singer: &mut Singer, spec: &CanarySpec) -> anyhow::Result<()> {
    let mut round = 10_000;
    for point in faults::POINTS {
        for action in ["return(eio)", "return(enospc)"] {
            for early in [true, false] {
                round += 1;
                let arm = |action: &str| faults::arm(point, action).map_err(anyhow::Error::msg);
                let dir = spec.dir.join(format!("disk-{round}"));
                if early {
                    arm(action)?;
                }
                let builder = Cache::builder()
                    .store(SledConfig::new(&dir))
                    .journal_limits(1 << 30, 1 << 20)
                    .level(session::Level::Synced)
                    .flush_every(Duration::from_millis(20));
                let built = builder.build().await;
                arm(action)?;
                singer.note(&built);
                if let Ok(cache) = built {
                    singer.calls(&cache, round).await;
                    singer.note(&cache.close(Duration::from_millis(200)).await);
                }
                arm("off")?;
            }
        }
    }
    damaged(singer, spec).await?;
    Ok(())
}

/// Records cut and overwritten: the journal's, full of texts, and the store's.
async fn damaged(singer: &mut Singer, spec: &CanarySpec) -> anyhow::Result<()> {
    for (n, part) in ["journal", "store"].into_iter().enumerate() {
        let dir = spec.dir.join(format!("damaged-{n}"));
        let open = || {
            Cache::builder()
                .store(SledConfig::new(&dir))
                .journal_limits(1 << 30, 1 << 20)
        };
        let cache = open()
            .flush_every(Duration::from_secs(3_600))
            .build()
            .await?;
        for round in 0..20 {
            let said =
                Message::user(Author::new("faults", "CANARYxAUTHOR"), "CANARYxTEXT").id(round);
            cache.session(key("s")).append(said).await?;
        }
        if part == "store" {
            cache.flush().await?;
        }
        // Dropped, not closed: like a crash.
        cache.close(Duration::ZERO).await?;
        drop(cache);
        for entry in std::fs::read_dir(dir.join(part))?.flatten() {
            if entry.file_type()?.is_file() {
                let mut bytes = std::fs::read(entry.path())?;
                bytes
                    .iter_mut()
                    .skip(64)
                    .step_by(97)
                    .for_each(|b| *b ^= 0x55);
                std::fs::write(entry.path(), bytes)?;
            }
        }
        let built = open().build().await;
        singer.note(&built);
        if let Ok(cache) = built {
            singer.calls(&cache, 1).await;
            singer.note(&cache.close(Duration::from_secs(1)).await);
        }
    }
    Ok(())
}
