//! A fresh process that reads what a chat bot left behind: every channel's messages, and how far its Discord cursors say
//! that each channel was taken in.

use std::collections::BTreeMap;
use std::time::Duration;

use scrollback::Role;
use serde::{Deserialize, Serialize};

use super::cache::CacheSpec;
use super::say;

/// What to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BotReaderSpec {
    pub(crate) cache: CacheSpec,
    /// Whether the cache's own verification is asked too.
    pub(crate) verify: bool,
}

/// What was read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct BotRead {
    /// What people said: by channel, ids and texts in order.
    pub(crate) kept: BTreeMap<String, Vec<(String, String)>>,
    /// The last message of each channel that was taken in.
    pub(crate) cursors: BTreeMap<String, u64>,
    pub(crate) violations: Vec<String>,
}

/// Discord's cursors as they are stored, of which only this is looked at.
#[derive(Debug, Deserialize)]
struct Cursors {
    cursors: BTreeMap<u64, u64>,
}

/// Sessions listed at once.
const PAGE: usize = 1000;

/// Reads everything, prints it and ends.
///
/// # Errors
/// The cache cannot be opened or read.
pub(crate) async fn run(spec: BotReaderSpec) -> anyhow::Result<()> {
    let cache = spec.cache.open().await?;
    let mut read = BotRead::default();
    let mut last = None;
    loop {
        let keys = cache.sessions(last.as_ref(), PAGE).await?;
        for key in &keys {
            let session = cache.session(key.clone());
            if key.platform() == "discord-cursors" {
                let cursors = session.state::<Cursors>().await?;
                let cursors = cursors.into_iter().flat_map(|(_, c)| c.cursors);
                let cursors = cursors.map(|(channel, message)| (channel.to_string(), message));
                read.cursors.extend(cursors);
                continue;
            }
            let said = session.export().await?.into_iter();
            let said = said.filter(|(_, m)| m.role == Role::User);
            let said = said.map(|(_, m)| (m.id.unwrap_or_default(), m.text));
            let channel = key.channel_id().unwrap_or_default().to_owned();
            read.kept.entry(channel).or_default().extend(said);
        }
        match keys.into_iter().last() {
            Some(key) => last = Some(key),
            None => break,
        }
    }
    if spec.verify {
        read.violations = cache.verify().await?.violations;
    }
    cache.close(Duration::from_secs(10)).await?;
    say(&read)
}
