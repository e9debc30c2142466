//! All that the fake knows, behind one lock, and the news of its changes.

use std::sync::Weak;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::faults::Plan;
use super::gateway::Gateway;
use super::limits::Limits;
use super::net::Cut;
use super::record::Record;
use super::world::World;

/// What handle, REST and gateway share. Nothing waits while it holds the lock.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    version: Mutex<u64>,
    changed: Condvar,
    news: watch::Sender<u64>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) revoked: bool,
    pub(crate) offline: bool,
    pub(crate) wires: Vec<Weak<Cut>>,
    pub(crate) world: World,
    pub(crate) gateway: Gateway,
    pub(crate) plan: Plan,
    pub(crate) limits: Limits,
    pub(crate) record: Record,
    pub(crate) options: Options,
}

/// Times and texts a test may change.
#[derive(Debug)]
pub(crate) struct Options {
    /// How long an interaction waits for its first response.
    pub(crate) interaction_deadline: Duration,
    /// How long an interaction's token is good.
    pub(crate) interaction_life: Duration,
    /// How long a nonce is remembered.
    pub(crate) nonce_window: Duration,
    /// The code of an unknown `message_reference`.
    pub(crate) unknown_reference: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interaction_deadline: Duration::from_secs(3),
            interaction_life: Duration::from_mins(15),
            nonce_window: Duration::from_mins(3),
            unknown_reference: "REPLIES_UNKNOWN_MESSAGE",
        }
    }
}

impl State {
    /// True for the bot's token, with or without the word before it.
    pub(crate) fn is_token(&self, token: &str) -> bool {
        let bare = token.strip_prefix("Bot ").unwrap_or(token);
        !self.revoked && bare == self.token
    }
}

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            version: Mutex::new(0),
            changed: Condvar::new(),
            news: watch::Sender::new(0),
        }
    }

    /// Works on the state, then tells those who wait that it may have changed.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let done = self.read(work);
        *self.version.lock() += 1;
        self.changed.notify_all();
        self.news.send_modify(|version| *version += 1);
        done
    }

    /// Works on the state without telling anybody.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock())
    }

    /// Blocks until `done` or the deadline; false when it was the deadline.
    pub(crate) fn wait(&self, until: Instant, mut done: impl FnMut() -> bool) -> bool {
        loop {
            let seen = *self.version.lock();
            if done() {
                return true;
            }
            let mut version = self.version.lock();
            while *version == seen {
                if self.changed.wait_until(&mut version, until).timed_out() {
                    drop(version);
                    return done();
                }
            }
        }
    }

    /// As [`Self::wait`], for a task.
    pub(crate) async fn until(&self, until: Instant, mut done: impl FnMut() -> bool) -> bool {
        let mut news = self.news.subscribe();
        loop {
            news.borrow_and_update();
            if done() {
                return true;
            }
            let change = tokio::time::timeout_at(until.into(), news.changed());
            if change.await.is_err() {
                return done();
            }
        }
    }
}
