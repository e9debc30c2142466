//! What was said and what was forgotten, in the order of the ledger's lines, and what must therefore be gone.
//!
//! `life` begins a process; `+ SESSION ID AUTHOR AT` and `= SESSION ID AUTHOR AT` tell of a text (0: the message's own, else
//! an edit's), `+ forget WHAT` and `= forget WHAT COUNT` of a forgetting of `session:NAME` or `author:NAME`; `! WHAT` is a read
//! that a child found wrong at once. Invariant: what was acknowledged before a forgetting began, and is named by it, is gone
//! once that is acknowledged; only what was said after it stands for certain. Knows no cache.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use anyhow::Context as _;

/// A message, or an edit of it: session, id, and when it was edited.
pub(crate) type Text = (String, String, u64);

/// The words of a text, which stand in no other.
pub(crate) fn words((session, id, at): &Text) -> String {
    format!("words.{session}.{id}.{at}.end")
}

/// From which line to which something happened; the end is that of its acknowledgement.
#[derive(Debug, Clone)]
struct Span {
    author: String,
    sent: usize,
    acknowledged: Option<usize>,
}

#[derive(Debug, Clone)]
struct Forget {
    what: String,
    sent: usize,
    acknowledged: Option<usize>,
    /// Where it has had its effect, if any: its acknowledgement, or the end of its process.
    end: usize,
    count: u64,
}

impl Forget {
    fn names(&self, session: &str, author: &str) -> bool {
        self.what.strip_prefix("session:") == Some(session)
            || self.what.strip_prefix("author:") == Some(author)
    }
}

/// What a ledger tells.
#[derive(Debug, Default)]
pub(crate) struct Forgets {
    texts: BTreeMap<Text, Span>,
    forgets: Vec<Forget>,
    lines: usize,
    /// Reads that were wrong at once.
    pub(crate) wrong: Vec<String>,
}

impl Forgets {
    /// Reads a ledger; a torn last line is no event. An absent file is an empty ledger.
    ///
    /// # Errors
    /// The file cannot be read, or a line is none of a ledger.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let mut all = Self::default();
        if !path.exists() {
            return Ok(all);
        }
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        for line in text
            .split_inclusive('\n')
            .filter_map(|l| l.strip_suffix('\n'))
        {
            all.lines += 1;
            let parts: Vec<&str> = line.split(' ').collect();
            match parts[..] {
                ["life"] => all.close(),
                ["!", ..] => all.wrong.push(line.to_owned()),
                ["+", "forget", what] => all.forgets.push(Forget {
                    what: what.to_owned(),
                    sent: all.lines,
                    acknowledged: None,
                    end: usize::MAX,
                    count: 0,
                }),
                ["=", "forget", what, count] => all.forgotten(what, count.parse()?),
                [sign, session, id, author, at] => {
                    let text = (session.to_owned(), id.to_owned(), at.parse()?);
                    all.note(text, author, sign == "=");
                }
                _ => anyhow::bail!("no line of a ledger: {line}"),
            }
        }
        all.close();
        Ok(all)
    }

    /// A process ended, and with it what it had begun.
    fn close(&mut self) {
        let end = self.lines;
        for forget in self.forgets.iter_mut().filter(|f| f.end == usize::MAX) {
            forget.end = end;
        }
    }

    fn forgotten(&mut self, what: &str, count: u64) {
        let line = self.lines;
        if let Some(forget) = self.forgets.iter_mut().rev().find(|f| f.what == what) {
            forget.acknowledged = Some(line);
            forget.end = line;
            forget.count = count;
        }
    }

    fn note(&mut self, text: Text, author: &str, acknowledged: bool) {
        let line = self.lines;
        let span = self.texts.entry(text).or_insert_with(|| Span {
            author: author.to_owned(),
            sent: line,
            acknowledged: None,
        });
        if acknowledged {
            span.acknowledged = span.acknowledged.or(Some(line));
        }
    }

    /// How many texts were acknowledged.
    pub(crate) fn count(&self) -> u64 {
        let acknowledged = self.texts.values().filter(|s| s.acknowledged.is_some());
        acknowledged.count() as u64
    }

    /// Every message that was sent, with its author: to be delivered again.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (&Text, &str)> {
        let messages = self.texts.iter().filter(|((_, _, at), _)| *at == 0);
        messages.map(|(text, span)| (text, span.author.as_str()))
    }

    /// True when a text must not be found anywhere any more.
    fn is_gone(&self, text: &Text, span: &Span, before: usize) -> bool {
        self.forgets.iter().any(|f| {
            f.acknowledged.is_some_and(|line| line < before)
                && f.names(&text.0, &span.author)
                && span.acknowledged.is_some_and(|line| line < f.sent)
        })
    }

    /// True when no forgetting that began before this line can have taken it.
    fn stands(&self, text: &Text, span: &Span, before: usize) -> bool {
        let mut others = self.forgets.iter().filter(|f| f.sent < before);
        span.acknowledged.is_some()
            && others.all(|f| span.sent > f.end || !f.names(&text.0, &span.author))
    }

    /// The texts that must not be found anywhere any more.
    pub(crate) fn gone(&self) -> HashSet<String> {
        let gone = self.texts.iter();
        let gone = gone.filter(|(text, span)| self.is_gone(text, span, usize::MAX));
        gone.map(|(text, _)| words(text)).collect()
    }

    /// What does not hold of a session's messages, as they were read: ids and texts.
    pub(crate) fn judge(&self, session: &str, shown: &[(String, String)]) -> Vec<String> {
        let mut wrong = Vec::new();
        let shown: BTreeMap<&str, &str> = shown
            .iter()
            .map(|(i, t)| (i.as_str(), t.as_str()))
            .collect();
        for (text, span) in self
            .texts
            .iter()
            .filter(|(text, _)| text.0 == session && text.2 == 0)
        {
            let id = &text.1;
            let there = shown.contains_key(id.as_str());
            if there && self.is_gone(text, span, usize::MAX) {
                wrong.push(format!("{session}: {id} was forgotten and is there"));
            }
            if !there && self.stands(text, span, usize::MAX) {
                wrong.push(format!("{session}: {id} is lost"));
            }
        }
        wrong
    }

    /// Receipts that cannot be right: each message counts once, and only if it may have been there.
    pub(crate) fn miscounted(&self) -> Vec<String> {
        let done = self
            .forgets
            .iter()
            .filter_map(|f| Some((f, f.acknowledged?)));
        let wrong = done.filter_map(|(f, end)| {
            let named = || {
                let messages = self.texts.iter().filter(|((_, _, at), _)| *at == 0);
                messages.filter(|(text, span)| f.names(&text.0, &span.author))
            };
            let certain = |(text, span): &(&Text, &Span)| {
                span.acknowledged.is_some_and(|line| line < f.sent)
                    && self.stands(text, span, f.sent)
            };
            let possible = |(text, span): &(&Text, &Span)| {
                span.sent < end && !self.is_gone(text, span, f.sent)
            };
            let (least, most) = (
                named().filter(certain).count(),
                named().filter(possible).count(),
            );
            let right = (least as u64..=most as u64).contains(&f.count);
            (!right).then(|| format!("{} tells {}, not {least} to {most}", f.what, f.count))
        });
        wrong.collect()
    }
}
