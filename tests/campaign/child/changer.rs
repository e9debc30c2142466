//! Says, edits and deletes without end, in any order, by several tasks in the same sessions, while others of its tasks read,
//! flush and end sessions; writes to the ledger what it sent, what was acknowledged, and every read that was wrong.
//!
//! Prints `"open"` when its cache is open; something else ends it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use scrollback::{Cache, Message, Session};
use serde::{Deserialize, Serialize};

use super::cache::{CacheSpec, key};
use super::say;
use super::teller::{author, shown};
use crate::changes::{Change, Changes, Kind, Shown, TASKS, id};
use crate::ledger::Ledger;

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ChangerSpec {
    pub(crate) cache: CacheSpec,
    pub(crate) ledger: PathBuf,
    pub(crate) seed: u64,
    /// Sessions, `s0` and on.
    pub(crate) sessions: u64,
}

/// Authors of the messages.
pub(crate) const AUTHORS: [&str; 3] = ["ann", "bob", "eve"];

/// Tasks that change, and as many that read.
const CHANGERS: u64 = 3;

struct Shared {
    cache: Cache,
    ledger: Ledger,
    known: Mutex<Changes>,
    sessions: u64,
}

/// Works until it is ended.
///
/// # Errors
/// The cache cannot be opened, or the ledger not written.
pub(crate) async fn run(spec: ChangerSpec) -> anyhow::Result<()> {
    let shared = Arc::new(Shared {
        cache: spec.cache.open().await?,
        known: Mutex::new(Changes::read(&spec.ledger)?),
        ledger: Ledger::open(&spec.ledger)?,
        sessions: spec.sessions,
    });
    say(&"open")?;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..CHANGERS {
        let rng = |salt: u64| fastrand::Rng::with_seed(spec.seed ^ (task * 2 + salt) << 56);
        tasks.spawn(Arc::clone(&shared).change(task, rng(0)));
        tasks.spawn(Arc::clone(&shared).read(rng(1)));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

impl Shared {
    fn session(&self, rng: &mut fastrand::Rng) -> (u64, String, Session) {
        let number = rng.u64(..self.sessions);
        let name = format!("s{number}");
        let session = self.cache.session(key(&name));
        (number, name, session)
    }

    async fn change(self: Arc<Self>, task: u64, mut rng: fastrand::Rng) -> anyhow::Result<()> {
        loop {
            let (number, name, session) = self.session(&mut rng);
            let next = self.known.lock().next(number, &name, task);
            // Of anybody, mostly what is still in the window, sometimes what is yet to come.
            let anybody = rng.u64(..CHANGERS);
            let top = self.known.lock().next(number, &name, anybody) + 2;
            let some = id(
                number,
                anybody,
                rng.u64(top.saturating_sub(15).max(1)..=top),
            );
            let change = |kind, id: &str, at| Change {
                kind,
                session: name.clone(),
                id: id.to_owned(),
                at,
            };
            match rng.u8(..100) {
                0..50 => {
                    self.make(&session, &change(Kind::Said, &id(number, task, next), 0))
                        .await?
                }
                50..58 if next > 1 => {
                    let again = id(number, task, rng.u64(1..next));
                    self.make(&session, &change(Kind::Said, &again, 0)).await?;
                }
                58..84 => {
                    // In the order of nothing, and never twice the same.
                    let at = rng.u64(1..1 << 40) * TASKS + task;
                    self.make(&session, &change(Kind::Edited, &some, at))
                        .await?;
                }
                84..92 => {
                    self.make(&session, &change(Kind::Deleted, &some, 0))
                        .await?
                }
                // Long enough for sessions to expire.
                92..94 => tokio::time::sleep(Duration::from_millis(rng.u64(..40))).await,
                _ => tokio::task::yield_now().await,
            }
        }
    }

    /// Makes one change, again and again until it is acknowledged.
    async fn make(&self, session: &Session, change: &Change) -> anyhow::Result<()> {
        self.ledger.line(&change.line('+'))?;
        self.known.lock().note(change, false);
        loop {
            let made = match change.kind {
                Kind::Said => {
                    let name = AUTHORS
                        .get(change.id.len() % AUTHORS.len())
                        .unwrap_or(&"ann");
                    let message = Message::user(author(name), change.text()).id(&change.id);
                    session.append(message).await
                }
                Kind::Edited => session.edit_at(&change.id, change.text(), change.at).await,
                Kind::Deleted => session.delete(&change.id).await,
            };
            if let Ok(turn) = made {
                let context = turn.context().messages.iter().map(|m| shown(m));
                self.judge_context(
                    change,
                    turn.receipt().duplicate,
                    &context.collect::<Vec<_>>(),
                )?;
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.ledger.line(&change.line('='))?;
        self.known.lock().note(change, true);
        Ok(())
    }

    /// The context right after a change must show it.
    fn judge_context(
        &self,
        change: &Change,
        duplicate: bool,
        shown: &[Shown],
    ) -> anyhow::Result<()> {
        let Change { session, id, .. } = change;
        let known = self.known.lock().of(session);
        let there = shown.iter().find(|(shown, _)| shown == id);
        let wrong = match change.kind {
            Kind::Said if duplicate || known.may_be_deleted(id) => None,
            Kind::Said if there.is_none() => Some("was just said and is not there"),
            Kind::Deleted if there.is_some() => Some("was just deleted and is there"),
            _ => None,
        };
        match wrong {
            Some(wrong) => self.ledger.line(&format!("! {session}: {id} {wrong}\n")),
            None => Ok(()),
        }
    }

    fn failed(&self, name: &str, what: &str, error: &scrollback::Error) -> anyhow::Result<()> {
        let line = format!("! {name}: {what} failed: {error}\n");
        self.ledger.line(&line)
    }

    async fn read(self: Arc<Self>, mut rng: fastrand::Rng) -> anyhow::Result<()> {
        loop {
            let (_, name, session) = self.session(&mut rng);
            let before = self.known.lock().of(&name);
            let (shown, whole) = match rng.u8(..100) {
                0..40 => match session.context().await {
                    Ok(context) => (context.messages.iter().map(|m| shown(m)).collect(), false),
                    Err(e) => {
                        self.failed(&name, "a context", &e)?;
                        continue;
                    }
                },
                40..60 => match session.export().await {
                    Ok(all) => (all.iter().map(|(_, m)| shown(m)).collect(), true),
                    Err(e) => {
                        self.failed(&name, "an export", &e)?;
                        continue;
                    }
                },
                60..65 => {
                    let _ = self.cache.flush().await;
                    continue;
                }
                65..70 => {
                    let _ = session.end().await;
                    continue;
                }
                _ => {
                    tokio::time::sleep(Duration::from_millis(rng.u64(..5))).await;
                    continue;
                }
            };
            let shown: Vec<Shown> = shown;
            let after = self.known.lock().of(&name);
            for wrong in before.judge(&after, &shown, whole) {
                let what = if whole { "an export" } else { "a context" };
                self.ledger.line(&format!("! {name}: {what}: {wrong}\n"))?;
            }
        }
    }
}
