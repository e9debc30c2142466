//! Who waits after a 429: the channel whose call it was, or everybody.
//!
//! Invariant: while a bucket is told to wait no call of it goes out.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::Failure;

/// What shares a limit: a kind of call on a channel, guild or interaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Bucket {
    /// The kind of call.
    pub(crate) kind: &'static str,
    /// The channel, guild or interaction; 0 for none.
    pub(crate) major: u64,
}

impl Bucket {
    /// The kind of call that acknowledges the use of a command.
    pub(super) const ACKNOWLEDGE: &'static str = "acknowledge";
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Everything,
    Major(u64),
    Bucket(Bucket),
}

/// What an answer says of limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Told {
    pub(super) after: Duration,
    everything: bool,
    spent: bool,
}

/// A 429 that does not say how long.
const UNTOLD: Duration = Duration::from_secs(1);
/// A bound against nonsense.
const LONGEST: Duration = Duration::from_secs(60 * 60);

impl Told {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let after = text("x-ratelimit-reset-after").or(text("retry-after"));
        Self {
            after: seconds(after.and_then(|s| s.parse().ok())),
            everything: text("x-ratelimit-global").is_some(),
            spent: text("x-ratelimit-remaining") == Some("0"),
        }
    }

    /// The body of a 429 says it more exactly.
    pub(super) fn with_body(mut self, body: Option<&Value>) -> Self {
        if let Some(body) = body {
            if let Some(after) = body.get("retry_after").and_then(Value::as_f64) {
                self.after = seconds(Some(after));
            }
            self.everything |= body.get("global") == Some(&Value::Bool(true));
        }
        self
    }
}

fn seconds(told: Option<f64>) -> Duration {
    told.and_then(|s| Duration::try_from_secs_f64(s).ok())
        .map_or(UNTOLD, |after| after.min(LONGEST))
}

/// Until when who waits.
#[derive(Debug, Default)]
pub(super) struct Pauses(Mutex<HashMap<Key, Instant>>);

/// When pauses that are over are cleared away.
const MANY: usize = 1000;

impl Pauses {
    /// Waits while the bucket is told to; told to the caller when that is beyond `until`.
    pub(super) async fn pass(&self, bucket: Bucket, until: Instant) -> Result<(), Failure> {
        loop {
            let now = Instant::now();
            let Some(end) = self.end(bucket).filter(|end| *end > now) else {
                return Ok(());
            };
            if end >= until {
                return Err(Failure::Limited { after: end - now });
            }
            sleep_until(end).await;
        }
    }

    fn end(&self, bucket: Bucket) -> Option<Instant> {
        let pauses = self.0.lock();
        let mut keys = vec![Key::Bucket(bucket)];
        // Acknowledgements have three seconds, and Discord does not count them.
        if bucket.kind != Bucket::ACKNOWLEDGE {
            keys.push(Key::Everything);
        }
        if bucket.major != 0 {
            keys.push(Key::Major(bucket.major));
        }
        keys.iter().filter_map(|key| pauses.get(key)).max().copied()
    }

    /// A call was refused for its rate: all calls of its channel wait, as they may share the limit.
    pub(super) fn limited(&self, bucket: Bucket, told: Told) {
        let key = match bucket.major {
            _ if told.everything => Key::Everything,
            0 => Key::Bucket(bucket),
            major => Key::Major(major),
        };
        tracing::debug!(kind = bucket.kind, after = ?told.after, everything = told.everything, "Discord limits the rate");
        self.set(key, told.after);
    }

    /// A call was taken and says that it was the last for now.
    pub(super) fn spent(&self, bucket: Bucket, told: Told) {
        if told.spent {
            self.set(Key::Bucket(bucket), told.after);
        }
    }

    fn set(&self, key: Key, after: Duration) {
        let now = Instant::now();
        let mut pauses = self.0.lock();
        if pauses.len() >= MANY {
            pauses.retain(|_, end| *end > now);
        }
        let end = pauses.entry(key).or_insert(now);
        *end = (*end).max(now + after);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const POST: Bucket = Bucket {
        kind: "post",
        major: 7,
    };
    const EDIT: Bucket = Bucket {
        kind: "edit",
        major: 7,
    };
    const ELSEWHERE: Bucket = Bucket {
        kind: "post",
        major: 8,
    };

    fn told(after: f64) -> Told {
        Told {
            after: Duration::from_secs_f64(after),
            everything: false,
            spent: false,
        }
    }

    async fn waits(pauses: &Pauses, bucket: Bucket) -> u64 {
        let start = Instant::now();
        pauses
            .pass(bucket, start + Duration::from_secs(100))
            .await
            .unwrap();
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_429_all_calls_of_its_channel_wait_and_others_do_not() {
        let pauses = Pauses::default();
        pauses.limited(POST, told(5.0));
        assert_eq!(waits(&pauses, ELSEWHERE).await, 0);
        assert_eq!(waits(&pauses, EDIT).await, 5);
        assert_eq!(waits(&pauses, POST).await, 0);
        pauses.limited(
            POST,
            Told {
                everything: true,
                ..told(3.0)
            },
        );
        assert_eq!(waits(&pauses, ELSEWHERE).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_that_is_spent_waits_alone() {
        let pauses = Pauses::default();
        pauses.spent(POST, told(5.0));
        assert_eq!(waits(&pauses, POST).await, 0);
        pauses.spent(
            POST,
            Told {
                spent: true,
                ..told(5.0)
            },
        );
        assert_eq!(waits(&pauses, EDIT).await, 0);
        assert_eq!(waits(&pauses, POST).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_beyond_the_deadline_is_told() {
        let pauses = Pauses::default();
        pauses.limited(POST, told(50.0));
        let deadline = Instant::now() + Duration::from_secs(25);
        let failure = pauses.pass(POST, deadline).await.unwrap_err();
        assert_eq!(
            failure,
            Failure::Limited {
                after: Duration::from_secs(50)
            }
        );
    }

    #[test]
    fn an_answer_tells_how_long_in_headers_or_body_and_nonsense_is_bounded() {
        let headers = HeaderMap::new();
        let untold = Told::of(&headers);
        assert_eq!(untold.after, UNTOLD);
        let body = json!({"retry_after": 0.25, "global": true});
        let told = untold.with_body(Some(&body));
        assert_eq!(
            (told.after, told.everything),
            (Duration::from_millis(250), true)
        );
        for nonsense in [json!(-1), json!(1e300), json!("x"), json!(null)] {
            let body = json!({"retry_after": nonsense});
            assert!(untold.with_body(Some(&body)).after <= LONGEST, "{body}");
        }
    }
}
