//! The terminal as an outbox: replies on stdout, files into the data directory.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use scrollback_kit::outbox::{Audience, Outbox, Part, SendError};
use scrollback_kit::split::{Limit, Unit};

/// A reply is printed whole: far more than any responder says.
const LIMIT: Limit = Limit::new(1 << 20, Unit::Bytes);

/// Where replies go.
#[derive(Debug)]
pub(super) struct Terminal {
    data: PathBuf,
    /// A person sits there; without one only replies are printed.
    person: bool,
    /// Nobody reads stdout any more.
    gone: AtomicBool,
}

impl Terminal {
    /// The process's own terminal or pipe; files go into `data`.
    pub(super) fn new(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            person: io::stdin().is_terminal() && io::stdout().is_terminal(),
            gone: AtomicBool::new(false),
        }
    }

    /// Says what to do, to a person.
    pub(super) fn welcome(&self) -> io::Result<()> {
        self.to_person("Tell me something, and ask me later. /help lists commands, Ctrl-D ends.\n")
    }

    /// Asks a person for a line.
    pub(super) fn prompt(&self) -> io::Result<()> {
        self.to_person("> ")
    }

    /// Ends the line on which a person's prompt stands.
    pub(super) fn farewell(&self) -> io::Result<()> {
        self.to_person("\n")
    }

    /// An error once stdout could not be written.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        Ok(())
    }

    fn to_person(&self, text: &str) -> io::Result<()> {
        if self.person { print(text) } else { Ok(()) }
    }

    /// Makes a file that is its owner's alone and replaces no other.
    fn create(&self, name: &str) -> io::Result<(PathBuf, File)> {
        let (stem, end) = name.rsplit_once('.').unwrap_or((name, "txt"));
        for n in 1..10_000 {
            let path = self.data.join(format!("{stem}-{n}.{end}"));
            match OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
            {
                Ok(file) => return Ok((path, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("too many exports; remove some"))
    }
}

#[async_trait]
impl Outbox for Terminal {
    fn limit(&self) -> Limit {
        LIMIT
    }

    fn edits(&self) -> bool {
        false
    }

    async fn send(&self, part: Part<'_>) -> Result<Option<String>, SendError> {
        // What was printed has no platform id; one of its own lets a forget name it.
        let id = format!("printed-{}", jiff::Timestamp::now().as_nanosecond());
        print(&format!("{}\n", part.text))
            .map(|()| Some(id))
            .map_err(|error| {
                self.gone.store(true, Ordering::Relaxed);
                failed(error)
            })
    }

    async fn edit(&self, _id: &str, _text: &str) -> Result<(), SendError> {
        Err(SendError::Refused("what is printed stays".to_owned()))
    }

    async fn send_file(
        &self,
        name: &str,
        bytes: Vec<u8>,
        audience: Audience,
    ) -> Result<Option<String>, SendError> {
        let (path, mut file) = self.create(name).map_err(failed)?;
        file.write_all(&bytes)
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        let text = format!("Written to {}", path.display());
        let nth = 0;
        self.send(Part {
            text: &text,
            audience,
            nth,
        })
        .await
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn failed(error: io::Error) -> SendError {
    SendError::Failed(error.into())
}
