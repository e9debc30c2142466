//! What was said, edited and deleted, and what must therefore be read: the model beside the changes of a session.
//!
//! A change is a line `+ KIND SESSION ID AT` before it is sent and `= KIND SESSION ID AT` after it was acknowledged; a line
//! `! WHAT` is a read that a child found wrong at once. Whatever the order in which changes of one message are made, the
//! outcome is the same, so tasks may make them at the same time: deleted for good, else the text of its newest edit.
//! Knows no cache.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context as _, bail};

/// What is done to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Said,
    Edited,
    Deleted,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Said => "said",
            Self::Edited => "edited",
            Self::Deleted => "deleted",
        }
    }
}

/// One change of a message.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) session: String,
    pub(crate) id: String,
    /// When it was edited; no two edits at the same time, or which is newer is anybody's guess.
    pub(crate) at: u64,
}

impl Change {
    /// The line that tells of it; `sign` is `+` or `=`.
    pub(crate) fn line(&self, sign: char) -> String {
        let Self {
            session, id, at, ..
        } = self;
        format!("{sign} {} {session} {id} {at}\n", self.kind.name())
    }

    fn parse(parts: &mut std::str::Split<'_, char>) -> anyhow::Result<Self> {
        let mut next = || parts.next().context("a line is too short");
        let kind = match next()? {
            "said" => Kind::Said,
            "edited" => Kind::Edited,
            "deleted" => Kind::Deleted,
            other => bail!("no kind of change: {other}"),
        };
        Ok(Self {
            kind,
            session: next()?.to_owned(),
            id: next()?.to_owned(),
            at: next()?.parse()?,
        })
    }

    /// The text that this change gives its message.
    pub(crate) fn text(&self) -> String {
        text(&self.id, (self.kind == Kind::Edited).then_some(self.at))
    }
}

fn text(id: &str, edited: Option<u64>) -> String {
    edited.map_or_else(|| format!("said {id}"), |at| format!("edited {at} {id}"))
}

/// A message's id: a task's `n`th in a session. Odd sessions take numbers, which a cache looks at differently.
pub(crate) fn id(session: u64, task: u64, n: u64) -> String {
    if session.is_multiple_of(2) {
        format!("{task}-{n}")
    } else {
        (n * TASKS + task).to_string()
    }
}

/// Tasks that may speak in one session.
pub(crate) const TASKS: u64 = 8;

fn place(id: &str) -> Option<(u64, u64)> {
    let parse = |text: &str| text.parse::<u64>().ok();
    match id.split_once('-') {
        Some((task, n)) => Some((parse(task)?, parse(n)?)),
        None => parse(id).map(|n| (n % TASKS, n / TASKS)),
    }
}

/// What became of one change.
#[derive(Debug, Default, Clone, Copy)]
struct Fate {
    sent: bool,
    acknowledged: bool,
}

impl Fate {
    fn note(&mut self, acknowledged: bool) {
        self.sent = true;
        self.acknowledged |= acknowledged;
    }
}

/// What is known of one message.
#[derive(Debug, Default, Clone)]
struct Track {
    said: Fate,
    deleted: Fate,
    edits: BTreeMap<u64, Fate>,
}

/// All messages of a session, by id.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tracks(HashMap<String, Track>);

/// A message as it was read: its id and text.
pub(crate) type Shown = (String, String);

impl Tracks {
    fn note(&mut self, change: &Change, acknowledged: bool) {
        let track = self.0.entry(change.id.clone()).or_default();
        match change.kind {
            Kind::Said => track.said.note(acknowledged),
            Kind::Deleted => track.deleted.note(acknowledged),
            Kind::Edited => track.edits.entry(change.at).or_default().note(acknowledged),
        }
    }

    /// True when a message was said, and acknowledged.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.get(id).is_some_and(|t| t.said.acknowledged)
    }

    /// True when somebody may have deleted it.
    pub(crate) fn may_be_deleted(&self, id: &str) -> bool {
        self.0.get(id).is_some_and(|t| t.deleted.sent)
    }

    /// What does not hold of a read that began when this was known and ended when `after` was: `whole` when everything
    /// had to be there, not only the end.
    pub(crate) fn judge(&self, after: &Self, shown: &[Shown], whole: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut seen = HashSet::new();
        let mut last: HashMap<u64, u64> = HashMap::new();
        let nothing = Track::default();
        for (id, text) in shown {
            let before = self.0.get(id).unwrap_or(&nothing);
            let now = after.0.get(id).unwrap_or(&nothing);
            if !now.said.sent {
                wrong.push(format!("{id} was never said there"));
            }
            if !seen.insert(id) {
                wrong.push(format!("{id} is there twice"));
            }
            if before.deleted.acknowledged {
                wrong.push(format!("{id} was deleted and is there"));
            }
            if !may_read(before, now, id, text) {
                wrong.push(format!(
                    "{id} reads {text:?}, known {before:?}, then {now:?}"
                ));
            }
            if let Some((task, n)) = place(id)
                && last.insert(task, n).is_some_and(|before| before > n)
            {
                wrong.push(format!("{id} comes too late"));
            }
        }
        let stands =
            |(id, track): &(&String, &Track)| track.said.acknowledged && !after.may_be_deleted(id);
        for (id, _) in self.0.iter().filter(stands).filter(|_| whole) {
            if !seen.contains(id) {
                wrong.push(format!("{id} is lost"));
            }
        }
        wrong
    }
}

/// True for the newest acknowledged text, and for that of any newer edit that may have been applied.
fn may_read(before: &Track, now: &Track, id: &str, read: &str) -> bool {
    let acknowledged = before
        .edits
        .iter()
        .rev()
        .find(|(_, fate)| fate.acknowledged);
    let newest = acknowledged.map(|(at, _)| *at);
    let newer = now
        .edits
        .keys()
        .filter(|at| newest.is_none_or(|n| **at > n));
    read == text(id, newest) || newer.into_iter().any(|at| read == text(id, Some(*at)))
}

/// What is known of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    sessions: BTreeMap<String, Tracks>,
    acknowledged: u64,
    /// Reads that were wrong at once.
    pub(crate) wrong: Vec<String>,
}

impl Changes {
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
            let (sign, rest) = line.split_once(' ').context("an empty line")?;
            match sign {
                "!" => all.wrong.push(rest.to_owned()),
                _ => all.note(&Change::parse(&mut rest.split(' '))?, sign == "="),
            }
        }
        Ok(all)
    }

    /// Notes that a change was sent, or acknowledged.
    pub(crate) fn note(&mut self, change: &Change, acknowledged: bool) {
        self.acknowledged += u64::from(acknowledged);
        let tracks = self.sessions.entry(change.session.clone()).or_default();
        tracks.note(change, acknowledged);
    }

    /// How many changes were acknowledged.
    pub(crate) const fn count(&self) -> u64 {
        self.acknowledged
    }

    /// The names of all sessions.
    pub(crate) fn names(&self) -> Vec<String> {
        self.sessions.keys().cloned().collect()
    }

    /// What is known of a session now.
    pub(crate) fn of(&self, session: &str) -> Tracks {
        self.sessions.get(session).cloned().unwrap_or_default()
    }

    /// The number that a task gives its next message in a session: that of the last one again, unless it was acknowledged.
    pub(crate) fn next(&self, session: u64, name: &str, task: u64) -> u64 {
        let tracks = self.sessions.get(name);
        let said = |n: &u64| tracks.is_some_and(|t| t.has(&id(session, task, *n)));
        let all = tracks.into_iter().flat_map(|t| t.0.keys());
        let mine = all.filter_map(|id| place(id)).filter(|(t, _)| *t == task);
        mine.map(|(_, n)| n).filter(said).max().map_or(1, |n| n + 1)
    }
}
