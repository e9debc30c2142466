//! The size of a context from the sizes of its messages alone: what a log tells without its texts.

use std::collections::VecDeque;

use super::Window;

/// What a session's context weighs, message by message, cut where a [`Window`] of messages would cut it.
///
/// Right for plain messages: a log without texts tells nothing of tool calls, system messages, tokens, edits or deletes.
#[derive(Debug, Clone, Default)]
pub struct Sizes {
    /// Bytes of each message, and in the lowest bit whether a user said it.
    messages: VecDeque<u32>,
    bytes: usize,
}

impl Sizes {
    /// Takes in the next message, of so many [bytes](crate::Message::bytes); the context's bytes with it.
    pub fn push(&mut self, window: &Window, bytes: usize, user: bool) -> usize {
        let packed = u32::try_from(bytes)
            .unwrap_or(u32::MAX >> 1)
            .min(u32::MAX >> 1)
            << 1;
        self.messages.push_back(packed | u32::from(user));
        self.bytes += size(packed);
        if !fits(window, self.messages.len(), self.bytes, 100) {
            self.cut(window);
        }
        self.bytes
    }

    /// The context's bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn cut(&mut self, window: &Window) {
        let (mut count, mut bytes) = (0, 0);
        let kept = self.messages.iter().rev().take_while(|m| {
            count += 1;
            bytes += size(**m);
            fits(window, count, bytes, window.low_percent)
        });
        let start = self.messages.len() - kept.count();
        let after = self.messages.iter().enumerate().skip(start);
        let user = after.clone().find(|(_, m)| **m & 1 == 1);
        let at = user.map_or(start, |(i, _)| i).min(self.messages.len() - 1);
        let gone = self.messages.drain(..at).map(size).sum::<usize>();
        self.bytes -= gone;
    }
}

fn size(packed: u32) -> usize {
    usize::try_from(packed >> 1).unwrap_or_default()
}

fn fits(window: &Window, messages: usize, bytes: usize, percent: u8) -> bool {
    let share = |high: usize| (high.saturating_mul(usize::from(percent)) / 100).max(1);
    messages <= share(window.messages) && bytes <= share(window.bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fold::Fold;
    use crate::message::{Body, Entry, EntryId, Message, Role};
    use crate::summary::Summary;

    #[test]
    fn sizes_alone_cut_where_messages_are_cut() {
        for high in [1, 2, 7, 50] {
            let window = Window::messages(high);
            let mut fold = Fold::new(Arc::new(window.clone()), Summary::default(), 0, true);
            let mut sizes = Sizes::default();
            for n in 1..300_u64 {
                let user = n % 7 != 0 && n % 5 != 1;
                let role = if user { Role::User } else { Role::Assistant };
                let large = if n % 97 == 0 { 400_000 } else { 10 };
                let m = Message::new(
                    role,
                    "x".repeat(usize::try_from(n * 31 % 90 + large).unwrap()),
                );
                let bytes = sizes.push(&window, m.bytes(), user);
                let body = Body::Messages(vec![Some(m.into())]);
                let (id, at_ms) = (EntryId(n.into()), n);
                fold.apply(n, &Entry { id, at_ms, body });
                assert_eq!(
                    bytes,
                    fold.text_bytes(),
                    "message {n} of a window of {high}"
                );
            }
        }
    }
}
