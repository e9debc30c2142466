//! The control socket: serves requests while this process holds the data directory.
//!
//! Protocol: the client sends one JSON line ([`Request`]); the answer is rows, one JSON object a line,
//! and then one [`Final`] line. Bounded: 64 KiB a request, 16 connections, 10 s to send the request;
//! rows are written as fast as the client takes them.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use scrollback::Cache;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter,
};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};

use super::place::{NAME, Place};
use super::{Request, run};
use crate::exit::{Exit, Failed};
use crate::export::Rows;

/// The longest request in bytes; a session key of 4 KiB of escaped text fits.
const REQUEST: u64 = 64 * 1024;

/// Connections at a time; more are told to try again.
const CONNECTIONS: usize = 16;

/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much of a request that was refused is read and thrown away, and for how long, so that its sender reads why.
const UNREAD: u64 = 1 << 20;
const HANG_UP: Duration = Duration::from_secs(1);

/// The last line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Final {
    /// It was done; the value is the command's own.
    Done(Value),
    /// It failed.
    Error {
        /// What failed and what to do.
        message: String,
        /// How the asking process is to end.
        exit: Exit,
    },
}

impl Final {
    /// Reads a line that is a final one; rows start with another key.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        if line.starts_with(b"{\"done\":") || line.starts_with(b"{\"error\":") {
            return serde_json::from_slice(line).ok();
        }
        None
    }

    fn error(error: &anyhow::Error) -> Self {
        Self::Error {
            message: format!("{error:#}"),
            exit: Exit::of(error),
        }
    }
}

/// The running server; the socket goes when it stops.
#[derive(Debug)]
pub(crate) struct Server {
    task: JoinHandle<()>,
    dir: PathBuf,
}

impl Server {
    /// Serves `cache` on the socket in `dir`; only after the cache is open, which proves that no
    /// other process serves there, so that a socket found there is stale.
    ///
    /// A directory in which no socket can be made costs the control commands, not the bot.
    pub(crate) fn start(dir: &Path, cache: &Cache) -> Option<Self> {
        match bind(dir) {
            Ok(listener) => Some(Self {
                task: tokio::spawn(serve(listener, cache.clone())),
                dir: dir.to_owned(),
            }),
            Err(error) => {
                tracing::warn!(%error, "no control socket: export, verify and the like must wait for this process to end");
                None
            }
        }
    }

    /// Stops serving and removes the socket; call it before the cache closes.
    pub(crate) async fn stop(self) {
        self.task.abort();
        // Aborting is the only way it ends.
        let _ = self.task.await;
        if let Err(error) = fs::remove_file(self.dir.join(NAME)) {
            tracing::debug!(%error, "the control socket was gone already");
        }
    }
}

/// Makes the socket so that it is never, not for a moment, open to others: in a directory that is
/// ours alone, then renamed over what may be left of an earlier one.
fn bind(dir: &Path) -> io::Result<UnixListener> {
    let private = dir.join(format!(".control.{}", std::process::id()));
    DirBuilder::new()
        .mode(0o700)
        .create(&private)
        .or_else(|error| {
            // Left by a killed process that had our id.
            if error.kind() == io::ErrorKind::AlreadyExists {
                fs::set_permissions(&private, Permissions::from_mode(0o700))
            } else {
                Err(error)
            }
        })?;
    let made = bind_in(&private).and_then(|listener| {
        fs::rename(private.join("s"), dir.join(NAME))?;
        Ok(listener)
    });
    fs::remove_dir_all(&private)?;
    made
}

fn bind_in(private: &Path) -> io::Result<UnixListener> {
    let place = Place::new(private, "s")?;
    if place.path().exists() {
        fs::remove_file(place.path())?;
    }
    let listener = UnixListener::bind(place.path())?;
    fs::set_permissions(place.path(), Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn serve(listener: UnixListener, cache: Cache) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let mut answering = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Here, so that who came first is answered.
                    let permit = Arc::clone(&free).try_acquire_owned().ok();
                    let cache = cache.clone();
                    answering.spawn(async move { connection(stream, &cache, permit).await });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: accepting again at once would spin.
                    tracing::warn!(%error, "the control socket does not accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = answering.join_next() => {}
        }
    }
}

/// Answers one connection; a client that went away is no failure of ours.
async fn connection(stream: UnixStream, cache: &Cache, permit: Option<OwnedSemaphorePermit>) {
    let (mut read, write) = stream.into_split();
    let mut answer = Answer(BufWriter::with_capacity(64 * 1024, write));
    let last = match permit {
        Some(_permit) => match tokio::time::timeout(PATIENCE, request(&mut read)).await {
            Ok(Ok(request)) => match run::run(&request, cache, &mut answer).await {
                Ok(done) => Final::Done(done),
                Err(error) => Final::error(&error),
            },
            Ok(Err(error)) => Final::error(&error),
            Err(_) => Final::error(&Failed::usage("no request came within 10 s")),
        },
        None => Final::error(&anyhow::anyhow!("too many commands at a time; try again")),
    };
    if let Err(error) = answer.end(&last).await {
        tracing::debug!(%error, "a control client went away");
    }
    // A socket that is closed with something unread in it takes the answer with it.
    let (mut rest, mut nowhere) = (read.take(UNREAD), tokio::io::sink());
    let hung_up = tokio::io::copy(&mut rest, &mut nowhere);
    let _ = tokio::time::timeout(HANG_UP, hung_up).await;
}

async fn request(read: impl tokio::io::AsyncRead + Unpin) -> anyhow::Result<Request> {
    let mut line = Vec::new();
    let mut limited = BufReader::new(read.take(REQUEST));
    limited
        .read_until(b'\n', &mut line)
        .await
        .context("cannot read the request")?;
    if line.last() != Some(&b'\n') {
        return Err(Failed::usage(
            "the request is not one line of at most 64 KiB",
        ));
    }
    serde_json::from_slice(&line)
        .map_err(|error| Failed::usage(format!("the request is not understood: {error}")))
}

/// Writes an answer to the socket.
struct Answer(BufWriter<OwnedWriteHalf>);

impl Answer {
    async fn end(&mut self, last: &Final) -> io::Result<()> {
        let line = serde_json::to_vec(last)?;
        self.row(&line).await?;
        self.0.shutdown().await
    }
}

#[async_trait]
impl Rows for Answer {
    async fn row(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.write_all(line).await?;
        self.0.write_all(b"\n").await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }
}
