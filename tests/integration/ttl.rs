//! Times to live on the live path: as a simulation says, through expiry, restarts and clock jumps (P8).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use harness::world::{crash, key, say, until};
use harness::{LogLine, fixture, read_log};
use scrollback::hot::HotTier;
use scrollback::hot::memory::MemoryTier;
use scrollback::key::Address;
use scrollback::simulate::{Event, Simulation};
use scrollback::store::Store;
use scrollback::store::sled::SledStore;
use scrollback::testing::{ManualClock, MemoryStore, RedisServer};
use scrollback::ttl::{Estimate, Kind, Touch, Ttl, TtlPolicy};
use scrollback::window::Sizes;
use scrollback::{
    Author, Bounds, Cache, CacheBuilder, Economic, Learned, Message, RedisConfig, SessionKey,
    SledConfig, Sliding, Window,
};

const DAY: Duration = Duration::from_secs(86_400);
const WINDOW: usize = 50;

/// Makes the policy anew: once for the live path, once for the simulation.
type Make = fn() -> Arc<dyn TtlPolicy>;

const POLICIES: [Make; 4] = [
    || Arc::new(Sliding(Duration::from_secs(1800))),
    || Arc::new(Economic::default()),
    || Arc::new(Economic::new(DAY).unwrap()),
    || Arc::new(Learned::new(DAY).unwrap()),
];

/// A log as sessions of one person in one channel, with the simulation of a policy beside it.
struct Trial {
    simulation: Simulation,
    sizes: HashMap<usize, Sizes>,
    numbers: HashMap<String, usize>,
    window: Window,
}

impl Trial {
    fn new(policy: Arc<dyn TtlPolicy>) -> Self {
        let mut simulation = Simulation::default();
        simulation.policy(policy, Bounds::default());
        Self {
            simulation,
            sizes: HashMap::new(),
            numbers: HashMap::new(),
            window: Window::messages(WINDOW),
        }
    }

    /// Takes in a message; the time to live that the policy gives its session.
    fn take(&mut self, at_ms: u64, who: &str, message: &Message) -> Duration {
        let next = self.numbers.len();
        let session = *self.numbers.entry(who.to_owned()).or_insert(next);
        let sizes = self.sizes.entry(session).or_default();
        let bytes = sizes.push(&self.window, message.bytes(), true);
        self.simulation.event(Event {
            at_ms,
            session,
            bytes,
        });
        match self.simulation.ttl(0, session) {
            Some(Ttl::After(ttl)) => ttl,
            other => panic!("{other:?}"),
        }
    }
}

fn session_key(author: &str) -> SessionKey {
    SessionKey::new("test", "bot").channel("c").user(author)
}

fn message(n: usize, line: &LogLine) -> Message {
    let text = line.text.clone().unwrap_or_default();
    Message::user(Author::new("test", &line.author), text).id(n + 1)
}

fn builder(dir: &tempfile::TempDir, clock: &Arc<ManualClock>) -> CacheBuilder {
    Cache::builder()
        .shared_store(Arc::new(MemoryStore::new()))
        .journal(dir.path().join("journal"))
        .journal_limits(1 << 30, 0)
        .clock(Arc::clone(clock) as _)
        .window(Window::messages(WINDOW))
        .flush_every(Duration::from_secs(3600))
}

/// Milliseconds from the log's start.
fn since_start(lines: &[LogLine], line: &LogLine) -> u64 {
    let from = lines.first().map_or(0.0, |l| l.ts);
    Duration::from_secs_f64(line.ts - from)
        .as_millis()
        .try_into()
        .unwrap()
}

#[tokio::test]
async fn a_live_replay_counts_the_misses_that_a_simulation_counts() {
    let lines = read_log(&fixture()).unwrap();
    let mut counted = Vec::new();
    for make in POLICIES {
        let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::shared());
        let tier: Arc<dyn HotTier> = Arc::new(MemoryTier::new(64 << 20, Arc::clone(&clock) as _));
        let cache = builder(&dir, &clock)
            .hot_tier(tier)
            .ttl(make())
            .build()
            .await
            .unwrap();
        let mut trial = Trial::new(make());
        let mut now = 0;
        for (n, line) in lines.iter().enumerate() {
            let at = since_start(&lines, line);
            clock.advance(Duration::from_millis(at - now));
            now = at;
            let message = message(n, line);
            trial.take(1_700_000_000_000 + at, &line.author, &message);
            cache
                .session(session_key(&line.author))
                .append(message)
                .await
                .unwrap();
            // Its time to live begins when it is durable.
            cache.flush().await.unwrap();
        }
        let misses = trial.simulation.tallies()[0].misses;
        assert_eq!(cache.stats().misses, misses);
        counted.push(misses);
    }
    let sessions = lines
        .iter()
        .map(|l| &l.author)
        .collect::<std::collections::HashSet<_>>();
    assert!(
        counted.iter().all(|n| *n > sessions.len() as u64),
        "{counted:?}"
    );
}

#[tokio::test]
async fn over_redis_the_time_to_live_in_force_is_the_simulated_one() {
    let lines = read_log(&fixture()).unwrap();
    let redis = RedisServer::start();
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::shared());
    let cost = Duration::from_secs(20_000);
    let config = RedisConfig::new(redis.url()).prefix("test");
    let cache = builder(&dir, &clock)
        .hot(config)
        .deadline(Duration::from_secs(10))
        .ttl(Economic::new(cost).unwrap())
        .build()
        .await
        .unwrap();
    let mut trial = Trial::new(Arc::new(Economic::new(cost).unwrap()));
    let mut now = 0;
    for (n, line) in lines.iter().take(400).enumerate() {
        let at = since_start(&lines, line);
        clock.advance(Duration::from_millis(at - now));
        now = at;
        let message = message(n, line);
        let expected = trial.take(1_700_000_000_000 + at, &line.author, &message);
        let key = session_key(&line.author);
        let session = cache.session(key.clone());
        session.append(message).await.unwrap();
        cache.flush().await.unwrap();
        let address = Address::from(&key);
        let log = format!("test:{{p{}}}:log:{address}", address.partition());
        let left: u64 = redis.cli(&["PTTL", &log]).trim().parse().unwrap();
        let expected = u64::try_from(expected.as_millis()).unwrap();
        assert!(
            left <= expected && left + 5_000 > expected,
            "{left} of {expected}"
        );
        // What a read changes by less than an eighth is left as it is.
        session.context().await.unwrap();
        let again: u64 = redis.cli(&["PTTL", &log]).trim().parse().unwrap();
        assert!(again <= left, "{again} after {left}: it was told twice");
        let session = trial.numbers[&line.author];
        let bytes = trial.sizes[&session].bytes();
        trial.simulation.event(Event {
            at_ms: 1_700_000_000_000 + at,
            session,
            bytes,
        });
    }
}

/// A time to live of 1 to 5 s, by the size of what was said.
#[derive(Debug)]
struct Short;

fn short(bytes: usize) -> Duration {
    Duration::from_millis(1_000 + bytes as u64 * 7_919 % 4_000)
}

impl TtlPolicy for Short {
    fn touch(&self, estimate: &mut Estimate, touch: Touch) -> Ttl {
        estimate.note(touch.now);
        Ttl::After(short(touch.bytes))
    }
}

#[tokio::test]
async fn a_thousand_sessions_with_short_times_to_live_leave_redis_on_time() {
    let redis = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::builder()
        .shared_store(Arc::new(MemoryStore::new()))
        .journal(dir.path().join("journal"))
        .journal_limits(1 << 30, 0)
        .hot(RedisConfig::new(redis.url()).prefix("test"))
        .ttl(Short)
        .deadline(Duration::from_secs(10))
        .flush_every(Duration::from_millis(20))
        .build()
        .await
        .unwrap();
    let mut due = HashMap::new();
    let began = std::time::Instant::now();
    for n in 0..1_000_usize {
        let key = SessionKey::new("test", "bot").channel(n);
        let message = say("1", &"x".repeat(n));
        let ttl = short(message.bytes());
        cache.session(key.clone()).append(message).await.unwrap();
        due.insert(Address::from(&key).to_string(), began.elapsed() + ttl);
    }
    let mut late = Duration::ZERO;
    while !due.is_empty() {
        let asked = began.elapsed();
        let keys = redis.cli(&["KEYS", "test:*:log:*"]);
        let seen = began.elapsed();
        let left: std::collections::HashSet<&str> = keys
            .lines()
            .filter_map(|k| k.split(":log:").nth(1))
            .collect();
        due.retain(|session, at| {
            if left.contains(session.as_str()) {
                late = late.max(asked.saturating_sub(*at));
                return true;
            }
            assert!(
                seen + Duration::from_millis(100) > *at,
                "{session} left early: {seen:?}, due at {at:?}"
            );
            false
        });
        assert!(asked < Duration::from_secs(60), "{} are left", due.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(late < Duration::from_secs(1), "one left {late:?} too late");
}

/// One data directory, a clock moved by hand, one cache at a time.
struct Home {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Home {
    fn new() -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::shared());
        Self { dir, clock }
    }

    async fn start(&self, policy: impl TtlPolicy) -> Cache {
        Cache::builder()
            .store(SledConfig::new(self.dir.path()))
            .clock(Arc::clone(&self.clock) as _)
            .journal_limits(1 << 30, 0)
            .flush_every(Duration::from_secs(3600))
            .ttl(policy)
            .build()
            .await
            .unwrap()
    }

    /// What the store keeps of the session, while no cache has it open.
    fn kept(&self) -> Option<Estimate> {
        let (store, _) = SledStore::open(&SledConfig::new(self.dir.path())).unwrap();
        let kept = store.estimate(&Address::from(&key("c"))).unwrap();
        store.close().unwrap();
        kept
    }
}

async fn close(cache: Cache) {
    cache.close(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn an_estimate_outlives_expiry_and_restart_also_what_only_reads_have_told() {
    let home = Home::new();
    let policy = || Learned::new(DAY).unwrap();
    let cache = home.start(policy()).await;
    let session = cache.session(key("c"));
    for n in 0..3 {
        session.append(say(&n.to_string(), "x")).await.unwrap();
        home.clock.advance(Duration::from_secs(1000));
    }
    cache.flush().await.unwrap();
    session.context().await.unwrap();
    session.context().await.unwrap();
    drop(session);
    // It expires; then it is gone on with.
    home.clock.advance(DAY);
    cache.session(key("c")).append(say("9", "y")).await.unwrap();
    close(cache).await;
    let kept = home.kept().unwrap();
    assert_eq!(kept.touches, 6);
    assert!(kept.returns.iter().all(|r| r.seen > 0.9), "{kept:?}");
    // A restart changes nothing of it; a read is told at the end.
    close(home.start(policy()).await).await;
    assert_eq!(home.kept(), Some(kept));
    let cache = home.start(policy()).await;
    cache.session(key("c")).context().await.unwrap();
    close(cache).await;
    assert_eq!(home.kept().unwrap().touches, 7);
}

#[tokio::test]
async fn a_crash_leaves_the_estimate_of_the_last_flush() {
    let home = Home::new();
    let cache = home.start(Sliding::default()).await;
    let session = cache.session(key("c"));
    session.append(say("1", "x")).await.unwrap();
    cache.flush().await.unwrap();
    session.append(say("2", "x")).await.unwrap();
    drop(session);
    crash(cache).await;
    until("the store is free", async || {
        SledStore::open(&SledConfig::new(home.dir.path())).is_ok()
    })
    .await;
    assert_eq!(home.kept().unwrap().touches, 1);
}

#[tokio::test]
async fn forgetting_a_session_forgets_when_it_was_touched() {
    let home = Home::new();
    let cache = home.start(Sliding::default()).await;
    let session = cache.session(key("c"));
    session.append(say("1", "x")).await.unwrap();
    cache.flush().await.unwrap();
    session.forget().await.unwrap();
    drop(session);
    close(cache).await;
    assert_eq!(home.kept(), None);
}

#[tokio::test]
async fn what_was_only_replayed_leaves_the_hot_tier_in_its_time_too() {
    let home = Home::new();
    let cache = home.start(Sliding::default()).await;
    let session = cache.session(key("c"));
    session.append(say("1", "x")).await.unwrap();
    cache.flush().await.unwrap();
    session.append(say("2", "y")).await.unwrap();
    drop(session);
    crash(cache).await;
    let cache = home.start(Sliding::default()).await;
    // Makes durable what was replayed; nobody has used the session here.
    cache.flush().await.unwrap();
    home.clock.advance(Duration::from_secs(7_200));
    let before = cache.stats().misses;
    cache.session(key("c")).context().await.unwrap();
    let misses = cache.stats().misses - before;
    assert_eq!(misses, 1, "it had not left the hot tier");
    close(cache).await;
}

#[tokio::test]
async fn a_wall_clock_that_jumps_a_year_expires_nothing_and_teaches_nothing() {
    let home = Home::new();
    let wall = |days: u64| {
        let now = 1_700_000_000_000 + days * 86_400_000;
        home.clock.set_wall_ms(now);
    };
    let learned = |p: &Learned| {
        p.learned()
            .into_iter()
            .find(|(n, _)| *n == "people")
            .unwrap()
            .1
    };
    let gap = Duration::from_secs(10);
    let mut last = Arc::new(Learned::new(DAY).unwrap());
    let mut n = 0;
    // In the middle of a process, then at its start, then back again.
    for days in [0, 365, 0] {
        wall(days);
        last = Arc::new(Learned::new(DAY).unwrap());
        let cache = home.start(Arc::clone(&last)).await;
        let session = cache.session(key("c"));
        for jump in [days, 365 - days] {
            wall(jump);
            n += 1;
            session.append(say(&n.to_string(), "x")).await.unwrap();
            cache.flush().await.unwrap();
            home.clock.advance(gap);
        }
        assert_eq!(
            cache.stats().misses,
            1,
            "the first touch in a process is the only one"
        );
        drop(session);
        close(cache).await;
    }
    // As it would be without any jump, but for the gaps between the processes, of which nothing is known.
    let plain = Learned::new(DAY).unwrap();
    let mut estimate = Estimate::default();
    let mut now = Duration::from_secs(1_700_000_000);
    for known in [false, true, false, true, false, true] {
        now += gap;
        if !known {
            estimate.last_ms = 0;
        }
        let (bytes, kind) = (0, Kind::People);
        plain.touch(&mut estimate, Touch { now, bytes, kind });
    }
    assert_eq!(learned(&last), learned(&plain));
    assert_eq!(home.kept().unwrap().touches, 6);
}
