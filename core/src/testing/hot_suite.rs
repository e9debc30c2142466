//! The contract of hot tiers as facts, each an ordinary async function over a [`HotFixture`].
//!
//! Covers what P1, P4, P10, P11, P13 and P15 ask of a tier. Stamp all of them with
//! [`hot_contract!`](crate::hot_contract) over an expression that makes a fixture. Knows no tier;
//! helpers and the fixture are here, the facts are grouped below.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite of tests: a failed expectation is a panic"
)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::hot::{
    Append, Appended, HotTier, LogEntry, Place, Publish, Published, Read, Record, Settle, WriterId,
};
use crate::key::{Address, SessionKey};

pub mod logs;
pub mod marks;
pub mod publishing;
pub mod stress;

/// A tier under test, and what cannot be done through the contract.
#[async_trait]
pub trait HotFixture: Send + Sync {
    /// The tier.
    fn tier(&self) -> Arc<dyn HotTier>;
    /// Lets time pass for expiries.
    async fn pass(&self, time: Duration);
    /// Restarts the tier empty; returns when it can be used again.
    async fn lose_everything(&self);
    /// Keeps the tier's state for [`go_back`](Self::go_back).
    async fn remember(&self);
    /// Restarts the tier from the remembered state; returns when it can be used again.
    async fn go_back(&self);
}

/// Stamps one `#[tokio::test]` per fact over a fixture, made by an async expression:
/// `hot_contract!(MyFixture::start().await)`.
#[macro_export]
macro_rules! hot_contract {
    ($fixture:expr) => {
        $crate::hot_contract!(@stamp $fixture, logs:
            an_append_to_an_absent_session_is_missing,
            an_append_after_the_end_is_done_and_read_back,
            an_append_at_or_before_the_end_is_behind,
            a_read_of_an_absent_session_is_missing,
            a_read_after_a_place_brings_exactly_what_is_newer,
            a_current_reader_gets_no_entries,
            a_log_begins_with_its_snapshot,
            a_trim_with_carry_keeps_everything_from_its_bound,
            a_trim_bound_without_carry_trims_nothing,
            a_carry_is_read_back_beside_its_entry,
            an_empty_entry_is_an_entry,
        );
        $crate::hot_contract!(@stamp $fixture, publishing:
            a_copy_is_published_where_nothing_was,
            a_copy_over_nothing_moves_when_there_is_a_log,
            a_copy_over_a_log_moves_when_there_is_none,
            a_copy_over_a_log_that_went_on_moves,
            a_copy_replaces_an_older_log_whole,
            a_copy_of_the_same_or_an_older_epoch_never_replaces,
            a_copy_without_a_fence_is_fenced,
            a_copy_under_another_fence_is_fenced,
            a_later_fence_replaces_a_larger_one,
            another_generation_is_suspect_to_every_write_and_read,
            a_restart_empty_raises_the_generation,
            a_restart_from_an_older_state_raises_the_generation,
        );
        $crate::hot_contract!(@stamp $fixture, marks:
            a_clean_copy_expires,
            a_copy_without_a_time_to_live_stays,
            a_marked_append_ends_the_expiry,
            a_marked_copy_does_not_expire,
            a_clean_copy_over_a_log_with_marks_does_not_expire,
            time_to_live_applies_only_when_both_writers_are_settled,
            settling_without_a_time_to_live_keeps_the_log,
            a_touch_lengthens,
            a_touch_never_shortens,
            a_touch_leaves_a_dirty_session_without_expiry,
            a_touch_of_an_absent_session_does_nothing,
            a_release_removes_a_clean_session,
            a_release_leaves_a_dirty_session,
            marked_lists_exactly_the_writers_sessions,
            a_writer_whose_name_ends_like_another_is_not_the_other,
            sessions_that_are_prefixes_of_each_other_keep_their_own_marks,
            settling_many_sessions_settles_each,
        );
        $crate::hot_contract!(@stamp $fixture, stress:
            hostile_session_keys_never_meet,
            large_entries_come_back_whole,
            sixteen_writers_make_one_gapless_order,
            readers_beside_writers_never_see_a_gap,
            a_check_finds_nothing_wrong,
            a_closed_tier_may_be_closed_again,
        );
    };
    (@stamp $fixture:expr, $group:ident: $($fact:ident,)*) => {
        $(
            #[tokio::test]
            async fn $fact() {
                $crate::testing::hot_suite::$group::$fact(&$fixture).await;
            }
        )*
    };
}

/// A session of this name.
#[must_use]
pub fn session(name: &str) -> Address {
    Address::from(&SessionKey::new("test", "bot").channel(name))
}

/// A writer of this name.
#[must_use]
pub fn writer(name: &str) -> WriterId {
    WriterId(name.to_owned())
}

/// An unmarked append in the tier's present generation, holding its own place as text.
#[must_use]
pub fn append(tier: &dyn HotTier, epoch: u64, number: u64) -> Append {
    Append {
        at: Place::new(epoch, number),
        entry: body(epoch, number),
        carry: None,
        trim_below: None,
        mark: None,
        generation: tier.generation(),
    }
}

/// A clean copy without expiry in the tier's present generation.
#[must_use]
pub fn copy(tier: &dyn HotTier, epoch: u64, number: u64, over: Option<Place>) -> Publish {
    Publish {
        at: Place::new(epoch, number),
        snapshot: snapshot(epoch, number),
        over,
        mark: None,
        ttl_ms: None,
        generation: tier.generation(),
    }
}

/// Fences and publishes; expects success.
///
/// # Panics
/// When the copy is not published.
pub async fn hydrate(tier: &dyn HotTier, session: &Address, copy: Publish) {
    tier.fence(session, copy.at.epoch).await.unwrap();
    assert_eq!(tier.publish(session, copy).await.unwrap(), Published::Done);
}

/// Makes a session hot at `(1, 1)`, without marks and expiry.
///
/// # Panics
/// When that fails.
pub async fn hot(tier: &dyn HotTier, session: &Address) {
    hydrate(tier, session, copy(tier, 1, 1, None)).await;
}

/// Appends and expects success.
///
/// # Panics
/// When it is not done.
pub async fn done(tier: &dyn HotTier, session: &Address, append: Append) {
    assert_eq!(tier.append(session, append).await.unwrap(), Appended::Done);
}

/// Reads entries and expects the session to be hot.
///
/// # Panics
/// When it is not.
pub async fn entries(tier: &dyn HotTier, session: &Address, after: Option<Place>) -> Vec<LogEntry> {
    match tier.read(session, after, tier.generation()).await.unwrap() {
        Read::Entries(entries) => entries,
        other => panic!("expected entries, got {other:?}"),
    }
}

/// The numbers of the entries after a place.
pub async fn numbers(tier: &dyn HotTier, session: &Address, after: Option<Place>) -> Vec<u64> {
    entries(tier, session, after)
        .await
        .iter()
        .map(|e| e.at.number)
        .collect()
}

/// Whether a session is hot.
///
/// # Panics
/// On an outage.
pub async fn is_hot(tier: &dyn HotTier, session: &Address) -> bool {
    tier.read(session, None, tier.generation()).await.unwrap() != Read::Missing
}

/// Settles one session.
///
/// # Panics
/// On an outage.
pub async fn settle(tier: &dyn HotTier, writer: &WriterId, session: &Address, ttl_ms: Option<u64>) {
    let one = Settle {
        session: session.clone(),
        ttl_ms,
    };
    tier.settle(writer, vec![one]).await.unwrap();
}

/// What [`append`] writes at a place.
#[must_use]
pub fn body(epoch: u64, number: u64) -> Bytes {
    Bytes::from(format!("entry {epoch}-{number}"))
}

/// What [`copy`] publishes at a place.
#[must_use]
pub fn snapshot(epoch: u64, number: u64) -> Bytes {
    Bytes::from(format!("snapshot {epoch}-{number}"))
}

/// Checks that entries hold what [`append`] and [`copy`] wrote at their places.
///
/// # Panics
/// When one does not.
pub fn assert_bodies(entries: &[LogEntry]) {
    for entry in entries {
        let Place { epoch, number } = entry.at;
        match &entry.record {
            Record::Entry(found) => assert_eq!(found, &body(epoch, number)),
            Record::Snapshot(found) => assert_eq!(found, &snapshot(epoch, number)),
        }
    }
    assert!(entries.windows(2).all(|w| w[0].at < w[1].at), "places rise");
}
