//! Pages, lists, large texts and awkward ids (P15).

use std::collections::HashSet;

use super::{ann, delete, edit, here, one, put, put_at, said, state, texts, texts_at};
use crate::key::{Address, SessionKey};
use crate::message::{Author, Body, Message, Seq};
use crate::store::{Found, Page, Store};

/// See the name.
pub fn history_pages_backwards_without_gaps(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    let entry = |n: u64| {
        Body::Messages(
            (0..3)
                .map(|f| Some(said(&format!("{n}.{f}")).into()))
                .collect(),
        )
    };
    put(store, e, 1, (1..=10).map(entry).collect());
    let (mut before, mut all) = (None, Vec::new());
    loop {
        let page = store.history(&here(), Page { before, limit: 7 }).unwrap();
        let Some((first, _)) = page.first() else {
            break;
        };
        assert!(page.len() <= 7 && page.is_sorted_by_key(|(seq, _)| *seq));
        before = Some(*first);
        all.splice(0..0, page.into_iter().map(|(_, m)| m.text));
    }
    let expected = (1..=10).flat_map(|n| (0..3).map(move |f| format!("{n}.{f}")));
    assert_eq!(all, expected.collect::<Vec<_>>());
    let none = Page {
        before: None,
        limit: 0,
    };
    assert_eq!(store.history(&here(), none).unwrap().len(), 1);
}

/// See the name.
pub fn sessions_are_listed_in_pages_by_key(store: &dyn Store) {
    let mut keys: Vec<String> = (0..25)
        .map(|i| SessionKey::new("x", "bot").channel(i).to_string())
        .collect();
    for key in &keys {
        store.allot(&Address::from_text(key), 0).unwrap();
    }
    keys.sort();
    let (mut after, mut listed) = (None, Vec::new());
    loop {
        let page = store.sessions(after.as_deref(), 4).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.as_str().to_owned());
        listed.extend(page.iter().map(|a| a.as_str().to_owned()));
    }
    assert_eq!(listed, keys);
}

/// See the name.
pub fn sessions_of_an_author_are_those_where_they_spoke(store: &dyn Store) {
    let other = Address::from(&SessionKey::new("x", "bot").channel("2"));
    put(store, 1, 1, vec![one(said("a").id(1)), one(said("b"))]);
    put_at(
        store,
        &other,
        1,
        1,
        vec![one(Message::user(Author::new("y", "ann"), "c"))],
    );
    assert_eq!(store.sessions_of(&ann().named("Ann")).unwrap(), [here()]);
    put(store, 1, 3, vec![delete("1")]);
    assert_eq!(store.sessions_of(&ann()).unwrap(), [here()]);
    assert!(
        store
            .sessions_of(&Author::new("x", "bob"))
            .unwrap()
            .is_empty()
    );
}

/// See the name.
pub fn large_texts_come_back_as_they_were(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    let sizes = (0..12).map(|i| 4096 * 2 - 200 + i * 16);
    let sizes: Vec<usize> = sizes.chain([0, 1, 4096, 100_000]).collect();
    let large: Vec<String> = sizes.iter().map(|n| "ä\0".repeat(n / 2)).collect();
    for (text, n) in large.iter().zip(1..) {
        put(store, e, n, vec![one(said(text).id(n))]);
    }
    assert_eq!(texts(store), large);
    put(store, e, 100, vec![edit("16", "short", 20), state(1, "x")]);
    assert_eq!(texts(store).last().unwrap(), "short");
}

/// See the name.
pub fn awkward_ids_never_collide(store: &dyn Store) {
    let long = "9".repeat(65_536);
    let longer_by_one = format!("{long}9");
    let ids = [
        "",
        "\0",
        "\0\0",
        "/",
        "a/b",
        "a",
        "a\0",
        "..",
        "=",
        "%",
        "%00",
        "ä",
        &longer_by_one,
        &long,
    ];
    let mut seen = HashSet::new();
    for id in ids {
        let at = Address::from(&SessionKey::new("x", "bot").channel(id));
        assert!(seen.insert(at.clone()));
        let bodies = ids.map(|m| one(said(&format!("{id} {m}")).id(m))).to_vec();
        put_at(store, &at, 1, 1, bodies);
    }
    for id in ids {
        let at = Address::from(&SessionKey::new("x", "bot").channel(id));
        let expected: Vec<String> = ids.iter().map(|m| format!("{id} {m}")).collect();
        assert!(texts_at(store, &at) == expected);
        let found = store.find(&at, &ids).unwrap();
        let places = (1..).map(|n| Some(Found::At(Seq::new(n, 0))));
        assert_eq!(found, places.take(ids.len()).collect::<Vec<_>>());
    }
    let listed: HashSet<_> = store.sessions(None, 99).unwrap().into_iter().collect();
    assert_eq!(listed, seen);
    assert_eq!(store.sessions_of(&ann()).unwrap().len(), ids.len());
}
