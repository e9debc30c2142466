//! What entries do to what is stored: platform ids, edits, deletes, states, resets (P9, P13).

use super::{
    all_of, contains, delete, edit, find, here, one, put, put_at, said, sound, state, texts,
    texts_at,
};
use crate::key::{Address, SessionKey};
use crate::message::{Body, Message, Seq};
use crate::store::{Flushed, Found, Page, Store};

/// See the name.
pub fn a_platform_id_is_stored_once(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    let both = Body::Messages(vec![
        Some(said("b").id(1).into()),
        Some(said("c").id(2).into()),
        Some(said("d").id(2).into()),
    ]);
    let done = put(store, e, 1, vec![one(said("a").id(1)), both]);
    assert_eq!(done, [Flushed::Durable, Flushed::Pruned]);
    put(store, e, 3, vec![one(said("e").id(1))]);
    assert_eq!(texts(store), ["a", "c"]);
    assert_eq!(find(store, &here(), "1"), Some(Found::At(Seq::new(1, 0))));
    assert_eq!(find(store, &here(), "2"), Some(Found::At(Seq::new(2, 1))));
    assert_eq!(store.window(&here()).unwrap().unwrap().last, 3);
}

/// See the name.
pub fn an_edit_after_its_message_changes_it(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    put(
        store,
        e,
        1,
        vec![one(said("secret").id(1)), edit("1", "b", 20)],
    );
    assert_eq!(texts(store), ["b"]);
    put(store, e, 3, vec![edit("1", "older", 15)]);
    let page = store.history(&here(), Page::default()).unwrap();
    assert_eq!(
        (page[0].1.text.as_str(), page[0].1.edited_ms),
        ("b", Some(20))
    );
    assert!(!contains(&all_of(store, &here(), &["1"]), "secret"));
}

/// See the name.
pub fn an_edit_before_its_message_waits_for_it(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    put(store, e, 1, vec![edit("1", "b", 20)]);
    let ahead = Found::Ahead {
        text: "b".into(),
        at_ms: 20,
    };
    assert_eq!(find(store, &here(), "1"), Some(ahead));
    put(store, e, 2, vec![one(said("secret").id(1))]);
    assert_eq!(texts(store), ["b"]);
    assert_eq!(find(store, &here(), "1"), Some(Found::At(Seq::new(2, 0))));
    assert!(!contains(&all_of(store, &here(), &["1"]), "secret"));
}

/// See the name.
pub fn the_newest_edit_wins_in_any_order(store: &dyn Store) {
    for (i, order) in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ]
    .iter()
    .enumerate()
    {
        let at = Address::from(&SessionKey::new("x", "bot").channel(i));
        let e = store.allot(&at, 0).unwrap();
        let all = [
            one(said("a").id(1)),
            edit("1", "new", 20),
            edit("1", "old", 10),
        ];
        let bodies = order.iter().map(|o: &usize| all[*o].clone()).collect();
        put_at(store, &at, e, 1, bodies);
        assert_eq!(texts_at(store, &at), ["new"], "{order:?}");
    }
}

/// See the name.
pub fn a_deleted_message_stays_deleted_in_any_order(store: &dyn Store) {
    for (i, order) in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ]
    .iter()
    .enumerate()
    {
        let at = Address::from(&SessionKey::new("x", "bot").channel(i));
        let e = store.allot(&at, 0).unwrap();
        let all = [
            one(said("secret").id(1)),
            edit("1", "secret", 20),
            delete("1"),
        ];
        for (o, number) in order.iter().zip(1..) {
            let o: &usize = o;
            put_at(store, &at, e, number, vec![all[*o].clone()]);
        }
        put_at(
            store,
            &at,
            e,
            4,
            vec![one(said("secret").id(1)), edit("1", "secret", 30)],
        );
        assert_eq!(find(store, &at, "1"), Some(Found::Gone), "{order:?}");
        assert!(
            !contains(&all_of(store, &at, &["1"]), "secret"),
            "{order:?}"
        );
    }
}

/// See the name.
pub fn an_edited_or_deleted_system_message_is_so_in_the_summary(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    let system = || store.window(&here()).unwrap().unwrap().summary.system;
    put(store, e, 1, vec![one(Message::system("a").id(1))]);
    assert_eq!(system().unwrap().1.text, "a");
    put(store, e, 2, vec![edit("1", "b", 20)]);
    assert_eq!(system().unwrap().1.text, "b");
    put(store, e, 3, vec![delete("1")]);
    assert_eq!(system(), None);
    sound(store);
}

/// See the name.
pub fn the_newest_state_is_kept(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    put(
        store,
        e,
        1,
        vec![state(1, "one"), state(3, "three"), state(2, "two")],
    );
    let kept = store
        .window(&here())
        .unwrap()
        .unwrap()
        .summary
        .state
        .unwrap();
    assert_eq!(
        (kept.version, kept.value.as_ref()),
        (3, b"three".as_slice())
    );
    sound(store);
}

/// See the name.
pub fn a_reset_cuts_and_drops_the_system_message(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    put(store, e, 1, vec![one(said("a"))]);
    put(store, e, 3, vec![Body::Reset, one(said("b"))]);
    // Another writer's, flushed later, from before the reset.
    put(store, e, 2, vec![one(Message::system("late"))]);
    let stored = store.window(&here()).unwrap().unwrap();
    assert_eq!(stored.summary.cut, Seq::new(3, 0));
    assert_eq!(stored.summary.system, None);
    assert_eq!(stored.entries.len(), 2);
    assert_eq!(texts(store), ["a", "late", "b"]);
}
