//! Erasing: the tombstone is durable in the store first, then every copy goes.

use std::sync::Arc;

use crate::error::Result;
use crate::session::call::Call;
use crate::session::cell::Cell;
use crate::session::engine::Engine;
use crate::store::{Erase, Erased};
use crate::ttl::Estimate;

impl Cell {
    /// Erases from this session. What was accepted and is not durable is flushed first, so that the
    /// counts are right and nothing waits anywhere that the store does not know.
    pub(crate) async fn erase(self: &Arc<Self>, engine: &Engine, what: Erase) -> Result<Erased> {
        engine.open()?;
        let mut call = Call::begin(engine);
        let turn = call.turn(self).await;
        // A load takes over what other processes have not flushed, so that it is erased and counted too.
        self.inner.lock().reload = true;
        if let Err(e) = self.settle_in(&call).await
            && !e.is_outage()
        {
            return Err(e);
        }
        self.flush_now(&call).await?;
        let (cell, asked) = (Arc::clone(self), what);
        let erased = engine.blocking(move |s| {
            let erased = s.erase(&cell.address, &asked)?;
            // Here, so that it is done also when the answer comes too late for the caller.
            cell.erased(&asked, &erased);
            Ok(erased)
        });
        let erased = erased.await.inspect_err(|_| {
            // It may have been done all the same.
            let mut inner = self.inner.lock();
            inner.reload = true;
            inner.replica = None;
        })?;
        if self.inner.lock().reload
            && let Err(e) = self.settle_in(&call).await
        {
            // The store's tombstone holds; the copy in an unreachable tier goes when it is back.
            tracing::warn!(error = %e, "erased in the store; the hot tier follows when it is back");
        }
        drop(turn);
        engine.journal.retire();
        self.queue(engine);
        Ok(erased)
    }

    /// What stood here before this epoch is not shown any more: the next load replaces the log by a copy without what
    /// was erased.
    fn erased(&self, what: &Erase, erased: &Erased) {
        if erased.epoch > 0 && !matches!(what, Erase::Before(_)) || erased.messages > 0 {
            let mut inner = self.inner.lock();
            inner.need_epoch = inner.need_epoch.max(erased.epoch);
            inner.reload = true;
            inner.replica = None;
            if matches!(what, Erase::All) {
                inner.estimate = Estimate::default();
                inner.kept = true;
            }
        }
    }
}
