//! A session's log folded into what a process keeps of it: the context, the state, the ids seen.
//!
//! Invariant: the fold is a pure function of the entries in order, so every process that has read the
//! same log holds the same context. Deleted messages never come back, a late edit never replaces a
//! newer one, a second message with a platform id already seen is not shown. Knows no tier.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::message::{Body, Entry, Message, Messages, Role, Seq};
use crate::summary::Summary;
use crate::window::{Load, Weight, Window};

/// What is known of a platform id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mention {
    /// A message with it stands here.
    At(Seq),
    /// It was deleted; a message with it that may still come is not shown.
    Gone(u64),
    /// It was edited before its message came.
    Ahead(u64),
}

impl Mention {
    const fn number(self) -> u64 {
        match self {
            Self::At(seq) => seq.number(),
            Self::Gone(n) | Self::Ahead(n) => n,
        }
    }
}

/// How many edits of messages not yet seen one fold remembers, and their bytes; the store remembers all.
const AHEAD_LIMIT: usize = 64;
const AHEAD_BYTES: usize = 1 << 20;

/// How many ids a fold remembers to have dropped: about 1 MiB, for sessions that live long in one process.
const DROPPED_LIMIT: usize = 1 << 16;

/// Half of a hash: enough to tell most ids apart, and a mistake costs only a look-up.
#[expect(
    clippy::cast_possible_truncation,
    reason = "half of it is what is wanted"
)]
const fn half(hash: u64) -> u32 {
    hash as u32
}

/// For keys that are hashes already: mixing them once more is enough.
type Hashed = foldhash::fast::FixedState;

/// The folded log.
#[derive(Debug, Clone)]
pub(crate) struct Fold {
    window: Arc<Window>,
    hasher: std::hash::RandomState,
    pub(crate) last: u64,
    pub(crate) summary: Summary,
    /// Up to this number the summary's cut holds already.
    cut_as_of: u64,
    /// The number of the entry that moved the cut to where it is; 0 when the summary came with it.
    cut_at: u64,
    messages: Messages,
    /// Their places, and what each weighs.
    seqs: Vec<Seq>,
    weights: Vec<Weight>,
    load: Load,
    seen: HashMap<u64, Mention, Hashed>,
    ahead: Vec<(String, String, u64)>,
    /// Ids that `seen` no longer holds, as halves of their hashes: what is not here is not among them.
    dropped: HashSet<u32, Hashed>,
    /// True when `seen` and `dropped` hold every platform id the session ever had.
    pub(crate) complete: bool,
}

impl Fold {
    pub(crate) fn new(window: Arc<Window>, summary: Summary, last: u64, complete: bool) -> Self {
        Self {
            window,
            hasher: std::hash::RandomState::new(),
            last,
            summary,
            cut_as_of: 0,
            cut_at: 0,
            messages: Messages::default(),
            seqs: Vec::new(),
            weights: Vec::new(),
            load: Load::default(),
            seen: HashMap::default(),
            dropped: HashSet::default(),
            ahead: Vec::new(),
            complete,
        }
    }

    /// A fold of a trimmed log, whose `summary` stands for everything up to `number`: where the entries
    /// before it began is gone, so they cannot tell where the context was cut; the summary can.
    pub(crate) fn carried(window: Arc<Window>, summary: Summary, number: u64) -> Self {
        Self {
            cut_as_of: number,
            cut_at: number,
            ..Self::new(window, summary, 0, false)
        }
    }

    /// Takes in the next entry.
    pub(crate) fn apply(&mut self, number: u64, entry: &Entry) {
        self.last = self.last.max(number);
        let before = self.summary.cut;
        match &entry.body {
            Body::Messages(messages) => {
                for (field, m) in messages.iter().enumerate() {
                    if let Some(m) = m {
                        self.add(Seq::new(number, field as u64), m);
                    }
                }
            }
            Body::Edit { id, text, at_ms } => self.edit(number, id, text.as_deref(), *at_ms),
            Body::Delete { id } => self.delete(number, id),
            Body::State(_) | Body::Reset => {
                self.summary.note(number, entry);
                self.drop_before_cut();
            }
            Body::End | Body::Void => {}
        }
        if number > self.cut_as_of
            && let Some(cut) = self.window.cut(&self.messages, &self.weights, self.load)
            && let Some(cut) = self.seqs.get(cut).copied()
        {
            self.summary.cut = self.summary.cut.max(cut);
            self.drop_before_cut();
        }
        if self.summary.cut != before {
            self.cut_at = number;
        }
    }

    /// Where the context starts, and the number of the entry that moved it there.
    pub(crate) const fn cut(&self) -> (Seq, u64) {
        (self.summary.cut, self.cut_at)
    }

    fn add(&mut self, seq: Seq, m: &Arc<Message>) {
        let mut m = Arc::clone(m);
        if m.tokens.is_none()
            && let Some(tokens) = self.window.count(&m.text)
        {
            // The store leaves them out of what was edited.
            Arc::make_mut(&mut m).tokens = Some(tokens);
        }
        if let Some(id) = m.id.as_deref() {
            self.summary.ids.note(id);
            let hash = self.hasher.hash_one(id);
            match self.seen.insert(hash, Mention::At(seq)) {
                Some(first @ Mention::At(s)) if s != seq => {
                    self.seen.insert(hash, first);
                    return;
                }
                Some(gone @ Mention::Gone(_)) => {
                    self.seen.insert(hash, gone);
                    return;
                }
                Some(Mention::Ahead(_)) => m = self.take_ahead(&m),
                _ => {}
            }
        }
        if m.role == Role::System && self.summary.system.as_ref().is_none_or(|(s, _)| *s <= seq) {
            self.summary.system = Some((seq, Message::clone(&m)));
        }
        if seq >= self.summary.cut {
            let weight = Weight::of(&m);
            self.load.add(weight);
            self.weights.push(weight);
            self.messages.push(m);
            self.seqs.push(seq);
        }
    }

    fn edit(&mut self, number: u64, id: &str, text: Option<&str>, at_ms: u64) {
        self.summary.ids.note(id);
        let Some(text) = text else {
            // A store that has applied it knows where the message stands; this fold may not.
            self.complete &= self.mention(id).is_some();
            return;
        };
        match self.standing(id) {
            Some(Mention::Gone(_)) => {}
            Some(Mention::At(seq)) => {
                let tokens = self.window.count(text);
                let newer = |m: &Message| m.edited_ms.is_none_or(|e| e <= at_ms);
                if let Some(at) = self.index(seq)
                    && let Some(m) = self.messages.get(at).filter(|m| newer(m))
                {
                    let edited = Message {
                        text: text.to_owned(),
                        tokens,
                        edited_ms: Some(at_ms),
                        ..Message::clone(m)
                    };
                    let weight = Weight::of(&edited);
                    if let Some(weighed) = self.weights.get_mut(at) {
                        self.load.remove(std::mem::replace(weighed, weight));
                    }
                    self.load.add(weight);
                    self.messages.replace(at, &Arc::new(edited));
                }
                if let Some((s, m)) = &mut self.summary.system
                    && *s == seq
                    && newer(m)
                {
                    text.clone_into(&mut m.text);
                    m.edited_ms = Some(at_ms);
                }
            }
            Some(Mention::Ahead(_)) | None => {
                self.note(id, Mention::Ahead(number));
                self.ahead.push((id.to_owned(), text.to_owned(), at_ms));
                while self.ahead.len() > AHEAD_LIMIT || self.ahead_bytes() > AHEAD_BYTES {
                    self.ahead.remove(0);
                    self.complete = false;
                }
            }
        }
    }

    fn ahead_bytes(&self) -> usize {
        self.ahead.iter().map(|(i, t, _)| i.len() + t.len()).sum()
    }

    /// A message as the newest edit left it that came before it; the edits are taken.
    fn take_ahead(&mut self, m: &Message) -> Arc<Message> {
        let mut m = m.clone();
        let of = |(id, _, _): &mut (String, String, u64)| Some(id.as_str()) == m.id.as_deref();
        let edits: Vec<_> = self.ahead.extract_if(.., of).collect();
        for (_, text, at_ms) in edits {
            if m.edited_ms.is_none_or(|e| e <= at_ms) {
                m.tokens = self.window.count(&text);
                m.text = text;
                m.edited_ms = Some(at_ms);
            }
        }
        Arc::new(m)
    }

    fn delete(&mut self, number: u64, id: &str) {
        self.summary.ids.note(id);
        if let Some(Mention::At(seq)) = self.standing(id) {
            if let Some(at) = self.index(seq) {
                self.seqs.remove(at);
                self.load.remove(self.weights.remove(at));
                self.messages.remove(at);
            }
            self.summary.system.take_if(|(s, _)| *s == seq);
        }
        self.ahead.retain(|(i, _, _)| i != id);
        self.note(id, Mention::Gone(number));
    }

    /// Where a message stands in the context. Places rise but where a log was put together from two.
    fn index(&self, seq: Seq) -> Option<usize> {
        self.seqs.iter().rposition(|s| *s == seq)
    }

    fn drop_before_cut(&mut self) {
        let stays = |seq: &Seq| *seq >= self.summary.cut;
        let gone = self.seqs.iter().position(stays);
        let gone = gone.unwrap_or(self.seqs.len());
        if gone > 0 {
            self.seqs.drain(..gone);
            for weight in self.weights.drain(..gone) {
                self.load.remove(weight);
            }
            self.messages.drop_first(gone);
        }
    }

    /// Forgets where the ids mentioned before `number` stand; the store knows.
    pub(crate) fn forget_ids_below(&mut self, number: u64) {
        let dropped = &mut self.dropped;
        self.seen.retain(|hash, m| {
            let kept = m.number() >= number;
            if !kept {
                dropped.insert(half(*hash));
            }
            kept
        });
        if self.dropped.len() > DROPPED_LIMIT {
            self.dropped = HashSet::default();
            self.complete = false;
        }
    }

    /// True when a platform id has certainly never been mentioned in the session.
    pub(crate) fn is_new(&self, id: &str) -> bool {
        if self.summary.ids.is_new(id) {
            return true;
        }
        let hash = self.hasher.hash_one(id);
        let unseen = !self.seen.contains_key(&hash) && !self.dropped.contains(&half(hash));
        self.complete && unseen
    }

    /// The newest edit of a message not yet seen that this fold holds: its text, and when it was made.
    pub(crate) fn ahead_of(&self, id: &str) -> Option<(&str, u64)> {
        let of = self.ahead.iter().filter(|(i, _, _)| i == id);
        of.max_by_key(|(_, _, at_ms)| *at_ms)
            .map(|(_, text, at_ms)| (text.as_str(), *at_ms))
    }

    /// What this fold knows of a platform id.
    pub(crate) fn mention(&self, id: &str) -> Option<Mention> {
        self.seen.get(&self.hasher.hash_one(id)).copied()
    }

    /// The same, and of the system message, which stays when its id is forgotten.
    fn standing(&self, id: &str) -> Option<Mention> {
        let system = self.summary.system.as_ref();
        self.mention(id).or_else(|| {
            system
                .filter(|(_, m)| m.id.as_deref() == Some(id))
                .map(|(seq, _)| Mention::At(*seq))
        })
    }

    fn note(&mut self, id: &str, mention: Mention) {
        self.seen.insert(self.hasher.hash_one(id), mention);
    }

    /// The context: the newest system message, when the window has moved past it, then the window.
    pub(crate) fn context(&self) -> Messages {
        let first = self.seqs.first().map_or(self.summary.cut, |seq| *seq);
        match &self.summary.system {
            Some((seq, m)) if *seq < first => {
                let system = Arc::new(m.clone());
                std::iter::once(system)
                    .chain(self.messages.iter().map(Arc::clone))
                    .collect()
            }
            _ => self.messages.clone(),
        }
    }

    /// The window's messages with their places.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (Seq, &Arc<Message>)> {
        self.seqs.iter().copied().zip(self.messages.iter())
    }

    /// True when the context shows a message of entry `number`.
    pub(crate) fn shows(&self, number: u64) -> bool {
        self.seqs.iter().any(|seq| seq.number() == number)
    }

    /// About how many bytes this fold keeps.
    pub(crate) fn weight(&self) -> usize {
        // The message itself, its place, its weight, its slot with its share of the room, and what an allocator adds to four
        // strings: measured.
        const PER_MESSAGE: usize = 400;
        self.load.bytes
            + self.messages.len() * PER_MESSAGE
            + self.seen.len() * 48
            + self.dropped.len() * 8
            + self.ahead_bytes()
            + 512
    }

    /// Bytes of what the context holds.
    pub(crate) const fn text_bytes(&self) -> usize {
        self.load.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Author, EntryId};

    fn fold() -> Fold {
        Fold::new(Arc::new(Window::messages(4)), Summary::default(), 0, true)
    }

    fn entry(body: Body) -> Entry {
        Entry {
            id: EntryId(1),
            at_ms: 0,
            body,
        }
    }

    fn say(id: &str, text: &str) -> Entry {
        let said = Message::user(Author::new("x", "a"), text).id(id);
        entry(Body::Messages(vec![Some(said.into())]))
    }

    fn edit(id: &str, text: &str, at_ms: u64) -> Entry {
        entry(Body::Edit {
            id: id.into(),
            text: Some(text.into()),
            at_ms,
        })
    }

    fn texts(fold: &Fold) -> Vec<String> {
        fold.context().iter().map(|m| m.text.clone()).collect()
    }

    fn run(entries: &[Entry]) -> Vec<String> {
        let mut f = fold();
        entries.iter().zip(1..).for_each(|(e, n)| f.apply(n, e));
        texts(&f)
    }

    #[test]
    fn a_second_message_with_an_id_already_seen_is_not_shown() {
        assert_eq!(
            run(&[say("1", "a"), say("1", "b"), say("2", "c")]),
            ["a", "c"]
        );
    }

    #[test]
    fn a_delete_holds_whether_it_comes_after_or_before_its_message_and_no_edit_revives_it() {
        let delete = entry(Body::Delete { id: "1".into() });
        assert!(run(&[say("1", "a"), delete.clone(), edit("1", "b", 9)]).is_empty());
        assert!(run(&[delete, edit("1", "b", 9), say("1", "a")]).is_empty());
    }

    #[test]
    fn the_newest_edit_wins_in_whatever_order_they_come() {
        assert_eq!(
            run(&[say("1", "a"), edit("1", "c", 9), edit("1", "b", 5)]),
            ["c"]
        );
        assert_eq!(
            run(&[edit("1", "c", 9), edit("1", "b", 5), say("1", "a")]),
            ["c"]
        );
    }

    #[test]
    fn a_reset_starts_a_new_context_and_drops_its_system_message() {
        let system = entry(Body::Messages(vec![Some(
            Message::system("be kind").into(),
        )]));
        assert_eq!(
            run(&[
                system.clone(),
                say("1", "a"),
                entry(Body::Reset),
                say("2", "b")
            ]),
            ["b"]
        );
        let many: Vec<Entry> = (0..20).map(|i| say(&i.to_string(), "x")).collect();
        let shown = run(&[vec![system], many].concat());
        assert_eq!(shown[0], "be kind");
        assert!(shown.len() <= 5);
    }
}
