//! Child processes: started with captured output, fed, killed, waited for with a deadline.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::binary::scrollback_bin;
use crate::wait::pause;

/// How long a child may take to end.
const DEADLINE: Duration = Duration::from_secs(120);

/// A command line of the binary under test, with no `SCROLLBACK_*` variable and a known user.
///
/// # Errors
/// The binary does not build.
pub fn scrollback(
    data: &Path,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> anyhow::Result<Command> {
    let mut command = Command::new(scrollback_bin()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SCROLLBACK_") {
            command.env_remove(name);
        }
    }
    command
        .env("USER", "ann")
        .args(args)
        .arg("--data")
        .arg(data);
    Ok(command)
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Run {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// How a child ended and what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

impl Finished {
    /// Itself, when the exit code is `code`.
    ///
    /// # Errors
    /// Another code; the error holds the output.
    pub fn expect(self, code: i32) -> anyhow::Result<Self> {
        ensure!(
            self.code == Some(code),
            "expected exit code {code}: {self:#?}"
        );
        Ok(self)
    }
}

impl Run {
    /// Starts a command.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().map(collect),
            stderr: child.stderr.take().map(collect),
            child,
        })
    }

    /// Runs a command to its end with this as its standard input.
    ///
    /// # Errors
    /// It cannot be started, or does not end.
    pub fn to_end(command: Command, input: &[u8]) -> anyhow::Result<Finished> {
        let mut run = Self::start(command)?;
        // A child that ends without reading closes the pipe; its exit code tells more than that.
        let _ = run.write(input);
        run.finish()
    }

    /// Writes to its standard input.
    ///
    /// # Errors
    /// It does not read any more.
    pub fn write(&mut self, input: &[u8]) -> anyhow::Result<()> {
        let stdin = self
            .stdin
            .as_mut()
            .context("its standard input is closed")?;
        stdin.write_all(input)?;
        stdin.flush()?;
        Ok(())
    }

    /// Sends a signal by name, such as `TERM`.
    ///
    /// # Errors
    /// `kill` fails.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()?;
        ensure!(sent.success(), "cannot send {name}");
        Ok(())
    }

    /// Kills it as `kill -9` does, and waits for its end.
    ///
    /// # Errors
    /// It had ended before.
    pub fn kill_9(mut self) -> anyhow::Result<()> {
        ensure!(
            self.child.try_wait()?.is_none(),
            "it had ended before it was killed"
        );
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Kills it as `kill -9` does after a while, unless it has ended by then.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill_9_after(mut self, wait: Duration) -> anyhow::Result<()> {
        pause(wait);
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Closes its standard input and waits for its end.
    ///
    /// # Errors
    /// It does not end within 120 s; then it is killed.
    pub fn finish(mut self) -> anyhow::Result<Finished> {
        drop(self.stdin.take());
        self.ended()
    }

    /// Waits for its end while its standard input stays open.
    ///
    /// # Errors
    /// It does not end within 120 s; then it is killed.
    pub fn ended(mut self) -> anyhow::Result<Finished> {
        let status = self.status()?;
        Ok(Finished {
            code: status.code(),
            stdout: text(self.stdout.take()),
            stderr: text(self.stderr.take()),
        })
    }

    fn status(&mut self) -> anyhow::Result<ExitStatus> {
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            pause(Duration::from_millis(5));
        }
        self.child.kill()?;
        self.child.wait()?;
        bail!(
            "did not end within {DEADLINE:?}; it wrote:\n{}",
            text(self.stderr.take())
        )
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a pipe to its end, so that a full one never stops the child.
fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        // What was read before a failure is what there is to show.
        let _ = pipe.read_to_end(&mut all);
        all
    })
}

fn text(pipe: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = pipe.and_then(|pipe| pipe.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
