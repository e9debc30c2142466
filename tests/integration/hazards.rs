//! The hazards of the data path, one fact each (P1, P2, P4, P9, P10, P13, P14): each of these fails when its
//! remedy is taken out.

use std::time::Duration;

use harness::faulty::Fault;
use harness::world::{TTL, World, context, crash, fill, history, key, say, texts};
use scrollback::key::Address;
use scrollback::{Error, Message};

#[tokio::test]
async fn what_is_appended_is_read_in_order_at_once_and_after_a_flush() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let s = cache.session(key("c"));
    fill(&s, 1..=30).await;
    assert_eq!(history(&s).await, texts(1..=30));
    cache.flush().await.unwrap();
    assert_eq!(history(&s).await, texts(1..=30));
    let shown = context(&s).await;
    assert!(shown.len() <= 10 && shown.last().unwrap() == "m30");
    assert!(cache.verify().await.unwrap().violations.is_empty());
}

#[tokio::test]
async fn a_crash_loses_nothing_acknowledged_whatever_the_hot_tier_remembers() {
    for lose in [false, true] {
        let world = World::in_memory();
        world.store.set_no_flush(true);
        let cache = world.cache("a").await;
        fill(&cache.session(key("c")), 1..=30).await;
        crash(cache).await;
        if lose {
            world.memory.as_ref().unwrap().lose_everything();
        }
        world.store.set_no_flush(false);
        let cache = world.cache("a").await;
        let s = cache.session(key("c"));
        assert_eq!(
            history(&s).await,
            texts(1..=30),
            "before a flush, tier lost: {lose}"
        );
        cache.flush().await.unwrap();
        assert_eq!(
            history(&s).await,
            texts(1..=30),
            "after it, tier lost: {lose}"
        );
        assert!(cache.verify().await.unwrap().violations.is_empty());
    }
}

#[tokio::test]
async fn a_hot_tier_that_came_back_older_hides_no_gap_from_a_writer_that_is_ahead() {
    // The second writer is ahead of what comes back as well, or it stands just there.
    for both in [true, false] {
        let world = World::in_memory();
        let memory = world.memory.clone().unwrap();
        let (a, b) = (world.cache("a").await, world.cache("b").await);
        let (sa, sb) = (a.session(key("c")), b.session(key("c")));
        fill(&sa, 1..=5).await;
        if !both {
            assert_eq!(context(&sb).await, texts(1..=5));
        }
        let older = memory.snapshot();
        fill(&sa, 6..=8).await;
        if both {
            assert_eq!(context(&sb).await, texts(1..=8));
        }
        memory.restore(&older);
        // Either number would fit behind the older log; each writer must still be seen by the other at once.
        sb.append(say("9", "m9")).await.unwrap();
        if both {
            assert_eq!(history(&sb).await, texts(1..=9));
        }
        let turn = sa.append(say("10", "m10")).await.unwrap();
        let mut all = texts(1..=10);
        all.sort_unstable();
        let mut shown: Vec<String> = turn
            .context()
            .messages
            .iter()
            .map(|m| m.text.clone())
            .collect();
        shown.sort_unstable();
        assert_eq!(shown, all, "both ahead: {both}");
        let mut shown = context(&sb).await;
        shown.sort_unstable();
        assert_eq!(shown, all, "both ahead: {both}");
        for cache in [&a, &b, &a] {
            cache.flush().await.unwrap();
        }
        for s in [&sa, &sb] {
            let mut got = history(s).await;
            got.sort_unstable();
            assert_eq!(got, all);
        }
        assert_eq!(history(&sa).await, history(&sb).await);
        assert!(a.verify().await.unwrap().violations.is_empty());
    }
}

#[tokio::test]
async fn a_flush_of_an_epoch_that_is_over_reaches_those_who_went_on_in_a_newer_one() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    fill(&sa, 1..=3).await;
    assert_eq!(context(&sb).await, texts(1..=3));
    fill(&sb, 4..=4).await;
    fill(&sa, 5..=6).await;
    world.memory.as_ref().unwrap().lose_everything();
    // The store has nothing of 5 and 6, and their numbers are free there.
    assert_eq!(context(&sb).await, texts(1..=4));
    b.flush().await.unwrap();
    a.flush().await.unwrap();
    assert_eq!(context(&sb).await, texts(1..=6));
    assert_eq!(history(&sb).await, texts(1..=6));
}

#[tokio::test]
async fn an_older_epochs_log_put_back_is_not_believed() {
    let world = World::in_memory();
    let memory = world.memory.clone().unwrap();
    let a = world.cache("a").await;
    let sa = a.session(key("c"));
    fill(&sa, 1..=3).await;
    let older = memory.snapshot();
    a.flush().await.unwrap();
    memory.lose_everything();
    fill(&sa, 4..=9).await;
    a.flush().await.unwrap();
    memory.restore(&older);
    let b = world.cache("b").await;
    assert_eq!(context(&b.session(key("c"))).await, texts(1..=9));
    fill(&b.session(key("c")), 10..=10).await;
    assert_eq!(context(&sa).await.last().unwrap(), "m10");
}

#[tokio::test]
async fn a_lost_reply_and_a_lost_request_each_append_exactly_once() {
    for fault in [Fault::LostReply, Fault::LostRequest] {
        let world = World::in_memory();
        let cache = world.cache("a").await;
        let s = cache.session(key("c"));
        fill(&s, 1..=2).await;
        world.hot.fail_next(fault);
        let turn = s.append(say("3", "m3")).await.unwrap();
        assert!(turn.receipt().degraded);
        fill(&s, 4..=5).await;
        assert_eq!(history(&s).await, texts(1..=5), "{fault:?}");
        cache.flush().await.unwrap();
        assert_eq!(history(&s).await, texts(1..=5), "{fault:?}");
        let other = world.cache("b").await;
        assert_eq!(
            context(&other.session(key("c"))).await,
            texts(1..=5),
            "{fault:?}"
        );
        assert!(cache.verify().await.unwrap().violations.is_empty());
    }
}

#[tokio::test]
async fn the_bot_goes_on_while_the_hot_tier_is_away_and_reconciles_once() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    fill(&sa, 1..=3).await;
    world.hot.set_away(true);
    for n in 4..=6 {
        assert!(
            sa.append(say(&n.to_string(), &format!("m{n}")))
                .await
                .unwrap()
                .receipt()
                .degraded
        );
    }
    assert_eq!(history(&sa).await, texts(1..=6));
    assert!(sa.context().await.unwrap().stale);
    world.hot.set_away(false);
    let turn = sa.append(say("7", "m7")).await.unwrap();
    assert!(!turn.receipt().degraded);
    assert_eq!(context(&sb).await, texts(1..=7));
    a.flush().await.unwrap();
    assert_eq!(history(&sb).await, texts(1..=7));
    assert!(a.verify().await.unwrap().violations.is_empty());
}

#[tokio::test]
async fn a_refused_state_write_does_not_come_back_after_a_crash() {
    let world = World::in_memory();
    world.store.set_no_flush(true);
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    fill(&sa, 1..=1).await;
    assert_eq!(sb.state::<String>().await.unwrap(), None);
    sa.set_state(&"by a".to_owned()).await.unwrap();
    let refused = sb.set_state(&"by b".to_owned()).await;
    assert!(
        matches!(
            refused,
            Err(Error::Conflict {
                expected: 0,
                actual: 1
            })
        ),
        "{refused:?}"
    );
    drop(sb);
    crash(b).await;
    world.store.set_no_flush(false);
    // Only the winner's journal holds the state now, and the refused one is replayed before it: nothing
    // but its record in the journal keeps it out.
    world.memory.as_ref().unwrap().lose_everything();
    let b = world.cache("b").await;
    b.flush().await.unwrap();
    a.flush().await.unwrap();
    for cache in [&a, &b] {
        let s = cache.session(key("c"));
        assert_eq!(
            s.state::<String>().await.unwrap(),
            Some((1, "by a".to_owned()))
        );
    }
}

#[tokio::test]
async fn a_state_write_while_the_hot_tier_is_away_is_unavailable_and_stays_out() {
    let world = World::in_memory();
    let a = world.cache("a").await;
    let s = a.session(key("c"));
    fill(&s, 1..=1).await;
    world.hot.set_away(true);
    assert!(matches!(
        s.set_state(&1u32).await,
        Err(Error::Unavailable { .. })
    ));
    world.hot.set_away(false);
    fill(&s, 2..=2).await;
    a.flush().await.unwrap();
    assert_eq!(s.state::<u32>().await.unwrap(), None);
    world.hot.fail_next(Fault::LostRequest);
    assert!(matches!(
        s.set_state(&2u32).await,
        Err(Error::Unavailable { .. })
    ));
    assert_eq!(s.state::<u32>().await.unwrap(), None);
    assert_eq!(s.set_state(&3u32).await.unwrap(), 1);
}

#[tokio::test]
async fn the_state_survives_the_trim_of_its_entry() {
    let world = World::in_memory();
    // The second reader builds its replica from the trimmed log alone.
    world.hot.set_trusted();
    let a = world.cache("a").await;
    let s = a.session(key("c"));
    s.set_state(&"kept".to_owned()).await.unwrap();
    for round in 0..10 {
        fill(&s, round * 30 + 1..=round * 30 + 30).await;
        a.flush().await.unwrap();
    }
    let memory = world.memory.clone().unwrap();
    assert!(
        memory.bytes() < 100 * 300,
        "nothing was trimmed: {} bytes",
        memory.bytes()
    );
    let b = world.cache("b").await;
    let sb = b.session(key("c"));
    assert_eq!(
        sb.state::<String>().await.unwrap(),
        Some((1, "kept".to_owned()))
    );
    assert_eq!(context(&sb).await, context(&s).await);
    // A reader that has to build its replica from the trimmed log itself, not from the store.
    world.store.set_no_flush(true);
    fill(&s, 301..=303).await;
    assert_eq!(context(&sb).await, context(&s).await);
}

#[tokio::test]
async fn a_context_starts_at_the_same_message_for_who_has_only_the_trimmed_log() {
    let world = World::in_memory();
    world.hot.set_trusted();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (s, sb) = (a.session(key("c")), b.session(key("c")));
    // What the other has not flushed is not trimmed: the log begins long before the cut.
    for n in 1..=200 {
        fill(if n % 2 == 0 { &s } else { &sb }, n..=n).await;
        if n % 17 == 0 {
            a.flush().await.unwrap();
        }
        if n % 41 == 0 {
            b.flush().await.unwrap();
        }
        let reader = world.cache(&format!("reader-{n}")).await;
        let shown = context(&reader.session(key("c"))).await;
        assert_eq!(shown, context(&s).await, "after m{n}");
    }
}

#[tokio::test]
async fn a_redelivered_id_changes_nothing_however_old_it_is() {
    for prefix in ["", "id-"] {
        let world = World::in_memory();
        let cache = world.cache("a").await;
        let s = cache.session(key("c"));
        let id = |n: u32| format!("{prefix}{n}");
        for n in 1..=200 {
            s.append(say(&id(n), &format!("m{n}"))).await.unwrap();
        }
        let again = |n: u32| s.append(say(&id(n), "again"));
        assert!(again(3).await.unwrap().receipt().duplicate);
        cache.flush().await.unwrap();
        for n in 1..=60 {
            s.append(say(&id(1000 + n), "later")).await.unwrap();
        }
        cache.flush().await.unwrap();
        s.append(say(&id(2000), "trims")).await.unwrap();
        assert!(again(3).await.unwrap().receipt().duplicate, "after a trim");
        world.clock.advance(TTL * 2);
        cache.flush().await.unwrap();
        assert!(again(3).await.unwrap().receipt().duplicate, "after expiry");
        let other = world.cache("b").await;
        let turn = other
            .session(key("c"))
            .append(say(&id(3), "again"))
            .await
            .unwrap();
        assert!(turn.receipt().duplicate, "from another process");
        assert!(!history(&s).await.contains(&"again".to_owned()));
    }
}

#[tokio::test]
async fn a_cancelled_append_is_there_once_or_not_at_all() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let s = cache.session(key("c"));
    fill(&s, 1..=1).await;
    for n in 2..=40 {
        let text = format!("m{n}");
        let id = n.to_string();
        let append = s.append(say(&id, &text));
        tokio::pin!(append);
        // Polled a few times, then dropped wherever it stands.
        for _ in 0..n % 5 {
            if futures::future::poll_immediate(&mut append).await.is_some() {
                break;
            }
        }
    }
    s.append(say("41", "m41")).await.unwrap();
    cache.flush().await.unwrap();
    let all = history(&s).await;
    let mut once = all.clone();
    once.dedup();
    assert_eq!(all, once);
    assert_eq!(all.last().unwrap(), "m41");
    assert!(cache.verify().await.unwrap().violations.is_empty());
}

#[tokio::test]
async fn a_full_backlog_is_an_error_and_nothing_is_dropped() {
    let world = World::in_memory();
    world.store.set_no_flush(true);
    let wait = Duration::from_millis(20);
    let cache = world
        .builder("a")
        .backlog(1 << 20, 50, wait)
        .build()
        .await
        .unwrap();
    let s = cache.session(key("c"));
    fill(&s, 1..=50).await;
    let refused = s.append(say("51", "m51")).await;
    assert!(
        matches!(
            refused,
            Err(Error::Backpressure {
                waiting: 50,
                limit: 50,
                ..
            })
        ),
        "{refused:?}"
    );
    world.store.set_no_flush(false);
    cache.flush().await.unwrap();
    fill(&s, 51..=51).await;
    assert_eq!(history(&s).await, texts(1..=51));
}

#[tokio::test]
async fn a_closed_cache_refuses_and_leaves_everything_durable() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let s = cache.session(key("c"));
    fill(&s, 1..=5).await;
    let other = world.cache("b").await;
    assert_eq!(cache.close(Duration::from_secs(5)).await.unwrap().left, 0);
    assert!(matches!(s.append(say("6", "m6")).await, Err(Error::Closed)));
    drop((s, cache));
    let hot = other.session(key("c"));
    assert!(hot.append(say("9", "x")).await.is_err() || world.memory.is_some());
    let address = Address::from(&key("c"));
    assert_eq!(address.as_str(), "test/bot/channel=c");
}

#[tokio::test]
async fn what_was_flushed_while_the_hot_tier_was_away_reaches_others_once_it_is_back() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    fill(&sa, 1..=1).await;
    a.flush().await.unwrap();
    world.hot.set_away(true);
    fill(&sb, 2..=2).await;
    b.flush().await.unwrap();
    world.hot.set_away(false);
    // Nobody touches the session through `b` again.
    b.flush().await.unwrap();
    assert_eq!(context(&sa).await, texts(1..=2));
}

#[tokio::test]
async fn a_history_holds_what_others_have_not_flushed_yet() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    world.store.set_no_flush(true);
    fill(&a.session(key("c")), 1..=3).await;
    let sb = b.session(key("c"));
    assert_eq!(history(&sb).await, texts(1..=3), "without a replica");
    assert_eq!(context(&sb).await, texts(1..=3));
    let c = world.cache("c").await;
    assert_eq!(
        history(&c.session(key("c"))).await,
        texts(1..=3),
        "from a snapshot"
    );
}

#[tokio::test]
async fn a_duplicate_that_only_the_store_can_tell_leaves_every_context() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    world.store.set_no_flush(true);
    fill(&sa, 1..=2).await;
    sa.reset().await.unwrap();
    // The second process cannot ask, and the first has flushed nothing: it is new to it.
    world.hot.set_away(true);
    let turn = sb.append(say("2", "m2")).await.unwrap();
    assert!(!turn.receipt().duplicate);
    fill(&sa, 3..=3).await;
    crash(a).await;
    crash(b).await;
    world.hot.set_away(false);
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    world.store.set_no_flush(false);
    for cache in [&b, &a, &b, &a] {
        cache.flush().await.unwrap();
    }
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    assert_eq!(context(&sa).await, context(&sb).await);
    let (all, shown) = (history(&sa).await, context(&sa).await);
    assert_eq!(all, history(&sb).await);
    assert!(all.ends_with(&shown), "{all:?} does not end with {shown:?}");
}

#[tokio::test]
async fn a_redelivery_of_what_was_edited_beyond_the_window_is_a_duplicate() {
    let world = World::in_memory();
    let a = world.cache("a").await;
    let s = a.session(key("c"));
    s.append(say("first", "said long ago")).await.unwrap();
    for _ in 0..20 {
        s.append(Message::assistant("and on")).await.unwrap();
    }
    a.flush().await.unwrap();
    s.edit_at("first", "and edited", 7).await.unwrap();
    a.flush().await.unwrap();
    world.memory.as_ref().unwrap().lose_everything();
    // What is left of it in the window is the edit alone, whose text the store has applied.
    let again = s.append(say("first", "said long ago")).await.unwrap();
    assert!(again.receipt().duplicate);
}
