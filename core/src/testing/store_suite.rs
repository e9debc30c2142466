//! What every durable store must do: one function per fact, to be run over a fresh, empty store.
//!
//! Covers the store's part of P1, P4, P9, P10, P13, P14 and P15. `store_contract!` stamps a `#[test]`
//! per fact; [`ALL`] is the same list for other harnesses.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed step here is a failed test"
)]

use bytes::Bytes;

use crate::codec::{self, Kind};
use crate::key::{Address, SessionKey};
use crate::message::{Author, Body, Entry, EntryId, Message, Seq, State};
use crate::store::{FlushEntry, Flushed, Found, Page, SessionFlush, Store};

mod erasing;
mod meaning;
mod reading;
mod remembering;

pub use self::erasing::*;
pub use self::meaning::*;
pub use self::reading::*;
pub use self::remembering::*;

/// A fact, over a fresh store.
pub type Fact = fn(&dyn Store);

/// Every fact with its name.
pub const ALL: &[(&str, Fact)] = crate::store_contract!(@all);

/// Runs every fact over a store of its own.
pub fn run_all<S: Store>(mut make: impl FnMut() -> S) {
    for (_, fact) in ALL {
        fact(&make());
    }
}

/// Stamps a `#[test]` for every fact of [`store_suite`](crate::testing::store_suite).
///
/// The expression gives a fresh store and whatever must outlive it: `(store, guard)`.
#[macro_export]
macro_rules! store_contract {
    (@all) => { $crate::store_contract!(@facts list ()) };
    (@facts $how:ident $make:expr) => { $crate::store_contract! { @$how $make;
        an_epoch_is_never_allotted_twice
        a_session_without_a_row_has_nothing
        a_window_starts_at_the_cut
        a_cut_beyond_what_is_stored_hides_nothing
        a_cut_made_by_what_is_not_durable_waits
        a_window_that_tells_every_platform_id_says_so
        an_entry_is_known_by_its_id
        an_entry_is_stored_once_by_its_id
        a_number_held_by_another_entry_is_refused
        after_a_refusal_the_rest_is_refused_but_what_is_stored
        an_older_epoch_is_refused_and_told_the_rows
        a_newer_epoch_becomes_the_rows
        what_is_durable_advances_without_gaps_over_two_writers
        a_platform_id_is_stored_once
        an_edit_after_its_message_changes_it
        an_edit_before_its_message_waits_for_it
        the_newest_edit_wins_in_any_order
        a_deleted_message_stays_deleted_in_any_order
        an_edited_or_deleted_system_message_is_so_in_the_summary
        the_newest_state_is_kept
        a_reset_cuts_and_drops_the_system_message
        history_pages_backwards_without_gaps
        sessions_are_listed_in_pages_by_key
        sessions_of_an_author_are_those_where_they_spoke
        erasing_all_leaves_nothing_and_nothing_comes_back
        erasing_an_author_leaves_the_others
        erasing_what_is_old_leaves_the_rest
        erasing_where_nothing_is_does_nothing
        an_erasure_takes_edits_that_wait
        large_texts_come_back_as_they_were
        awkward_ids_never_collide
        one_flush_holds_many_sessions
        what_policies_remember_of_a_session_is_kept_until_all_of_it_is_erased
        what_a_policy_has_learned_is_kept_by_name
        a_record_that_is_not_of_the_session_stores_nothing
        a_closed_store_says_so
    } };
    (@stamp $make:expr; $($name:ident)*) => { $(
        #[test]
        fn $name() {
            let (store, _keep) = $make;
            $crate::testing::store_suite::$name(&store);
        }
    )* };
    (@list $make:expr; $($name:ident)*) => { &[$((stringify!($name), $name as Fact)),*] };
    ($make:expr) => { $crate::store_contract!(@facts stamp $make); };
}

fn find(store: &dyn Store, at: &Address, id: &str) -> Option<Found> {
    let mut found = store.find(at, &[id]).unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// The session of most facts.
fn here() -> Address {
    Address::from(&SessionKey::new("x", "bot").channel("1"))
}

fn ann() -> Author {
    Author::new("x", "ann")
}

fn said(text: &str) -> Message {
    Message::user(ann(), text).at_ms(10)
}

fn one(m: Message) -> Body {
    Body::Messages(vec![Some(m.into())])
}

fn edit(id: &str, text: &str, at_ms: u64) -> Body {
    Body::Edit {
        id: id.into(),
        text: Some(text.into()),
        at_ms,
    }
}

fn delete(id: &str) -> Body {
    Body::Delete { id: id.into() }
}

fn state(version: u64, value: &'static str) -> Body {
    Body::State(State {
        version,
        value: Bytes::from_static(value.as_bytes()),
    })
}

/// An entry whose id is its number's, unless `id` says otherwise.
fn placed(at: &Address, number: u64, id: u128, body: Body) -> FlushEntry {
    let id = EntryId(id);
    let entry = Entry {
        id,
        at_ms: number,
        body,
    };
    FlushEntry {
        number,
        id,
        record: codec::encode(Kind::Entry, at.hash64(), &entry).unwrap(),
    }
}

fn part(at: &Address, epoch: u64, entries: Vec<FlushEntry>) -> SessionFlush {
    SessionFlush {
        session: at.clone(),
        epoch,
        cut: Seq::default(),
        cut_at: 0,
        settled_to: 0,
        entries,
        estimate: None,
    }
}

/// Flushes bodies, numbered from `first` on.
fn put(store: &dyn Store, epoch: u64, first: u64, bodies: Vec<Body>) -> Vec<Flushed> {
    put_at(store, &here(), epoch, first, bodies)
}

fn put_at(
    store: &dyn Store,
    at: &Address,
    epoch: u64,
    first: u64,
    bodies: Vec<Body>,
) -> Vec<Flushed> {
    let entries = bodies.into_iter().zip(first..);
    let entries = entries.map(|(b, n)| placed(at, n, n.into(), b)).collect();
    store
        .flush(&[part(at, epoch, entries)])
        .unwrap()
        .remove(0)
        .entries
}

fn texts(store: &dyn Store) -> Vec<String> {
    texts_at(store, &here())
}

fn texts_at(store: &dyn Store, at: &Address) -> Vec<String> {
    let page = Page {
        before: None,
        limit: 10_000,
    };
    let history = store.history(at, page).unwrap();
    sound(store);
    history.into_iter().map(|(_, m)| m.text).collect()
}

fn sound(store: &dyn Store) {
    assert_eq!(store.check().unwrap().violations, Vec::<String>::new());
}

/// All that a store would hand out of a session, as bytes, to search for texts.
fn all_of(store: &dyn Store, at: &Address, ids: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(stored) = store.window(at).unwrap() {
        let at_most = format!("{:?} {:?}", stored.summary.state, stored.summary.system);
        out.extend(at_most.into_bytes());
        let system = stored.summary.system.map(|(_, m)| m.text);
        out.extend(system.unwrap_or_default().into_bytes());
        stored.entries.iter().for_each(|(_, r)| out.extend(r));
    }
    texts_at(store, at)
        .iter()
        .for_each(|t| out.extend(t.as_bytes()));
    for id in ids {
        out.extend(format!("{:?}", find(store, at, id)).into_bytes());
    }
    out
}

fn contains(all: &[u8], text: &str) -> bool {
    all.windows(text.len()).any(|w| w == text.as_bytes())
}

/// See the name.
pub fn an_epoch_is_never_allotted_twice(store: &dyn Store) {
    let other = Address::from(&SessionKey::new("x", "bot").channel("2"));
    let mut last = 0;
    for i in 0..30 {
        let above = if i == 20 { 1_000_000 } else { 0 };
        let epoch = store.allot(&here(), above).unwrap();
        assert!(epoch > last && epoch > above, "{epoch} after {last}");
        store.allot(&other, 0).unwrap();
        last = epoch;
    }
    let row = store.window(&here()).unwrap().unwrap();
    assert_eq!((row.epoch, row.last), (last, 0));
    assert!(row.entries.is_empty() && row.complete);
}

/// See the name.
pub fn a_session_without_a_row_has_nothing(store: &dyn Store) {
    assert!(store.window(&here()).unwrap().is_none());
    let known = store.known(&here(), &[EntryId(1), EntryId(2)]).unwrap();
    assert_eq!((known.epoch, known.numbers), (0, vec![None, None]));
    assert_eq!(store.find(&here(), &["1", "2"]).unwrap(), [None, None]);
    assert!(store.history(&here(), Page::default()).unwrap().is_empty());
    assert!(store.sessions(None, 10).unwrap().is_empty());
    assert!(store.sessions_of(&ann()).unwrap().is_empty());
}

/// See the name.
pub fn a_window_starts_at_the_cut(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    let bodies = (1..=5).map(|n| one(said(&n.to_string()))).collect();
    put(store, e, 1, bodies);
    let stored = store.window(&here()).unwrap().unwrap();
    assert_eq!((stored.epoch, stored.last, stored.entries.len()), (e, 5, 5));
    let cut = |cut| SessionFlush {
        cut,
        ..part(&here(), e, vec![])
    };
    store.flush(&[cut(Seq::new(4, 0))]).unwrap();
    store.flush(&[cut(Seq::new(2, 0))]).unwrap();
    let stored = store.window(&here()).unwrap().unwrap();
    assert_eq!(stored.summary.cut, Seq::new(4, 0));
    let numbers: Vec<u64> = stored.entries.iter().map(|(n, _)| *n).collect();
    assert_eq!(numbers, [4, 5]);
    let given = placed(&here(), 5, 5, one(said("5")));
    assert_eq!(stored.entries[1].1, given.record);
}

/// See the name.
pub fn a_cut_beyond_what_is_stored_hides_nothing(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    put(store, e, 1, vec![one(said("a")), one(said("b"))]);
    let cut = SessionFlush {
        cut: Seq::new(40, 0),
        ..part(&here(), e, vec![])
    };
    // Entries 3 to 60 are another writer's, and are lost: others take their numbers.
    store.flush(&[cut]).unwrap();
    let next = store.allot(&here(), 0).unwrap();
    put(store, next, 3, vec![one(said("c"))]);
    let stored = store.window(&here()).unwrap().unwrap();
    assert_eq!(stored.entries.len(), 3);
    sound(store);
}

/// See the name.
pub fn a_cut_made_by_what_is_not_durable_waits(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    let cut = |entries| SessionFlush {
        cut: Seq::new(3, 0),
        cut_at: 6,
        ..part(&here(), e, entries)
    };
    let starts = || store.window(&here()).unwrap().unwrap().summary.cut;
    put(store, e, 1, (0..4).map(|_| one(said("a"))).collect());
    // Entries 5 and 6 are another writer's. Were they lost, entries 1 and 2 would belong into the context again.
    store.flush(&[cut(vec![])]).unwrap();
    assert_eq!(starts(), Seq::default());
    put(store, e, 5, vec![one(said("b")), one(said("c"))]);
    store.flush(&[cut(vec![])]).unwrap();
    assert_eq!(starts(), Seq::new(3, 0));
    sound(store);
}

/// See the name.
pub fn a_window_that_tells_every_platform_id_says_so(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    let bodies = vec![
        one(said("a").id(1)),
        one(said("b").id(2)),
        edit("9", "e", 1),
    ];
    put(store, e, 1, bodies);
    assert!(store.window(&here()).unwrap().unwrap().complete);
    let mut cut = part(&here(), e, vec![]);
    cut.cut = Seq::new(2, 0);
    store.flush(&[cut]).unwrap();
    assert!(!store.window(&here()).unwrap().unwrap().complete);
}

/// See the name.
pub fn an_entry_is_known_by_its_id(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    let entries = vec![
        placed(&here(), 1, 77, one(said("a"))),
        placed(&here(), 2, 88, Body::End),
    ];
    store.flush(&[part(&here(), e, entries)]).unwrap();
    let ids = [EntryId(88), EntryId(99), EntryId(77)];
    let known = store.known(&here(), &ids).unwrap();
    assert_eq!(
        (known.epoch, known.numbers),
        (e, vec![Some(2), None, Some(1)])
    );
}

/// See the name.
pub fn an_entry_is_stored_once_by_its_id(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    for number in [1, 1, 5] {
        let entry = placed(&here(), number, 7, one(said("a").id(3)));
        let done = store.flush(&[part(&here(), e, vec![entry])]).unwrap();
        assert_eq!(done[0].entries, [Flushed::Durable]);
        assert_eq!(done[0].durable_to, 1);
    }
    assert_eq!(texts(store), ["a"]);
}

/// See the name.
pub fn a_number_held_by_another_entry_is_refused(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    put(store, e, 1, vec![one(said("a"))]);
    let other = placed(&here(), 1, 500, one(said("b")));
    let done = store.flush(&[part(&here(), e, vec![other])]).unwrap();
    assert_eq!(done[0].entries, [Flushed::Refused]);
    assert_eq!(texts(store), ["a"]);
}

/// See the name.
pub fn after_a_refusal_the_rest_is_refused_but_what_is_stored(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    put(store, e, 1, vec![one(said("a")), one(said("b"))]);
    let entries = vec![
        placed(&here(), 1, 500, one(said("c"))),
        placed(&here(), 2, 2, one(said("b"))),
        placed(&here(), 3, 501, one(said("d"))),
    ];
    let done = store.flush(&[part(&here(), e, entries)]).unwrap();
    let expected = [Flushed::Refused, Flushed::Durable, Flushed::Refused];
    assert_eq!(done[0].entries, expected);
    assert_eq!(texts(store), ["a", "b"]);
}

/// See the name.
pub fn an_older_epoch_is_refused_and_told_the_rows(store: &dyn Store) {
    let old = store.allot(&here(), 0).unwrap();
    put(store, old, 1, vec![one(said("a"))]);
    let new = store.allot(&here(), 0).unwrap();
    let mut late = part(
        &here(),
        old,
        vec![
            placed(&here(), 1, 1, one(said("a"))),
            placed(&here(), 2, 2, one(said("b"))),
        ],
    );
    late.cut = Seq::new(9, 0);
    let done = store.flush(&[late]).unwrap();
    assert_eq!(done[0].epoch, new);
    assert_eq!(done[0].entries, [Flushed::Refused, Flushed::Refused]);
    assert_eq!(texts(store), ["a"]);
    let stored = store.window(&here()).unwrap().unwrap();
    assert_eq!(stored.summary.cut, Seq::default());
}

/// See the name.
pub fn a_newer_epoch_becomes_the_rows(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    assert_eq!(
        put(store, e + 50, 1, vec![one(said("a"))]),
        [Flushed::Durable]
    );
    assert_eq!(store.window(&here()).unwrap().unwrap().epoch, e + 50);
    assert_eq!(put(store, e, 2, vec![one(said("b"))]), [Flushed::Refused]);
    assert!(store.allot(&here(), 0).unwrap() > e + 50);
}

/// See the name.
pub fn what_is_durable_advances_without_gaps_over_two_writers(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    let durable = |numbers: &[u64]| {
        let entries = numbers.iter();
        let entries = entries
            .map(|n| placed(&here(), *n, (*n).into(), one(said("x"))))
            .collect();
        store.flush(&[part(&here(), e, entries)]).unwrap()[0].durable_to
    };
    assert_eq!(durable(&[2, 4]), 0);
    assert_eq!(durable(&[1]), 2);
    assert_eq!(durable(&[5]), 2);
    assert_eq!(durable(&[3, 6]), 6);
    let next = store.allot(&here(), 0).unwrap();
    let done = store.flush(&[part(&here(), next, vec![])]).unwrap();
    assert_eq!(done[0].durable_to, 6);
    // A hole that the writer knows to stand for nothing does not hold anything up; a refusal does.
    let flush = |settled_to, number: u64| {
        let entries = vec![placed(&here(), number, number.into(), one(said("x")))];
        let part = SessionFlush {
            settled_to,
            ..part(&here(), next, entries)
        };
        store.flush(&[part]).unwrap()[0].durable_to
    };
    assert_eq!(flush(0, 9), 6);
    let stored = store.window(&here()).unwrap().unwrap();
    assert_eq!((stored.durable_to, stored.taken), (6, vec![9]));
    assert_eq!(flush(8, 11), 9);
    assert_eq!(flush(99, 12), 12);
    sound(store);
}

/// See the name.
pub fn one_flush_holds_many_sessions(store: &dyn Store) {
    let at = |i: u64| Address::from(&SessionKey::new("x", "bot").channel(i));
    let parts: Vec<_> = (0..40)
        .map(|i| {
            part(
                &at(i % 20),
                1,
                vec![placed(&at(i % 20), i + 1, (i + 1).into(), one(said("x")))],
            )
        })
        .collect();
    let done = store.flush(&parts).unwrap();
    assert_eq!(done.len(), 40);
    assert!(done.iter().all(|d| d.entries == [Flushed::Durable]));
    let checked = store.check().unwrap();
    assert_eq!((checked.sessions, checked.messages), (20, 40));
    sound(store);
}

/// See the name.
pub fn a_record_that_is_not_of_the_session_stores_nothing(store: &dyn Store) {
    let other = Address::from(&SessionKey::new("x", "bot").channel("2"));
    let entries = vec![
        placed(&here(), 1, 1, one(said("a"))),
        placed(&other, 2, 2, one(said("b"))),
    ];
    assert!(store.flush(&[part(&here(), 1, entries)]).is_err());
    assert!(texts(store).is_empty());
    assert_eq!(put(store, 1, 1, vec![one(said("a"))]), [Flushed::Durable]);
}

/// See the name.
pub fn a_closed_store_says_so(store: &dyn Store) {
    put(store, 1, 1, vec![one(said("a"))]);
    store.close().unwrap();
    let closed = |e| matches!(e, crate::error::Error::Closed);
    assert!(store.allot(&here(), 0).is_err_and(closed));
    assert!(store.window(&here()).is_err_and(closed));
    store.close().unwrap();
}
