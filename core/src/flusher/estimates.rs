//! What policies remember: a session's estimate goes with its flushes, and by itself before the session is dropped
//! here; what was learned of all sessions is kept now and then, and at the end.
//!
//! Nothing depends on it but how well times to live fit: a failure is told and left.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::flush_parts;
use crate::error::Error;
use crate::session::cell::Cell;
use crate::session::engine::Engine;
use crate::store::SessionFlush;
use crate::ttl::TtlPolicy;

/// Sessions whose estimates go into one store transaction.
const TOGETHER: usize = 256;

/// How long estimates, or what was learned, may hold up the flusher and a close: nothing is lost without them but how well
/// times to live fit.
const WITHIN: Duration = Duration::from_secs(1);

impl Cell {
    /// A flush of the estimate alone, when the store lacks it and nothing else will bring it.
    fn estimate_part(&self) -> Option<SessionFlush> {
        let inner = self.inner.lock();
        let replica = inner.replica.as_ref()?;
        let alone = !inner.kept && inner.pending.is_empty() && replica.published;
        let (cut, cut_at) = replica.fold.cut();
        alone.then(|| SessionFlush {
            session: self.address.clone(),
            epoch: replica.epoch,
            cut,
            cut_at,
            settled_to: 0,
            entries: Vec::new(),
            estimate: Some(inner.estimate),
        })
    }
}

/// Gives the store the estimates that it lacks; what is left when [`WITHIN`] is over, or the store is away, is kept later or
/// lost. A late flush does no harm.
pub(super) async fn keep(engine: &Engine, cells: &[Arc<Cell>]) {
    let keeping = async {
        for group in cells.chunks(TOGETHER) {
            let parts = group.iter().filter_map(|c| Some((c.estimate_part()?, c)));
            let (parts, owners): (Vec<_>, Vec<_>) = parts.unzip();
            if let Err(error) = flush_parts(engine, parts, &owners).await {
                tracing::debug!(%error, "when sessions were touched last is not kept");
                return;
            }
        }
    };
    tokio::time::timeout(WITHIN, keeping).await.ok();
}

/// Takes up what was learned before.
pub(crate) async fn restore(engine: &Engine) {
    for (name, _) in engine.ttl.learned() {
        let kept = engine.blocking(move |s| s.learned(name)).await;
        let restored = kept.and_then(|kept| match kept {
            Some(kept) => engine.ttl.restore(name, &kept),
            None => Ok(()),
        });
        if let Err(error) = restored {
            tracing::warn!(name, %error, "what was learned of times to live is lost; learning anew");
        }
    }
}

/// What was kept last, so that nothing is written twice.
#[derive(Debug, Default)]
pub(super) struct Learned(HashMap<&'static str, Bytes>);

impl Learned {
    /// Keeps what was learned since, within [`WITHIN`].
    pub(super) async fn keep(&mut self, engine: &Engine) {
        tokio::time::timeout(WITHIN, self.keep_each(engine))
            .await
            .ok();
    }

    async fn keep_each(&mut self, engine: &Engine) {
        for (name, learned) in policy(engine).learned() {
            if self.0.get(name) == Some(&learned) {
                continue;
            }
            let record = learned.clone();
            match engine
                .flushing(move |s| s.keep_learned(name, &record))
                .await
            {
                Ok(()) => {
                    self.0.insert(name, learned);
                }
                Err(Error::Closed) => return,
                Err(error) => tracing::debug!(name, %error, "what was learned is not kept yet"),
            }
        }
    }
}

fn policy(engine: &Engine) -> &dyn TtlPolicy {
    &*engine.ttl
}
