//! The server's state behind one lock, and the pulse that wakes whoever waits for a change.
//!
//! The lock is never held across an await or while the test's own code runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};
use serde_json::Value;
use tokio::sync::watch;

use super::commands::Commands;
use super::faults::Faults;
use super::record::Record;
use super::updates::Queue;
use super::webhook::Webhook;
use super::world::{Bot, Chat, Connection, User};

/// How long a test waits for the bot.
const DEADLINE: Duration = Duration::from_secs(30);

/// Everything that the server knows.
pub(crate) struct State {
    pub(crate) bot: Bot,
    pub(crate) token: String,
    pub(crate) revoked: bool,
    pub(crate) logged_out: bool,
    pub(crate) offline: bool,
    pub(crate) started: Instant,
    pub(crate) users: BTreeMap<i64, User>,
    pub(crate) chats: BTreeMap<i64, Chat>,
    pub(crate) connections: BTreeMap<String, Connection>,
    /// The last identifier in private chats and basic groups, which share one sequence.
    pub(crate) last_message_id: i64,
    pub(crate) last_new_id: i64,
    pub(crate) queue: Queue,
    pub(crate) webhook: Option<Webhook>,
    pub(crate) webhook_setting: u64,
    pub(crate) webhook_backoff: Duration,
    pub(crate) commands: Commands,
    pub(crate) faults: Faults,
    pub(crate) record: Record,
}

impl State {
    pub(crate) fn new() -> Self {
        let bot = Bot::default();
        Self {
            token: format!("{}:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0", bot.id),
            bot,
            revoked: false,
            logged_out: false,
            offline: false,
            started: Instant::now(),
            users: BTreeMap::new(),
            chats: BTreeMap::new(),
            connections: BTreeMap::new(),
            last_message_id: 40,
            last_new_id: 0,
            queue: Queue::new(),
            webhook: None,
            webhook_setting: 0,
            webhook_backoff: Duration::from_millis(100),
            commands: Commands::default(),
            faults: Faults::default(),
            record: Record::default(),
        }
    }

    /// A number that nothing else of this server has.
    pub(crate) fn new_id(&mut self) -> i64 {
        self.last_new_id += 1;
        self.last_new_id
    }
}

/// The present, in seconds, as the Bot API writes dates.
pub(crate) fn now() -> Value {
    Timestamp::now().as_second().into()
}

/// The state, shared by the server's tasks and the test's handle.
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    pulse: watch::Sender<u64>,
    /// Rises when all connections are to be cut.
    cuts: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State::new()),
            changed: Condvar::new(),
            pulse: watch::Sender::new(0),
            cuts: watch::Sender::new(0),
        }
    }

    /// Changes the state and wakes everyone who waits for a change.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let done = change(&mut state);
        self.pulse.send_modify(|beat| *beat += 1);
        drop(state);
        self.changed.notify_all();
        done
    }

    /// Changes the state without waking anyone, for the pollers themselves.
    pub(crate) fn quietly<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock())
    }

    /// Reads the state.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock())
    }

    pub(crate) fn pulse(&self) -> watch::Receiver<u64> {
        self.pulse.subscribe()
    }

    pub(crate) fn cuts(&self) -> watch::Receiver<u64> {
        self.cuts.subscribe()
    }

    /// Cuts every open connection.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cut| *cut += 1);
    }

    /// Waits, blocking, until `done` is true.
    pub(crate) fn wait(&self, what: &str, mut done: impl FnMut() -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + DEADLINE;
        loop {
            let seen = *self.pulse.borrow();
            if done() {
                return Ok(());
            }
            let mut state = self.state.lock();
            while *self.pulse.borrow() == seen {
                if self.changed.wait_until(&mut state, until).timed_out() {
                    bail!("not within {DEADLINE:?}: {what}\n{}", state.record);
                }
            }
        }
    }

    /// Waits, without blocking the thread, until `done` is true.
    pub(crate) async fn wait_async(
        &self,
        what: &str,
        mut done: impl FnMut() -> bool + Send,
    ) -> anyhow::Result<()> {
        let mut pulse = self.pulse();
        let until = tokio::time::Instant::now() + DEADLINE;
        loop {
            pulse.borrow_and_update();
            if done() {
                return Ok(());
            }
            if tokio::time::timeout_at(until, pulse.changed())
                .await
                .is_err()
            {
                bail!(
                    "not within {DEADLINE:?}: {what}\n{}",
                    self.look(|state| state.record.to_string())
                );
            }
        }
    }
}
