//! Judging: what a current replica, and where it cannot tell the store, say of a draft.
//!
//! Invariant: the verdict holds only as long as nobody else appends; a compare-and-append that fails
//! asks for it again.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fault_point::{Plant, planted};
use crate::fold::Mention;
use crate::message::{Body, Entry, Message, Seq, State};
use crate::session::cell::Cell;
use crate::session::draft::Draft;
use crate::session::engine::{Engine, Told};
use crate::store::Found;

/// What a current replica says of a draft.
pub(super) enum Verdict {
    Append(Body),
    Duplicate(Seq),
    /// It answers what may have been forgotten since.
    Forgotten,
}

/// What is known of a platform id.
pub(super) enum Seen {
    /// No message with it has come.
    New,
    /// None has come, but an edit of it.
    Edited {
        /// The text it is to have.
        text: String,
        /// When it was edited.
        at_ms: u64,
    },
    /// One stands here; 0 when it was deleted.
    At(Seq),
}

/// What the replica alone says of a platform id.
enum Local {
    Seen(Seen),
    /// The store must be asked. An edit that came before the message is held here: its text, and when it was made.
    Ask(Option<(String, u64)>),
}

impl Cell {
    /// What the replica and, where it cannot tell, the store say of a draft.
    pub(super) async fn judge(
        &self,
        engine: &Engine,
        draft: &Draft,
        away: bool,
    ) -> Result<Verdict> {
        match draft {
            Draft::Messages(messages) => self.judge_messages(engine, messages).await,
            Draft::Answer { messages, since } => {
                // A forgetting begins a new epoch, so mostly there is nothing to ask.
                let epoch = self.inner.lock().epoch();
                if epoch != *since && Box::pin(self.forgotten_since(engine, *since)).await? {
                    return Ok(Verdict::Forgotten);
                }
                self.judge_messages(engine, messages).await
            }
            Draft::Edit { id, text, at_ms } => {
                let (id, text) = (id.clone(), Some(text.clone()));
                Ok(Verdict::Append(Body::Edit {
                    id,
                    text,
                    at_ms: *at_ms,
                }))
            }
            Draft::Delete { id } => Ok(match self.seen_one(engine, id).await? {
                Seen::At(seq) if seq == Seq::default() => Verdict::Duplicate(seq),
                _ => Verdict::Append(Body::Delete { id: id.clone() }),
            }),
            Draft::State { expected, value } => {
                if away {
                    return Err(Error::away(
                        engine.hot_name(),
                        "a state cannot be compared and set without it",
                    ));
                }
                let inner = self.inner.lock();
                let state = inner
                    .replica
                    .as_ref()
                    .and_then(|r| r.fold.summary.state.as_ref());
                let actual = state.map_or(0, |s| s.version);
                if actual != *expected {
                    return Err(Error::Conflict {
                        expected: *expected,
                        actual,
                    });
                }
                Ok(Verdict::Append(Body::State(State {
                    version: actual + 1,
                    value: value.clone(),
                })))
            }
            Draft::Reset => Ok(Verdict::Append(Body::Reset)),
            Draft::End => Ok(Verdict::Append(Body::End)),
        }
    }

    /// True when anything was forgotten in the session after it was in this epoch.
    async fn forgotten_since(&self, engine: &Engine, since: u64) -> Result<bool> {
        let erased = engine.known(&self.address, Vec::new()).await?.erased;
        let authors = erased.authors_below.iter().map(|(_, below)| *below);
        Ok(authors.chain([erased.all_below]).any(|below| since < below))
    }

    pub(super) async fn judge_messages(
        &self,
        engine: &Engine,
        messages: &[Arc<Message>],
    ) -> Result<Verdict> {
        let mut fresh = Vec::with_capacity(messages.len());
        let mut at = None;
        let mut told = Told::new();
        for (n, m) in messages.iter().enumerate() {
            let rest = messages.get(n + 1..).unwrap_or_default();
            match self.seen(engine, m, rest, &mut told).await? {
                Seen::New => fresh.push(Some(Arc::clone(m))),
                Seen::Edited { text, at_ms } => {
                    fresh.push(Some(edited(engine, m, text, at_ms)));
                }
                Seen::At(seq) => at = at.or(Some(seq)),
            }
        }
        Ok(match at {
            Some(seq) if fresh.is_empty() => Verdict::Duplicate(seq),
            _ => Verdict::Append(Body::Messages(fresh)),
        })
    }

    /// What is known of a message with this platform id.
    pub(super) async fn seen_one(&self, engine: &Engine, id: &str) -> Result<Seen> {
        match self.local(id) {
            Local::Seen(seen) => Ok(seen),
            Local::Ask(ahead) => {
                let mut told = Box::pin(engine.found(&self.address, vec![id.to_owned()])).await?;
                Ok(seen_by(told.remove(id).flatten(), ahead))
            }
        }
    }

    /// What is known of a message by its platform id. The store is asked at most once, of the others that follow as well.
    async fn seen(
        &self,
        engine: &Engine,
        message: &Message,
        rest: &[Arc<Message>],
        told: &mut Told,
    ) -> Result<Seen> {
        let Some(id) = message.id.as_deref() else {
            return Ok(Seen::New);
        };
        let ahead = match self.local(id) {
            Local::Seen(seen) => return Ok(seen),
            Local::Ask(ahead) => ahead,
        };
        if !told.contains_key(id) {
            let rest = rest.iter().filter_map(|m| m.id.clone());
            let ids = std::iter::once(id.to_owned()).chain(rest);
            told.extend(Box::pin(self.told(engine, ids)).await?);
        }
        Ok(seen_by(told.get(id).cloned().flatten(), ahead))
    }

    /// What the store says of those of these platform ids of which the replica cannot tell: one call, however many they are.
    pub(super) async fn told(
        &self,
        engine: &Engine,
        ids: impl Iterator<Item = String>,
    ) -> Result<Told> {
        let unsure = ids.filter(|id| matches!(self.local(id), Local::Ask(_)));
        engine.found(&self.address, unsure.collect()).await
    }

    fn local(&self, id: &str) -> Local {
        if planted(Plant::NoDuplicateCheck) {
            return Local::Seen(Seen::New);
        }
        let inner = self.inner.lock();
        let Some(fold) = inner.replica.as_ref().map(|r| &r.fold) else {
            return Local::Ask(None);
        };
        if fold.is_new(id) {
            return Local::Seen(Seen::New);
        }
        match fold.mention(id) {
            Some(Mention::At(seq)) => return Local::Seen(Seen::At(seq)),
            Some(Mention::Gone(_)) => return Local::Seen(Seen::At(Seq::default())),
            Some(Mention::Ahead(_)) | None => {}
        }
        // Said with its message, or a log without the edit (trimmed, or merged from the cut on) would not show it.
        let ahead = fold.ahead_of(id);
        Local::Ask(ahead.map(|(text, at_ms)| (text.to_owned(), at_ms)))
    }

    /// What an entry that must be placed again still has to say: its messages may have come by another
    /// way meanwhile, its state may have been overtaken. `None` when nothing is left. `told`: what the store has been asked already.
    pub(super) async fn still(
        &self,
        engine: &Engine,
        mut entry: Entry,
        told: &mut Told,
    ) -> Result<Option<Entry>> {
        match &mut entry.body {
            Body::Messages(messages) => {
                for slot in messages.iter_mut() {
                    let Some(m) = slot else { continue };
                    match self.seen(engine, m, &[], told).await? {
                        Seen::New => {}
                        Seen::Edited { text, at_ms } => *m = edited(engine, m, text, at_ms),
                        Seen::At(_) => *slot = None,
                    }
                }
                Ok(messages.iter().any(Option::is_some).then_some(entry))
            }
            Body::State(state) => {
                let inner = self.inner.lock();
                let current = inner
                    .replica
                    .as_ref()
                    .and_then(|r| r.fold.summary.state.as_ref());
                let overtaken = current.map_or(0, |s| s.version) >= state.version;
                drop(inner);
                Ok((!overtaken).then_some(entry))
            }
            _ => Ok(Some(entry)),
        }
    }
}

/// What the store and the replica together say of a platform id.
fn seen_by(found: Option<Found>, ahead: Option<(String, u64)>) -> Seen {
    let stored = match found {
        Some(Found::At(seq)) => return Seen::At(seq),
        Some(Found::Gone) => return Seen::At(Seq::default()),
        Some(Found::Ahead { text, at_ms }) => Some((text, at_ms)),
        None => None,
    };
    // Of two at the same time the one that came later, which the store may not have.
    let newest = stored.into_iter().chain(ahead).max_by_key(|(_, at)| *at);
    newest.map_or(Seen::New, |(text, at_ms)| Seen::Edited { text, at_ms })
}

/// A message as an edit left it that came before it, if that is no older than the text it has.
fn edited(engine: &Engine, m: &Arc<Message>, text: String, at_ms: u64) -> Arc<Message> {
    if m.edited_ms.is_some_and(|e| e > at_ms) {
        return Arc::clone(m);
    }
    Arc::new(Message {
        tokens: engine.window.count(&text),
        text,
        edited_ms: Some(at_ms),
        ..Message::clone(m)
    })
}
