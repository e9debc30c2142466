//! How answers look on stdout; the only part of the control commands that prints.

use std::io;

use anyhow::Context as _;
use async_trait::async_trait;
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
    /// The final value, one `name: value` a line.
    Pairs,
}

/// Takes rows and the final value, and prints them.
#[derive(Debug)]
pub(super) struct Sink {
    show: Show,
    out: BufWriter<Stdout>,
}

impl Sink {
    /// Prints to stdout in this form.
    pub(super) fn new(show: Show) -> Self {
        Self {
            show,
            out: BufWriter::with_capacity(64 * 1024, tokio::io::stdout()),
        }
    }

    /// Prints the final value; the exit code is what it tells.
    pub(super) async fn done(&mut self, done: &Value) -> anyhow::Result<Exit> {
        let text = match self.show {
            Show::Lines | Show::Chat => String::new(),
            Show::Json => format!("{done}\n"),
            Show::Forgotten => format!(
                "forgotten: {} messages ({} bytes) in {} sessions\n",
                done["messages"], done["bytes"], done["sessions"]
            ),
            Show::Verified => verified(done),
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
        if self.show == Show::Chat {
            let line = export::chat_line(line)?;
            return self.out.write_all(line.as_bytes()).await;
        }
        self.out.write_all(line).await?;
        self.out.write_all(b"\n").await
    }
}
