//! How far each channel has been taken in: the last message whose event was handled, in order.
//!
//! Invariants: a cursor moves forward only, and only after its message is journaled; what is stored may lag,
//! which is harmless, and never runs ahead. One session per guild holds them as its state, one for all
//! private chats; the oldest threads fall out, and where a channel has no cursor of its own the floor
//! answers for it. Knows no message.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use scrollback::{Cache, Session, SessionKey};
use scrollback_kit::insist;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OnceCell};

/// The platform's name in the keys of these sessions.
const PLATFORM: &str = "discord-cursors";
/// Cursors kept of one guild: 40 KB, under the 64 KiB of a state.
const MOST: usize = 2000;
/// How many stay when there are more.
const KEPT: usize = 1800;
/// Channels of a guild whose session is remembered; beyond it all are looked at again.
const CHECKED: usize = 20_000;

/// The cursors of one bot.
#[derive(Debug)]
pub(crate) struct Cursors {
    cache: Cache,
    books: Mutex<HashMap<Option<u64>, Arc<Book>>>,
    /// Told when a book should be stored soon.
    pub(crate) hurry: Arc<Notify>,
}

/// The cursors of one guild, or of all private chats.
#[derive(Debug)]
pub(crate) struct Book {
    session: Session,
    loaded: OnceCell<()>,
    page: Mutex<Page>,
    hurry: Arc<Notify>,
}

/// What is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    /// Where channels without a cursor begin.
    floor: u64,
    cursors: BTreeMap<u64, u64>,
}

#[derive(Debug, Default)]
struct Page {
    saved: Saved,
    /// Nothing was stored: the guild is seen for the first time.
    new: bool,
    dirty: bool,
    /// In which of Discord's sessions a channel was last compared.
    checked: HashMap<u64, u64>,
}

impl Cursors {
    pub(crate) fn new(cache: Cache) -> Self {
        Self {
            cache,
            books: Mutex::default(),
            hurry: Arc::default(),
        }
    }

    /// The cursors of a guild, loaded.
    ///
    /// # Errors
    /// The cache is closed.
    pub(crate) async fn book(&self, bot: u64, guild: Option<u64>) -> scrollback::Result<Arc<Book>> {
        let book = self.unloaded(bot, guild);
        book.loaded.get_or_try_init(|| book.load()).await?;
        Ok(book)
    }

    fn unloaded(&self, bot: u64, guild: Option<u64>) -> Arc<Book> {
        let mut books = self.books.lock();
        let book = books.entry(guild).or_insert_with(|| {
            let key = SessionKey::new(PLATFORM, bot);
            let key = match guild {
                Some(guild) => key.space(guild),
                None => key,
            };
            Arc::new(Book {
                session: self.cache.session(key),
                loaded: OnceCell::new(),
                page: Mutex::default(),
                hurry: Arc::clone(&self.hurry),
            })
        });
        Arc::clone(book)
    }

    /// Stores what changed; what cannot be stored now is tried at the next call.
    pub(crate) async fn save(&self) {
        let books: Vec<Arc<Book>> = self.books.lock().values().cloned().collect();
        for book in books {
            if let Err(error) = book.save().await {
                tracing::debug!(%error, session = %book.session.key(), "cursors are not stored yet");
            }
        }
    }
}

impl Book {
    async fn load(&self) -> scrollback::Result<()> {
        let stored = match insist(|| self.session.state::<Saved>()).await {
            Ok(stored) => stored.map(|(_, saved)| saved),
            Err(error @ scrollback::Error::Decode { .. }) => {
                tracing::error!(%error, session = %self.session.key(), "stored cursors cannot be read; they start anew");
                None
            }
            Err(error) => return Err(error),
        };
        let mut page = self.page.lock();
        page.new = stored.is_none();
        page.saved = stored.unwrap_or_default();
        Ok(())
    }

    /// Begins a guild that is seen for the first time: what was said up to `floor` is not taken in.
    pub(crate) fn begin(&self, floor: u64) {
        let mut page = self.page.lock();
        if page.new {
            page.new = false;
            page.saved.floor = floor;
            page.dirty = true;
            self.hurry.notify_one();
        }
    }

    /// True before [`begin`](Self::begin) in a guild that is seen for the first time.
    pub(crate) fn is_new(&self) -> bool {
        self.page.lock().new
    }

    /// The last message that was taken in.
    pub(crate) fn cursor(&self, channel: u64) -> u64 {
        self.page.lock().saved.cursor(channel)
    }

    /// True when something was taken in there.
    pub(crate) fn has(&self, channel: u64) -> bool {
        self.page.lock().saved.cursors.contains_key(&channel)
    }

    /// The channels in which something was taken in, the most recent first, at most `most`.
    pub(crate) fn recent(&self, most: usize) -> Vec<u64> {
        let mut channels: Vec<(u64, u64)> = {
            let page = self.page.lock();
            page.saved
                .cursors
                .iter()
                .map(|(channel, cursor)| (*cursor, *channel))
                .collect()
        };
        channels.sort_unstable_by(|a, b| b.cmp(a));
        channels
            .into_iter()
            .take(most)
            .map(|(_, channel)| channel)
            .collect()
    }

    /// A message is journaled; or nothing up to it was said that is to be taken in.
    pub(crate) fn advance(&self, channel: u64, message: u64) {
        let mut page = self.page.lock();
        if message <= page.saved.cursor(channel) {
            return;
        }
        let first = page.saved.cursors.insert(channel, message).is_none();
        page.saved.bound();
        page.dirty = true;
        if first {
            self.hurry.notify_one();
        }
    }

    /// In which of Discord's sessions the channel was last compared; 0 for none.
    pub(crate) fn checked(&self, channel: u64) -> u64 {
        self.page.lock().checked.get(&channel).copied().unwrap_or(0)
    }

    /// The channel was compared in a session.
    pub(crate) fn check(&self, channel: u64, session: u64) {
        let mut page = self.page.lock();
        if page.checked.len() >= CHECKED {
            page.checked.clear();
        }
        let checked = page.checked.entry(channel).or_default();
        *checked = (*checked).max(session);
    }

    async fn save(&self) -> scrollback::Result<()> {
        let saved = {
            let mut page = self.page.lock();
            if !std::mem::take(&mut page.dirty) {
                return Ok(());
            }
            page.saved.clone()
        };
        let stored = self.store(&saved).await;
        if stored.is_err() {
            self.page.lock().dirty = true;
        }
        stored
    }

    async fn store(&self, saved: &Saved) -> scrollback::Result<()> {
        let Err(error) = self.session.set_state(saved).await else {
            return Ok(());
        };
        if !matches!(error, scrollback::Error::Conflict { .. }) {
            return Err(error);
        }
        // Another process serves the same guild, or an outage hid that this was stored: both know something.
        if let Some((_, other)) = self.session.state::<Saved>().await? {
            self.page.lock().saved.merge(&other);
        }
        Err(error)
    }
}

impl Saved {
    /// A channel without a cursor begins at its own start (no message is older than its channel), or at
    /// the floor if it is older than that.
    fn cursor(&self, channel: u64) -> u64 {
        let start = self.floor.max(channel.saturating_sub(1));
        self.cursors.get(&channel).copied().unwrap_or(start)
    }

    /// Lets the oldest fall out when there are too many.
    fn bound(&mut self) {
        if self.cursors.len() <= MOST {
            return;
        }
        let mut ages: Vec<u64> = self.cursors.values().copied().collect();
        ages.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = ages.get(KEPT - 1).copied().unwrap_or(0);
        self.floor = self.floor.max(ages.get(KEPT).copied().unwrap_or(0));
        self.cursors.retain(|_, cursor| *cursor >= oldest);
    }

    fn merge(&mut self, other: &Self) {
        self.floor = self.floor.max(other.floor);
        for (channel, cursor) in &other.cursors {
            let own = self.cursors.entry(*channel).or_default();
            *own = (*own).max(*cursor);
        }
        self.bound();
    }
}

#[cfg(test)]
mod tests;
