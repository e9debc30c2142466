//! Edits, deletes and erasures on the data path, one fact each (P13, P14): each of these fails when its
//! remedy is taken out.

use harness::world::{World, context, crash, fill, history, key, say, texts};
use scrollback::{Author, Message};

#[tokio::test]
async fn what_was_forgotten_stays_gone_when_it_is_redelivered_or_was_in_flight() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    fill(&sa, 1..=5).await;
    a.flush().await.unwrap();
    fill(&sa, 6..=7).await;
    assert_eq!(context(&sb).await, texts(1..=7));
    let forgotten = sa.forget().await.unwrap();
    assert_eq!((forgotten.sessions, forgotten.messages), (1, 7));
    // First who did not forget: the log that it follows must be gone already.
    for s in [&sb, &sa] {
        assert!(context(s).await.is_empty());
        assert!(history(s).await.is_empty());
        assert!(
            s.append(say("3", "again"))
                .await
                .unwrap()
                .receipt()
                .duplicate
        );
        assert!(
            s.append(say("7", "again"))
                .await
                .unwrap()
                .receipt()
                .duplicate
        );
    }
    fill(&sb, 8..=8).await;
    b.flush().await.unwrap();
    assert_eq!(history(&sa).await, ["m8"]);
    crash(a).await;
    drop(sa);
    let a = world.cache("a").await;
    a.flush().await.unwrap();
    assert_eq!(history(&a.session(key("c"))).await, ["m8"]);
    assert!(a.verify().await.unwrap().violations.is_empty());
}

#[tokio::test]
async fn a_journal_that_was_away_while_its_texts_were_forgotten_does_not_bring_them_back() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    world.store.set_no_flush(true);
    let sa = a.session(key("c"));
    fill(&sa, 1..=3).await;
    drop(sa);
    crash(a).await;
    world.store.set_no_flush(false);
    let sb = b.session(key("c"));
    assert_eq!(context(&sb).await, texts(1..=3));
    assert_eq!(sb.forget().await.unwrap().messages, 3);
    let a = world.cache("a").await;
    a.flush().await.unwrap();
    assert!(history(&a.session(key("c"))).await.is_empty());
    assert!(context(&a.session(key("c"))).await.is_empty());
}

#[tokio::test]
async fn what_was_forgotten_before_anybody_else_saw_it_stays_gone() {
    for (in_journal, in_log) in [(true, false), (false, true), (true, true)] {
        let case = format!("in a journal: {in_journal}, in an older log: {in_log}");
        let world = World::in_memory();
        let memory = world.memory.clone().unwrap();
        let (a, b) = (world.cache("a").await, world.cache("b").await);
        fill(&a.session(key("c")), 1..=3).await;
        let older = memory.snapshot();
        crash(a).await;
        memory.lose_everything();
        let sb = b.session(key("c"));
        fill(&sb, 9..=9).await;
        assert_eq!(sb.forget().await.unwrap().messages, 1);
        if in_log {
            memory.restore(&older);
        }
        let a = world.cache(if in_journal { "a" } else { "c" }).await;
        let sa = a.session(key("c"));
        for cache in [&a, &b, &a] {
            assert!(context(&sa).await.is_empty(), "{case}");
            assert!(context(&sb).await.is_empty(), "{case}");
            assert!(history(&sa).await.is_empty(), "{case}");
            cache.flush().await.unwrap();
        }
        fill(&sa, 10..=10).await;
        assert_eq!(context(&sb).await, texts(10..=10), "{case}");
    }
}

#[tokio::test]
async fn a_forgotten_person_is_gone_everywhere_and_nobody_else_is() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let bob = Author::new("test", "bob");
    for channel in ["c", "d"] {
        let s = cache.session(key(channel));
        fill(&s, 1..=3).await;
        s.append(Message::user(bob.clone(), "by bob").id(100))
            .await
            .unwrap();
        s.append(Message::assistant("reply")).await.unwrap();
    }
    let exported = cache.export_author(&bob).await.unwrap();
    assert_eq!(exported.len(), 2);
    assert!(exported.iter().all(|(_, _, m)| m.text == "by bob"));
    let forgotten = cache.forget_author(&bob).await.unwrap();
    assert_eq!((forgotten.sessions, forgotten.messages), (2, 2));
    assert!(cache.export_author(&bob).await.unwrap().is_empty());
    for channel in ["c", "d"] {
        let s = cache.session(key(channel));
        let rest: Vec<String> = texts(1..=3)
            .into_iter()
            .chain(["reply".to_owned()])
            .collect();
        assert_eq!(history(&s).await, rest);
        assert_eq!(context(&s).await, rest);
    }
}

#[tokio::test]
async fn edits_and_deletes_hold_in_every_tier_in_whatever_order_they_come() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let s = cache.session(key("c"));
    fill(&s, 1..=3).await;
    s.edit_at("2", "edited", 50).await.unwrap();
    s.delete("3").await.unwrap();
    s.edit_at("3", "revived", 60).await.unwrap();
    s.edit_at("4", "before its message", 70).await.unwrap();
    s.delete("5").await.unwrap();
    let want = ["m1", "edited", "before its message"];
    for flush in [false, true] {
        if flush {
            cache.flush().await.unwrap();
            assert_eq!(history(&s).await, want);
        } else {
            s.append(say("4", "m4")).await.unwrap();
            let gone = s.append(say("5", "m5")).await.unwrap();
            assert!(gone.receipt().duplicate);
        }
        assert_eq!(context(&s).await, want);
        assert_eq!(history(&s).await, want);
    }
    s.edit_at("2", "older edit", 40).await.unwrap();
    s.edit_at("1", "late", 90).await.unwrap();
    cache.flush().await.unwrap();
    let other = world.cache("b").await;
    let so = other.session(key("c"));
    assert_eq!(context(&so).await, ["late", "edited", "before its message"]);
    assert_eq!(history(&so).await, ["late", "edited", "before its message"]);
    assert!(cache.verify().await.unwrap().violations.is_empty());
}

#[tokio::test]
async fn a_hot_tier_that_came_back_older_does_not_revive_what_was_deleted_since() {
    for more in [0, 20] {
        let world = World::in_memory();
        let memory = world.memory.clone().unwrap();
        let (a, b) = (world.cache("a").await, world.cache("b").await);
        let sb = b.session(key("c"));
        assert!(context(&sb).await.is_empty());
        fill(&a.session(key("c")), 1..=3).await;
        assert_eq!(context(&sb).await, texts(1..=3));
        let older = memory.snapshot();
        // Durable before its message, which only the first process's journal and the older log hold.
        sb.delete("2").await.unwrap();
        b.flush().await.unwrap();
        crash(a).await;
        memory.lose_everything();
        world.store.set_no_flush(true);
        let a = world.cache("a").await;
        let sa = a.session(key("c"));
        fill(&sa, 4..=4 + more).await;
        world.store.set_no_flush(false);
        a.flush().await.unwrap();
        memory.restore(&older);
        for (cache, s) in [(&b, &sb), (&a, &sa)] {
            let shown = history(s).await;
            assert!(!shown.contains(&"m2".to_owned()), "{shown:?}");
            assert!(!context(s).await.contains(&"m2".to_owned()));
            cache.flush().await.unwrap();
            assert_eq!(history(s).await, shown);
        }
        assert_eq!(context(&sa).await, context(&sb).await);
        assert!(a.verify().await.unwrap().violations.is_empty());
    }
}

#[tokio::test]
async fn an_older_edit_is_not_shown_while_its_message_becomes_durable() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let s = cache.session(key("c"));
    let flush = || {
        let (cache, runtime) = (cache.clone(), tokio::runtime::Handle::current());
        move || runtime.block_on(cache.flush()).unwrap()
    };
    s.edit_at("1", "newest", 90).await.unwrap();
    // The store hears of the edit only after it was asked, so the message waits with its first text.
    world.store.after_find(flush());
    s.append(say("1", "m1")).await.unwrap();
    s.edit_at("1", "older", 50).await.unwrap();
    world.store.before_find(flush());
    assert_eq!(history(&s).await, ["newest"]);
    assert_eq!(context(&s).await, ["newest"]);
    assert_eq!(history(&s).await, ["newest"]);
}

#[tokio::test]
async fn an_answer_is_kept_only_if_nothing_was_forgotten_since_its_question() {
    let world = World::in_memory();
    let (a, b) = (world.cache("a").await, world.cache("b").await);
    let (sa, sb) = (a.session(key("c")), b.session(key("c")));
    let bob = Author::new("test", "bob");
    let answer = |n: u32| [Message::assistant(format!("r{n}")).id(format!("r{n}"))];
    let refused = |answered: scrollback::Result<scrollback::Turn>| {
        assert!(matches!(answered, Err(scrollback::Error::Forgotten)));
    };
    let turn = sa.append(say("1", "m1")).await.unwrap();
    turn.answer_all(answer(1)).await.unwrap();
    sa.append(Message::user(bob.clone(), "by bob").id(2))
        .await
        .unwrap();

    // A person, by this process and by another.
    let turn = sa.append(say("3", "m3")).await.unwrap();
    assert_eq!(a.forget_author(&bob).await.unwrap().messages, 1);
    refused(turn.answer_all(answer(3)).await);
    turn.clone().renewed().answer_all(answer(4)).await.unwrap();
    sa.append(Message::user(bob.clone(), "by bob").id(5))
        .await
        .unwrap();
    let turn = sa.append(say("6", "m6")).await.unwrap();
    a.flush().await.unwrap();
    assert_eq!(b.forget_author(&bob).await.unwrap().messages, 1);
    refused(turn.answer_all(answer(6)).await);
    assert_eq!(history(&sb).await, ["m1", "r1", "m3", "r4", "m6"]);

    // The session; an epoch that began for another reason changes nothing.
    let turn = sa.append(say("7", "m7")).await.unwrap();
    world.memory.as_ref().unwrap().lose_everything();
    turn.answer_all(answer(7)).await.unwrap();
    let turn = sb.append(say("8", "m8")).await.unwrap();
    sa.forget().await.unwrap();
    refused(turn.answer_all(answer(8)).await);
    for (cache, s) in [(&a, &sa), (&b, &sb)] {
        cache.flush().await.unwrap();
        assert!(history(s).await.is_empty());
        assert!(context(s).await.is_empty());
    }
}
