//! Calls of the store: off the async threads, so many at a time, with a deadline.
//!
//! Invariants: a call returns by its deadline even if the store never answers; calls that hang take up no more threads
//! than [`CALLS`], flushes one. A late answer is thrown away, which does no harm: an epoch that was allotted is used by
//! nobody, entries that were flushed are found by their ids when they are flushed again, or looked up; and whoever
//! erases loads the session anew. Knows no session.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::{Error, Result};
use crate::key::Address;
use crate::message::EntryId;
use crate::session::engine::Engine;
use crate::store::{Known, Store};

/// Store calls at the same time: a fraction of tokio's 512 blocking threads, more than a disk does at once.
const CALLS: usize = 32;

/// A flush writes thousands of entries and fsyncs: so many times a call's deadline.
const FLUSH_TIMES: u32 = 5;

/// The bounds of a cache's store calls.
#[derive(Debug)]
pub(crate) struct Calls {
    deadline: Duration,
    any: Arc<Semaphore>,
    flush: Arc<Semaphore>,
}

impl Calls {
    pub(crate) fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            any: Arc::new(Semaphore::new(CALLS)),
            flush: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Engine {
    /// Runs a call of the data path.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let calls = &self.calls;
        let what = "a call of the store";
        self.within(&calls.any, calls.deadline, what, call).await
    }

    /// Runs a flush. One that hangs is not followed by another.
    pub(crate) async fn flushing<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let calls = &self.calls;
        let deadline = calls.deadline.saturating_mul(FLUSH_TIMES);
        self.within(&calls.flush, deadline, "a flush of the store", call)
            .await
    }

    /// Runs a call that may take as long as it needs: reading everything, closing.
    pub(crate) async fn at_length<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let result = self.off_thread(call).await;
        self.noted(result)
    }

    /// The same for a call that fails without telling anything of the store's reach.
    pub(crate) async fn off_thread<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (store, name) = (Arc::clone(&self.store), self.store.name());
        tokio::task::spawn_blocking(move || call(&*store))
            .await
            .unwrap_or_else(|e| Err(Error::unavailable(name, "the call ended early", e)))
    }

    async fn within<T: Send + 'static>(
        &self,
        room: &Arc<Semaphore>,
        deadline: Duration,
        what: &'static str,
        call: impl FnOnce(&dyn Store) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (store, name) = (Arc::clone(&self.store), self.store.name());
        let call = async {
            let place = Arc::clone(room).acquire_owned().await;
            let place = place.map_err(|_| Error::Closed)?;
            let called = tokio::task::spawn_blocking(move || {
                let result = call(&*store);
                // Held until it has ended, however late.
                drop(place);
                result
            });
            called
                .await
                .unwrap_or_else(|e| Err(Error::unavailable(name, "the call ended early", e)))
        };
        let result = tokio::time::timeout(deadline, call).await;
        self.noted(result.unwrap_or(Err(Error::Timeout {
            what,
            after: deadline,
        })))
    }

    fn noted<T>(&self, result: Result<T>) -> Result<T> {
        let outage = result.as_ref().err().filter(|e| e.is_outage());
        self.store_failed(outage);
        result
    }

    pub(crate) async fn known(&self, session: &Address, ids: Vec<EntryId>) -> Result<Known> {
        let session = session.clone();
        self.blocking(move |s| s.known(&session, &ids)).await
    }
}
