//! What goes wrong on demand: failures of a method's next calls, delays, duplicated updates, and
//! the rate limits.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::answer::Refusal;

/// How a call fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// 429 with `retry_after` in seconds; the call is not carried out.
    TooManyRequests(u64),
    /// A refusal with this code and description; the call is not carried out.
    Refused(u16, String),
    /// An HTML page with this status (500, 502), as a proxy in front answers; not carried out.
    Html(u16),
    /// No answer while the connection lives; not carried out.
    Hang,
    /// A body that is not JSON, with status 200; not carried out.
    Garbage,
    /// The connection is reset before the call is carried out.
    LostRequest,
    /// The call is carried out, then the connection is reset instead of answered.
    LostReply,
}

/// Rate limits; a call above one is refused with 429. None is set at the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct RateLimits {
    /// Messages a second over all chats (Telegram: about 30).
    pub per_second: Option<usize>,
    /// Messages a second in one chat (Telegram: about 1).
    pub per_chat_per_second: Option<usize>,
    /// Messages a minute in one group (Telegram: 20).
    pub per_group_per_minute: Option<usize>,
}

/// The plan of failures and delays, and the recent sendings that the limits count.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) next: BTreeMap<String, VecDeque<Failure>>,
    pub(crate) delays: BTreeMap<String, Duration>,
    pub(crate) limits: RateLimits,
    pub(crate) duplicates: Option<Duplicates>,
    recent: VecDeque<(Instant, i64)>,
}

impl Faults {
    /// The failure of this call, if one is planned. The method is in lower case.
    pub(crate) fn take(&mut self, method: &str) -> Option<Failure> {
        self.next.get_mut(method)?.pop_front()
    }

    /// Counts a sending, or refuses it.
    pub(crate) fn count_sending(&mut self, chat: i64, group: bool) -> Result<(), Refusal> {
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) >= minute)
        {
            self.recent.pop_front();
        }
        let second = Duration::from_secs(1);
        let rules = [
            (self.limits.per_second, second, None),
            (self.limits.per_chat_per_second, second, Some(chat)),
            (
                self.limits.per_group_per_minute.filter(|_| group),
                minute,
                Some(chat),
            ),
        ];
        for (limit, window, only) in rules {
            if let Some(wait) = limit.and_then(|most| self.wait(most, window, only, now)) {
                return Err(Refusal::too_many(wait));
            }
        }
        self.recent.push_back((now, chat));
        Ok(())
    }

    /// Seconds until one more sending fits, when it does not fit now.
    fn wait(&self, most: usize, window: Duration, only: Option<i64>, now: Instant) -> Option<u64> {
        let within: Vec<Instant> = self
            .recent
            .iter()
            .filter(|(at, chat)| {
                now.duration_since(*at) < window && only.is_none_or(|one| one == *chat)
            })
            .map(|(at, _)| *at)
            .collect();
        if within.len() < most {
            return None;
        }
        let oldest = within.get(within.len().saturating_sub(most)).copied();
        let age = oldest.map_or(Duration::ZERO, |at| now.duration_since(at));
        Some(window.saturating_sub(age).as_secs() + 1)
    }
}

/// Which updates come twice.
#[derive(Debug)]
pub(crate) struct Duplicates {
    percent: u64,
    state: u64,
}

impl Duplicates {
    pub(crate) fn new(percent: u64, seed: u64) -> Self {
        // A splitmix step keeps the seeds 0, 1, 2 … apart; xorshift must not start at 0.
        let state = seed
            .wrapping_add(0x9e37_79b9_7f4a_7c15)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
            | 1;
        Self { percent, state }
    }

    /// True in `percent` of 100 calls.
    pub(crate) fn strikes(&mut self) -> bool {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % 100 < self.percent
    }
}
