//! Verification: journal, hot tier and store against each other.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::hot::{LogEntry, Place, Read, Record};
use crate::key::Address;
use crate::message::{Body, EntryId};
use crate::session::call::Call;
use crate::session::engine::Engine;
use crate::stats::Verified;
use crate::{flusher, store};

/// How many violations are told; the rest is counted.
const TOLD: usize = 100;

/// Flushes, then checks everything.
pub(crate) async fn verify(engine: &Arc<Engine>) -> Result<Verified> {
    flusher::flush(engine).await?;
    let checked: store::Checked = engine.at_length(|s| s.check()).await?;
    let mut found = Verified {
        sessions: checked.sessions,
        messages: checked.messages,
        hot: 0,
        violations: checked.violations,
    };
    let mut after: Option<String> = None;
    loop {
        let from = after.clone();
        let page = engine
            .blocking(move |s| s.sessions(from.as_deref(), 256))
            .await?;
        let Some(last) = page.last() else { break };
        after = Some(last.as_str().to_owned());
        for address in &page {
            if let Err(e) = check_hot(engine, address, &mut found).await {
                if e.is_outage() {
                    return Err(e);
                }
                found.violations.push(format!("{address}: {e}"));
            }
        }
    }
    // What was accepted while this ran is on its way; flush once more before counting the journal.
    flusher::flush(engine).await?;
    let (journal, waiting) = (
        engine.journal.pending(),
        crate::session::append::waiting(engine),
    );
    if waiting == 0 && journal > 0 {
        found.violations.push(format!(
            "the journal holds {journal} entries that nobody waits for"
        ));
    }
    for name in engine.journal.damaged() {
        found.violations.push(format!(
            "a part of the journal could not be read; the file is kept as {name}: acknowledged messages in \
             that part may be lost; remove it when it is not wanted"
        ));
    }
    let more = found.violations.len().saturating_sub(TOLD);
    if more > 0 {
        found.violations.truncate(TOLD);
        found.violations.push(format!("… and {more} more"));
    }
    Ok(found)
}

/// Every entry of a hot log must be in the store, under its number if the log is of the row's epoch.
async fn check_hot(engine: &Arc<Engine>, address: &Address, found: &mut Verified) -> Result<()> {
    let cell = engine.cell(address);
    let mut call = Call::begin(engine);
    let _turn = call.turn(&cell).await;
    let engine = &call;
    // A load takes over what other processes have not flushed, which is no violation.
    cell.inner.lock().reload = true;
    cell.settle_in(engine).await?;
    cell.flush_now(engine).await?;
    let entries = match engine
        .hot
        .read(address, None, engine.hot.generation())
        .await?
    {
        Read::Entries(entries) => entries,
        Read::Missing => return Ok(()),
        Read::Suspect => {
            return Err(Error::away(
                engine.hot.name(),
                "it was just replaced; try again",
            ));
        }
    };
    found.hot += 1;
    let (log, epoch) = numbered(engine, address, entries, &mut found.violations)?;
    let known = engine
        .known(address, log.iter().map(|(_, id)| *id).collect())
        .await?;
    for ((number, id), stored) in log.iter().zip(&known.numbers) {
        match stored {
            None if epoch < known.erased.all_below => {}
            None => {
                found
                    .violations
                    .push(format!("{address}: entry {id} is hot and not in the store"));
            }
            Some(n) if epoch == known.epoch && n != number => {
                found.violations.push(format!(
                    "{address}: entry {id} is {number} in the hot tier, {n} in the store"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The numbers and ids of a hot log's entries, and its epoch.
fn numbered(
    engine: &Engine,
    address: &Address,
    entries: Vec<LogEntry>,
    violations: &mut Vec<String>,
) -> Result<(Vec<(u64, EntryId)>, u64)> {
    let mut log: Vec<(u64, EntryId)> = Vec::new();
    let mut last: Option<Place> = None;
    for e in entries {
        if last.is_some_and(|l| e.at != Place::new(l.epoch, l.number + 1)) {
            violations.push(format!(
                "{address}: the hot log has a gap before {:?}",
                e.at
            ));
        }
        last = Some(e.at);
        match e.record {
            Record::Entry(record) => {
                let entry = engine.codec.read_entry(address, &record)?;
                log.push((e.at.number, entry.id));
            }
            Record::Snapshot(record) => {
                let snapshot = engine.codec.read_snapshot(address, &record)?;
                for (number, record) in snapshot.entries {
                    let entry = engine.codec.read_entry(address, &record)?;
                    if entry.body != Body::Void {
                        log.push((number, entry.id));
                    }
                }
            }
        }
    }
    Ok((log, last.map_or(0, |l| l.epoch)))
}
