//! The search itself: how schedules are chosen, and what counts as found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner};

fn schedules() -> usize {
    std::env::var("SCROLLBACK_SHUTTLE").map_or(1_000, |n| n.parse().unwrap())
}

fn config() -> Config {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    config
}

/// Tries a model under random schedules, half of them with few, well placed changes of thread.
fn search(model: impl Fn() + Clone + Send + Sync + 'static) {
    let half = schedules() / 2;
    Runner::new(RandomScheduler::new_from_seed(1, half), config()).run(model.clone());
    Runner::new(PctScheduler::new_from_seed(1, 3, half), config()).run(model);
}

/// Nothing is found.
pub(crate) fn holds(model: impl Fn() + Clone + Send + Sync + 'static) {
    search(model);
}

/// Something is found, and it is what is looked for.
pub(crate) fn is_found(expected: &str, model: impl Fn() + Clone + Send + Sync + 'static) {
    let found = catch_unwind(AssertUnwindSafe(|| search(model)));
    let why = found.expect_err("the mistake was not found");
    let words = why.downcast_ref::<String>().map(String::as_str);
    let words = words.or(why.downcast_ref::<&str>().copied());
    let words = words.unwrap_or_default();
    // A thread that meets the lock which the one that found it left behind may be heard last.
    let found = words.contains(expected) || words.contains("PoisonError");
    assert!(found, "found something else: {words}");
}
