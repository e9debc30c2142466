//! Children of the campaign: this same program in another role, started, signalled, killed, waited for.
//!
//! Invariant: a child ends with the value that stands for it.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long a child may take for what it is asked.
const WITHIN: Duration = Duration::from_secs(120);

/// How much is told of what a child complained of.
const LAST_BYTES: usize = 2_000;

/// The signal of an abort.
const ABORT: i32 = 6;

/// Waits for a while, or until never: for faults that are made at a moment.
pub(crate) fn pause(time: Duration) {
    let (_open, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}

/// How a child that was to say one thing and end did so.
#[derive(Debug)]
pub(crate) struct Attempt<T> {
    /// What it said; when it failed, its error.
    pub(crate) said: Result<T, String>,
    /// None when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) took: Duration,
}

impl<T: DeserializeOwned> Attempt<T> {
    /// Runs this program as `kind` to its end.
    ///
    /// # Errors
    /// It cannot be started, or it said something else.
    pub(crate) fn make(kind: &str, spec: &impl Serialize) -> anyhow::Result<Self> {
        let began = Instant::now();
        let ended = command(kind, spec)?.stdin(Stdio::null()).output()?;
        let took = began.elapsed();
        let said = if ended.status.success() {
            let said = serde_json::from_slice(&ended.stdout);
            Ok(said.with_context(|| format!("what the {kind} said"))?)
        } else {
            let lines = String::from_utf8_lossy(&ended.stderr);
            let error = lines.lines().rfind(|line| line.starts_with("faults: "));
            Err(error.unwrap_or_default().to_owned())
        };
        Ok(Self {
            said,
            code: ended.status.code(),
            took,
        })
    }
}

/// This program as `kind`.
fn command(kind: &str, spec: &impl Serialize) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["child", kind, &serde_json::to_string(spec)?]);
    Ok(command)
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    /// It has said something: from then on it runs until it is ended.
    spoke: bool,
    what: String,
    /// What it writes to stderr.
    complaints: std::fs::File,
}

impl Process {
    /// Starts this program as `kind`; what it writes to stderr goes to the campaign's log when `SCROLLBACK_LOG` is set, else
    /// the last of it is told when it ends unasked.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(kind: &str, spec: &impl Serialize) -> anyhow::Result<Self> {
        Self::start_with(kind, spec, &[])
    }

    /// The same with variables in its environment.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn start_with(
        kind: &str,
        spec: &impl Serialize,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let logged = std::env::var_os("SCROLLBACK_LOG").is_some();
        let complaints = tempfile::tempfile()?;
        let mut child = command(kind, spec)?
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if logged {
                Stdio::inherit()
            } else {
                Stdio::from(complaints.try_clone()?)
            })
            .spawn()
            .with_context(|| format!("cannot start a {kind}"))?;
        Ok(Self {
            complaints,
            stdin: child.stdin.take(),
            stdout: child.stdout.take().map(BufReader::new),
            child,
            spoke: false,
            what: kind.to_owned(),
        })
    }

    /// The next line that it prints, as JSON.
    ///
    /// # Errors
    /// It ended, or printed something else.
    pub(crate) fn line<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let stdout = self.stdout.as_mut().context("its output is closed")?;
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        if line.is_empty() {
            let end = self.end()?;
            bail!("the {} ended without a word: {end}", self.what);
        }
        self.spoke = true;
        serde_json::from_str(&line).with_context(|| format!("the {} said {line}", self.what))
    }

    /// How it ended, which it is just doing or has done, and the last that it complained of.
    fn end(&mut self) -> anyhow::Result<String> {
        let status = self.child.wait()?;
        let mut complaints = Vec::new();
        self.complaints.rewind()?;
        self.complaints.read_to_end(&mut complaints)?;
        let last = complaints.len().saturating_sub(LAST_BYTES);
        let last = complaints.get(last..).unwrap_or_default();
        Ok(format!("{status}: {}", String::from_utf8_lossy(last)))
    }

    /// Writes a line to it.
    ///
    /// # Errors
    /// It does not read any more.
    pub(crate) fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        use std::io::Write as _;
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        stdin.write_all(format!("{line}\n").as_bytes())?;
        Ok(stdin.flush()?)
    }

    /// Sends a signal by name, such as `TERM` or `STOP`.
    ///
    /// # Errors
    /// `kill` fails.
    pub(crate) fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()?;
        ensure!(sent.success(), "cannot send {name} to the {}", self.what);
        Ok(())
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// It had said that it was open and ended by itself, or it cannot be waited for.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            ensure!(
                !self.spoke,
                "the {} ended by itself ({status}) before it was killed",
                self.what
            );
            return Ok(());
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it has ended itself as of kill -9.
    ///
    /// # Errors
    /// It ended in another way, or not in time; then it is killed.
    pub(crate) fn aborted(mut self) -> anyhow::Result<()> {
        let until = Instant::now() + WITHIN;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                let ended = status.signal() == Some(ABORT);
                ensure!(ended, "the {} did not end itself: {status}", self.what);
                return Ok(());
            }
            pause(Duration::from_millis(2));
        }
        bail!("the {} did not end itself within {WITHIN:?}", self.what)
    }

    /// Closes its input and waits for its end; its exit code, and what it printed since it was last read.
    ///
    /// # Errors
    /// It does not end in time; then it is killed.
    pub(crate) fn finish(mut self) -> anyhow::Result<(Option<i32>, String)> {
        drop(self.stdin.take());
        let mut rest = String::new();
        if let Some(mut stdout) = self.stdout.take() {
            stdout.read_to_string(&mut rest)?;
        }
        let until = Instant::now() + WITHIN;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status.code(), rest));
            }
            pause(Duration::from_millis(2));
        }
        bail!("the {} did not end within {WITHIN:?}", self.what)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
