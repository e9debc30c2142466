//! Chat logs and exports, read and written.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

/// One line of a chat log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Seconds since the Unix epoch.
    pub ts: f64,
    /// The guild, network or workspace.
    pub space: String,
    /// The channel.
    pub channel: String,
    /// Who said it.
    pub author: String,
    /// What was said, when the log tells.
    pub text: Option<String>,
    /// Its size in bytes.
    pub len: u64,
}

impl LogLine {
    /// A line with a text.
    #[must_use]
    pub fn new(ts: u32, channel: &str, author: &str, text: &str) -> Self {
        Self {
            ts: ts.into(),
            space: "test".into(),
            channel: channel.into(),
            author: author.into(),
            text: Some(text.into()),
            len: u64::try_from(text.len()).unwrap_or(u64::MAX),
        }
    }
}

/// One line of an export.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exported {
    /// The printed session key.
    pub session: String,
    /// The message's place.
    pub seq: u64,
    /// The message's id.
    pub id: String,
    /// The author's platform id.
    pub author: Option<String>,
    /// The role.
    pub role: String,
    /// The text.
    pub text: String,
    /// Seconds since the Unix epoch.
    pub ts: f64,
}

/// The small real log that comes with the workspace.
#[must_use]
pub fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/duraspace_small.jsonl.gz")
}

/// Reads a log, plain or `.gz`.
///
/// # Errors
/// It cannot be read, or a line is no message.
pub fn read_log(path: &Path) -> anyhow::Result<Vec<LogLine>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let text: Box<dyn Read> = if path.extension().is_some_and(|end| end == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    BufReader::new(text)
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect()
}

/// Writes a plain log.
///
/// # Errors
/// It cannot be written.
pub fn write_log(path: &Path, lines: &[LogLine]) -> anyhow::Result<()> {
    let mut file = std::io::BufWriter::new(File::create(path)?);
    for line in lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    file.flush()?;
    Ok(())
}

/// Reads an export.
///
/// # Errors
/// A line has not exactly the documented fields.
pub fn read_export(text: &str) -> anyhow::Result<Vec<Exported>> {
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}
