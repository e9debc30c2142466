//! A store in memory, for tests: written from the contract alone, and able to fail and to stall.
//!
//! Invariant: it keeps every promise of [`Store`] but durability. Knows nothing of sled.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use self::log::{Log, Place};
use crate::error::{Error, Result};
use crate::key::Address;
use crate::message::{Author, EntryId, Message, Seq};
use crate::store::{
    Checked, Erase, Erased, Found, Known, Page, SessionFlush, SessionFlushed, Store, Stored,
};
use crate::summary::author_hash;

mod log;

const TIER: &str = "memory store";

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
    resumed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: BTreeMap<String, Log>,
    learned: HashMap<String, Bytes>,
    epoch: u64,
    fail: u64,
    lose: u64,
    stalled: bool,
    waiting: u64,
    closed: bool,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next `n` calls fail with [`Error::Unavailable`], having done nothing.
    pub fn fail_next(&self, n: u64) {
        self.inner.lock().fail = n;
    }

    /// Makes the next `n` flushes fail although they were stored, as when a reply is lost.
    pub fn lose_replies(&self, n: u64) {
        self.inner.lock().lose = n;
    }

    /// Makes every call wait until [`Self::resume`].
    pub fn stall(&self) {
        self.inner.lock().stalled = true;
    }

    /// Lets the calls that wait go on.
    pub fn resume(&self) {
        self.inner.lock().stalled = false;
        self.resumed.notify_all();
    }

    /// How many calls wait for [`Self::resume`].
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.inner.lock().waiting
    }

    fn run<T>(&self, op: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
        let mut inner = self.inner.lock();
        while inner.stalled {
            inner.waiting += 1;
            self.resumed.wait(&mut inner);
            inner.waiting -= 1;
        }
        if inner.closed {
            return Err(Error::Closed);
        }
        if inner.fail > 0 {
            inner.fail -= 1;
            return Err(Error::away(TIER, "it was told to fail"));
        }
        op(&mut inner)
    }
}

impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn allot(&self, session: &Address, above: u64) -> Result<u64> {
        self.run(|inner| {
            let log = inner
                .sessions
                .entry(session.as_str().to_owned())
                .or_default();
            inner.epoch = inner.epoch.max(above).max(log.epoch) + 1;
            log.epoch = inner.epoch;
            Ok(log.epoch)
        })
    }

    fn window(&self, session: &Address) -> Result<Option<Stored>> {
        self.run(|inner| {
            let log = inner.sessions.get(session.as_str());
            log.map(|log| log.window(session.hash64())).transpose()
        })
    }

    fn keep_learned(&self, name: &str, learned: &[u8]) -> Result<()> {
        let learned = Bytes::copy_from_slice(learned);
        self.run(|inner| {
            inner.learned.insert(name.to_owned(), learned);
            Ok(())
        })
    }

    fn learned(&self, name: &str) -> Result<Option<Bytes>> {
        self.run(|inner| Ok(inner.learned.get(name).cloned()))
    }

    fn known(&self, session: &Address, ids: &[EntryId]) -> Result<Known> {
        self.run(|inner| {
            let log = inner
                .sessions
                .get(session.as_str())
                .cloned()
                .unwrap_or_default();
            let by_id: HashMap<_, _> = log.entries.iter().map(|(n, e)| (e.id, *n)).collect();
            Ok(Known {
                epoch: log.epoch,
                erased: log.erased,
                numbers: ids.iter().map(|id| by_id.get(id).copied()).collect(),
            })
        })
    }

    fn find(&self, session: &Address, platform_ids: &[&str]) -> Result<Vec<Option<Found>>> {
        self.run(|inner| {
            let log = inner.sessions.get(session.as_str());
            let found = platform_ids.iter().map(|id| log.and_then(|l| l.found(id)));
            Ok(found.collect())
        })
    }

    fn flush(&self, batch: &[SessionFlush]) -> Result<Vec<SessionFlushed>> {
        self.run(|inner| {
            // Worked out on copies, so that a flush is stored whole or not at all.
            let mut changed: BTreeMap<String, Log> = BTreeMap::new();
            let mut flushed = Vec::with_capacity(batch.len());
            for flush in batch {
                let key = flush.session.as_str();
                let log = changed
                    .entry(key.to_owned())
                    .or_insert_with(|| inner.sessions.get(key).cloned().unwrap_or_default());
                let done = log.flush(flush)?;
                inner.epoch = inner.epoch.max(done.epoch);
                flushed.push(done);
            }
            inner.sessions.extend(changed);
            if inner.lose > 0 {
                inner.lose -= 1;
                return Err(Error::away(TIER, "it was told to lose its reply"));
            }
            Ok(flushed)
        })
    }

    fn history(&self, session: &Address, page: Page) -> Result<Vec<(Seq, Message)>> {
        self.run(|inner| {
            let Some(log) = inner.sessions.get(session.as_str()) else {
                return Ok(Vec::new());
            };
            let before = page.before.unwrap_or(Seq(u64::MAX));
            let mut newest: Vec<_> = log
                .messages()
                .rev()
                .filter(|(seq, _)| *seq < before)
                .take(page.limit.clamp(1, 10_000))
                .map(|(seq, m)| (seq, m.clone()))
                .collect();
            newest.reverse();
            Ok(newest)
        })
    }

    fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<Address>> {
        self.run(|inner| {
            let keys = inner.sessions.keys();
            let rest = keys.filter(|key| after.is_none_or(|after| key.as_str() > after));
            Ok(rest
                .take(limit)
                .map(|key| Address::from_text(key))
                .collect())
        })
    }

    fn sessions_of(&self, author: &Author) -> Result<Vec<Address>> {
        self.run(|inner| {
            let hash = author_hash(author);
            let spoke = inner
                .sessions
                .iter()
                .filter(|(_, log)| log.authors.contains(&hash));
            Ok(spoke.map(|(key, _)| Address::from_text(key)).collect())
        })
    }

    fn erase(&self, session: &Address, what: &Erase) -> Result<Erased> {
        self.run(|inner| {
            let Some(log) = inner.sessions.get_mut(session.as_str()) else {
                return Ok(Erased::default());
            };
            let (erased, any) = log.erase(what);
            if any || !matches!(what, Erase::Before(_)) {
                inner.epoch = inner.epoch.max(log.epoch) + 1;
                log.epoch = inner.epoch;
            }
            if matches!(what, Erase::All) {
                log.durable_to = log.last();
            }
            match what {
                Erase::All => {
                    log.estimate = None;
                    log.erased.erase_all(log.epoch);
                }
                Erase::Author(author) => log.erased.erase_author(author, log.epoch),
                Erase::Before(_) => {}
            }
            Ok(Erased {
                epoch: log.epoch,
                ..erased
            })
        })
    }

    fn check(&self) -> Result<Checked> {
        self.run(|inner| {
            let mut checked = Checked::default();
            for (key, log) in &inner.sessions {
                checked.sessions += 1;
                for (seq, m) in log.messages() {
                    checked.messages += 1;
                    let place = m.id.as_ref().map(|id| log.places.get(id));
                    if place.is_some_and(|p| p != Some(&Place::At(seq))) {
                        let what = format!("{key}: message {seq} is not in the index");
                        checked.violations.push(what);
                    }
                }
            }
            Ok(checked)
        })
    }

    fn close(&self) -> Result<()> {
        self.inner.lock().closed = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::store_contract!((MemoryStore::new(), ()));

    #[test]
    fn it_fails_as_often_as_told_and_then_works() {
        let store = MemoryStore::new();
        let at = Address::from_text("x/1/channel=1");
        store.fail_next(2);
        assert!(store.allot(&at, 0).is_err_and(|e| e.is_outage()));
        assert!(store.window(&at).is_err());
        assert!(store.window(&at).unwrap().is_none());
    }

    #[test]
    fn a_stalled_call_waits_until_it_is_resumed() {
        let store = MemoryStore::new();
        let at = Address::from_text("x/1/channel=1");
        store.stall();
        std::thread::scope(|s| {
            let call = s.spawn(|| store.allot(&at, 0).unwrap());
            while store.waiting() == 0 {
                std::thread::yield_now();
            }
            store.resume();
            assert_eq!(call.join().unwrap(), 1);
        });
    }
}
