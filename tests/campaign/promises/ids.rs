//! P15: hostile ids in every part of a key and in authors: no two keys print alike, stand at one place in a tier or in
//! the store, or read each other's messages.
//!
//! The 64-bit hash of a key is not among what must differ. It and the partition made of it spread sessions over shards
//! and Redis slots, and each record carries it as a check; every place in a tier, in the store and in the journal is
//! named by the whole printed key (the store's by its SHA-256 where it is long). Two keys with one hash would share a
//! slot and could not be told apart by that check, had something else put a record of one under the key of the other.

#![expect(clippy::indexing_slicing, reason = "the parts of a key are six")]

use std::collections::HashMap;
use std::time::Duration;

use scrollback::key::Address;
use scrollback::summary::author_hash;
use scrollback::testing::{RedisServer, keys};
use scrollback::{Author, Cache, Message, Origin, RedisConfig, Scope, SessionKey, SledConfig};

use crate::stage::{NEVER, runtime};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        promise: "P15",
        fault: "pairs of keys with hostile ids in every part",
        ci: 4,
        full: 40,
        least: 100_000,
        alone: false,
        run: pairs,
    },
    Trial {
        promise: "P15",
        fault: "sessions with hostile ids written and read back over Redis and sled",
        ci: 1,
        full: 5,
        least: 1_000,
        alone: false,
        run: read_back,
    },
];

/// Pairs of one round.
const PAIRS: u64 = 25_000;

const PIECES: [&str; 32] = [
    ":",
    "/",
    "\0",
    "\r\n",
    "*",
    "?",
    "[",
    "]",
    "..",
    "",
    "=",
    "%",
    "%2F",
    "%252F",
    "space=",
    "/channel=",
    "/user=1",
    "{",
    "}",
    "{p1}",
    "!",
    " ",
    "\u{7f}",
    "\u{202e}",
    "\u{200b}",
    "é",
    "e\u{301}",
    "1",
    "12",
    "a",
    "A",
    "-1",
];

/// An id that an attacker might choose.
fn id(rng: &mut fastrand::Rng) -> String {
    if rng.u16(..10_000) == 0 {
        // As long as anything may be, and prefixes of each other.
        let unit = PIECES[rng.usize(..PIECES.len())];
        let count = ((64 << 10) / unit.len().max(1)).min(64 << 10);
        return unit.repeat(count - rng.usize(..3));
    }
    (0..rng.u8(..4))
        .map(|_| PIECES[rng.usize(..PIECES.len())])
        .collect()
}

/// The parts of a key, absent ones included.
type Parts = [Option<String>; 6];

fn any(rng: &mut fastrand::Rng) -> Parts {
    let mut parts: Parts = std::array::from_fn(|_| rng.bool().then(|| id(rng)));
    parts[0].get_or_insert_with(|| id(rng));
    parts[1].get_or_insert_with(|| id(rng));
    parts
}

/// Another key that is as near as an attacker can come.
fn near(rng: &mut fastrand::Rng, parts: &Parts) -> Parts {
    let mut other = parts.clone();
    let (at, to) = (rng.usize(..6), rng.usize(2..6));
    match rng.u8(..6) {
        // The same id in another part.
        0 => other.swap(at.max(2), to),
        // A character moved over the border of two parts.
        1 => {
            let moved = other[at].as_mut().and_then(String::pop);
            if let (Some(c), Some(next)) = (moved, other[to].as_mut()) {
                next.insert(0, c);
            }
        }
        // Empty instead of absent, and the reverse.
        2 => other[to] = other[to].is_none().then(String::new),
        // A prefix, or longer by one.
        3 => drop(other[at].as_mut().and_then(String::pop)),
        4 => other[at].get_or_insert_default().push('/'),
        // What another part prints as, written into this one.
        _ => {
            let printed = key(parts).to_string();
            other[to] = printed.split_once('/').map(|(_, rest)| rest.to_owned());
        }
    }
    other
}

fn key([platform, bot, space, channel, thread, user]: &Parts) -> SessionKey {
    let required = |part: &Option<String>| part.clone().unwrap_or_default();
    let mut key = SessionKey::new(required(platform), required(bot));
    for (part, set) in [
        (
            space,
            SessionKey::space as fn(SessionKey, String) -> SessionKey,
        ),
        (channel, SessionKey::channel),
        (thread, SessionKey::thread),
        (user, SessionKey::user),
    ] {
        if let Some(part) = part {
            key = set(key, part.clone());
        }
    }
    key
}

/// What was seen at places of one kind: a 128-bit print of the place, and of the key that stands there.
#[derive(Default)]
struct Places(HashMap<u128, u128>);

impl Places {
    /// False when another key stands there.
    fn take(&mut self, place: &[u8], owner: u128) -> bool {
        *self.0.entry(print(place)).or_insert(owner) == owner
    }
}

/// A print of bytes, by a hash that is not the one under test.
fn print(bytes: &[u8]) -> u128 {
    use std::hash::{DefaultHasher, Hasher as _};
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(bytes);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

/// A print of the parts themselves, whatever they contain.
fn own(parts: &Parts) -> u128 {
    let mut bytes = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        // Platform and bot are empty when absent; the others differ then.
        let part = part.as_deref().or((at < 2).then_some(""));
        bytes.extend(part.map_or(u64::MAX, |p| p.len() as u64).to_be_bytes());
        bytes.extend(part.unwrap_or_default().as_bytes());
    }
    print(&bytes)
}

fn pairs(round: &Round) -> anyhow::Result<Outcome> {
    let mut rng = round.rng();
    let mut outcome = Outcome::default();
    let mut places: [Places; 4] = Default::default();
    let (mut hashes, mut same_hash) = (HashMap::new(), 0);
    while outcome.acked < PAIRS {
        let one = any(&mut rng);
        let other = near(&mut rng, &one);
        if own(&one) == own(&other) {
            continue;
        }
        for parts in [&one, &other] {
            let (key, owner) = (key(parts), own(parts));
            let printed = key.to_string();
            let address = Address::from(&key);
            let hot = format!("scrollback:{{p{}}}:log:{address}", address.partition());
            let row = keys::store_row(&address);
            let who = Author::new(
                parts[0].clone().unwrap_or_default(),
                parts[1].clone().unwrap_or_default(),
            );
            let person: Parts = [parts[0].clone(), parts[1].clone(), None, None, None, None];
            let right = places[0].take(printed.as_bytes(), owner)
                && places[1].take(hot.as_bytes(), owner)
                && places[2].take(&row, owner)
                && places[3].take(&author_hash(&who).to_be_bytes(), own(&person));
            outcome.must(right, || format!("{key:?} stands where another does"));
            let tame = printed
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"{}!".contains(&b));
            outcome.must(tame, || format!("{key:?} does not print tamely"));
            let back = printed.parse::<SessionKey>();
            outcome.must(back.is_ok_and(|back| back == key), || {
                format!("{key:?} does not read back")
            });
            same_hash += u64::from(*hashes.entry(address.hash64()).or_insert(owner) != owner);
        }
        scopes(&mut outcome, &one);
        outcome.acked += 1;
    }
    outcome.figures.extend([
        ("different keys", places[0].0.len() as u64),
        ("equal hash64", same_hash),
    ]);
    Ok(outcome)
}

/// The scopes of one origin never make one key.
fn scopes(outcome: &mut Outcome, parts: &Parts) {
    let required = |at: usize| parts[at].clone().unwrap_or_default();
    let origin = Origin {
        platform: required(0),
        bot: required(1),
        space: parts[2].clone(),
        channel: required(3),
        thread: parts[4].clone(),
        user: required(5),
    };
    let [a, b, c] =
        [Scope::Channel, Scope::UserInChannel, Scope::User].map(|s| s.key(&origin).to_string());
    outcome.must(a != b && b != c && a != c, || {
        format!("scopes of {origin:?} collide")
    });
}

fn read_back(round: &Round) -> anyhow::Result<Outcome> {
    const SESSIONS: usize = 2_000;
    let redis = RedisServer::start();
    let runtime = runtime()?;
    let all = hostile(&mut round.rng(), SESSIONS);
    let open = || {
        let builder = Cache::builder()
            .hot(RedisConfig::new(redis.url()))
            .store(SledConfig::new(round.data()).wait_lock(Duration::from_secs(5)))
            .journal_limits(1 << 30, 1 << 20)
            .deadline(Duration::from_secs(5))
            .flush_every(NEVER);
        runtime.block_on(builder.build())
    };
    let cache = open()?;
    for (n, parts) in all.iter().enumerate() {
        let key = key(parts);
        let who = Author::new(key.platform(), parts[5].clone().unwrap_or_default());
        // The same platform id everywhere: ids of messages are a session's own.
        runtime.block_on(
            cache
                .session(key)
                .append(Message::user(who, text(n)).id("1")),
        )?;
    }
    let mut outcome = Outcome::default();
    for fresh in [false, true] {
        let cache = if fresh {
            runtime.block_on(cache.close(Duration::from_secs(20)))?;
            open()?
        } else {
            cache.clone()
        };
        reads_its_own(&runtime, &cache, &all, &mut outcome)?;
        if fresh {
            let listed = runtime.block_on(cache.sessions(None, usize::MAX))?.len();
            outcome.must(listed == all.len(), || {
                format!("{listed} sessions of {}", all.len())
            });
            let verified = runtime.block_on(cache.verify())?;
            outcome.violations.extend(verified.violations);
            runtime.block_on(cache.close(Duration::from_secs(20)))?;
        }
    }
    outcome.acked += all.len() as u64;
    Ok(outcome)
}

/// Keys that differ, each with one that is as near as can be.
fn hostile(rng: &mut fastrand::Rng, count: usize) -> Vec<Parts> {
    let mut all: HashMap<u128, Parts> = HashMap::new();
    while all.len() < count {
        let one = any(rng);
        let other = near(rng, &one);
        all.extend([one, other].map(|parts| (own(&parts), parts)));
    }
    all.into_values().collect()
}

fn text(n: usize) -> String {
    format!("said in {n}")
}

fn reads_its_own(
    runtime: &tokio::runtime::Runtime,
    cache: &Cache,
    all: &[Parts],
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    for (n, parts) in all.iter().enumerate() {
        let session = cache.session(key(parts));
        let shown = runtime.block_on(session.context())?;
        let context: Vec<_> = shown.messages.iter().map(|m| m.text.clone()).collect();
        let exported = runtime.block_on(session.export())?;
        let exported: Vec<_> = exported.into_iter().map(|(_, m)| m.text).collect();
        let wanted = vec![text(n)];
        outcome.must(context == wanted && exported == wanted, || {
            format!(
                "{:?} reads {context:?} and {exported:?}, not {wanted:?}",
                session.key()
            )
        });
    }
    Ok(())
}
