//! Facts about hostile input, size, and many at once.

#![expect(
    clippy::unwrap_used,
    missing_docs,
    reason = "facts: the name says what holds, a panic that it does not"
)]

use std::sync::Arc;

use bytes::Bytes;

use super::{
    HotFixture, append, assert_bodies, done, entries, hot, numbers, session, settle, writer,
};
use crate::hot::{Append, Appended, HotTier, LogEntry, Place, Record};
use crate::key::{Address, SessionKey};

const TASKS: u8 = 16;
const EACH: u32 = 40;

pub async fn hostile_session_keys_never_meet(fixture: &impl HotFixture) {
    let (tier, w) = (fixture.tier(), writer("w"));
    let long = "x".repeat(64 * 1024);
    let ids = [
        "", "0", "00", "\0", "*", "?", "[a-z]", "{}", "{p1}", "}{", "\r\n", "a b", "a!b",
        "a:log:b", "../..", "'", "\"", "\\", "%", "%00", "é", "\u{202e}", "$6", &long,
    ];
    let keys = ids.iter().flat_map(|id| {
        let base = || SessionKey::new(*id, id);
        [
            base(),
            base().channel(id),
            base().user(id),
            base().channel(id).thread(id),
        ]
    });
    let sessions: Vec<_> = keys.map(|key| Address::from(&key)).collect();
    for s in &sessions {
        hot(&*tier, s).await;
        let entry = Bytes::copy_from_slice(s.as_str().as_bytes());
        done(
            &*tier,
            s,
            Append {
                entry,
                mark: Some(w.clone()),
                ..append(&*tier, 1, 2)
            },
        )
        .await;
    }
    for s in &sessions {
        let found = entries(&*tier, s, Some(Place::new(1, 1))).await;
        let own = Record::Entry(Bytes::copy_from_slice(s.as_str().as_bytes()));
        assert_eq!(found.iter().map(|e| &e.record).collect::<Vec<_>>(), [&own]);
    }
    let mut marked = tier.marked(&w).await.unwrap();
    let mut expected = sessions.clone();
    marked.sort();
    expected.sort();
    assert_eq!(marked, expected);
    for s in &sessions {
        settle(&*tier, &w, s, None).await;
        tier.release(s).await.unwrap();
    }
    assert!(tier.marked(&w).await.unwrap().is_empty());
}

pub async fn large_entries_come_back_whole(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    let entry: Bytes = (0..100_000u32)
        .map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1])
        .collect();
    for number in 2..12 {
        done(
            &*tier,
            &s,
            Append {
                entry: entry.clone(),
                ..append(&*tier, 1, number)
            },
        )
        .await;
    }
    let found = entries(&*tier, &s, Some(Place::new(1, 1))).await;
    assert_eq!(found.len(), 10);
    assert!(
        found
            .iter()
            .all(|e| e.record == Record::Entry(entry.clone()))
    );
}

pub async fn sixteen_writers_make_one_gapless_order(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    let tasks = (0..TASKS).map(|task| tokio::spawn(write(Arc::clone(&tier), s.clone(), task)));
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let found = entries(&*tier, &s, Some(Place::new(1, 1))).await;
    let end = 1 + u64::from(TASKS) * u64::from(EACH);
    assert!(
        found.iter().map(|e| e.at.number).eq(2..=end),
        "without a gap"
    );
    for task in 0..TASKS {
        let own = found.iter().filter_map(|e| own(e, task));
        assert!(
            own.eq(0..EACH),
            "each writer's entries once and in its order"
        );
    }
}

pub async fn readers_beside_writers_never_see_a_gap(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    let writing = tokio::spawn({
        let (tier, s) = (Arc::clone(&tier), s.clone());
        async move {
            for number in 2..=400 {
                done(&*tier, &s, append(&*tier, 1, number)).await;
            }
        }
    });
    let mut seen = 1;
    while seen < 400 {
        let newer = entries(&*tier, &s, Some(Place::new(1, seen))).await;
        let count = u64::try_from(newer.len()).unwrap();
        assert!(
            newer
                .iter()
                .map(|e| e.at.number)
                .eq(seen + 1..=seen + count)
        );
        assert_bodies(&newer);
        seen += count;
        tokio::task::yield_now().await;
    }
    writing.await.unwrap();
    assert_eq!(numbers(&*tier, &s, None).await.len(), 400);
}

pub async fn a_check_finds_nothing_wrong(fixture: &impl HotFixture) {
    let found = fixture.tier().check().await.unwrap();
    assert!(found.is_empty(), "{found:?}");
}

pub async fn a_closed_tier_may_be_closed_again(fixture: &impl HotFixture) {
    let tier = fixture.tier();
    tier.close().await;
    tier.close().await;
}

/// Appends as a writer does: where it believes the end is, reading on when somebody was faster.
async fn write(tier: Arc<dyn HotTier>, s: Address, task: u8) {
    let mut end = 1;
    for i in 0..EACH {
        loop {
            let entry = Bytes::from([&[task][..], &i.to_be_bytes()[..]].concat());
            let append = Append {
                entry,
                ..append(&*tier, 1, end + 1)
            };
            match tier.append(&s, append).await.unwrap() {
                Appended::Done => break,
                Appended::Behind => {
                    let newer = numbers(&*tier, &s, Some(Place::new(1, end))).await;
                    end = newer.last().copied().unwrap_or(end);
                }
                other => assert_eq!(other, Appended::Done),
            }
        }
        end += 1;
    }
}

fn own(entry: &LogEntry, task: u8) -> Option<u32> {
    let Record::Entry(bytes) = &entry.record else {
        return None;
    };
    let (by, number) = bytes.split_first()?;
    (*by == task).then(|| number.try_into().map(u32::from_be_bytes).ok())?
}
