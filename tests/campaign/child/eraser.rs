//! Forgets sessions and a person, prints how many messages went, and ends in good order.

use std::time::Duration;

use scrollback::Author;
use serde::{Deserialize, Serialize};

use super::cache::{CacheSpec, key};
use super::say;

/// What to forget.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EraserSpec {
    pub(crate) cache: CacheSpec,
    pub(crate) sessions: Vec<String>,
    pub(crate) author: String,
}

/// Forgets.
///
/// # Errors
/// The cache cannot be opened, or a forgetting failed.
pub(crate) async fn run(spec: EraserSpec) -> anyhow::Result<()> {
    let cache = spec.cache.open().await?;
    let mut messages = 0;
    for name in &spec.sessions {
        messages += cache.session(key(name)).forget().await?.messages;
    }
    let author = Author::new("faults", &spec.author);
    messages += cache.forget_author(&author).await?.messages;
    cache.close(Duration::from_secs(10)).await?;
    say(&messages)
}
