//! Facts about appends and reads of one log.

#![expect(
    clippy::unwrap_used,
    missing_docs,
    reason = "facts: the name says what holds, a panic that it does not"
)]

use bytes::Bytes;

use super::{
    HotFixture, append, assert_bodies, body, done, entries, hot, is_hot, numbers, session, snapshot,
};
use crate::hot::{Append, Appended, HotTier, Place, Read, Record};
use crate::key::Address;

pub async fn an_append_to_an_absent_session_is_missing(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    let result = tier.append(&s, append(&*tier, 1, 1)).await.unwrap();
    assert_eq!(result, Appended::Missing);
    assert!(!is_hot(&*tier, &s).await, "and makes none");
}

pub async fn an_append_after_the_end_is_done_and_read_back(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    done(&*tier, &s, append(&*tier, 1, 2)).await;
    let found = entries(&*tier, &s, Some(Place::new(1, 1))).await;
    assert_eq!(found.len(), 1);
    assert_bodies(&found);
}

pub async fn an_append_at_or_before_the_end_is_behind(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    fill(&*tier, &s, 2..=5).await;
    for number in [1, 4, 5] {
        let late = Append {
            entry: Bytes::from_static(b"late"),
            ..append(&*tier, 1, number)
        };
        assert_eq!(tier.append(&s, late).await.unwrap(), Appended::Behind);
    }
    assert_eq!(
        tier.append(&s, append(&*tier, 0, 99)).await.unwrap(),
        Appended::Behind
    );
    let found = entries(&*tier, &s, None).await;
    assert_eq!(found.len(), 5);
    assert_bodies(&found);
}

pub async fn a_read_of_an_absent_session_is_missing(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    for after in [None, Some(Place::new(1, 1))] {
        let found = tier.read(&s, after, tier.generation()).await.unwrap();
        assert_eq!(found, Read::Missing);
    }
}

pub async fn a_read_after_a_place_brings_exactly_what_is_newer(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    fill(&*tier, &s, 2..=9).await;
    assert_eq!(numbers(&*tier, &s, Some(Place::new(1, 6))).await, [7, 8, 9]);
    assert_eq!(numbers(&*tier, &s, Some(Place::new(0, 77))).await.len(), 9);
    assert_bodies(&entries(&*tier, &s, Some(Place::new(1, 2))).await);
}

pub async fn a_current_reader_gets_no_entries(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    fill(&*tier, &s, 2..=3).await;
    assert!(numbers(&*tier, &s, Some(Place::new(1, 3))).await.is_empty());
}

pub async fn a_log_begins_with_its_snapshot(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    fill(&*tier, &s, 2..=2).await;
    let records: Vec<_> = entries(&*tier, &s, None)
        .await
        .into_iter()
        .map(|e| e.record)
        .collect();
    assert_eq!(
        records,
        [Record::Snapshot(snapshot(1, 1)), Record::Entry(body(1, 2))]
    );
}

pub async fn a_trim_with_carry_keeps_everything_from_its_bound(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    fill(&*tier, &s, 2..=400).await;
    trim(&*tier, &s, 401, Some("carry"), 390).await;
    let kept = numbers(&*tier, &s, None).await;
    assert!(
        kept.len() < 200,
        "most of what may go is gone, {} left",
        kept.len()
    );
    let first = kept.first().copied().unwrap_or_default();
    assert!(
        first <= 390 && kept.iter().copied().eq(first..=401),
        "without a gap: {kept:?}"
    );
    // A bound beyond the entry itself leaves the entry.
    trim(&*tier, &s, 402, Some("carry"), 9_999).await;
    assert_eq!(numbers(&*tier, &s, Some(Place::new(1, 401))).await, [402]);
    assert_eq!(
        tier.append(&s, append(&*tier, 1, 402)).await.unwrap(),
        Appended::Behind
    );
}

pub async fn a_trim_bound_without_carry_trims_nothing(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    fill(&*tier, &s, 2..=300).await;
    trim(&*tier, &s, 301, None, 290).await;
    assert_eq!(numbers(&*tier, &s, None).await.len(), 301);
}

pub async fn a_carry_is_read_back_beside_its_entry(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    trim(&*tier, &s, 2, Some("what came before"), 2).await;
    let found = entries(&*tier, &s, Some(Place::new(1, 1))).await;
    let carries: Vec<_> = found.iter().map(|e| e.carry.clone()).collect();
    assert_eq!(carries, [Some(Bytes::from_static(b"what came before"))]);
    assert_bodies(&found);
}

pub async fn an_empty_entry_is_an_entry(fixture: &impl HotFixture) {
    let (tier, s) = (fixture.tier(), session("a"));
    hot(&*tier, &s).await;
    done(
        &*tier,
        &s,
        Append {
            entry: Bytes::new(),
            ..append(&*tier, 1, 2)
        },
    )
    .await;
    let found = entries(&*tier, &s, Some(Place::new(1, 1))).await;
    assert_eq!(
        found.first().map(|e| &e.record),
        Some(&Record::Entry(Bytes::new()))
    );
}

async fn fill(tier: &dyn HotTier, s: &Address, range: std::ops::RangeInclusive<u64>) {
    for number in range {
        done(tier, s, append(tier, 1, number)).await;
    }
}

async fn trim(tier: &dyn HotTier, s: &Address, at: u64, carry: Option<&str>, below: u64) {
    let carry = carry.map(|c| Bytes::copy_from_slice(c.as_bytes()));
    done(
        tier,
        s,
        Append {
            carry,
            trim_below: Some(below),
            ..append(tier, 1, at)
        },
    )
    .await;
}
