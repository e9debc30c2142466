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
use crate::session::engine::Engine;
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
            Draft::Delete { id } => Ok(match self.seen(engine, Some(id)).await? {
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
        for m in messages {
            match self.seen(engine, m.id.as_deref()).await? {
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
    pub(super) async fn seen(&self, engine: &Engine, id: Option<&str>) -> Result<Seen> {
        let Some(id) = id else { return Ok(Seen::New) };
        if planted(Plant::NoDuplicateCheck) {
            return Ok(Seen::New);
        }
        let ahead = {
            let inner = self.inner.lock();
            let fold = inner.replica.as_ref().map(|r| &r.fold);
            if fold.is_some_and(|fold| fold.is_new(id)) {
                return Ok(Seen::New);
            }
            match fold.and_then(|fold| fold.mention(id)) {
                Some(Mention::At(seq)) => return Ok(Seen::At(seq)),
                Some(Mention::Gone(_)) => return Ok(Seen::At(Seq::default())),
                Some(Mention::Ahead(_)) | None => {}
            }
            // Said with its message, or a log without the edit (trimmed, or merged from the cut on) would not show it.
            let ahead = fold.and_then(|fold| fold.ahead_of(id));
            ahead.map(|(text, at_ms)| (text.to_owned(), at_ms))
        };
        let (address, id) = (self.address.clone(), id.to_owned());
        let found = Box::pin(engine.blocking(move |s| s.find(&address, &id))).await?;
        let stored = match found {
            Some(Found::At(seq)) => return Ok(Seen::At(seq)),
            Some(Found::Gone) => return Ok(Seen::At(Seq::default())),
            Some(Found::Ahead { text, at_ms }) => Some((text, at_ms)),
            None => None,
        };
        // Of two at the same time the one that came later, which the store may not have.
        let newest = stored.into_iter().chain(ahead).max_by_key(|(_, at)| *at);
        Ok(newest.map_or(Seen::New, |(text, at_ms)| Seen::Edited { text, at_ms }))
    }

    /// What an entry that must be placed again still has to say: its messages may have come by another
    /// way meanwhile, its state may have been overtaken. `None` when nothing is left.
    pub(super) async fn still(&self, engine: &Engine, mut entry: Entry) -> Result<Option<Entry>> {
        match &mut entry.body {
            Body::Messages(messages) => {
                for slot in messages.iter_mut() {
                    let Some(m) = slot else { continue };
                    match self.seen(engine, m.id.as_deref()).await? {
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
