//! What does not show in a turn: cost against the number of sessions and messages, memory, flushes, starts.
//!
//! What needs a process of its own (memory, a kill) is done by a child: the same program, called with [`CHILD`] and what it is
//! to do. Each figure says what it is measured against. Knows no command line but its children's.

use std::fmt;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

mod beside;
mod children;
mod figure;
mod plot;
mod redis;
mod sizes;

pub use figure::Figure;
pub use plot::draw;
pub use sizes::Size;

/// The argument after which a child is told what to do.
pub const CHILD: &str = "--child";

/// How much to measure.
#[derive(Debug, Clone)]
pub struct Scale {
    /// How many sessions, a row each.
    pub sizes: Vec<usize>,
    /// How many messages each of them has.
    pub messages: usize,
    /// By how much the single figures' amounts are divided, for a quick look; 1 is what is asked.
    pub divided_by: usize,
    /// The figures to measure, by the first word of their names; all when empty.
    pub only: Vec<String>,
}

impl Default for Scale {
    /// 1,000 to a million sessions of ten messages.
    fn default() -> Self {
        Self {
            sizes: vec![1_000, 10_000, 100_000, 1_000_000],
            messages: 10,
            divided_by: 1,
            only: Vec::new(),
        }
    }
}

impl Scale {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|n| n == name)
    }
}

/// The rows of sizes, and the single figures.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Scaled {
    /// A row for each number of sessions.
    pub sizes: Vec<Size>,
    /// Single figures.
    pub figures: Vec<Figure>,
}

impl fmt::Display for Scaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.sizes.is_empty() {
            writeln!(
                f,
                "{:>9} {:>10} {:>10} {:>8} {:>12} {:>12} {:>12} {:>9}",
                "sessions",
                "messages",
                "append us",
                "read us",
                "B/session",
                "flushed/s",
                "store B",
                "start ms"
            )?;
        }
        for s in &self.sizes {
            writeln!(
                f,
                "{:>9} {:>10} {:>10.2} {:>8.2} {:>12.0} {:>12.0} {:>12} {:>9.0}",
                s.sessions,
                s.messages,
                s.append_us,
                s.read_us,
                s.memory_bytes,
                s.flushed_per_s,
                s.store_bytes,
                s.start_ms
            )?;
        }
        self.figures
            .iter()
            .try_for_each(|figure| writeln!(f, "{figure}"))
    }
}

/// Measures everything; `told` is told what comes next.
///
/// # Errors
/// A child fails, or Redis cannot be started.
pub async fn scale(scale: &Scale, told: impl Fn(&str)) -> anyhow::Result<Scaled> {
    let mut scaled = Scaled::default();
    for size in scale.sizes.iter().filter(|_| scale.wants("sizes")) {
        told(&format!("{size} sessions"));
        scaled
            .sizes
            .push(sizes::measure(*size, scale.messages).await?);
    }
    for name in ["flush", "start", "memory", "read"] {
        if scale.wants(name) {
            told(name);
            scaled
                .figures
                .extend(children::measure(name, scale.divided_by).await?);
        }
    }
    for name in ["sparse", "growth", "kept"] {
        if scale.wants(name) {
            told(name);
            scaled
                .figures
                .extend(redis::measure(name, scale.divided_by).await?);
        }
    }
    if scale.wants("beside") {
        told("beside a flush");
        scaled
            .figures
            .extend(beside::measure(scale.divided_by).await?);
    }
    Ok(scaled)
}

/// What a child does, told by its arguments: a name, a directory, numbers.
///
/// # Errors
/// It does not know what it is to do, or fails.
pub async fn child(arguments: &[String]) -> anyhow::Result<()> {
    let [name, dir, numbers @ ..] = arguments else {
        anyhow::bail!("a child is told a name, a directory and numbers");
    };
    let numbers: Result<Vec<usize>, _> = numbers.iter().map(|n| n.parse()).collect();
    let (dir, numbers) = (Path::new(dir), numbers?);
    match (name.as_str(), numbers.as_slice()) {
        ("size", [sessions, messages]) => sizes::child(dir, *sessions, *messages).await,
        (name, [count]) => children::child(name, dir, *count).await,
        _ => anyhow::bail!("unknown to a child: {name}"),
    }
}

/// A child and what it prints, a line of JSON at a time.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(name: &str, dir: &Path, numbers: &[usize]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(CHILD).arg(name).arg(dir);
        command.args(numbers.iter().map(ToString::to_string));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().context("a child without an output")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, lines })
    }

    /// What it says next.
    async fn says<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self
            .lines
            .next_line()
            .await?
            .context("a child ended early")?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Kills it, as a crash would.
    async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    async fn end(mut self) -> anyhow::Result<()> {
        let status = self.child.wait().await?;
        anyhow::ensure!(status.success(), "a child failed: {status}");
        Ok(())
    }
}

/// Says something to the parent.
#[expect(clippy::print_stdout, reason = "a child's way to tell its parent")]
fn say(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}
