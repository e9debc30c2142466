//! Messages as JSON lines (the kit's [`ExportLine`]), by session and place.
//!
//! Streams: holds one page at a time, whatever the store's size.

use std::io;

use anyhow::Context as _;
use async_trait::async_trait;
use jiff::Timestamp;
use scrollback::{Cache, Message, Page, Seq, Session, SessionKey};
use scrollback_kit::export::ExportLine;

use crate::control::{Selection, author, session_key};

/// Messages in one page: at 64 KiB each, the largest by default, 32 MiB.
const PAGE: usize = 500;

/// Sessions named at a time.
const SESSIONS: usize = 256;

/// Takes rows, one at a time, as fast as it can pass them on.
#[async_trait]
pub(crate) trait Rows: Send {
    /// Takes one JSON object without a line's end.
    async fn row(&mut self, line: &[u8]) -> io::Result<()>;

    /// Passes on what was taken, for rows that tell of something going on.
    async fn flush(&mut self) -> io::Result<()>;
}

/// Hands a message on as a row.
pub(crate) async fn write(
    rows: &mut dyn Rows,
    session: &SessionKey,
    seq: Seq,
    message: Message,
) -> anyhow::Result<()> {
    let line = ExportLine::new(session, seq, message)
        .to_json()
        .context("cannot encode a row")?;
    rows.row(line.as_bytes())
        .await
        .context("cannot write a row")
}

/// Hands on every row of a selection; returns how many there were.
pub(crate) async fn rows(
    cache: &Cache,
    what: &Selection,
    rows: &mut dyn Rows,
) -> anyhow::Result<u64> {
    match what {
        Selection::Session(key) => session_rows(&cache.session(session_key(key)?), rows).await,
        Selection::Author { platform, id } => author_rows(cache, platform, id, rows).await,
        Selection::All => all_rows(cache, rows).await,
    }
}

async fn all_rows(cache: &Cache, rows: &mut dyn Rows) -> anyhow::Result<u64> {
    let mut written = 0;
    let mut after = None;
    loop {
        let keys = cache
            .sessions(after.as_ref(), SESSIONS)
            .await
            .context("cannot list the sessions")?;
        for key in &keys {
            written += session_rows(&cache.session(key.clone()), rows).await?;
        }
        match keys.into_iter().next_back() {
            Some(last) => after = Some(last),
            None => return Ok(written),
        }
    }
}

async fn author_rows(
    cache: &Cache,
    platform: &str,
    id: &str,
    rows: &mut dyn Rows,
) -> anyhow::Result<u64> {
    let said = cache
        .export_author(&author(platform, id))
        .await
        .context("cannot read what the author said")?;
    let mut written = 0;
    for (key, seq, message) in said {
        write(rows, &key, seq, message).await?;
        written += 1;
    }
    Ok(written)
}

/// One session, oldest first, though pages are found from the newest back: first the places where
/// pages start, then the pages in turn. A session of one page, nearly every one, is read once.
async fn session_rows(session: &Session, rows: &mut dyn Rows) -> anyhow::Result<u64> {
    let mut newest = page(session, None).await?;
    let mut starts = Vec::new();
    let mut start = first_of_full(&newest);
    while let Some(at) = start {
        starts.push(at);
        newest.clear();
        start = first_of_full(&page(session, Some(at)).await?);
    }
    let (mut written, mut last) = (0, None);
    let ends = starts.iter().rev().copied().map(Some).chain([None]);
    for before in ends {
        let messages = match before {
            None if starts.is_empty() => std::mem::take(&mut newest),
            before => page(session, before).await?,
        };
        for (seq, message) in messages {
            // A page reaches further back when messages in it were deleted meanwhile.
            if last < Some(seq) {
                write(rows, session.key(), seq, message).await?;
                written += 1;
                last = Some(seq);
            }
        }
    }
    Ok(written)
}

/// Where a page starts, when there may be another before it.
fn first_of_full(page: &[(Seq, Message)]) -> Option<Seq> {
    let first = page.first().filter(|_| page.len() >= PAGE);
    first.map(|(seq, _)| *seq)
}

async fn page(session: &Session, before: Option<Seq>) -> anyhow::Result<Vec<(Seq, Message)>> {
    let page = Page {
        before,
        limit: PAGE,
    };
    session
        .history(page)
        .await
        .with_context(|| format!("cannot read the session {}", session.key()))
}

/// A row as a line to read: time, who, what; control characters are shown, not obeyed.
pub(crate) fn chat_line(row: &[u8]) -> serde_json::Result<String> {
    let row: ExportLine = serde_json::from_slice(row)?;
    let at = i64::try_from(row.at_ms)
        .ok()
        .and_then(|at| Timestamp::from_millisecond(at).ok());
    let who = row.author.as_deref().unwrap_or(row.role.as_str());
    let mut line = format!("{}  ", at.unwrap_or_default());
    for c in who.chars().chain(": ".chars()).chain(row.text.chars()) {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_line_obeys_no_control_character() {
        let key = SessionKey::new("p", "b");
        let row = ExportLine::new(&key, Seq(1), Message::assistant("x\u{1b}[2J"));
        let line = chat_line(row.to_json().unwrap().as_bytes()).unwrap();
        assert_eq!(line, "1970-01-01T00:00:00Z  assistant: x\\u{1b}[2J\n");
    }
}
