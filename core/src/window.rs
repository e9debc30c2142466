//! Windows: how much of a session a responder is handed.
//!
//! Invariant: where the context starts is a pure function of the log, so that every process and every
//! restart hands out the same prefix (an LLM provider's prompt cache keeps hitting). The cut has
//! hysteresis: the context grows to the high mark, then is cut to the low mark. A tool call is never
//! parted from its result. Knows no tier.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::millis;
use crate::message::{Message, Messages, Role};

mod sizes;

pub use sizes::Sizes;

/// Counts a text's tokens; plug in a model's own tokenizer.
pub trait TokenCounter: Send + Sync + 'static {
    /// The number of tokens in `text`.
    fn count(&self, text: &str) -> u32;
}

/// About four bytes a token, at least one: right within a third for English, with no tables.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApproximateTokens;

impl TokenCounter for ApproximateTokens {
    fn count(&self, text: &str) -> u32 {
        u32::try_from(text.len().div_ceil(4))
            .unwrap_or(u32::MAX)
            .max(1)
    }
}

/// How much of a session its context holds, at most.
#[derive(Clone)]
pub struct Window {
    messages: usize,
    bytes: usize,
    tokens: Option<u32>,
    age: Option<Duration>,
    low_percent: u8,
    counter: Arc<dyn TokenCounter>,
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("messages", &self.messages)
            .field("bytes", &self.bytes)
            .field("tokens", &self.tokens)
            .field("age", &self.age)
            .field("low_percent", &self.low_percent)
            .finish_non_exhaustive()
    }
}

impl Default for Window {
    /// 50 messages: enough for a chat, and an hour of a busy channel fits a small model.
    fn default() -> Self {
        Self::messages(50)
    }
}

impl Window {
    /// The most messages any window holds, so that no session outgrows the hot tier.
    pub const MAX_MESSAGES: usize = 2_000;
    /// The most bytes any window holds (1 MiB): texts, ids, names, attachments by reference, tool calls.
    pub const MAX_BYTES: usize = 1 << 20;

    /// The newest `high` messages at most (1 to [`Self::MAX_MESSAGES`]; values outside are clamped).
    #[must_use]
    pub fn messages(high: usize) -> Self {
        Self {
            messages: high.clamp(1, Self::MAX_MESSAGES),
            bytes: Self::MAX_BYTES,
            tokens: None,
            age: None,
            low_percent: 75,
            counter: Arc::new(ApproximateTokens),
        }
    }

    /// As many of the newest messages as fit into `high` tokens by `counter`.
    #[must_use]
    pub fn tokens(high: u32, counter: impl TokenCounter) -> Self {
        Self::messages(Self::MAX_MESSAGES).and_tokens(high, counter)
    }

    /// Messages not older than `age`, seen from the newest message.
    #[must_use]
    pub fn age(age: Duration) -> Self {
        Self::messages(Self::MAX_MESSAGES).and_age(age)
    }

    /// Also bounds the tokens.
    #[must_use]
    pub fn and_tokens(mut self, high: u32, counter: impl TokenCounter) -> Self {
        self.tokens = Some(high.max(1));
        self.counter = Arc::new(counter);
        self
    }

    /// Also bounds the age, seen from the newest message.
    #[must_use]
    pub const fn and_age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// To how many percent of the high mark the context is cut (1 to 100, default 75).
    #[must_use]
    pub fn low_percent(mut self, percent: u8) -> Self {
        self.low_percent = percent.clamp(1, 100);
        self
    }

    /// The tokens of `text` when this window counts tokens.
    #[must_use]
    pub(crate) fn count(&self, text: &str) -> Option<u32> {
        self.tokens.map(|_| self.counter.count(text))
    }

    /// Where the context must start now, when it has outgrown a high mark: an index of `messages`, of which each weighs what
    /// stands in `weights`, and all `load`.
    pub(crate) fn cut(&self, messages: &Messages, weights: &[Weight], load: Load) -> Option<usize> {
        let newest = messages.last()?.at_ms;
        if load.fits(self, 100) && self.is_young(messages, newest) {
            return None;
        }
        let mut kept = load;
        let mut start = 0;
        // From the front: what goes is mostly less than what stays.
        while let Some(weight) = weights.get(start)
            && !kept.fits(self, self.low_percent)
        {
            kept.remove(*weight);
            start += 1;
        }
        if self.age.is_some() {
            let old = messages.iter().rposition(|m| self.is_old(m, newest));
            start = start.max(old.map_or(0, |old| old + 1));
        }
        let last = messages.len() - 1;
        let user = |i: &usize| messages.get(*i).is_some_and(|m| m.role == Role::User);
        if load.tools == 0 {
            // It may start anywhere.
            let user = (start..messages.len()).find(user);
            return Some(user.unwrap_or(start.min(last)));
        }
        let boundaries = boundaries(messages);
        let mut later = boundaries.iter().copied().filter(|i| *i >= start);
        let at = later.clone().find(user).or_else(|| later.next());
        Some(at.or_else(|| boundaries.last().copied()).unwrap_or(last))
    }

    fn is_young(&self, messages: &Messages, now_ms: u64) -> bool {
        self.age.is_none() || !messages.iter().any(|m| self.is_old(m, now_ms))
    }

    fn is_old(&self, m: &Message, now_ms: u64) -> bool {
        self.age
            .is_some_and(|age| now_ms.saturating_sub(m.at_ms) > millis(age))
    }
}

/// What one message weighs: kept beside it, since messages lie all over the memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    bytes: usize,
    tokens: u32,
    /// It makes a tool call, or answers one.
    tool: bool,
}

impl Weight {
    pub(crate) fn of(m: &Message) -> Self {
        Self {
            bytes: m.bytes(),
            tokens: m.tokens.unwrap_or_default(),
            tool: m.role == Role::Tool || m.tool_call_id.is_some() || !m.tool_calls.is_empty(),
        }
    }
}

/// What a run of messages weighs against a window's marks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    messages: usize,
    pub(crate) bytes: usize,
    tokens: u64,
    tools: usize,
}

impl Load {
    /// One more message.
    pub(crate) fn add(&mut self, m: Weight) {
        self.messages += 1;
        self.bytes += m.bytes;
        self.tokens += u64::from(m.tokens);
        self.tools += usize::from(m.tool);
    }

    /// One less, which was counted.
    pub(crate) fn remove(&mut self, m: Weight) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(m.bytes);
        self.tokens = self.tokens.saturating_sub(u64::from(m.tokens));
        self.tools = self.tools.saturating_sub(usize::from(m.tool));
    }

    fn fits(&self, window: &Window, percent: u8) -> bool {
        let share = |high: u64| (high.saturating_mul(u64::from(percent)) / 100).max(1);
        self.messages as u64 <= share(window.messages as u64)
            && self.bytes as u64 <= share(window.bytes as u64)
            && window
                .tokens
                .is_none_or(|t| self.tokens <= share(u64::from(t)))
    }
}

/// The indexes at which a context may start: no tool result there or later answers an earlier call.
fn boundaries(messages: &Messages) -> Vec<usize> {
    let answers: HashMap<&str, usize> = messages
        .iter()
        .enumerate()
        .filter_map(|(i, m)| m.tool_call_id.as_deref().map(|id| (id, i)))
        .collect();
    let mut open_until = None;
    let mut found = Vec::new();
    for (i, m) in messages.iter().enumerate() {
        if open_until.is_none_or(|until| until < i) && m.role != Role::Tool {
            found.push(i);
        }
        let last = m
            .tool_calls
            .iter()
            .filter_map(|c| answers.get(c.id.as_str()).copied())
            .max();
        open_until = open_until.max(last);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ToolCall;

    fn run(window: &Window, messages: impl IntoIterator<Item = Message>) -> Vec<Vec<u64>> {
        let (mut kept, mut first, mut load) = (Messages::default(), 0, Load::default());
        let mut weights = Vec::new();
        let mut shown = Vec::new();
        for (n, m) in messages.into_iter().enumerate() {
            let tokens = window.count(&m.text);
            kept.push(Arc::new(Message { tokens, ..m }));
            weights.push(Weight::of(&kept[kept.len() - 1]));
            load.add(weights[weights.len() - 1]);
            if let Some(cut) = window.cut(&kept, &weights, load) {
                weights.drain(..cut).for_each(|weight| load.remove(weight));
                kept.drop_first(cut);
                first += cut as u64;
            }
            shown.push((first..=n as u64).collect());
        }
        shown
    }

    fn chat(n: usize) -> impl Iterator<Item = Message> {
        (0..n).map(|i| {
            Message::new(
                if i % 2 == 0 {
                    Role::User
                } else {
                    Role::Assistant
                },
                "12345678",
            )
        })
    }

    #[test]
    fn a_context_grows_to_the_high_mark_and_is_cut_to_the_low_one() {
        let shown = run(&Window::messages(8), chat(40));
        assert!(shown.iter().all(|s| s.len() <= 8));
        let starts: Vec<u64> = shown.iter().map(|s| s[0]).collect();
        let moves = starts.windows(2).filter(|w| w[0] != w[1]).count();
        assert!(moves <= 16, "the start moved {moves} times in 40 messages");
        assert!(
            starts.iter().all(|s| s % 2 == 0),
            "a context starts with a user's message"
        );
    }

    #[test]
    fn tokens_and_age_bound_a_context() {
        let shown = run(&Window::tokens(10, ApproximateTokens), chat(20));
        assert!(shown.iter().all(|s| s.len() <= 5));
        let spaced = chat(20).enumerate().map(|(i, m)| m.at_ms(i as u64 * 1000));
        let shown = run(&Window::age(Duration::from_secs(5)), spaced);
        assert!(shown.iter().all(|s| s.len() <= 6), "{shown:?}");
    }

    #[test]
    fn a_tool_call_is_never_parted_from_its_result() {
        let call = |id: &str| {
            Message::assistant("").call(ToolCall {
                id: id.into(),
                name: "n".into(),
                arguments: String::new(),
            })
        };
        let mut messages = Vec::new();
        for i in 0..10 {
            messages.extend([
                Message::new(Role::User, "q"),
                call(&format!("a{i}")),
                call(&format!("b{i}")),
            ]);
            messages.extend([
                Message::tool(format!("a{i}"), "r"),
                Message::tool(format!("b{i}"), "r"),
            ]);
        }
        for high in 3..12 {
            for shown in run(&Window::messages(high), messages.clone()) {
                let has = |i: u64| shown.contains(&i);
                for i in 0..10 {
                    for (c, r) in [(1, 3), (2, 4)] {
                        assert!(
                            !has(5 * i + r) || has(5 * i + c) || high < 5,
                            "high {high}: {shown:?}"
                        );
                    }
                }
            }
        }
    }
}
