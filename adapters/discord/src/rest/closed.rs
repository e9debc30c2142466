//! Where nothing can be written for now, so that it is not tried again and again.
//!
//! Invariant: a place is closed for minutes at most, and opened again when Discord tells of a change.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Failure;

/// How long a place stays closed without news of it.
const FOR: Duration = Duration::from_secs(5 * 60);
/// When what is over is cleared away.
const MANY: usize = 1000;

/// The closed places, by channel or person.
#[derive(Debug, Default)]
pub(crate) struct Closed(Mutex<HashMap<u64, (Instant, Failure)>>);

impl Closed {
    /// Why nothing can be written there now, if so.
    pub(crate) fn check(&self, place: u64) -> Result<(), Failure> {
        let closed = self.0.lock();
        match closed.get(&place) {
            Some((until, why)) if *until > Instant::now() => Err(*why),
            _ => Ok(()),
        }
    }

    /// Notes a refusal, if it is one of the place.
    pub(crate) fn note(&self, place: u64, failure: Failure) {
        let closes = matches!(failure.code(), Some(10003 | 50001 | 50007 | 50013 | 50083));
        if !closes {
            return;
        }
        let now = Instant::now();
        let mut closed = self.0.lock();
        if closed.len() >= MANY {
            closed.retain(|_, (until, _)| *until > now);
        }
        if closed.insert(place, (now + FOR, failure)).is_none() {
            tracing::warn!(place, %failure, "nothing can be written there for now");
        }
    }

    /// Something changed there.
    pub(crate) fn open(&self, place: u64) {
        self.0.lock().remove(&place);
    }

    /// Something changed that may concern every place.
    pub(crate) fn open_all(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_PERMISSION: Failure = Failure::Refused {
        status: 403,
        code: Some(50013),
    };

    #[tokio::test(start_paused = true)]
    async fn a_place_without_permission_is_not_tried_until_something_changes() {
        let closed = Closed::default();
        closed.note(7, NO_PERMISSION);
        assert_eq!(closed.check(7), Err(NO_PERMISSION));
        assert_eq!(closed.check(8), Ok(()));
        closed.open(7);
        assert_eq!(closed.check(7), Ok(()));
        closed.note(7, NO_PERMISSION);
        tokio::time::advance(FOR).await;
        assert_eq!(closed.check(7), Ok(()));
    }

    #[tokio::test]
    async fn what_is_no_fault_of_the_place_closes_nothing() {
        let closed = Closed::default();
        for code in [Some(10008), Some(50035), None] {
            closed.note(7, Failure::Refused { status: 400, code });
        }
        closed.note(7, Failure::Late);
        assert_eq!(closed.check(7), Ok(()));
    }
}
