//! A fresh process that tells everything it can read: contexts, exports, pages of history, what each author said, and what
//! the cache's own verification finds.

use std::collections::HashMap;
use std::time::Duration;

use scrollback::{Author, Cache, Message, Page};
use serde::{Deserialize, Serialize};

use super::cache::{CacheSpec, key};
use super::say;

/// What to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TellerSpec {
    pub(crate) cache: CacheSpec,
    /// The sessions to read, by their names in the ledger.
    pub(crate) sessions: Vec<String>,
    /// The authors to export.
    pub(crate) authors: Vec<String>,
}

/// A message as it was read: its id and its text.
pub(crate) type Shown = (String, String);

/// What was read, by session or author.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) contexts: HashMap<String, Vec<Shown>>,
    pub(crate) exported: HashMap<String, Vec<Shown>>,
    /// Of exported messages, those of the author.
    pub(crate) said_by: HashMap<String, Vec<(String, Shown)>>,
    /// Each with its session.
    pub(crate) by_author: HashMap<String, Vec<(String, Shown)>>,
    /// What its own verification found, and reads that contradict each other.
    pub(crate) violations: Vec<String>,
}

/// Messages in a page: few, so that there are many.
const PAGE: usize = 7;

/// The author of the campaign's messages.
pub(crate) fn author(name: &str) -> Author {
    Author::new("faults", name)
}

pub(crate) fn shown(m: &Message) -> Shown {
    (m.id.clone().unwrap_or_default(), m.text.clone())
}

/// Reads everything, prints it and ends.
///
/// # Errors
/// The cache cannot be opened or read.
pub(crate) async fn run(spec: TellerSpec) -> anyhow::Result<()> {
    let cache = spec.cache.open().await?;
    let told = tell(&cache, &spec).await?;
    cache.close(Duration::from_secs(10)).await?;
    say(&told)
}

/// Reads everything.
///
/// # Errors
/// It cannot be read.
pub(crate) async fn tell(cache: &Cache, spec: &TellerSpec) -> anyhow::Result<Told> {
    let mut told = Told::default();
    for name in &spec.sessions {
        let session = cache.session(key(name));
        let context = session.context().await?;
        let context = context.messages.iter().map(|m| shown(m)).collect();
        told.contexts.insert(name.clone(), context);
        let exported = session.export().await?;
        for (_, m) in &exported {
            let by = m.author.as_ref().map_or("", |a| &a.id).to_owned();
            told.said_by
                .entry(by)
                .or_default()
                .push((name.clone(), shown(m)));
        }
        let exported: Vec<Shown> = exported.iter().map(|(_, m)| shown(m)).collect();
        let paged = paged(&session).await?;
        if paged != exported {
            told.violations
                .push(format!("{name}: pages of history are not the export"));
        }
        told.exported.insert(name.clone(), exported);
    }
    for name in &spec.authors {
        let all = cache.export_author(&author(name)).await?;
        let all = all.iter().map(|(key, _, m)| {
            let session = spec.sessions.iter().find(|s| super::cache::key(s) == *key);
            (
                session.cloned().unwrap_or_else(|| key.to_string()),
                shown(m),
            )
        });
        told.by_author.insert(name.clone(), all.collect());
    }
    told.violations.extend(cache.verify().await?.violations);
    told.judge();
    Ok(told)
}

async fn paged(session: &scrollback::Session) -> anyhow::Result<Vec<Shown>> {
    let (mut pages, mut before) = (Vec::new(), None);
    loop {
        let page = session
            .history(Page {
                before,
                limit: PAGE,
            })
            .await?;
        let Some((first, _)) = page.first() else {
            break;
        };
        before = Some(*first);
        pages.push(page);
    }
    Ok(pages
        .iter()
        .rev()
        .flatten()
        .map(|(_, m)| shown(m))
        .collect())
}

impl Told {
    /// Notes where the interfaces contradict each other.
    fn judge(&mut self) {
        for (session, context) in &self.contexts {
            let all = self
                .exported
                .get(session)
                .map(Vec::as_slice)
                .unwrap_or_default();
            if !all.ends_with(context) || (context.is_empty() && !all.is_empty()) {
                let what = "its context is not the end of its history";
                self.violations
                    .push(format!("{session}: {what}: {context:?}, {all:?}"));
            }
        }
        for (author, exported) in &mut self.by_author {
            let mut said = self.said_by.get(author).cloned().unwrap_or_default();
            said.sort_unstable();
            exported.sort_unstable();
            if said != *exported {
                self.violations
                    .push(format!("{author}'s export is not what they said"));
            }
        }
    }
}
