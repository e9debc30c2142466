//! Floor and cap, whatever the policy says.

use std::time::Duration;

use super::Ttl;

/// The shortest and the longest time to live that are handed to the hot tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// No session leaves the hot tier earlier.
    pub floor: Duration,
    /// Every clean session leaves it by then, also a pinned one; `None` for no cap.
    pub cap: Option<Duration>,
}

impl Default for Bounds {
    /// No floor and no cap: the policies' own answers are bounded, and a floor keeps what nobody asks for.
    fn default() -> Self {
        Self {
            floor: Duration::ZERO,
            cap: None,
        }
    }
}

impl Bounds {
    /// A policy's answer within the bounds.
    #[must_use]
    pub fn apply(&self, ttl: Ttl) -> Ttl {
        match (ttl, self.cap) {
            (Ttl::After(d), Some(cap)) => Ttl::After(d.min(cap).max(self.floor)),
            (Ttl::After(d), None) => Ttl::After(d.max(self.floor)),
            (Ttl::Pinned, Some(cap)) => Ttl::After(cap),
            (Ttl::Pinned, None) => Ttl::Pinned,
        }
    }

    /// What is wrong with them, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let cap = self.cap?;
        if cap.is_zero() {
            return Some("the cap of times to live is zero: nothing would stay hot".to_owned());
        }
        (self.floor > cap).then(|| {
            format!(
                "the floor of times to live ({} s) is above their cap ({} s)",
                self.floor.as_secs_f64(),
                cap.as_secs_f64()
            )
        })
    }
}
