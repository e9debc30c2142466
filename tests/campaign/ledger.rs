//! What a writer sent and what was acknowledged, written outside its data directory so that it outlives any kill.
//!
//! One line an event, appended by one `write` each: `+ SESSION WRITER N` before an append is sent, `= SESSION WRITER N MS`
//! after it was acknowledged, with the machine's time. A writer's numbers in a session rise by one. A message's text is `WRITER.N` and filler.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
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
    /// Opens (or goes on with) a ledger. A line that a kill has torn is ended, lest the next one be glued to it.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path);
        let mut file = file.with_context(|| path.display().to_string())?;
        let mut last = [b'\n'];
        if file.metadata()?.len() > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        let ledger = Self { file };
        if last != *b"\n" {
            ledger.line("\n")?;
        }
        Ok(ledger)
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

/// No ledger is older: a time before it (September 2001, when milliseconds got their thirteenth digit) is the beginning of one
/// that was torn.
const BEGAN_MS: i64 = 1_000_000_000_000;

/// What a ledger tells.
#[derive(Debug, Default)]
pub(crate) struct Told {
    sent: BTreeMap<Line, HashSet<u64>>,
    acknowledged: BTreeMap<Line, HashSet<u64>>,
    /// When each was acknowledged.
    times: HashMap<(Line, u64), i64>,
    /// The ledger's lines, counted, at which each was first sent and first acknowledged.
    sent_at: HashMap<(Line, u64), usize>,
    acknowledged_at: HashMap<(Line, u64), usize>,
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

/// The numbers of a writer that were read in a session.
fn there(read: &HashMap<String, Vec<Said>>, (session, writer): &Line) -> HashSet<u64> {
    let said = read.get(session).into_iter().flatten();
    let of_it = said.filter(|(w, _)| w == writer);
    of_it.map(|(_, n)| *n).collect()
}

impl Told {
    /// Reads a ledger; a torn line is no event. An absent file is an empty ledger.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.with_context(|| path.display().to_string())?,
        };
        let mut told = Self::default();
        let lines = text.split_inclusive('\n');
        for (number, line) in lines.filter(|line| line.ends_with('\n')).enumerate() {
            let mut parts = line.trim_end().split(' ');
            let (Some(kind), Some(session), Some(writer), Some(n)) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let at = (session.to_owned(), writer.parse()?);
            let n = n.parse()?;
            let (all, lines) = if kind == "=" {
                let ms = parts.next().map_or(Ok(0), str::parse)?;
                if ms < BEGAN_MS {
                    continue;
                }
                told.times.insert((at.clone(), n), ms);
                (&mut told.acknowledged, &mut told.acknowledged_at)
            } else {
                (&mut told.sent, &mut told.sent_at)
            };
            lines.entry((at.clone(), n)).or_insert(number);
            all.entry(at).or_default().insert(n);
        }
        Ok(told)
    }

    /// Lets what was acknowledged in these times (first and last millisecond) be lost: it counts as sent only. Of each
    /// session and writer only the last of each time may be lost, nothing before what is there.
    pub(crate) fn forgive(&mut self, windows: &[(i64, i64)], read: &HashMap<String, Vec<Said>>) {
        let times = &self.times;
        // The ledger's line at which each time ended: what was sent after it was sent by a later life.
        let end = |to: i64| {
            let told = self.acknowledged_at.iter();
            let by_then = told.filter(|(said, _)| times.get(*said).is_some_and(|ms| *ms <= to));
            by_then.map(|(_, line)| *line).max().unwrap_or_default()
        };
        let windows: Vec<_> = windows.iter().map(|(a, b)| (*a, *b, end(*b))).collect();
        for (line, all) in &mut self.acknowledged {
            let there = there(read, line);
            for (from, to, end) in &windows {
                let same_life = |n: u64| {
                    let sent = self.sent_at.get(&(line.clone(), n));
                    sent.is_some_and(|at| at <= end)
                };
                let at = |n: &u64| times.get(&(line.clone(), *n));
                let of_it = all
                    .iter()
                    .filter(|n| at(n).is_some_and(|ms| (from..=to).contains(&ms)));
                let mut of_it: Vec<u64> = of_it.copied().collect();
                of_it.sort_unstable();
                // What was sent last may be there without having been acknowledged.
                while let Some(n) = of_it.pop() {
                    let next = there.contains(&(n + 1)) && !all.contains(&(n + 1));
                    if there.contains(&n) || next && same_life(n + 1) {
                        break;
                    }
                    all.remove(&n);
                }
            }
        }
    }

    /// When what was acknowledged and was not read had been acknowledged.
    pub(crate) fn lost_at(&self, read: &HashMap<String, Vec<Said>>) -> Vec<i64> {
        let mut times = Vec::new();
        for (line, all) in &self.acknowledged {
            let lost = all
                .difference(&there(read, line))
                .copied()
                .collect::<Vec<_>>();
            let at = |n| self.times.get(&(line.clone(), n)).copied();
            times.extend(lost.into_iter().filter_map(at));
        }
        times
    }

    /// What was acknowledged and was not read though something later of its session and writer was, a line for each.
    pub(crate) fn gaps(&self, read: &HashMap<String, Vec<Said>>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (line, all) in &self.acknowledged {
            let there = there(read, line);
            let last = there.iter().max().copied().unwrap_or_default();
            let first = all.difference(&there).filter(|n| **n < last).min();
            if let Some(n) = first {
                wrong.push(format!("{}: {}.{n}, {last} is there", line.0, line.1));
            }
        }
        wrong
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

    /// What does not hold of what was read: every acknowledged append exactly once; one that was not acknowledged at most
    /// once; each after all that was acknowledged in its session before it was sent; nothing that was never sent.
    pub(crate) fn judge(&self, read: &HashMap<String, Vec<Said>>) -> Vec<String> {
        let mut wrong = self.judge_by_writer(read);
        for (session, said) in read {
            wrong.extend(self.misplaced(session, said));
        }
        wrong
    }

    /// The same, but the order of each writer's only.
    pub(crate) fn judge_by_writer(&self, read: &HashMap<String, Vec<Said>>) -> Vec<String> {
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

    /// The first in a session that comes before what was acknowledged before it was sent.
    fn misplaced(&self, session: &str, said: &[Said]) -> Option<String> {
        let at = |(writer, n): &Said| ((session.to_owned(), *writer), *n);
        let mut earliest: Option<(usize, &Said)> = None;
        for own in said.iter().rev() {
            let sent = self.sent_at.get(&at(own)).copied().unwrap_or(usize::MAX);
            if let Some((acknowledged, other)) = earliest
                && acknowledged < sent
            {
                let ((w, n), (v, m)) = (own, other);
                return Some(format!(
                    "{session}: {w}.{n} comes before {v}.{m}, which was acknowledged before it was sent"
                ));
            }
            if let Some(acknowledged) = self.acknowledged_at.get(&at(own))
                && earliest.is_none_or(|(before, _)| *acknowledged < before)
            {
                earliest = Some((*acknowledged, own));
            }
        }
        None
    }

    /// What was acknowledged and was not read, a line for each session and writer.
    pub(crate) fn lost(&self, read: &HashMap<String, Vec<Said>>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (line, all) in &self.acknowledged {
            let (session, writer) = line;
            let there = there(read, line);
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
            ..Self::default()
        };
        for (line, all) in &mut since.acknowledged {
            let before = early.acknowledged.get(line);
            all.retain(|n| !before.is_some_and(|before| before.contains(n)));
        }
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_no_event_and_spoils_none() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("ledger");
        for torn in ["", "= s4", "= s4 1 1", "= s4 1 1 17"] {
            let ledger = Ledger::open(&path)?;
            ledger.sent("s4", 1, 1)?;
            ledger.line(torn)?;
            // The next life.
            let ledger = Ledger::open(&path)?;
            ledger.sent("s5", 1, 2)?;
            ledger.acknowledged("s5", 1, 2)?;
            let told = Told::read(&path)?;
            assert_eq!(told.sent.len(), 2, "{torn:?}");
            let acknowledged: Vec<_> = told.acknowledged.keys().collect();
            assert_eq!(acknowledged, [&("s5".to_owned(), 1)], "{torn:?}");
            std::fs::remove_file(&path)?;
        }
        Ok(())
    }
}
