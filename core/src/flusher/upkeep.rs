//! Upkeep beside flushing: dropping replicas nobody needs, erasing what is past retention, giving back disk space.
//!
//! Invariant: nothing that is this process's alone is dropped. Knows no journal.

use std::sync::Arc;
use std::time::Duration;

use super::estimates;
use crate::clock::millis;
use crate::error::{Error, Result};
use crate::session::cell::Cell;
use crate::session::engine::Engine;
use crate::store::Erase;

/// Drops replicas past their time to live, and, over the bound, the least recently used ones.
pub(super) async fn sweep(engine: &Engine) {
    let now = engine.clock.monotonic();
    let leaving = |cell: &Arc<Cell>| {
        let inner = cell.inner.lock();
        !inner.kept && inner.is_idle() && inner.is_over(now)
    };
    let mut cells = engine.cells();
    cells.retain(leaving);
    estimates::keep(engine, &cells).await;
    // Whoever holds a cell keeps it from being dropped.
    drop(cells);
    engine.drop_unused(|cell| {
        let inner = cell.inner.lock();
        // Without a replica (a session only looked at, or ended) there is nothing to keep it for.
        inner.is_idle() && (inner.replica.is_none() || inner.kept && inner.is_over(now))
    });
    let mut kept: Vec<(Duration, usize, Arc<Cell>)> = Vec::new();
    for cell in engine.cells() {
        let (used, weight) = {
            let inner = cell.inner.lock();
            (
                inner.used,
                inner.replica.as_ref().map_or(0, |r| r.fold.weight()),
            )
        };
        if weight > 0 {
            kept.push((used, weight, cell));
        }
    }
    let mut total: usize = kept.iter().map(|(_, w, _)| w).sum();
    if total <= engine.limits.replica_bytes {
        return;
    }
    kept.sort_by_key(|(used, _, _)| *used);
    for (_, weight, cell) in kept {
        if total <= engine.limits.replica_bytes {
            break;
        }
        let mut inner = cell.inner.lock();
        if inner.is_idle() && cell.turn.try_lock().is_ok() {
            inner.replica = None;
            total = total.saturating_sub(weight);
        }
    }
}

/// From when on messages are kept. A wall clock that jumped ahead is not believed: what is erased does
/// not come back.
pub(super) fn retained_from(
    engine: &Engine,
    (wall_ms, monotonic): (u64, Duration),
    age: Duration,
) -> u64 {
    let lived = engine.clock.monotonic().saturating_sub(monotonic);
    let latest = wall_ms.saturating_add(millis(lived));
    engine
        .clock
        .wall_ms()
        .min(latest)
        .saturating_sub(millis(age))
}

/// Erases what was said before a time, session by session.
pub(super) async fn retain(engine: &Arc<Engine>, before: u64) -> Result<()> {
    let mut after: Option<String> = None;
    while engine.open().is_ok() {
        let from = after.clone();
        let page = engine
            .blocking(move |s| s.sessions(from.as_deref(), 256))
            .await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.as_str().to_owned());
        for address in page {
            let cell = engine.cell(&address);
            // An append under way must not find its replica gone.
            let _turn = cell.turn.lock().await;
            let erased = engine
                .blocking(move |s| s.erase(&address, &Erase::Before(before)))
                .await;
            if erased.as_ref().is_err_and(Error::is_outage) {
                // It may have been done, or be done later.
                cell.inner.lock().reload = true;
            }
            let erased = erased?;
            if erased.messages > 0 {
                let mut inner = cell.inner.lock();
                inner.need_epoch = inner.need_epoch.max(erased.epoch);
                inner.replica = None;
                inner.reload = true;
                drop(inner);
                cell.queue(engine);
            }
        }
    }
    Ok(())
}

/// Has the store compacted when its files hold much more than they must.
pub(super) async fn compact_if_wasteful(engine: Arc<Engine>) {
    if !matches!(engine.off_thread(|s| Ok(s.is_wasteful())).await, Ok(true)) {
        return;
    }
    match engine.off_thread(|s| s.compact(&|_| {})).await {
        Ok(done) => {
            engine.journal.retire();
            tracing::info!(
                before_bytes = done.bytes_before,
                after_bytes = done.bytes_after,
                "the store was compacted"
            );
        }
        Err(Error::Closed) => {}
        Err(error) => {
            tracing::warn!(%error, "the store could not be compacted; will retry in an hour")
        }
    }
}
