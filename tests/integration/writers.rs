//! Several writers on the same sessions (P1, P10): two caches of one process over one hot tier and one store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use harness::world::{World, context, fill, history, key, say, texts};
use scrollback::hot::redis::RedisTier;
use scrollback::testing::{ManualClock, RedisServer};
use scrollback::{Cache, RedisConfig, Session};

const SESSIONS: usize = 20;
const TASKS: usize = 8;
const APPENDS: usize = 50;

/// Eight tasks, half of them on each cache, append to the same twenty sessions.
///
/// Undisturbed, the numbers of every log have no gap; a lost log may leave some that nobody gets again.
async fn run(world: &World, disturbed: bool, disturb: impl Fn(usize) + Send + Sync + 'static) {
    let disturb = Arc::new(disturb);
    let mut caches = Vec::new();
    for name in ["a", "b"] {
        let every = Duration::from_millis(20);
        caches.push(
            world
                .builder(name)
                .flush_every(every)
                .build()
                .await
                .unwrap(),
        );
    }
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (cache, disturb) = (caches[task % 2].clone(), Arc::clone(&disturb));
        tasks.spawn(async move {
            for n in 0..APPENDS {
                if task == 0 {
                    disturb(n);
                }
                for session in 0..SESSIONS {
                    let s = cache.session(key(&session.to_string()));
                    let id = format!("{task}-{n}");
                    let turn = s.append(say(&id, &id)).await.unwrap();
                    assert!(!turn.receipt().duplicate, "{id}");
                    let context = &turn.context().messages;
                    // The newest, or, where the session moved to another epoch meanwhile, with what
                    // others said since behind it.
                    if !context.iter().any(|m| m.text == id) {
                        // Or a whole window of it: what another process places again in a new epoch.
                        let all = s.export().await.unwrap();
                        let at = all.iter().position(|(_, m)| m.text == id).unwrap();
                        let behind = all.len() - at > context.len();
                        assert!(disturbed && behind, "{id} is not in its context");
                    }
                }
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    for cache in &caches {
        cache.flush().await.unwrap();
    }
    check(&caches, disturbed).await;
}

async fn check(caches: &[Cache], disturbed: bool) {
    for session in 0..SESSIONS {
        let handles: Vec<Session> = caches
            .iter()
            .map(|c| c.session(key(&session.to_string())))
            .collect();
        let histories = [
            handles[0].export().await.unwrap(),
            handles[1].export().await.unwrap(),
        ];
        assert_eq!(histories[0], histories[1]);
        let history = &histories[0];
        assert_eq!(
            history.len(),
            TASKS * APPENDS,
            "lost or doubled in session {session}"
        );
        let mut next: HashMap<&str, usize> = HashMap::new();
        for (place, (seq, message)) in history.iter().enumerate() {
            let (task, n) = message.text.split_once('-').unwrap();
            let next = next.entry(task).or_default();
            assert_eq!(
                n.parse::<usize>().unwrap(),
                *next,
                "order of task {task} in session {session}"
            );
            *next += 1;
            assert!(
                disturbed || seq.number() == place as u64 + 1,
                "the log has a gap"
            );
        }
        let contexts = [
            handles[0].context().await.unwrap(),
            handles[1].context().await.unwrap(),
        ];
        assert_eq!(
            contexts[0].messages, contexts[1].messages,
            "replicas differ in session {session}"
        );
    }
    for cache in caches {
        let found = cache.verify().await.unwrap();
        assert_eq!(found.violations, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_caches_over_one_in_process_tier_lose_double_and_reorder_nothing() {
    run(&World::in_memory(), false, |_| ()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_caches_survive_a_tier_that_is_emptied_and_put_back_under_them() {
    let world = World::in_memory();
    let memory = world.memory.clone().unwrap();
    let older = std::sync::Mutex::new(None);
    run(&world, true, move |n| match n {
        10 | 40 => memory.lose_everything(),
        20 => *older.lock().unwrap() = Some(memory.snapshot()),
        25 | 30 => memory.restore(older.lock().unwrap().as_ref().unwrap()),
        _ => {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_caches_over_one_redis_lose_double_and_reorder_nothing() {
    let server = RedisServer::start();
    let config = RedisConfig::new(server.url()).deadline(Duration::from_secs(2));
    let world = World::over(
        Arc::new(RedisTier::new(config).unwrap()),
        ManualClock::shared(),
    );
    run(&world, false, |_| ()).await;
}

#[tokio::test]
async fn a_new_epoch_keeps_the_order_of_two_writers_of_whom_one_has_flushed() {
    let world = World::in_memory();
    let memory = world.memory.clone().unwrap();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    for n in 1..=6 {
        fill(if n % 2 == 1 { &sa } else { &sb }, n..=n).await;
    }
    assert_eq!(context(&sa).await, texts(1..=6));
    a.flush().await.unwrap();
    memory.restore(&memory.snapshot());
    assert_eq!(context(&sb).await, texts(1..=6));
    b.flush().await.unwrap();
    assert_eq!(history(&sa).await, texts(1..=6));
    assert!(a.verify().await.unwrap().violations.is_empty());
}

#[tokio::test]
async fn two_processes_that_take_turns_do_not_hydrate_for_each_other() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    for n in 1..=20 {
        fill(if n % 2 == 1 { &sa } else { &sb }, n..=n).await;
    }
    assert_eq!(context(&sa).await, context(&sb).await);
    let misses = a.stats().misses + b.stats().misses;
    assert!(misses <= 3, "{misses} hydrations");
}

#[tokio::test(start_paused = true)]
async fn an_append_finds_its_way_between_those_of_a_process_that_never_pauses() {
    let world = World::in_memory();
    let memory = world.memory.clone().unwrap();
    let a = world.cache("a").await;
    let near = world.builder("b").hot_tier(memory as _);
    let b = near.build().await.unwrap();
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    fill(&sb, 1..=1).await;
    assert_eq!(context(&sa).await, texts(1..=1));
    // Of `a`; whoever is nearer appends within it.
    world.hot.set_delay(Duration::from_millis(2));
    let busy = tokio::spawn(async move {
        // First as fast as who places again all that waited for it; then too fast for who pauses and does not look again.
        let paces = std::iter::repeat_n(1, 50).chain(std::iter::repeat(3));
        for (pace, n) in paces.zip((2..).step_by(12)) {
            tokio::time::sleep(Duration::from_millis(pace)).await;
            // More than a context holds.
            fill(&sb, n..=n + 11).await;
        }
    });
    let append = sa.append(say("a", "a"));
    let turn = tokio::time::timeout(Duration::from_secs(5), append).await;
    busy.abort();
    let turn = turn.unwrap().unwrap();
    let shown = &turn.context().messages;
    assert_eq!(shown.last().unwrap().text, "a");
    assert!(shown.len() > 2, "nobody was ahead");
}
