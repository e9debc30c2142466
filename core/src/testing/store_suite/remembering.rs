//! What policies remember. A store need not keep it; what it gives back is what it was given.

use super::{here, one, part, placed, put, said};
use crate::store::{Erase, SessionFlush, Store};
use crate::ttl::{Estimate, Returns};

fn estimate(touches: u64) -> Estimate {
    let returns = Returns {
        seen: 1.5,
        expected: 0.25,
    };
    Estimate {
        touches,
        last_ms: 1_767_225_600_000 + touches,
        returns: [returns; 2],
        chosen: 7,
        hot_since: None,
    }
}

/// See the name.
pub fn what_policies_remember_of_a_session_is_kept_until_all_of_it_is_erased(store: &dyn Store) {
    let e = store.allot(&here(), 0).unwrap();
    let told = |epoch, touches, entries| SessionFlush {
        estimate: Some(estimate(touches)),
        ..part(&here(), epoch, entries)
    };
    let kept = || {
        let kept = store.estimate(&here()).unwrap();
        assert_eq!(store.window(&here()).unwrap().unwrap().estimate, kept);
        kept
    };
    assert_eq!(kept(), None);
    let first = placed(&here(), 1, 1, one(said("a")));
    store.flush(&[told(e, 1, vec![first])]).unwrap();
    let keeps = kept().is_some();
    let expect = |touches| keeps.then(|| estimate(touches));
    assert_eq!(kept(), expect(1));
    // A flush that says nothing of it leaves it, one that says nothing else changes it, one of an older epoch does not.
    put(store, e, 2, vec![one(said("b"))]);
    assert_eq!(kept(), expect(1));
    store.flush(&[told(e, 2, Vec::new())]).unwrap();
    store.flush(&[told(e - 1, 3, Vec::new())]).unwrap();
    assert_eq!(kept(), expect(2));
    assert_eq!(store.window(&here()).unwrap().unwrap().last, 2);
    store.erase(&here(), &Erase::All).unwrap();
    assert_eq!(kept(), None);
}

/// See the name.
pub fn what_a_policy_has_learned_is_kept_by_name(store: &dyn Store) {
    assert_eq!(store.learned("people").unwrap(), None);
    let large = vec![7; 10_000];
    store.keep_learned("people", b"old").unwrap();
    store.keep_learned("people", &large).unwrap();
    store.keep_learned("agents", b"other").unwrap();
    if let Some(kept) = store.learned("people").unwrap() {
        assert_eq!(kept, large);
        assert_eq!(store.learned("agents").unwrap().unwrap(), b"other"[..]);
    }
    assert_eq!(store.learned("nobody").unwrap(), None);
    assert!(store.check().unwrap().violations.is_empty());
}
