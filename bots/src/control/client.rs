//! Asking the process that holds the data directory.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::Request;
use super::place::{NAME, Place};
use super::server::Final;
use super::show::{Show, Sink};
use crate::exit::{Exit, Failed};
use crate::export::Rows as _;

/// Has the process that serves `dir` answer; `None` when nobody serves it.
///
/// # Errors
/// The socket may not be used, the process refuses, or it ends before its answer is complete.
pub(super) async fn ask(dir: &Path, request: &Request, show: Show) -> anyhow::Result<Option<Exit>> {
    let Some(stream) = connect(dir).await? else {
        return Ok(None);
    };
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_vec(request).context("cannot encode the request")?;
    line.push(b'\n');
    // A process that is too busy may answer and hang up before it has read the request.
    let asked = write.write_all(&line).await;
    let mut answer = BufReader::with_capacity(64 * 1024, read);
    let mut sink = Sink::new(show);
    let mut row = Vec::new();
    loop {
        row.clear();
        let size = answer
            .read_until(b'\n', &mut row)
            .await
            .context("the running bot")?;
        if size == 0 || row.pop() != Some(b'\n') {
            asked.context("cannot ask the running bot")?;
            anyhow::bail!("the running bot stopped before its answer was complete; try again");
        }
        match Final::read(&row) {
            None => sink.row(&row).await.context("stdout")?,
            Some(Final::Done(done)) => return sink.done(&done).await.map(Some),
            Some(Final::Error { message, exit }) => {
                // What came before the error is shown first.
                sink.done(&Value::Null).await?;
                return Err(Failed::error(exit, message));
            }
        }
    }
}

async fn connect(dir: &Path) -> anyhow::Result<Option<UnixStream>> {
    let connected = match Place::new(dir, NAME) {
        Ok(place) => UnixStream::connect(place.path()).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(stream) => Ok(Some(stream)),
        // No socket, nobody behind it, or none can be at so long a path.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error)
            .with_context(|| format!("cannot use the control socket {}", dir.join(NAME).display())),
    }
}
