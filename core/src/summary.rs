//! What is known of a session besides its messages: summaries, tombstones, and the snapshot that carries
//! them. Plain values, stored as they are; know no tier.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::message::{Author, Body, Entry, Message, Role, Seq, State};

/// What is known of a session besides its messages: small, and enough to go on from any point.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Where the context starts.
    #[serde(rename = "c", default)]
    pub cut: Seq,
    /// The typed state, if any.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The newest system message of this context.
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub system: Option<(Seq, Message)>,
    /// The platform ids ever mentioned.
    #[serde(rename = "h", default)]
    pub ids: HighWater,
}

impl Summary {
    /// Takes in entry `number`; all but the cut, which needs the window.
    pub fn note(&mut self, number: u64, entry: &Entry) {
        match &entry.body {
            Body::Messages(messages) => {
                for (field, m) in messages.iter().enumerate() {
                    let Some(m) = m else { continue };
                    if let Some(id) = &m.id {
                        self.ids.note(id);
                    }
                    let seq = Seq::new(number, field as u64);
                    if m.role == Role::System && self.system.as_ref().is_none_or(|(s, _)| *s <= seq)
                    {
                        self.system = Some((seq, Message::clone(m)));
                    }
                }
            }
            Body::Edit { id, .. } | Body::Delete { id } => self.ids.note(id),
            Body::State(state) => {
                if self
                    .state
                    .as_ref()
                    .is_none_or(|s| s.version < state.version)
                {
                    self.state = Some(state.clone());
                }
            }
            Body::Reset => {
                self.cut = self.cut.max(Seq::new(number, 0));
                if self
                    .system
                    .as_ref()
                    .is_some_and(|(s, _)| s.number() < number)
                {
                    self.system = None;
                }
            }
            Body::End | Body::Void => {}
        }
    }
}

/// The largest platform id mentioned, as far as they are numbers; spares looking new ids up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighWater {
    /// The largest numeric id.
    #[serde(rename = "h", default)]
    high: u128,
    /// Some id was not a number: nothing can be said.
    #[serde(rename = "x", default)]
    mixed: bool,
}

impl HighWater {
    /// Notes that `id` was mentioned.
    pub fn note(&mut self, id: &str) {
        match numeric(id) {
            Some(n) => self.high = self.high.max(n),
            None => self.mixed = true,
        }
    }

    /// True when `id` has certainly never been mentioned.
    #[must_use]
    pub fn is_new(&self, id: &str) -> bool {
        !self.mixed && numeric(id).is_some_and(|n| n > self.high)
    }

    /// Takes in what another has noted.
    pub fn merge(&mut self, other: Self) {
        self.high = self.high.max(other.high);
        self.mixed |= other.mixed;
    }
}

/// The number of an id in canonical decimal (no sign, no leading zero, not 0).
fn numeric(id: &str) -> Option<u128> {
    const NO_OVERFLOW: usize = 19;
    if id.is_empty() || id.starts_with('0') {
        return None;
    }
    if id.len() > NO_OVERFLOW {
        let digits = id.bytes().all(|b| b.is_ascii_digit());
        return id.parse().ok().filter(|_| digits);
    }
    // The ids of every platform so far: read at every append, without a check for what cannot happen.
    let number = id.bytes().try_fold(0_u64, |n, b| {
        let digit = b.wrapping_sub(b'0');
        (digit <= 9).then(|| n * 10 + u64::from(digit))
    });
    number.map(u128::from)
}

/// A text-free stand-in for a person, for tombstones and indexes.
#[must_use]
pub fn author_hash(author: &Author) -> u128 {
    let mut digest = Sha256::new();
    digest.update((author.platform.len() as u64).to_be_bytes());
    digest.update(author.platform.as_bytes());
    digest.update(author.id.as_bytes());
    let mut head = [0u8; 16];
    head.iter_mut()
        .zip(digest.finalize())
        .for_each(|(to, from)| *to = from);
    u128::from_be_bytes(head)
}

/// What was erased from a session, without any of it: entries placed in an epoch below these are dead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasures {
    /// Everything placed in an epoch below this.
    #[serde(rename = "a", default)]
    pub all_below: u64,
    /// What the author with this [`author_hash`] said, placed in an epoch below the second number.
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    pub authors_below: Vec<(u128, u64)>,
}

impl Erasures {
    /// Takes out of `entry`, placed in `epoch`, what was erased. True when something was.
    ///
    /// A delete holds no text and stays: it may name what another process said after the erasure.
    pub fn apply(&self, epoch: u64, entry: &mut Entry) -> bool {
        if matches!(entry.body, Body::Delete { .. }) {
            return false;
        }
        if epoch < self.all_below {
            let was = entry.body != Body::Void;
            entry.body = Body::Void;
            return was;
        }
        let Body::Messages(messages) = &mut entry.body else {
            return false;
        };
        let mut changed = false;
        for slot in messages.iter_mut() {
            let author = slot
                .as_ref()
                .and_then(|m| m.author.as_ref())
                .map(author_hash);
            if author.is_some_and(|a| {
                self.authors_below
                    .iter()
                    .any(|(b, e)| *b == a && epoch < *e)
            }) {
                *slot = None;
                changed = true;
            }
        }
        if changed && messages.iter().all(Option::is_none) {
            entry.body = Body::Void;
        }
        changed
    }

    /// Notes that everything placed below `epoch` is erased.
    pub fn erase_all(&mut self, epoch: u64) {
        self.all_below = self.all_below.max(epoch);
    }

    /// Notes that what `author` said, placed below `epoch`, is erased.
    pub fn erase_author(&mut self, author: &Author, epoch: u64) {
        let hash = author_hash(author);
        self.authors_below.retain(|(h, _)| *h != hash);
        self.authors_below.push((hash, epoch));
    }
}

/// The whole window as one entry: what a hydrator publishes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The summary before `entries`.
    #[serde(rename = "s")]
    pub summary: Summary,
    /// The entries from the cut on: number and encoded record.
    #[serde(rename = "e")]
    pub entries: Vec<(u64, Bytes)>,
    /// True when the platform ids in `entries` are all that the store knows.
    #[serde(rename = "k", default)]
    pub complete: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::EntryId;

    #[test]
    fn an_erased_author_is_taken_out_of_entries_of_older_epochs_only() {
        let mut erased = Erasures::default();
        erased.erase_author(&Author::new("x", "a"), 5);
        let message = Message::user(Author::new("x", "a"), "a").id("1");
        let body = Body::Messages(vec![Some(message.into())]);
        let mut e = Entry {
            id: EntryId(1),
            at_ms: 0,
            body,
        };
        assert!(!erased.apply(5, &mut e));
        assert!(erased.apply(4, &mut e));
        assert_eq!(e.body, Body::Void);
    }

    #[test]
    fn only_a_larger_number_is_certainly_new() {
        let mut ids = HighWater::default();
        assert!(ids.is_new("1"));
        ids.note("41");
        assert!(ids.is_new("42") && !ids.is_new("41") && !ids.is_new("7") && !ids.is_new("x"));
        assert!(!ids.is_new("042") && !ids.is_new(""));
        ids.note("x");
        assert!(!ids.is_new("99"));
    }
}
