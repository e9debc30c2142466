//! Facts about replacing a log, and about a tier that came back different.

#![expect(
    clippy::unwrap_used,
    missing_docs,
    reason = "facts: the name says what holds, a panic that it does not"
)]

use super::{
    HotFixture, append, assert_bodies, copy, done, entries, hot, hydrate, is_hot, numbers, session,
    writer,
};
use crate::hot::{Append, Appended, Place, Publish, Published, Read};

pub async fn a_copy_is_published_where_nothing_was(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hydrate(&*tier, &s, copy(&*tier, 3, 17, None)).await;
    let found = entries(&*tier, &s, None).await;
    assert_eq!(
        found.iter().map(|e| e.at).collect::<Vec<_>>(),
        [Place::new(3, 17)]
    );
    assert_bodies(&found);
    done(&*tier, &s, append(&*tier, 3, 18)).await;
}

pub async fn a_copy_over_nothing_moves_when_there_is_a_log(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    tier.fence(&s, 2).await.unwrap();
    let result = tier.publish(&s, copy(&*tier, 2, 1, None)).await.unwrap();
    assert_eq!(result, Published::Moved);
    assert_eq!(
        entries(&*tier, &s, None).await.first().map(|e| e.at),
        Some(Place::new(1, 1))
    );
}

pub async fn a_copy_over_a_log_moves_when_there_is_none(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    tier.fence(&s, 2).await.unwrap();
    let over = Some(Place::new(1, 1));
    let result = tier.publish(&s, copy(&*tier, 2, 1, over)).await.unwrap();
    assert_eq!(result, Published::Moved);
    assert!(!is_hot(&*tier, &s).await);
}

pub async fn a_copy_over_a_log_that_went_on_moves(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    done(&*tier, &s, append(&*tier, 1, 2)).await;
    tier.fence(&s, 2).await.unwrap();
    let over = Some(Place::new(1, 1));
    let result = tier.publish(&s, copy(&*tier, 2, 1, over)).await.unwrap();
    assert_eq!(result, Published::Moved);
    assert_eq!(numbers(&*tier, &s, None).await, [1, 2]);
}

pub async fn a_copy_replaces_an_older_log_whole(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    done(&*tier, &s, append(&*tier, 1, 2)).await;
    hydrate(&*tier, &s, copy(&*tier, 2, 1, Some(Place::new(1, 2)))).await;
    let found = entries(&*tier, &s, None).await;
    assert_eq!(
        found.iter().map(|e| e.at).collect::<Vec<_>>(),
        [Place::new(2, 1)]
    );
    assert_bodies(&found);
    // Whoever followed the older log is behind, and finds the copy when it reads on.
    assert_eq!(
        tier.append(&s, append(&*tier, 1, 3)).await.unwrap(),
        Appended::Behind
    );
    assert_eq!(entries(&*tier, &s, Some(Place::new(1, 2))).await, found);
}

pub async fn a_copy_of_the_same_or_an_older_epoch_never_replaces(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hydrate(&*tier, &s, copy(&*tier, 5, 1, None)).await;
    for epoch in [5, 4] {
        tier.fence(&s, epoch).await.unwrap();
        let over = Some(Place::new(5, 1));
        let result = tier
            .publish(&s, copy(&*tier, epoch, 9, over))
            .await
            .unwrap();
        assert_eq!(result, Published::Moved, "epoch {epoch}");
    }
    assert_eq!(numbers(&*tier, &s, None).await, [1]);
}

pub async fn a_copy_without_a_fence_is_fenced(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    let result = tier.publish(&s, copy(&*tier, 1, 1, None)).await.unwrap();
    assert_eq!(result, Published::Fenced);
    assert!(!is_hot(&*tier, &s).await);
}

pub async fn a_copy_under_another_fence_is_fenced(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    for fence in [2, 4, 33] {
        tier.fence(&s, fence).await.unwrap();
        let result = tier.publish(&s, copy(&*tier, 3, 1, None)).await.unwrap();
        assert_eq!(result, Published::Fenced, "fence {fence}");
    }
    assert!(!is_hot(&*tier, &s).await);
}

pub async fn a_later_fence_replaces_a_larger_one(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    tier.fence(&s, 9).await.unwrap();
    hydrate(&*tier, &s, copy(&*tier, 3, 1, None)).await;
    assert!(is_hot(&*tier, &s).await);
}

pub async fn another_generation_is_suspect_to_every_write_and_read(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    tier.fence(&s, 2).await.unwrap();
    let over = Some(Place::new(1, 1));
    for generation in [tier.generation() - 1, tier.generation() + 1] {
        let late = Append {
            generation,
            ..append(&*tier, 1, 2)
        };
        assert_eq!(tier.append(&s, late).await.unwrap(), Appended::Suspect);
        assert_eq!(
            tier.read(&s, None, generation).await.unwrap(),
            Read::Suspect
        );
        let late = Publish {
            generation,
            ..copy(&*tier, 2, 1, over)
        };
        assert_eq!(tier.publish(&s, late).await.unwrap(), Published::Suspect);
    }
    assert_eq!(numbers(&*tier, &s, None).await, [1]);
}

pub async fn a_restart_empty_raises_the_generation(fixture: &impl HotFixture) {
    let (tier, s, w) = (fixture.tier(), session("a"), writer("w"));
    hot(&*tier, &s).await;
    done(
        &*tier,
        &s,
        Append {
            mark: Some(w.clone()),
            ..append(&*tier, 1, 2)
        },
    )
    .await;
    let stale = append(&*tier, 1, 3);
    let before = tier.generation();
    fixture.lose_everything().await;
    assert!(tier.generation() > before);
    assert_eq!(tier.append(&s, stale).await.unwrap(), Appended::Suspect);
    assert!(!is_hot(&*tier, &s).await);
    assert!(tier.marked(&w).await.unwrap().is_empty());
    hydrate(&*tier, &s, copy(&*tier, 2, 3, None)).await;
}

pub async fn a_restart_from_an_older_state_raises_the_generation(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    done(&*tier, &s, append(&*tier, 1, 2)).await;
    fixture.remember().await;
    done(&*tier, &s, append(&*tier, 1, 3)).await;
    let ahead = append(&*tier, 1, 4);
    let before = tier.generation();
    fixture.go_back().await;
    assert!(tier.generation() > before);
    // The older log would take number 4 and hide that 3 is gone.
    assert_eq!(tier.append(&s, ahead).await.unwrap(), Appended::Suspect);
    assert_eq!(numbers(&*tier, &s, None).await, [1, 2]);
    hydrate(&*tier, &s, copy(&*tier, 2, 3, Some(Place::new(1, 2)))).await;
}
