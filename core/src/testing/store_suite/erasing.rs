//! What is erased is gone and stays gone (P14).

use super::{all_of, ann, contains, edit, find, here, one, put, said, state, texts};
use crate::message::{Author, Body, EntryId, Message};
use crate::store::{Erase, Erased, Flushed, Found, Store};

/// See the name.
pub fn erasing_all_leaves_nothing_and_nothing_comes_back(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    let bodies = vec![
        one(said("secret").id(1)),
        one(Message::system("secret").id(2)),
        edit("3", "secret", 1),
        state(1, "secret"),
    ];
    put(store, e, 1, bodies.clone());
    let erased = store.erase(&here(), &Erase::All).unwrap();
    assert!(erased.epoch > e);
    assert_eq!((erased.messages, erased.bytes), (2, 12));
    assert_eq!(put(store, e, 1, bodies), [Flushed::Refused; 4]);
    assert_eq!(
        put(store, e, 5, vec![one(said("secret").id(4))]),
        [Flushed::Refused]
    );
    put(
        store,
        erased.epoch,
        5,
        vec![one(said("secret").id(1)), edit("3", "secret", 2)],
    );
    assert!(!contains(
        &all_of(store, &here(), &["1", "2", "3"]),
        "secret"
    ));
    for id in ["1", "2", "3"] {
        assert_eq!(find(store, &here(), id), Some(Found::Gone));
    }
    assert!(store.sessions_of(&ann()).unwrap().is_empty());
    let known = store.known(&here(), &[EntryId(1)]).unwrap();
    assert_eq!(known.erased.all_below, erased.epoch);
    assert_eq!(known.numbers, [Some(1)]);
    put(
        store,
        erased.epoch,
        7,
        vec![one(said("new")), state(1, "new")],
    );
    assert_eq!(texts(store), ["new"]);
    let stored = store.window(&here()).unwrap().unwrap();
    assert_eq!(stored.summary.state.unwrap().value, "new");
}

/// See the name.
pub fn erasing_an_author_leaves_the_others(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    let bob = Message::user(Author::new("x", "bob"), "b");
    let both = Body::Messages(vec![Some(said("secret").id(1).into()), Some(bob.into())]);
    let system = Message::system("secret").author(ann());
    put(store, e, 1, vec![both, one(said("secret")), one(system)]);
    let erased = store
        .erase(&here(), &Erase::Author(ann().named("x")))
        .unwrap();
    assert!(erased.epoch > e);
    assert_eq!((erased.messages, erased.bytes), (3, 18));
    assert_eq!(texts(store), ["b"]);
    assert!(!contains(&all_of(store, &here(), &["1"]), "secret"));
    assert_eq!(find(store, &here(), "1"), Some(Found::Gone));
    assert!(store.sessions_of(&ann()).unwrap().is_empty());
    assert_eq!(
        store.sessions_of(&Author::new("x", "bob")).unwrap(),
        [here()]
    );
    assert_eq!(
        put(store, e, 4, vec![one(said("late"))]),
        [Flushed::Refused]
    );
    let stored = store.window(&here()).unwrap().unwrap();
    assert_eq!(stored.erased.authors_below.len(), 1);
    put(store, erased.epoch, 4, vec![one(said("again"))]);
    assert_eq!(texts(store), ["b", "again"]);
}

/// See the name.
pub fn erasing_what_is_old_leaves_the_rest(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    let bodies = vec![one(said("old").id(1).at_ms(5)), one(said("new").at_ms(6))];
    put(store, e, 1, bodies);
    let nothing = store.erase(&here(), &Erase::Before(5)).unwrap();
    let untouched = Erased {
        epoch: e,
        ..Erased::default()
    };
    assert_eq!(nothing, untouched);
    let erased = store.erase(&here(), &Erase::Before(6)).unwrap();
    assert!(erased.epoch > e);
    assert_eq!((erased.messages, erased.bytes), (1, 3));
    assert_eq!(texts(store), ["new"]);
    put(store, erased.epoch, 3, vec![one(said("old").id(1))]);
    assert_eq!(texts(store), ["new"]);
}

/// See the name.
pub fn erasing_where_nothing_is_does_nothing(store: &dyn Store) {
    for what in [Erase::All, Erase::Author(ann()), Erase::Before(9)] {
        assert_eq!(store.erase(&here(), &what).unwrap(), Erased::default());
    }
    assert!(store.sessions(None, 9).unwrap().is_empty());
}

/// See the name.
pub fn an_erasure_takes_edits_that_wait(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    put(
        store,
        e,
        1,
        vec![edit("1", "secret", 5), edit("2", "later", 9)],
    );
    let erased = store.erase(&here(), &Erase::Before(6)).unwrap();
    assert!(erased.epoch > e);
    assert!(!contains(&all_of(store, &here(), &["1"]), "secret"));
    assert!(contains(&all_of(store, &here(), &["2"]), "later"));
    store.erase(&here(), &Erase::Author(ann())).unwrap();
    assert!(!contains(&all_of(store, &here(), &["2"]), "later"));
}
