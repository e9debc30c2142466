//! How answers look on stdout; the only part of the control commands that prints.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use async_trait::async_trait;
use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::io::{AsyncWriteExt as _, BufWriter, Stdout};

use crate::exit::Exit;
use crate::export::{self, Rows};

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Rows as they are; nothing else.
    Lines,
    /// Rows as a chat to read.
    Chat,
    /// The final value as one JSON object.
    Json,
    /// The receipt of a forget, as a sentence.
    Forgotten,
    /// What a verification found.
    Verified,
    /// What a compaction did.
    Compacted,
    /// The final value, one `name: value` a line.
    Pairs,
}

/// Takes rows and the final value, and prints them.
#[derive(Debug)]
pub(super) struct Sink {
    show: Show,
    out: BufWriter<Stdout>,
    bar: Option<ProgressBar>,
}

impl Sink {
    /// Prints to stdout in this form.
    pub(super) fn new(show: Show) -> Self {
        Self {
            show,
            out: BufWriter::with_capacity(64 * 1024, tokio::io::stdout()),
            bar: None,
        }
    }

    /// Prints the final value; the exit code is what it tells.
    pub(super) async fn done(&mut self, done: &Value) -> anyhow::Result<Exit> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let text = match self.show {
            Show::Lines | Show::Chat => String::new(),
            Show::Json => format!("{done}\n"),
            Show::Forgotten => format!(
                "forgotten: {} messages ({} bytes) in {} sessions\n",
                done["messages"], done["bytes"], done["sessions"]
            ),
            Show::Verified => verified(done),
            Show::Compacted => compacted(done),
            Show::Pairs => pairs(done),
        };
        self.out
            .write_all(text.as_bytes())
            .await
            .context("stdout")?;
        self.out.flush().await.context("stdout")?;
        let broken = done["violations"]
            .as_array()
            .is_some_and(|found| !found.is_empty());
        Ok(if broken { Exit::Violations } else { Exit::Ok })
    }
}

fn verified(done: &Value) -> String {
    let found: Vec<&str> = done["violations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut text = format!(
        "checked: {} sessions, {} messages: ",
        done["sessions"], done["messages"]
    );
    text.push_str(&match found.len() {
        0 => "no violation\n".to_owned(),
        n => format!("{n} violations\n"),
    });
    for violation in found {
        text.push_str(&format!("  {violation}\n"));
    }
    text
}

fn compacted(done: &Value) -> String {
    let bytes = |name: &str| BinaryBytes(done[name].as_u64().unwrap_or_default());
    format!(
        "compacted: {} before, {} after, {} of it live; {} empty entries dropped\n",
        bytes("bytes_before"),
        bytes("bytes_after"),
        bytes("live_bytes"),
        done["rows_dropped"]
    )
}

/// A bar on a terminal's stderr over the sessions to copy.
fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length();
    let form = "{bar:30} {pos}/{len} sessions [{elapsed} < {eta}]";
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style);
    }
    bar
}

fn pairs(done: &Value) -> String {
    let all = done.as_object().into_iter().flatten();
    all.map(|(name, value)| match value {
        Value::String(text) => format!("{name}: {text}\n"),
        other => format!("{name}: {other}\n"),
    })
    .collect()
}

#[async_trait]
impl Rows for Sink {
    async fn row(&mut self, line: &[u8]) -> io::Result<()> {
        if matches!(self.show, Show::Compacted | Show::Json) {
            // Whoever asks for one final value has only progress to be told before it.
            let row: Value = serde_json::from_slice(line)?;
            let count = |name| row.get(name).and_then(Value::as_u64);
            if let (Some(copied), Some(of)) = (count("copied"), count("of")) {
                let bar = self.bar.get_or_insert_with(bar);
                bar.set_length(of);
                bar.set_position(copied);
            }
            return Ok(());
        }
        if self.show == Show::Chat {
            let line = export::chat_line(line)?;
            return self.out.write_all(line.as_bytes()).await;
        }
        self.out.write_all(line).await?;
        self.out.write_all(b"\n").await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.out.flush().await
    }
}
