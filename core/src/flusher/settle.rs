//! Settling: the dirty marks of sessions that are durable are cleared, and their times to live begin to count.
//!
//! Invariant: a mark is cleared only under the session's turn and with nothing pending.

use std::sync::Arc;

use crate::hot::Settle;
use crate::session::call::Call;
use crate::session::cell::Cell;
use crate::session::engine::Engine;
use crate::ttl::Ttl;

/// Clears the marks of sessions with nothing pending; their time to live applies, what is left of it since their last touch.
pub(super) async fn settle(engine: &Engine, cells: &[Arc<Cell>]) {
    let (mut turns, mut settled, mut owners) = (Vec::new(), Vec::new(), Vec::new());
    for cell in cells {
        // Somebody is appending: next round.
        let Ok(turn) = Arc::clone(&cell.turn).try_lock_owned() else {
            continue;
        };
        let mut inner = cell.inner.lock();
        let due = inner.may_be_marked() || inner.ending;
        if !due || !inner.pending.is_empty() || inner.reload {
            continue;
        }
        let untouched = inner.used.is_zero() && inner.ttl == Ttl::Pinned;
        if untouched || inner.estimate.touches == 0 {
            // Loaded and never used here (a replay, a look at everything), or just forgotten: without a time to live it would
            // stay for ever. That somebody settles it is nothing to remember.
            let (estimate, kept) = (inner.estimate, inner.kept);
            Cell::touch(&mut inner, engine);
            (inner.estimate, inner.kept) = (estimate, kept);
        }
        // Not known to be set from here on, and not known to be cleared before the answer.
        inner.marked = false;
        inner.unsure = true;
        let ttl_ms = inner.arm(engine.clock.monotonic());
        let session = cell.address.clone();
        settled.push(Settle { session, ttl_ms });
        turns.push(turn);
        owners.push(cell);
    }
    if settled.is_empty() {
        return;
    }
    let call = Call::begin(engine);
    let done = call.hot.settle(&engine.writer, settled).await;
    call.hot.charge(&owners, 0);
    if let Err(e) = done {
        engine.hot_failed(Some(&e));
        return;
    }
    let charged = call.hot.spent_us();
    for cell in &owners {
        let ending = {
            let mut inner = cell.inner.lock();
            inner.unsure = false;
            std::mem::take(&mut inner.ending)
        };
        if !ending {
            continue;
        }
        cell.forget_replica();
        if let Err(e) = call.hot.release(&cell.address).await {
            tracing::debug!(session = %cell.address, error = %e, "not released; it will expire");
        }
    }
    call.hot.charge(&owners, charged);
}
