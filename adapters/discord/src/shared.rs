//! What the parts of one run share.
//!
//! Invariant: every task started here is ended when the run ends.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use scrollback::Clock as _;
use scrollback::clock::SystemClock;
use scrollback_kit::{Bot, Pings};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cursors::Cursors;
use crate::directory::Directory;
use crate::rest::Rest;
use crate::snowflake::made_at_ms;
use crate::text::Me;

/// Pages fetched at once: enough to be done soon, few enough to leave room for answers.
const FETCHES: usize = 8;

/// What the parts of one run share.
pub(crate) struct Shared {
    pub(crate) bot: Arc<Bot>,
    pub(crate) rest: Arc<Rest>,
    pub(crate) directory: Directory,
    pub(crate) cursors: Cursors,
    pub(crate) pings: Pings,
    /// The bot itself, from the first session on.
    pub(crate) me: OnceLock<Arc<Me>>,
    /// Channels of which something was dropped.
    pub(crate) behind: Mutex<HashMap<u64, Behind>>,
    pub(crate) fetches: Semaphore,
    /// When this run began: older words of the bot's own come from another one.
    pub(crate) began_ms: u64,
    /// No more is fetched; what then is missed is fetched at the next start.
    pub(crate) stopping: AtomicBool,
    /// The cache was closed: nothing more can be taken in.
    pub(crate) closed: Notify,
    tasks: Mutex<JoinSet<()>>,
}

/// A channel of which something was dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behind {
    /// Its guild, as far as known.
    pub(crate) guild: Option<u64>,
    /// A job that catches up waits in its lane.
    pub(crate) nudged: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(bot: Arc<Bot>, rest: Arc<Rest>, pings: Pings) -> Self {
        Self {
            cursors: Cursors::new(bot.cache().clone()),
            bot,
            rest,
            directory: Directory::default(),
            pings,
            me: OnceLock::new(),
            behind: Mutex::default(),
            fetches: Semaphore::new(FETCHES),
            began_ms: SystemClock::default().wall_ms(),
            stopping: AtomicBool::new(false),
            closed: Notify::new(),
            tasks: Mutex::new(JoinSet::new()),
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// True for a message of the week before this run, or later.
    pub(crate) fn is_recent(&self, message: u64) -> bool {
        const WEEK: u64 = 7 * 24 * 60 * 60 * 1000;
        made_at_ms(message) + WEEK >= self.began_ms
    }

    /// Something of a channel is missing and is to be fetched; true when that is news.
    pub(crate) fn fall_behind(&self, guild: Option<u64>, channel: u64) -> bool {
        let nudged = false;
        let behind = Behind { guild, nudged };
        self.behind.lock().insert(channel, behind).is_none()
    }

    /// Starts a task of this run.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Waits for the tasks, then ends what is left of them.
    pub(crate) async fn finish(&self, patience: Duration) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(patience, all).await.is_err() {
            tasks.shutdown().await;
        }
    }
}
