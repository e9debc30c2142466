//! Cursors move forward only, begin where they should, and survive a restart.

use std::time::Duration;

use scrollback::SledConfig;

use super::*;

async fn cache(dir: &std::path::Path) -> Cache {
    Cache::builder()
        .store(SledConfig::new(dir))
        .build()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_come_back_after_a_restart_and_never_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let first = cache(dir.path()).await;
    let cursors = Cursors::new(first.clone());
    let book = cursors.book(9, Some(1)).await.unwrap();
    assert!(book.is_new());
    book.begin(100);
    book.begin(50);
    book.advance(5, 120);
    book.advance(5, 110);
    cursors.save().await;
    first.close(Duration::from_secs(5)).await.unwrap();

    let second = cache(dir.path()).await;
    let cursors = Cursors::new(second.clone());
    let book = cursors.book(9, Some(1)).await.unwrap();
    assert!(!book.is_new());
    assert_eq!((book.cursor(5), book.has(5)), (120, true));
    // Older than the guild's first sight: nothing of it is imported. Younger: from its beginning.
    assert_eq!((book.cursor(7), book.has(7)), (100, false));
    assert_eq!(book.cursor(130), 129);
    assert!(cursors.book(9, None).await.unwrap().is_new());
    let another = Cursors::new(second.clone());
    assert!(another.book(8, Some(1)).await.unwrap().is_new());
    second.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_processes_know_is_joined() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path()).await;
    let (one, two) = (Cursors::new(cache.clone()), Cursors::new(cache.clone()));
    for (cursors, channel) in [(&one, 5), (&two, 6)] {
        let book = cursors.book(9, Some(1)).await.unwrap();
        book.begin(100);
        book.advance(channel, 200);
    }
    one.save().await;
    two.save().await;
    two.save().await;
    let third = Cursors::new(cache.clone());
    let book = third.book(9, Some(1)).await.unwrap();
    assert_eq!((book.cursor(5), book.cursor(6)), (200, 200));
    cache.close(Duration::from_secs(5)).await.unwrap();
}

#[test]
fn the_oldest_fall_out_and_the_floor_answers_for_them() {
    let mut saved = Saved::default();
    let cursor = |channel: u64| 10_000 + channel;
    for channel in 1..=u64::try_from(MOST).unwrap() + 1 {
        saved.cursors.insert(channel, cursor(channel));
        saved.bound();
    }
    assert_eq!(saved.cursors.len(), KEPT);
    let fallen = u64::try_from(MOST + 1 - KEPT).unwrap();
    assert_eq!(saved.cursor(1), cursor(fallen));
    assert_eq!(saved.cursor(fallen + 1), cursor(fallen + 1));
    assert!(rmp_size(&saved) < 60_000, "{}", rmp_size(&saved));
}

/// An upper bound of the encoded size: 9 bytes a number and a few names.
fn rmp_size(saved: &Saved) -> usize {
    saved.cursors.len() * 18 + 64
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_recent_channels_come_first() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path()).await;
    let cursors = Cursors::new(cache.clone());
    let book = cursors.book(9, None).await.unwrap();
    for (channel, message) in [(1, 30), (2, 50), (3, 40)] {
        book.advance(channel, message);
    }
    assert_eq!(book.recent(2), [2, 3]);
    book.check(2, 7);
    book.check(2, 6);
    assert_eq!((book.checked(2), book.checked(3)), (7, 0));
    cache.close(Duration::from_secs(5)).await.unwrap();
}
