//! What a writer sent and what was acknowledged, written outside its data directory so that it outlives any kill.
//!
//! One line an event, appended by one `write` each: `+ SESSION WRITER N` before an append is sent, `= SESSION WRITER N MS`
//! after it was acknowledged, with the machine's time. A writer's numbers in a session rise by one. A message's text is `WRITER.N` and filler.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

/// Who wrote where: session, writer.
pub(crate) type Line = (String, u64);

/// A ledger being written; the file takes whole lines, also from several processes.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: File,
}

impl Ledger {
    /// Opens (or goes on with) a ledger.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| path.display().to_string())?;
        Ok(Self { file })
    }

    /// # Errors
    /// The file cannot be written.
    pub(crate) fn sent(&self, session: &str, writer: u64, n: u64) -> anyhow::Result<()> {
        self.line(&format!("+ {session} {writer} {n}\n"))
    }

    /// # Errors
    /// The file cannot be written.
    pub(crate) fn acknowledged(&self, session: &str, writer: u64, n: u64) -> anyhow::Result<()> {
        self.line(&format!("= {session} {writer} {n} {}\n", now_ms()))
    }

    /// Writes a line whole, its line feed included.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn line(&self, line: &str) -> anyhow::Result<()> {
        (&self.file).write_all(line.as_bytes())?;
        Ok(())
    }
}

/// The machine's time in the ledger's lines, in milliseconds.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What a ledger tells.
#[derive(Debug, Default)]
pub(crate) struct Told {
    sent: BTreeMap<Line, HashSet<u64>>,
    acknowledged: BTreeMap<Line, HashSet<u64>>,
    /// When each was acknowledged.
    times: HashMap<(Line, u64), i64>,
}

/// A message as it is read back.
pub(crate) type Said = (u64, u64);

/// The text of a message: its place in the ledger, and filler up to `bytes`.
pub(crate) fn text(writer: u64, n: u64, bytes: usize) -> String {
    let mut text = format!("{writer}.{n} ");
    while text.len() < bytes {
        text.push_str("lorem ipsum ");
    }
    text.truncate(bytes.max(text.find(' ').unwrap_or_default() + 1));
    text
}

/// Reads a text back.
pub(crate) fn said(text: &str) -> Option<Said> {
    let (writer, n) = text.split(' ').next()?.split_once('.')?;
    Some((writer.parse().ok()?, n.parse().ok()?))
}

impl Told {
    /// Reads a ledger; a torn last line is no event. An absent file is an empty ledger.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.with_context(|| path.display().to_string())?,
        };
        let mut told = Self::default();
        for line in text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
        {
            let mut parts = line.trim_end().split(' ');
            let (Some(kind), Some(session), Some(writer), Some(n)) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let at = (session.to_owned(), writer.parse()?);
            let n = n.parse()?;
            let all = if kind == "=" {
                if let Some(ms) = parts.next() {
                    told.times.insert((at.clone(), n), ms.parse()?);
                }
                &mut told.acknowledged
            } else {
                &mut told.sent
            };
            all.entry(at).or_default().insert(n);
        }
        Ok(told)
    }

    /// Lets what was acknowledged in these times (first and last millisecond) be lost: it counts as sent only.
    pub(crate) fn forgive(&mut self, windows: &[(i64, i64)]) {
        let times = &self.times;
        for (line, all) in &mut self.acknowledged {
            all.retain(|n| {
                let at = times.get(&(line.clone(), *n));
                !at.is_some_and(|ms| windows.iter().any(|(from, to)| (from..=to).contains(&ms)))
            });
        }
    }

    /// When what was acknowledged and was not read had been acknowledged.
    pub(crate) fn lost_at(&self, read: &HashMap<String, Vec<Said>>) -> Vec<i64> {
        let is_there = |(session, writer): &Line, n: u64| {
            read.get(session)
                .is_some_and(|said| said.contains(&(*writer, n)))
        };
        let acknowledged = self.acknowledged.iter();
        acknowledged
            .flat_map(|(line, all)| all.iter().map(move |n| (line, *n)))
            .filter(|(line, n)| !is_there(line, *n))
            .filter_map(|(line, n)| self.times.get(&(line.clone(), n)).copied())
            .collect()
    }

    /// How many appends were acknowledged.
    pub(crate) fn count(&self) -> u64 {
        self.acknowledged.values().map(|all| all.len() as u64).sum()
    }

    /// The next number of a writer in a session.
    pub(crate) fn next(&self, session: &str, writer: u64) -> u64 {
        let sent = self.sent.get(&(session.to_owned(), writer));
        sent.and_then(|all| all.iter().max()).map_or(1, |n| n + 1)
    }

    /// Expects these no more, though they were acknowledged: they were forgotten. Returns how many.
    pub(crate) fn let_go(&mut self, gone: impl Fn(&str, u64) -> bool) -> u64 {
        let before = self.count();
        for ((session, _), all) in &mut self.acknowledged {
            all.retain(|n| !gone(session, *n));
        }
        before - self.count()
    }

    /// Every session in the ledger.
    pub(crate) fn sessions(&self) -> HashSet<&str> {
        self.sent
            .keys()
            .map(|(session, _)| session.as_str())
            .collect()
    }

    /// What does not hold of what was read: every acknowledged append exactly once, in order; one that was not
    /// acknowledged at most once; nothing that was never sent.
    pub(crate) fn judge(&self, read: &HashMap<String, Vec<Said>>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (session, said) in read {
            let mut last: HashMap<u64, u64> = HashMap::new();
            let mut seen = HashSet::new();
            for (writer, n) in said {
                if !seen.insert((*writer, *n)) {
                    wrong.push(format!("{session}: {writer}.{n} is there twice"));
                }
                if last.insert(*writer, *n).is_some_and(|before| before > *n) {
                    wrong.push(format!("{session}: {writer}.{n} comes too late"));
                }
                let sent = self.sent.get(&(session.clone(), *writer));
                if !sent.is_some_and(|all| all.contains(n)) {
                    wrong.push(format!("{session}: {writer}.{n} was never said there"));
                }
            }
        }
        wrong.extend(self.lost(read));
        wrong
    }

    /// What was acknowledged and was not read, a line for each session and writer.
    pub(crate) fn lost(&self, read: &HashMap<String, Vec<Said>>) -> Vec<String> {
        let mut wrong = Vec::new();
        for ((session, writer), all) in &self.acknowledged {
            let there: HashSet<u64> = read
                .get(session)
                .into_iter()
                .flatten()
                .filter(|(w, _)| w == writer)
                .map(|(_, n)| *n)
                .collect();
            let mut lost: Vec<_> = all.difference(&there).collect();
            lost.sort_unstable();
            if !lost.is_empty() {
                let (first, count) = (lost.first(), lost.len());
                wrong.push(format!(
                    "{session}: {count} acknowledged of writer {writer} are lost, first {first:?}"
                ));
            }
        }
        wrong
    }

    /// What was acknowledged after an earlier look at the same ledger.
    pub(crate) fn since(&self, early: &Self) -> Self {
        let mut since = Self {
            sent: self.sent.clone(),
            acknowledged: self.acknowledged.clone(),
            times: HashMap::new(),
        };
        for (line, all) in &mut since.acknowledged {
            let before = early.acknowledged.get(line);
            all.retain(|n| !before.is_some_and(|before| before.contains(n)));
        }
        since
    }
}
