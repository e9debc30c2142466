//! What each request does, for the control socket and for a directory opened here alike.

use std::time::Duration;

use anyhow::Context as _;
use scrollback::{Cache, MasterKey, Page, Progress};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::{Request, Selection, author, session_key};
use crate::exit::Failed;
use crate::export::{self, Rows};

/// How often a compaction tells how far it is.
const TICK: Duration = Duration::from_millis(100);

/// Does what is asked, writes its rows and returns its final value.
///
/// # Errors
/// A bad request, a failure of the cache, rows that nobody takes.
pub(super) async fn run(
    request: &Request,
    cache: &Cache,
    rows: &mut dyn Rows,
) -> anyhow::Result<Value> {
    let done = match request {
        Request::Export { what } => counted(export::rows(cache, what, rows).await?),
        Request::History { session, limit } => {
            counted(history(cache, session, *limit, rows).await?)
        }
        Request::Forget { what } => forget(cache, what).await?,
        Request::Verify {} => value(&cache.verify().await.context("cannot verify")?)?,
        Request::Compact {} => compact(cache, rows).await?,
        Request::Stats {} => stats(cache)?,
        Request::RotateKey { file } => {
            let master = MasterKey::from_file(file)?;
            cache
                .rotate_key(&master)
                .await
                .context("cannot rotate the master key")?;
            serde_json::json!({ "rotated": true })
        }
    };
    Ok(done)
}

fn counted(messages: u64) -> Value {
    serde_json::json!({ "messages": messages })
}

fn value(of: &impl Serialize) -> anyhow::Result<Value> {
    serde_json::to_value(of).context("cannot encode the answer")
}

fn stats(cache: &Cache) -> anyhow::Result<Value> {
    let stats = cache.stats();
    let mut all = value(&stats)?;
    if let Some(all) = all.as_object_mut() {
        all.insert("hit_ratio".into(), stats.hit_ratio().into());
    }
    Ok(all)
}

/// Rows of a compaction: how many sessions are copied, of how many; the first one soon, then one a tick.
async fn compact(cache: &Cache, rows: &mut dyn Rows) -> anyhow::Result<Value> {
    let (tell, told) = watch::channel(Progress::default());
    let compacting = cache.compact(move |progress| {
        tell.send_replace(progress);
    });
    tokio::pin!(compacting);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            done = &mut compacting => return value(&done.context("cannot compact")?),
            _ = tick.tick() => {
                let Progress { done, total } = *told.borrow();
                let row = serde_json::json!({ "copied": done, "of": total });
                rows.row(row.to_string().as_bytes()).await.context("nobody takes the answer")?;
                rows.flush().await.context("nobody takes the answer")?;
            }
        }
    }
}

async fn history(
    cache: &Cache,
    session: &str,
    limit: u32,
    rows: &mut dyn Rows,
) -> anyhow::Result<u64> {
    let key = session_key(session)?;
    let page = Page {
        before: None,
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let session = cache.session(key);
    let messages = session
        .history(page)
        .await
        .context("cannot read the history")?;
    let mut written = 0;
    for (seq, message) in messages {
        export::write(rows, session.key(), seq, message).await?;
        written += 1;
    }
    Ok(written)
}

async fn forget(cache: &Cache, what: &Selection) -> anyhow::Result<Value> {
    let forgotten = match what {
        Selection::Session(key) => cache.session(session_key(key)?).forget().await,
        Selection::Author { platform, id } => {
            scrollback_kit::commands::forget_person(cache, &author(platform, id)).await
        }
        Selection::All => return Err(Failed::usage("forget needs a session or an author")),
    };
    value(&forgotten.context("cannot forget")?)
}
