//! Facts of the data path that a review found broken (P1, P4, P8, P11, P13, P14).

use std::time::Duration;

use harness::faulty::Stall;
use harness::world::{TTL, World, context, crash, fill, history, key, say, texts, until};
use scrollback::key::Address;
use scrollback::{Author, Message};

#[tokio::test]
async fn a_read_after_an_eviction_shows_what_is_not_durable_yet() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let s = cache.session(key("c"));
    fill(&s, 1..=3).await;
    world
        .memory
        .as_ref()
        .unwrap()
        .evict(&Address::from(&key("c")));
    assert_eq!(context(&s).await, texts(1..=3));
}

#[tokio::test]
async fn what_stands_nowhere_yet_comes_last_in_the_history() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    fill(&cache.session(key("c")), 1..=5).await;
    cache.flush().await.unwrap();
    world.store.set_no_flush(true);
    fill(&cache.session(key("c")), 6..=8).await;
    crash(cache).await;
    let cache = world.cache("a").await;
    assert_eq!(history(&cache.session(key("c"))).await, texts(1..=8));
}

#[tokio::test]
async fn a_history_shows_what_another_process_has_not_flushed() {
    let world = World::in_memory();
    let memory = world.memory.clone().unwrap();
    world.store.set_no_flush(true);
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    fill(&a.session(key("c")), 1..=3).await;
    let sb = b.session(key("c"));
    assert_eq!(history(&sb).await, texts(1..=3), "never touched here");
    // The tier came back as it was: the next load copies what is not durable into a snapshot.
    memory.restore(&memory.snapshot());
    assert_eq!(context(&a.session(key("c"))).await, texts(1..=3));
    let c = world.cache("c").await;
    let sc = c.session(key("c"));
    assert_eq!(context(&sc).await, texts(1..=3));
    assert_eq!(history(&sc).await, texts(1..=3), "from a snapshot");
}

#[tokio::test]
async fn what_another_process_forgot_is_not_in_the_history_of_its_writer() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    fill(&sa, 1..=2).await;
    assert_eq!(context(&sb).await, texts(1..=2));
    fill(&sa, 3..=3).await;
    let forgotten = sb.forget().await.unwrap();
    assert!(history(&sa).await.is_empty());
    assert_eq!(forgotten.messages, 3);
}

#[tokio::test]
async fn a_person_is_forgotten_also_where_another_process_has_not_flushed() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let bob = Author::new("test", "bob");
    let sa = a.session(key("c"));
    let by_bob = |n: u32| Message::user(bob.clone(), "by bob").id(n);
    sa.append(by_bob(1)).await.unwrap();
    a.flush().await.unwrap();
    assert_eq!(context(&b.session(key("c"))).await.len(), 1);
    sa.append(by_bob(2)).await.unwrap();
    assert_eq!(b.forget_author(&bob).await.unwrap().messages, 2);
    a.flush().await.unwrap();
    assert!(history(&sa).await.is_empty());
}

#[tokio::test]
async fn a_system_message_beyond_the_window_is_edited_and_deleted() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let sa = a.session(key("c"));
    sa.append(Message::system("old").id("sys")).await.unwrap();
    fill(&sa, 1..=30).await;
    a.flush().await.unwrap();
    world.memory.as_ref().unwrap().lose_everything();
    let sb = b.session(key("c"));
    assert_eq!(context(&sb).await[0], "old");
    sb.edit("sys", "new").await.unwrap();
    assert_eq!(context(&sb).await[0], "new");
    sb.delete("sys").await.unwrap();
    assert_ne!(context(&sb).await[0], "new");
}

#[tokio::test]
async fn a_flush_that_its_caller_gave_up_is_done_by_the_next_round() {
    let world = World::in_memory();
    let cache = world
        .builder("a")
        .flush_every(Duration::from_millis(20))
        .build()
        .await
        .unwrap();
    for polls in 1..12 {
        let s = cache.session(key(&polls.to_string()));
        fill(&s, 1..=1).await;
        let flush = cache.flush();
        tokio::pin!(flush);
        for _ in 0..polls {
            if futures::future::poll_immediate(&mut flush).await.is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    until("all is flushed", async || cache.stats().waiting == 0).await;
}

#[tokio::test]
async fn a_mark_whose_clearing_got_no_answer_is_set_again_and_cleared() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let s = cache.session(key("c"));
    let memory = world.memory.clone().unwrap();
    fill(&s, 1..=1).await;
    world.hot.lose_next_settle();
    cache.flush().await.unwrap();
    world.store.set_no_flush(true);
    fill(&s, 2..=2).await;
    world.clock.advance(TTL * 2);
    assert_eq!(
        context(&world.cache("b").await.session(key("c"))).await,
        texts(1..=2)
    );
    assert_eq!(memory.sessions(), 1);
}

#[tokio::test]
async fn retention_erases_nothing_because_the_clock_jumped() {
    let world = World::in_memory();
    let day = Duration::from_secs(24 * 3600);
    let cache = world
        .builder("a")
        .retention(30 * day)
        .build()
        .await
        .unwrap();
    let s = cache.session(key("c"));
    fill(&s, 1..=3).await;
    cache.flush().await.unwrap();
    let year_on = 1_700_000_000_000 + 366 * 24 * 3_600_000;
    world.clock.set_wall_ms(year_on);
    world.clock.advance(Duration::from_secs(2 * 3600));
    // What is past retention is looked for after the first of these rounds, before the second.
    for n in 4..=5 {
        let turn = s.append(say(&n.to_string(), &format!("m{n}"))).await;
        turn.unwrap().durable().await.unwrap();
    }
    assert_eq!(history(&s).await, texts(1..=5));
}

#[tokio::test]
async fn sessions_only_looked_at_are_not_kept_in_memory() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    for n in 0..20 {
        drop(cache.session(key(&n.to_string())).export().await.unwrap());
    }
    world.clock.advance(TTL * 2);
    let s = cache.session(key("other"));
    for n in 1..=2 {
        world.clock.advance(Duration::from_secs(60));
        let turn = s.append(say(&n.to_string(), "x")).await.unwrap();
        turn.durable().await.unwrap();
    }
    until("the others are dropped", async || {
        cache.stats().sessions <= 1
    })
    .await;
}

#[tokio::test]
async fn a_duplicate_is_durable_only_when_the_first_one_is() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let s = cache.session(key("c"));
    world.store.set_no_flush(true);
    fill(&s, 1..=1).await;
    let again = s.append(say("1", "again")).await.unwrap();
    let done = tokio::time::timeout(Duration::from_millis(200), again.durable()).await;
    assert!(done.is_err());
    world.store.set_no_flush(false);
    again.durable().await.unwrap();
}

#[tokio::test]
async fn a_verification_is_not_alarmed_by_what_another_process_has_in_flight() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    fill(&a.session(key("c")), 1..=3).await;
    a.flush().await.unwrap();
    fill(&b.session(key("c")), 4..=6).await;
    let found = a.verify().await.unwrap().violations;
    assert_eq!(found, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_said_while_the_clock_is_set_back_is_not_past_retention_when_it_is_right_again() {
    let world = World::in_memory();
    let month = Duration::from_secs(30 * 86_400);
    let cache = world.cache("a").await;
    let s = cache.session(key("c"));
    fill(&s, 1..=3).await;
    let right = scrollback::clock::Clock::wall_ms(&*world.clock);
    world.clock.set_wall_ms(right - 12 * 30 * 86_400_000);
    fill(&s, 4..=6).await;
    cache.flush().await.unwrap();
    world.clock.set_wall_ms(right);
    crash(cache).await;
    let builder = world.builder("a").retention(month);
    let cache = builder
        .flush_every(Duration::from_millis(5))
        .build()
        .await
        .unwrap();
    // The first round looks for what is past retention; a second one shows that it was over.
    for n in 7..=8 {
        fill(&cache.session(key("d")), n..=n).await;
        cache.flush().await.unwrap();
    }
    assert_eq!(history(&cache.session(key("c"))).await, texts(1..=6));
}

#[tokio::test]
async fn who_waits_for_durability_has_it_though_the_place_was_refused_and_rounds_are_rare() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let turn = a.session(key("c")).append(say("1", "m1")).await.unwrap();
    world.memory.as_ref().unwrap().lose_everything();
    // A new epoch: what the first one wrote is refused once, and has to be placed again.
    fill(&b.session(key("c")), 2..=2).await;
    let durable = tokio::time::timeout(Duration::from_secs(10), turn.durable()).await;
    durable.unwrap().unwrap();
}

#[tokio::test]
async fn what_two_processes_said_is_read_by_both_while_the_tier_is_away() {
    let world = World::in_memory();
    let memory = world.memory.clone().unwrap();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    fill(&sb, 1..=1).await;
    memory.evict(&Address::from(&key("c")));
    // Not durable and not hot, it is new to the other: of the two entries one is kept.
    fill(&sa, 1..=1).await;
    fill(&sb, 2..=2).await;
    world.hot.set_away(true);
    assert_eq!(history(&sb).await, texts(1..=2));
    world.hot.set_away(false);
    b.flush().await.unwrap();
    a.flush().await.unwrap();
    for s in [&sa, &sb] {
        assert_eq!(history(s).await, texts(1..=2));
    }
}

#[tokio::test]
async fn an_edit_that_came_before_its_message_holds_though_only_the_edit_is_durable_and_left_the_log()
 {
    // Read again from journal and store alone, merged with the log that stands, or taken over from a trimmed one.
    for (case, more) in [("lost", 20), ("merged", 20), ("trimmed", 50)] {
        let world = World::in_memory();
        let a = world.cache("a").await;
        let s = a.session(key("c"));
        s.edit("99", "edited").await.unwrap();
        fill(&s, 1..=more).await;
        world.store.set_stall(Stall::Flushes);
        let flushing = tokio::spawn({
            let a = a.clone();
            async move { a.flush().await }
        });
        until("a flush is under way", async || world.store.hanging() > 0).await;
        s.append(say("99", "said")).await.unwrap();
        world.store.set_stall(Stall::No);
        flushing.await.unwrap().unwrap();
        match case {
            "lost" => world.memory.as_ref().unwrap().lose_everything(),
            "trimmed" => {
                world.hot.set_trusted();
                world.store.set_no_flush(true);
                fill(&s, 51..=52).await;
            }
            _ => {}
        }
        crash(a).await;
        let b = world.cache(if case == "lost" { "a" } else { "b" }).await;
        let shown = context(&b.session(key("c"))).await;
        assert!(shown.contains(&"edited".to_owned()), "{case}: {shown:?}");
        assert!(!shown.contains(&"said".to_owned()), "{case}: {shown:?}");
    }
}

#[tokio::test]
async fn what_was_flushed_without_the_tier_stays_before_what_only_its_log_holds() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    // Both know the log before there is anything in it: who loads it takes over what is not durable.
    assert!(context(&sa).await.is_empty() && context(&sb).await.is_empty());
    fill(&sa, 1..=6).await;
    // Another writer's entry takes a higher number in the store than any of these had in the log.
    sb.append(say("70", "other")).await.unwrap();
    b.flush().await.unwrap();
    world.hot.set_away(true);
    world.store.cut_next_flush(3);
    fill(&sa, 7..=7).await;
    assert!(a.flush().await.is_err());
    world.hot.set_away(false);
    world.store.set_no_flush(false);
    let own =
        |all: Vec<String>| -> Vec<String> { all.into_iter().filter(|t| t != "other").collect() };
    assert_eq!(own(context(&sa).await), texts(1..=7));
    a.flush().await.unwrap();
    assert_eq!(own(history(&sa).await), texts(1..=7));
    assert_eq!(own(context(&sb).await), texts(1..=7));
}

#[tokio::test]
async fn what_another_process_makes_durable_while_it_is_placed_again_leaves_no_gap() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    // More than a window, with ids that are no numbers: what is placed again is looked up in the store.
    for n in 1..=46 {
        let said = say(&format!("x{n}"), &format!("m{n}"));
        // Also where only a part of it, which has an id, is found again.
        let answer = (n > 40).then(|| Message::assistant(format!("to m{n}")));
        sb.append_all([said].into_iter().chain(answer))
            .await
            .unwrap();
        if n == 40 {
            b.flush().await.unwrap();
        }
    }
    assert_eq!(context(&sa).await.last().unwrap(), "to m46", "taken over");
    world.hot.set_away(true);
    let runtime = tokio::runtime::Handle::current();
    let store = std::sync::Arc::clone(&world.store);
    world
        .store
        .after_find(move || runtime.block_on(a.flush()).unwrap());
    let turn = sb.append(say("x47", "m47")).await.unwrap();
    assert!(store.flushes() > 1, "the other one has flushed meanwhile");
    let shown = turn.context().messages.iter().map(|m| m.text.clone());
    let shown: Vec<_> = shown.collect();
    let all = history(&sb).await;
    assert_eq!(all.len(), 47 + 6);
    let (_, newest) = all.split_at(all.len() - shown.len());
    assert!(shown.len() > 5, "{shown:?}");
    assert_eq!(shown, newest);
}

#[tokio::test]
async fn a_context_that_entries_cut_which_are_lost_with_the_log_is_not_left_short() {
    let world = World::in_memory();
    let memory = world.memory.clone().unwrap();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    assert!(context(&sa).await.is_empty() && context(&sb).await.is_empty());
    fill(&sa, 1..=10).await;
    // The other's cut the context, for the one that flushes too, and are not durable when the log is lost.
    fill(&sb, 11..=18).await;
    assert!(context(&sa).await.len() <= 10);
    a.flush().await.unwrap();
    memory.lose_everything();
    assert_eq!(context(&sa).await, texts(1..=10));
    assert_eq!(context(&sb).await.last(), texts(18..=18).last());
    a.flush().await.unwrap();
    b.flush().await.unwrap();
    assert_eq!(history(&sb).await, texts(1..=18));
    assert_eq!(context(&sa).await, context(&sb).await);
}
