//! The durable watermark (`session/cell.rs`: `push`, `remove`, `durable`): it never tells that something is durable
//! which is not, and never takes back what it told.

use std::collections::VecDeque;

use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use crate::search::{holds, is_found};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// The watermark is what was removed last, not what is still there.
    Last,
    /// Who computed it earlier may tell it later.
    Back,
}

#[derive(Default)]
struct Cell {
    /// Pending lsns, and the next one.
    pending: Mutex<(VecDeque<u64>, u64)>,
    told: Mutex<u64>,
    store: Mutex<Vec<u64>>,
}

impl Cell {
    fn push(&self) -> u64 {
        let mut pending = self.pending.lock().unwrap();
        let lsn = pending.1;
        pending.1 += 1;
        pending.0.push_back(lsn);
        lsn
    }

    /// Makes one durable, then takes it out.
    fn flush(&self, lsn: u64, mistake: Mistake) {
        self.store.lock().unwrap().push(lsn);
        let next = {
            let mut pending = self.pending.lock().unwrap();
            pending.0.retain(|p| *p != lsn);
            match mistake {
                Mistake::Last => lsn + 1,
                _ => pending.0.front().copied().unwrap_or(pending.1),
            }
        };
        let mut told = self.told.lock().unwrap();
        let was = *told;
        *told = if mistake == Mistake::Back {
            next
        } else {
            next.max(was)
        };
        assert!(*told >= was, "the watermark goes back");
    }

    fn is_durable(&self, lsn: u64) -> bool {
        *self.told.lock().unwrap() > lsn
    }
}

fn model(mistake: Mistake) {
    let cell = Arc::new(Cell::default());
    let mut threads = Vec::new();
    for _ in 0..3 {
        let cell = Arc::clone(&cell);
        threads.push(thread::spawn(move || {
            let lsn = cell.push();
            cell.flush(lsn, mistake);
            assert!(
                mistake != Mistake::None
                    || cell.pending.lock().unwrap().0.iter().all(|p| *p != lsn)
            );
        }));
    }
    let watch = Arc::clone(&cell);
    threads.push(thread::spawn(move || {
        for lsn in 0..3 {
            if watch.is_durable(lsn) {
                let there = watch.store.lock().unwrap().contains(&lsn);
                assert!(there, "told durable and is not");
            }
        }
    }));
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(
        (0..3).all(|lsn| cell.is_durable(lsn)),
        "durable and never told"
    );
}

#[test]
fn the_watermark_tells_what_is_durable() {
    holds(|| model(Mistake::None));
}

#[test]
fn a_watermark_of_what_went_last_is_found() {
    is_found("told durable and is not", || model(Mistake::Last));
}

#[test]
fn a_watermark_that_goes_back_is_found() {
    is_found("the watermark goes back", || model(Mistake::Back));
}
