//! Says, edits and delivers again in several sessions while one of its tasks forgets a session or a person; writes to the
//! ledger what it sent and what was acknowledged.
//!
//! Prints `"open"` when its cache is open, and `"forgotten"` after the forgetting; something else ends it, or it ends itself in
//! the middle as `kill -9` does. With nothing to forget it delivers everything again, once, and ends as it was killed.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use scrollback::{Cache, Message};
use serde::{Deserialize, Serialize};

use super::cache::{CacheSpec, key};
use super::say;
use super::teller::author;
use crate::forgets::{Forgets, Text, words};
use crate::ledger::Ledger;

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ForgetterSpec {
    pub(crate) cache: CacheSpec,
    pub(crate) ledger: PathBuf,
    pub(crate) seed: u64,
    /// This process's number; its messages' ids begin with it.
    pub(crate) life: u64,
    /// `session:NAME` or `author:NAME`; nothing: deliver everything again.
    pub(crate) forget: Option<String>,
    /// Milliseconds before it forgets.
    pub(crate) after_ms: u64,
    /// Ends itself so many microseconds after it began to forget.
    pub(crate) end_after_us: Option<u64>,
}

pub(crate) const SESSIONS: u64 = 3;
pub(crate) const AUTHORS: [&str; 3] = ["ann", "bob", "eve"];
const TASKS: u64 = 3;

struct Shared {
    cache: Cache,
    ledger: Ledger,
    /// What was acknowledged: the session, the author and the words.
    said: Mutex<Vec<(Text, &'static str)>>,
    spec: ForgetterSpec,
}

/// Works until it is ended.
///
/// # Errors
/// The cache cannot be opened, or the ledger not written.
pub(crate) async fn run(spec: ForgetterSpec) -> anyhow::Result<()> {
    let before = Forgets::read(&spec.ledger)?;
    let ledger = Ledger::open(&spec.ledger)?;
    ledger.line("life\n")?;
    let cache = spec.cache.open().await?;
    say(&"open")?;
    let shared = Arc::new(Shared {
        cache,
        ledger,
        said: Mutex::default(),
        spec,
    });
    let Some(what) = shared.spec.forget.clone() else {
        for (text, by) in before.messages() {
            shared.deliver(text, by).await?;
        }
        return say(&"delivered");
    };
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        tasks.spawn(Arc::clone(&shared).talk(task));
    }
    tokio::time::sleep(Duration::from_millis(shared.spec.after_ms)).await;
    shared.forget(&what).await?;
    say(&"forgotten")?;
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

impl Shared {
    async fn talk(self: Arc<Self>, task: u64) -> anyhow::Result<()> {
        let mut rng = fastrand::Rng::with_seed(self.spec.seed ^ task << 56);
        for n in 1_u64.. {
            let session = format!("s{}", rng.u64(..SESSIONS));
            let by = AUTHORS
                .get(rng.usize(..AUTHORS.len()))
                .copied()
                .unwrap_or("ann");
            let text = (session, format!("{}-{task}-{n}", self.spec.life), 0);
            self.line('+', &text, by)?;
            if self.deliver(&text, by).await? {
                self.line('=', &text, by)?;
                self.said.lock().push((text, by));
            }
            let earlier = {
                let said = self.said.lock();
                let at = rng.usize(..said.len().max(1));
                said.get(at).cloned()
            };
            let Some((mut earlier, by)) = earlier else {
                continue;
            };
            match rng.u8(..10) {
                0..3 => drop(self.deliver(&earlier, by).await?),
                3 => {
                    earlier.2 = rng.u64(1..1 << 40);
                    self.line('+', &earlier, by)?;
                    let session = self.cache.session(key(&earlier.0));
                    if session
                        .edit_at(&earlier.1, words(&earlier), earlier.2)
                        .await
                        .is_ok()
                    {
                        self.line('=', &earlier, by)?;
                    }
                }
                _ => tokio::task::yield_now().await,
            }
        }
        Ok(())
    }

    fn line(&self, sign: char, (session, id, at): &Text, by: &str) -> anyhow::Result<()> {
        self.ledger
            .line(&format!("{sign} {session} {id} {by} {at}\n"))
    }

    /// Delivers a message, as new or once more; true when it was acknowledged.
    async fn deliver(&self, text: &Text, by: &str) -> anyhow::Result<bool> {
        let message = Message::user(author(by), words(text)).id(&text.1);
        Ok(self
            .cache
            .session(key(&text.0))
            .append(message)
            .await
            .is_ok())
    }

    async fn forget(&self, what: &str) -> anyhow::Result<()> {
        let named = |(text, by): &&(Text, &str)| {
            what == format!("session:{}", text.0) || what == format!("author:{by}")
        };
        let gone: HashSet<String> = {
            let said = self.said.lock();
            said.iter()
                .filter(named)
                .map(|(text, _)| words(text))
                .collect()
        };
        self.ledger.line(&format!("+ forget {what}\n"))?;
        if let Some(us) = self.spec.end_after_us {
            std::thread::spawn(move || {
                crate::process::pause(Duration::from_micros(us));
                std::process::abort();
            });
        }
        let forgotten = match what.split_once(':') {
            Some(("author", name)) => self.cache.forget_author(&author(name)).await,
            Some((_, name)) => self.cache.session(key(name)).forget().await,
            None => anyhow::bail!("nothing to forget: {what}"),
        };
        // A failure is told by what comes after it: the forgetting is not acknowledged.
        if let Ok(forgotten) = forgotten {
            self.ledger
                .line(&format!("= forget {what} {}\n", forgotten.messages))?;
            self.look_for(&gone).await?;
        }
        Ok(())
    }

    /// None of these may be read any more.
    async fn look_for(&self, gone: &HashSet<String>) -> anyhow::Result<()> {
        for name in (0..SESSIONS).map(|n| format!("s{n}")) {
            let session = self.cache.session(key(&name));
            let context = session.context().await?.messages;
            let context = context.iter().map(|m| ("context", m.text.clone()));
            let exported = session.export().await?.into_iter();
            let exported = exported.map(|(_, m)| ("export", m.text));
            for (how, text) in context.chain(exported) {
                if gone.contains(&text) {
                    self.ledger
                        .line(&format!("! {name}: its {how} has {text}\n"))?;
                }
            }
        }
        for name in AUTHORS {
            for (_, _, m) in self.cache.export_author(&author(name)).await? {
                if gone.contains(&m.text) {
                    self.ledger
                        .line(&format!("! {name}'s export has {}\n", m.text))?;
                }
            }
        }
        Ok(())
    }
}
