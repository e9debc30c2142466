//! Rate limits: a bucket for each route and major parameter, one for all routes, and who did not wait.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::faults::Pattern;

/// What headers say where no limit is set; it is not enforced.
const DEFAULT: (u64, Duration) = (50, Duration::from_secs(1));

#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) rules: Vec<(Pattern, u64, Duration)>,
    pub(crate) global: Option<(u64, Duration)>,
    buckets: BTreeMap<String, Bucket>,
    /// Until when a bucket (or all, under an empty name) was told to wait.
    waits: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Bucket {
    used: u64,
    reset: Instant,
}

/// What a request finds in its bucket.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) bucket: String,
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) reset_after: Duration,
    /// How long to wait instead, and whether for all routes.
    pub(crate) refused: Option<(Duration, bool)>,
    /// It was told to wait, and did not.
    pub(crate) impatient: bool,
}

impl Limits {
    /// Counts a request.
    pub(crate) fn take(&mut self, method: &str, path: &str) -> Pass {
        let name = bucket_name(method, path);
        let now = Instant::now();
        let waiting = |until: &Instant| *until > now;
        let impatient =
            self.waits.get(&name).is_some_and(waiting) || self.waits.get("").is_some_and(waiting);
        let rule = self
            .rules
            .iter()
            .rfind(|(rule, ..)| rule.fits(method, path));
        let set = rule.map(|(_, most, per)| (*most, *per));
        let (limit, per) = set.unwrap_or(DEFAULT);
        let global = self.global.filter(|_| !path.starts_with("/interactions/"));
        let whole = global.and_then(|(most, per)| self.count("", most, per).1);
        let (remaining, refused) = self.count(&name, limit, per);
        let refused = match (whole, refused.filter(|_| set.is_some())) {
            (Some(wait), _) => Some((wait, true)),
            (None, Some(wait)) => Some((wait, false)),
            (None, None) => None,
        };
        if let Some((wait, global)) = refused {
            self.told(if global { "" } else { &name }, wait);
        }
        let reset = self.buckets.get(&name).map_or(now, |bucket| bucket.reset);
        Pass {
            remaining: remaining.max(u64::from(set.is_none())),
            bucket: name,
            limit,
            reset_after: reset.saturating_duration_since(now),
            refused,
            impatient,
        }
    }

    /// Remembers that a bucket was told to wait.
    pub(crate) fn told(&mut self, bucket: &str, wait: Duration) {
        self.waits.insert(bucket.to_owned(), Instant::now() + wait);
    }

    fn count(&mut self, name: &str, limit: u64, per: Duration) -> (u64, Option<Duration>) {
        let now = Instant::now();
        let fresh = || Bucket {
            used: 0,
            reset: now + per,
        };
        let bucket = self.buckets.entry(name.to_owned()).or_insert_with(fresh);
        if bucket.reset <= now {
            *bucket = fresh();
        }
        if bucket.used >= limit {
            return (0, Some(bucket.reset - now));
        }
        bucket.used += 1;
        (limit - bucket.used, None)
    }
}

/// A route with its major parameter: the channel, the guild, or the webhook.
fn bucket_name(method: &str, path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let major = matches!(parts.first(), Some(&("channels" | "guilds" | "webhooks")));
    let name = parts.iter().enumerate().map(|(at, part)| {
        let webhook = at == 2 && parts.first() == Some(&"webhooks");
        let is_id = part.len() > 14 && part.bytes().all(|byte| byte.is_ascii_digit());
        let kept = (at == 1 && major) || webhook || !is_id;
        if kept { *part } else { ":id" }
    });
    format!("{method}/{}", name.collect::<Vec<_>>().join("/"))
}
