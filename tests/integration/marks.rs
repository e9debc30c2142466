//! Dirty marks against appends, clearings and givings-up that cross them, one fact each (P1, P4, P9): each of these
//! fails when its remedy is taken out.

use harness::world::{TTL, World, context, crash, fill, history, key, texts, until};
use scrollback::Message;
use scrollback::hot::{HotTier, WriterId};

#[tokio::test]
async fn a_session_with_something_to_flush_never_expires() {
    let world = World::in_memory();
    let a = world.cache("a").await;
    let s = a.session(key("c"));
    fill(&s, 1..=1).await;
    a.flush().await.unwrap();
    // The mark was cleared with that flush; the next append must set it again.
    world.store.set_no_flush(true);
    fill(&s, 2..=2).await;
    // A round that could not make it durable must not clear the mark.
    assert!(a.flush().await.is_err());
    world.clock.advance(TTL * 10);
    let another = world.cache("b").await;
    assert_eq!(context(&another.session(key("c"))).await, texts(1..=2));
    assert_eq!(context(&s).await, texts(1..=2));
    world.store.set_no_flush(false);
    // The second one took over what the first had not flushed, and marked it.
    for cache in [&a, &another, &a] {
        cache.flush().await.unwrap();
    }
    world.clock.advance(TTL * 10);
    assert_eq!(context(&s).await, texts(1..=2));
    let misses = a.stats().misses;
    assert!(misses >= 2, "{misses}: it did not expire once it was clean");
}

#[tokio::test]
async fn a_mark_set_while_marks_are_cleared_is_not_cleared_with_them() {
    let world = World::in_memory();
    let a = world.cache("a").await;
    fill(&a.session(key("c")), 1..=1).await;
    let mut settling = world.hot.hold_next_settle();
    let flushing = tokio::spawn({
        let a = a.clone();
        async move { a.flush().await }
    });
    settling.arrived().await;
    world.store.set_no_flush(true);
    let appending = tokio::spawn({
        let s = a.session(key("c"));
        async move { fill(&s, 2..=2).await }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    settling.go();
    flushing.await.unwrap().unwrap();
    appending.await.unwrap();
    world.clock.advance(TTL * 10);
    let other = world.cache("b").await;
    assert_eq!(context(&other.session(key("c"))).await, texts(1..=2));
}

#[tokio::test]
async fn a_session_stays_while_any_of_its_writers_has_something_to_flush() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    fill(&sa, 1..=1).await;
    assert_eq!(context(&sb).await, texts(1..=1));
    // The second process has published the log; its mark came with that, not with an append.
    fill(&sb, 2..=2).await;
    fill(&sa, 3..=3).await;
    a.flush().await.unwrap();
    world.clock.advance(TTL * 10);
    let c = world.cache("c").await;
    assert_eq!(context(&c.session(key("c"))).await, texts(1..=3));
}

#[tokio::test]
async fn an_append_given_up_on_its_way_is_there_once_and_its_mark_is_cleared() {
    for polls in 1..=3 {
        let world = World::in_memory();
        let memory = world.memory.clone().unwrap();
        let cache = world.cache("a").await;
        let s = cache.session(key("c"));
        fill(&s, 1..=1).await;
        cache.flush().await.unwrap();
        world.hot.set_slow();
        for again in [true, false] {
            {
                // No platform id: only its entry's id tells it from a second one.
                let append = s.append(Message::assistant(format!("given up {again}")));
                tokio::pin!(append);
                for _ in 0..polls {
                    if futures::future::poll_immediate(&mut append).await.is_some() {
                        break;
                    }
                }
            }
            if again {
                fill(&s, 2..=2).await;
            }
            cache.flush().await.unwrap();
        }
        let want = ["m1", "given up true", "m2", "given up false"];
        assert_eq!(context(&s).await, want, "after {polls} polls");
        assert_eq!(history(&s).await, want, "after {polls} polls");
        let other = world.cache("b").await;
        assert_eq!(context(&other.session(key("c"))).await, want);
        other.flush().await.unwrap();
        cache.flush().await.unwrap();
        world.clock.advance(TTL * 10);
        assert!(!context(&s).await.is_empty());
        assert_eq!(memory.sessions(), 1);
        let misses = cache.stats().misses;
        assert!(
            misses >= 2,
            "{misses}: a mark was left and it did not expire"
        );
    }
}

#[tokio::test]
async fn a_mark_that_a_crash_left_behind_is_cleared_by_the_next_run() {
    let world = World::in_memory();
    let memory = world.memory.clone().unwrap();
    let a = world.cache("a").await;
    fill(&a.session(key("c")), 1..=1).await;
    let mut settling = world.hot.hold_next_settle();
    let flushing = tokio::spawn({
        let a = a.clone();
        async move { a.flush().await }
    });
    // All is durable and nothing is left in the journal; the mark alone tells that there was something.
    settling.arrived().await;
    flushing.abort();
    assert!(flushing.await.is_err());
    crash(a).await;
    let name = std::fs::read_to_string(world.dir.path().join("journal-a/writer")).unwrap();
    let writer = WriterId(name);
    assert_eq!(memory.marked(&writer).await.unwrap().len(), 1);
    let _a = world.cache("a").await;
    let cleared = async || memory.marked(&writer).await.unwrap().is_empty();
    until("the mark is cleared", cleared).await;
}
