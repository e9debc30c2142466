//! Facts about dirty marks and expiry: what is not durable stays, the rest goes in time.

#![expect(
    clippy::unwrap_used,
    missing_docs,
    reason = "facts: the name says what holds, a panic that it does not"
)]

use std::time::Duration;

use super::{HotFixture, append, copy, done, hot, hydrate, is_hot, session, settle, writer};
use crate::hot::{Append, HotTier, Place, Publish, Settle, WriterId};
use crate::key::Address;

const SHORT_MS: u64 = 60;
const LONG_MS: u64 = 60_000;
const LONGER_THAN_SHORT: Duration = Duration::from_millis(150);

pub async fn a_clean_copy_expires(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hydrate(
        &*tier,
        &s,
        Publish {
            ttl_ms: Some(SHORT_MS),
            ..copy(&*tier, 1, 1, None)
        },
    )
    .await;
    fixture.pass(LONGER_THAN_SHORT).await;
    assert!(!is_hot(&*tier, &s).await);
}

pub async fn a_copy_without_a_time_to_live_stays(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    fixture.pass(LONGER_THAN_SHORT).await;
    assert!(is_hot(&*tier, &s).await);
}

pub async fn a_marked_append_ends_the_expiry(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hydrate(
        &*tier,
        &s,
        Publish {
            ttl_ms: Some(1_000),
            ..copy(&*tier, 1, 1, None)
        },
    )
    .await;
    mark(&*tier, &s, &writer("w"), 2).await;
    fixture.pass(Duration::from_millis(1_200)).await;
    assert!(is_hot(&*tier, &s).await);
}

pub async fn a_marked_copy_does_not_expire(fixture: &impl HotFixture) {
    let (tier, s, w) = (fixture.tier(), session("a"), writer("w"));
    let marked = Publish {
        ttl_ms: Some(SHORT_MS),
        mark: Some(w.clone()),
        ..copy(&*tier, 1, 1, None)
    };
    hydrate(&*tier, &s, marked).await;
    fixture.pass(LONGER_THAN_SHORT).await;
    assert!(is_hot(&*tier, &s).await);
    assert_eq!(tier.marked(&w).await.unwrap(), [s]);
}

pub async fn a_clean_copy_over_a_log_with_marks_does_not_expire(fixture: &impl HotFixture) {
    let (tier, s, w) = (fixture.tier(), session("a"), writer("w"));
    hot(&*tier, &s).await;
    mark(&*tier, &s, &w, 2).await;
    let over = Some(Place::new(1, 2));
    hydrate(
        &*tier,
        &s,
        Publish {
            ttl_ms: Some(SHORT_MS),
            ..copy(&*tier, 2, 1, over)
        },
    )
    .await;
    fixture.pass(LONGER_THAN_SHORT).await;
    assert!(is_hot(&*tier, &s).await);
    settle(&*tier, &w, &s, Some(SHORT_MS)).await;
    fixture.pass(LONGER_THAN_SHORT).await;
    assert!(!is_hot(&*tier, &s).await);
}

pub async fn time_to_live_applies_only_when_both_writers_are_settled(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    let (one, two) = (writer("one"), writer("two"));
    hot(&*tier, &s).await;
    mark(&*tier, &s, &one, 2).await;
    mark(&*tier, &s, &two, 3).await;
    settle(&*tier, &one, &s, Some(SHORT_MS)).await;
    fixture.pass(LONGER_THAN_SHORT).await;
    assert!(is_hot(&*tier, &s).await, "the other mark holds it");
    settle(&*tier, &two, &s, Some(SHORT_MS)).await;
    fixture.pass(LONGER_THAN_SHORT).await;
    assert!(!is_hot(&*tier, &s).await);
}

pub async fn settling_without_a_time_to_live_keeps_the_log(fixture: &impl HotFixture) {
    let (tier, s, w) = (fixture.tier(), session("a"), writer("w"));
    hydrate(
        &*tier,
        &s,
        Publish {
            ttl_ms: Some(1_000),
            ..copy(&*tier, 1, 1, None)
        },
    )
    .await;
    settle(&*tier, &w, &s, None).await;
    fixture.pass(Duration::from_millis(1_200)).await;
    assert!(is_hot(&*tier, &s).await);
}

pub async fn a_touch_lengthens(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hydrate(
        &*tier,
        &s,
        Publish {
            ttl_ms: Some(1_000),
            ..copy(&*tier, 1, 1, None)
        },
    )
    .await;
    tier.touch(&s, LONG_MS).await.unwrap();
    fixture.pass(Duration::from_millis(1_200)).await;
    assert!(is_hot(&*tier, &s).await);
}

pub async fn a_touch_never_shortens(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hydrate(
        &*tier,
        &s,
        Publish {
            ttl_ms: Some(LONG_MS),
            ..copy(&*tier, 1, 1, None)
        },
    )
    .await;
    tier.touch(&s, SHORT_MS).await.unwrap();
    fixture.pass(LONGER_THAN_SHORT).await;
    assert!(is_hot(&*tier, &s).await);
}

pub async fn a_touch_leaves_a_dirty_session_without_expiry(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    mark(&*tier, &s, &writer("w"), 2).await;
    tier.touch(&s, SHORT_MS).await.unwrap();
    fixture.pass(LONGER_THAN_SHORT).await;
    assert!(is_hot(&*tier, &s).await);
}

pub async fn a_touch_of_an_absent_session_does_nothing(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    tier.touch(&s, LONG_MS).await.unwrap();
    assert!(!is_hot(&*tier, &s).await);
}

pub async fn a_release_removes_a_clean_session(fixture: &impl HotFixture) {
    let (tier, s, w) = (fixture.tier(), session("a"), writer("w"));
    hot(&*tier, &s).await;
    mark(&*tier, &s, &w, 2).await;
    settle(&*tier, &w, &s, Some(LONG_MS)).await;
    tier.release(&s).await.unwrap();
    assert!(!is_hot(&*tier, &s).await);
    tier.release(&s).await.unwrap();
}

pub async fn a_release_leaves_a_dirty_session(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    mark(&*tier, &s, &writer("w"), 2).await;
    tier.release(&s).await.unwrap();
    assert!(is_hot(&*tier, &s).await);
}

pub async fn marked_lists_exactly_the_writers_sessions(fixture: &impl HotFixture) {
    let tier = fixture.tier();
    let (one, two) = (writer("one"), writer("two"));
    let sessions: Vec<_> = (0..40).map(|i| session(&i.to_string())).collect();
    for (i, s) in sessions.iter().enumerate() {
        hot(&*tier, s).await;
        mark(&*tier, s, if i % 2 == 0 { &one } else { &two }, 2).await;
    }
    let mut found = tier.marked(&one).await.unwrap();
    let mut expected: Vec<_> = sessions.into_iter().step_by(2).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

pub async fn a_writer_whose_name_ends_like_another_is_not_the_other(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    mark(&*tier, &s, &writer("bot-1"), 2).await;
    assert!(tier.marked(&writer("1")).await.unwrap().is_empty());
    settle(&*tier, &writer("1"), &s, Some(SHORT_MS)).await;
    assert_eq!(tier.marked(&writer("bot-1")).await.unwrap(), [s]);
}

pub async fn sessions_that_are_prefixes_of_each_other_keep_their_own_marks(
    fixture: &impl HotFixture,
) {
    let (tier, w) = (fixture.tier(), writer("w"));
    // Of one partition, so that they share what a tier keeps per partition.
    let long = session("1");
    let same = |n: &u32| session(&format!("1{n}")).partition() == long.partition();
    let longer = (0u32..)
        .find(same)
        .map(|n| session(&format!("1{n}")))
        .unwrap();
    for s in [&long, &longer] {
        hot(&*tier, s).await;
    }
    mark(&*tier, &longer, &w, 2).await;
    settle(&*tier, &w, &long, Some(SHORT_MS)).await;
    fixture.pass(LONGER_THAN_SHORT).await;
    assert!(!is_hot(&*tier, &long).await);
    assert!(is_hot(&*tier, &longer).await);
}

pub async fn settling_many_sessions_settles_each(fixture: &impl HotFixture) {
    let (tier, w) = (fixture.tier(), writer("w"));
    let sessions: Vec<_> = (0..600).map(|i| session(&i.to_string())).collect();
    for s in &sessions {
        hot(&*tier, s).await;
        mark(&*tier, s, &w, 2).await;
    }
    assert_eq!(tier.marked(&w).await.unwrap().len(), sessions.len());
    let all = sessions.iter().map(|s| Settle {
        session: s.clone(),
        ttl_ms: Some(SHORT_MS),
    });
    tier.settle(&w, all.collect()).await.unwrap();
    assert!(tier.marked(&w).await.unwrap().is_empty());
    fixture.pass(LONGER_THAN_SHORT).await;
    for s in &sessions {
        assert!(!is_hot(&*tier, s).await);
    }
}

async fn mark(tier: &dyn HotTier, s: &Address, w: &WriterId, number: u64) {
    done(
        tier,
        s,
        Append {
            mark: Some(w.clone()),
            ..append(tier, 1, number)
        },
    )
    .await;
}
