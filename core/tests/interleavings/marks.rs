//! Dirty marks (`session/append.rs`, `session/place.rs`, `flusher.rs`: `submit`, `place`, `settle`): whatever stands
//! in the hot tier and is not durable is marked there, or it could expire; and at rest no mark is left.

use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use crate::search::{holds, is_found};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// The mark is cleared without the session's turn.
    NoTurn,
    /// The mark is cleared whatever is pending.
    Pending,
    /// An entry is pending only once the call is over.
    LatePush,
    /// "Not known to be set" is noted after the answer instead of before the call.
    LateNote,
}

/// The hot tier and the store as everybody sees them.
#[derive(Default)]
struct World {
    hot: Vec<u32>,
    marked: bool,
    store: Vec<u32>,
}

impl World {
    /// Everything that is hot and not durable would be gone with an expiry.
    fn check(&self) {
        let dirty = self.hot.iter().any(|e| !self.store.contains(e));
        assert!(!dirty || self.marked, "dirty and not marked");
    }
}

#[derive(Default)]
struct Inner {
    pending: Vec<u32>,
    marked: bool,
    unsure: bool,
}

#[derive(Default)]
struct Cell {
    turn: Mutex<()>,
    inner: Mutex<Inner>,
    world: Mutex<World>,
}

impl Cell {
    /// `lost`: the answer to the placement does not come; the entry is looked up, and found, afterwards.
    fn append(&self, entry: u32, lost: bool, mistake: Mistake) {
        let turn = self.turn.lock().unwrap();
        if mistake != Mistake::LatePush {
            self.inner.lock().unwrap().pending.push(entry);
        }
        let mark = {
            let mut inner = self.inner.lock().unwrap();
            let mark = !inner.marked;
            inner.unsure |= mark;
            mark
        };
        {
            let mut world = self.world.lock().unwrap();
            world.marked |= mark;
            world.hot.push(entry);
            world.check();
        }
        let mut inner = self.inner.lock().unwrap();
        inner.marked |= mark && !lost;
        if mistake == Mistake::LatePush {
            drop((inner, turn));
            self.inner.lock().unwrap().pending.push(entry);
        }
    }

    fn round(&self, mistake: Mistake) {
        let part = self.inner.lock().unwrap().pending.clone();
        self.world.lock().unwrap().store.extend(&part);
        {
            let mut inner = self.inner.lock().unwrap();
            inner.pending.retain(|e| !part.contains(e));
        }
        self.settle(mistake);
    }

    fn settle(&self, mistake: Mistake) {
        let turn = self.turn.try_lock();
        if turn.is_err() && mistake != Mistake::NoTurn {
            return;
        }
        {
            let mut inner = self.inner.lock().unwrap();
            let clean = inner.pending.is_empty() || mistake == Mistake::Pending;
            if !(inner.marked || inner.unsure) || !clean {
                return;
            }
            if mistake != Mistake::LateNote {
                (inner.marked, inner.unsure) = (false, true);
            }
        }
        // With the mistake, the turn covers the answer no more than the call.
        let turn = (mistake != Mistake::LateNote).then_some(turn);
        {
            let mut world = self.world.lock().unwrap();
            world.marked = false;
            world.check();
        }
        let mut inner = self.inner.lock().unwrap();
        inner.unsure = false;
        if mistake == Mistake::LateNote {
            inner.marked = false;
        }
        drop(turn);
    }
}

fn model(mistake: Mistake) {
    let cell = Arc::new(Cell::default());
    let writers = (0..2).map(|writer| {
        let cell = Arc::clone(&cell);
        thread::spawn(move || {
            for n in 0..2 {
                cell.append(writer * 10 + n, n == 1, mistake);
            }
        })
    });
    let mut threads: Vec<_> = writers.collect();
    let flusher = Arc::clone(&cell);
    threads.push(thread::spawn(move || {
        for _ in 0..3 {
            flusher.round(mistake);
        }
    }));
    for thread in threads {
        thread.join().unwrap();
    }
    cell.round(mistake);
    let world = cell.world.lock().unwrap();
    assert!(
        world.hot.iter().all(|e| world.store.contains(e)),
        "never durable"
    );
    assert!(!world.marked, "clean and marked for ever");
}

#[test]
fn what_is_dirty_is_marked_and_what_is_clean_is_not() {
    holds(|| model(Mistake::None));
}

#[test]
fn a_mark_cleared_without_the_turn_is_found() {
    is_found("dirty and not marked", || model(Mistake::NoTurn));
}

#[test]
fn a_mark_cleared_while_something_is_pending_is_found() {
    is_found("dirty and not marked", || model(Mistake::Pending));
}

#[test]
fn an_entry_that_is_placed_before_it_is_pending_is_found() {
    is_found("dirty and not marked", || model(Mistake::LatePush));
}

#[test]
fn a_mark_that_is_thought_set_while_it_is_cleared_is_found() {
    is_found("dirty and not marked", || model(Mistake::LateNote));
}
