//! A fresh process that reads everything back: by export, by context, and with the cache's own verification.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::cache::{CacheSpec, key};
use super::say;
use crate::ledger::{Said, said};

/// What to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReaderSpec {
    pub(crate) cache: CacheSpec,
    /// The sessions to read, by their names in the ledger.
    pub(crate) sessions: Vec<String>,
}

/// What was read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Read {
    /// Milliseconds until the cache was open.
    pub(crate) open_ms: u64,
    /// The slowest first context of a session, in milliseconds.
    pub(crate) first_read_ms: u64,
    /// What the cache warned of at its start.
    pub(crate) warnings: Vec<String>,
    pub(crate) exported: HashMap<String, Vec<Said>>,
    pub(crate) contexts: HashMap<String, Vec<Said>>,
    /// What its own verification found.
    pub(crate) violations: Vec<String>,
}

impl Read {
    /// Contexts that are not the end of what was exported.
    pub(crate) fn torn_contexts(&self) -> Vec<String> {
        let is_end = |(session, context): &(&String, &Vec<Said>)| {
            let all = self
                .exported
                .get(*session)
                .map(Vec::as_slice)
                .unwrap_or_default();
            !all.ends_with(context) || (context.is_empty() && !all.is_empty())
        };
        let torn = self.contexts.iter().filter(is_end);
        torn.map(|(session, _)| format!("{session}: its context is not the end of its history"))
            .collect()
    }
}

/// Reads everything, prints it and ends.
///
/// # Errors
/// The cache cannot be opened or read.
pub(crate) async fn run(spec: ReaderSpec) -> anyhow::Result<()> {
    let began = Instant::now();
    let cache = spec.cache.open().await?;
    let mut read = Read {
        open_ms: millis(began.elapsed()),
        warnings: cache.warnings().to_vec(),
        ..Read::default()
    };
    let texts = |text: &str| said(text).context("a text that nobody wrote");
    for name in &spec.sessions {
        let session = cache.session(key(name));
        let began = Instant::now();
        let context = session.context().await?;
        read.first_read_ms = read.first_read_ms.max(millis(began.elapsed()));
        let context: Result<_, _> = context.messages.iter().map(|m| texts(&m.text)).collect();
        read.contexts.insert(name.clone(), context?);
        let exported = session.export().await?;
        let exported: Result<_, _> = exported.iter().map(|(_, m)| texts(&m.text)).collect();
        read.exported.insert(name.clone(), exported?);
    }
    read.violations = cache.verify().await?.violations;
    cache.close(Duration::from_secs(10)).await?;
    say(&read)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
