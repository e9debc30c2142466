//! A context's messages, shared: a copy is a reference, whatever is appended afterwards.

use std::fmt;
use std::ops::Index;
use std::slice;
use std::sync::{Arc, OnceLock};

use super::Message;

/// Room for a few messages more, at least.
const ROOM: usize = 8;

/// Messages in order, cheap to clone.
///
/// A clone shows the same messages for ever. Whoever appends meanwhile writes behind what others see and copies nothing: a
/// copied list would touch every message once, and they lie all over the memory.
#[derive(Clone, Default)]
pub struct Messages {
    /// Each is written once. Behind `to` there is room, or what somebody with another view has appended.
    slots: Arc<[OnceLock<Arc<Message>>]>,
    from: usize,
    to: usize,
}

impl Messages {
    /// How many they are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.to - self.from
    }

    /// True when there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The message at `index`, the oldest being at 0.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Arc<Message>> {
        self.view().get(index)?.get()
    }

    /// The oldest.
    #[must_use]
    pub fn first(&self) -> Option<&Arc<Message>> {
        self.get(0)
    }

    /// The newest.
    #[must_use]
    pub fn last(&self) -> Option<&Arc<Message>> {
        self.view().last()?.get()
    }

    /// Oldest first.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.view().iter())
    }

    fn view(&self) -> &[OnceLock<Arc<Message>>] {
        self.slots.get(self.from..self.to).unwrap_or_default()
    }

    /// Appends one; nobody else's clone changes.
    pub(crate) fn push(&mut self, message: Arc<Message>) {
        let refused = match self.slots.get(self.to) {
            Some(slot) => slot.set(message).err(),
            None => Some(message),
        };
        if let Some(message) = refused {
            let more = ROOM.max(self.len());
            let slots = self.iter().cloned().chain([message]);
            self.slots = slots_of(slots, more);
            (self.from, self.to) = (0, self.len() + 1);
            return;
        }
        self.to += 1;
    }

    /// Drops the oldest. They are let go of when they are a quarter of what is left, so that dropping one by one does not
    /// move all the others each time.
    pub(crate) fn drop_first(&mut self, count: usize) {
        self.from = self.to.min(self.from + count);
        if self.from * 4 < self.len() {
            return;
        }
        // Mostly nobody holds a clone any more: then no message that stays is touched. Much more room than is needed is
        // given back.
        let (from, to, roomy) = (self.from, self.to, 2 * self.len() + 2 * ROOM);
        let slots = Arc::get_mut(&mut self.slots).filter(|slots| slots.len() <= roomy);
        let Some(slots) = slots else {
            *self = self.iter().cloned().collect();
            return;
        };
        let (shown, behind) = slots.split_at_mut(to);
        let gone = shown.iter_mut().take(from);
        // Behind stands what a clone had appended.
        gone.chain(behind).for_each(|slot| drop(slot.take()));
        shown.rotate_left(from);
        (self.from, self.to) = (0, to - from);
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, index: usize) {
        let others = self.iter().enumerate().filter(|(i, _)| *i != index);
        *self = others.map(|(_, message)| Arc::clone(message)).collect();
    }

    /// Puts another in the place of one.
    pub(crate) fn replace(&mut self, index: usize, message: &Arc<Message>) {
        let all = self.iter().enumerate();
        let all = all.map(|(i, old)| if i == index { message } else { old });
        *self = all.cloned().collect();
    }
}

/// Slots with `messages` in them, and room for so many more.
fn slots_of(
    messages: impl Iterator<Item = Arc<Message>>,
    more: usize,
) -> Arc<[OnceLock<Arc<Message>>]> {
    let room = std::iter::repeat_with(OnceLock::new).take(more);
    let slots: Vec<_> = messages.map(OnceLock::from).chain(room).collect();
    slots.into()
}

impl FromIterator<Arc<Message>> for Messages {
    fn from_iter<I: IntoIterator<Item = Arc<Message>>>(messages: I) -> Self {
        let messages: Vec<_> = messages.into_iter().collect();
        let to = messages.len();
        Self {
            slots: slots_of(messages.into_iter(), ROOM.max(to / 2)),
            from: 0,
            to,
        }
    }
}

impl PartialEq for Messages {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other)
    }
}

impl Eq for Messages {}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl Index<usize> for Messages {
    type Output = Arc<Message>;

    #[expect(
        clippy::expect_used,
        reason = "as a slice does; `get` is for who does not know"
    )]
    fn index(&self, index: usize) -> &Self::Output {
        self.get(index).expect("an index within the messages")
    }
}

impl<'a> IntoIterator for &'a Messages {
    type Item = &'a Arc<Message>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Goes through [`Messages`], oldest first.
#[derive(Debug, Clone)]
pub struct Iter<'a>(slice::Iter<'a, OnceLock<Arc<Message>>>);

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Arc<Message>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()?.get()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back()?.get()
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Author, Role};

    fn said(n: usize) -> Arc<Message> {
        Arc::new(Message::user(Author::new("x", "a"), n.to_string()))
    }

    fn texts(messages: &Messages) -> Vec<&str> {
        messages.iter().map(|m| m.text.as_str()).collect()
    }

    fn of(range: std::ops::Range<usize>) -> Messages {
        range.map(said).collect()
    }

    #[test]
    fn a_clone_stays_as_it_was_whatever_is_done_to_the_other() {
        let mut messages = of(0..3);
        let then = messages.clone();
        let mut other = then.clone();
        messages.push(said(3));
        other.push(said(9));
        messages.drop_first(1);
        messages.replace(0, &said(7));
        other.remove(1);
        assert_eq!(texts(&then), ["0", "1", "2"]);
        assert_eq!(texts(&messages), ["7", "2", "3"]);
        assert_eq!(texts(&other), ["0", "2", "9"]);
    }

    #[test]
    fn appending_to_what_others_hold_copies_no_message_list() {
        let mut messages = of(0..40);
        let then = messages.clone();
        messages.push(said(40));
        assert!(Arc::ptr_eq(&then.slots, &messages.slots));
        assert_eq!((then.len(), messages.len()), (40, 41));
    }

    #[test]
    fn what_is_dropped_from_the_front_is_let_go_of_soon() {
        let mut messages = of(0..100);
        let first = Arc::downgrade(messages.first().unwrap());
        messages.drop_first(1);
        assert!(first.upgrade().is_some());
        messages.drop_first(30);
        assert!(first.upgrade().is_none());
        assert_eq!((messages.len(), messages.from), (69, 0));
        let then = messages.clone();
        messages.drop_first(69);
        assert!(messages.is_empty());
        messages.push(said(100));
        assert_eq!((texts(&messages), then.len()), (vec!["100"], 69));
    }

    #[test]
    fn what_somebody_else_appended_behind_is_let_go_of_too() {
        let mut messages = of(0..4);
        let mut other = messages.clone();
        other.push(said(9));
        let newest = Arc::downgrade(other.last().unwrap());
        drop(other);
        messages.drop_first(2);
        assert!(newest.upgrade().is_none());
        messages.push(said(5));
        assert_eq!(texts(&messages), ["2", "3", "5"]);
    }

    #[test]
    fn room_for_many_is_given_back_when_few_are_left() {
        let mut messages = of(0..1_000);
        messages.drop_first(960);
        assert_eq!((messages.len(), messages[0].text.as_str()), (40, "960"));
        assert!(messages.slots.len() <= 100, "{}", messages.slots.len());
    }

    #[test]
    fn it_reads_like_a_slice() {
        let mut messages = Messages::default();
        assert!(
            messages.is_empty() && messages.last().is_none() && messages.iter().next().is_none()
        );
        for n in 0..1_000 {
            messages.push(said(n));
            messages.drop_first(usize::from(messages.len() > 20));
        }
        assert_eq!((messages.len(), messages.iter().len()), (20, 20));
        assert_eq!(messages[0].text, "980");
        let newest = messages.iter().rev().take(2).map(|m| m.text.as_str());
        assert_eq!(newest.collect::<Vec<_>>(), ["999", "998"]);
        assert_eq!(messages, of(980..1_000));
        assert_ne!(messages, of(980..999));
        assert!(messages.get(20).is_none());
        assert!(messages.iter().all(|m| m.role == Role::User));
        let held: usize = messages
            .slots
            .iter()
            .filter(|slot| slot.get().is_some())
            .count();
        assert!(held <= 26, "{held} messages are held for 20");
    }
}
