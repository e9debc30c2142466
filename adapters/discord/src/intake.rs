//! Sorts what the shards hear: one lane per channel, in order.
//!
//! Invariants: hearing never blocks; what waits is bounded, and of what does not fit the channel is marked, so
//! that it is fetched later (its cursor has not moved); a channel's events are worked off one after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use scrollback::SessionKey;
use scrollback_kit::{DispatchLimits, Dispatcher, Drained, Refused};
use serenity::all::CommandInteraction;

use crate::gateway::{Heard, Listener, Ready};
use crate::map::{Kind, PLATFORM, kind};
use crate::news::{Channel, Guild, News, read};
use crate::outbox::AnswerOutbox;
use crate::shared::{Behind, Shared};
use crate::slash;
use crate::text::Me;
use crate::work::{Job, TOO_MUCH, What, work};

/// Events that may wait for one channel; what a raid sends beyond it is fetched when there is time.
const PER_CHANNEL: usize = 256;
/// Events that may wait in all: some 100 MiB of messages at worst.
const IN_ALL: usize = 50_000;
/// Private chats that are looked through after a new session.
const PRIVATE: usize = 100;

/// Sorts what the shards hear.
#[derive(Debug)]
pub(crate) struct Intake {
    shared: Arc<Shared>,
    lanes: Dispatcher<Job>,
    /// The latest of Discord's sessions, numbered over all shards and never reused.
    last: AtomicU64,
    /// By shard, the number of its session.
    sessions: Mutex<Vec<u64>>,
    commands_set: AtomicBool,
}

impl Intake {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let limits = DispatchLimits {
            per_session: PER_CHANNEL,
            total: IN_ALL,
        };
        let worker = Arc::clone(&shared);
        Self {
            lanes: Dispatcher::new(limits, move |job| work(Arc::clone(&worker), job)),
            shared,
            last: AtomicU64::new(0),
            sessions: Mutex::default(),
            commands_set: AtomicBool::new(false),
        }
    }

    /// Works off what waits.
    pub(crate) async fn drain(&self, patience: Duration) -> Drained {
        self.lanes.drain(patience).await
    }

    /// Gives channels of which something was dropped a chance to catch up, also when nothing more happens.
    pub(crate) fn nudge(&self) {
        let mut behind = self.shared.behind.lock().clone();
        behind.retain(|_, behind| !behind.nudged);
        for (channel, Behind { guild, .. }) in behind {
            if self.put(Job::new(guild, channel, What::Nudge))
                && let Some(behind) = self.shared.behind.lock().get_mut(&channel)
            {
                behind.nudged = true;
            }
        }
    }

    fn submit(&self, job: Job) {
        self.put(job);
    }

    /// Puts a job into its lane; false when it does not fit.
    fn put(&self, job: Job) -> bool {
        let lane = SessionKey::new(PLATFORM, "lane").channel(job.channel);
        match self.lanes.submit(&lane, job) {
            Ok(()) => true,
            Err((refused, job)) => {
                self.dropped(job, &refused);
                false
            }
        }
    }

    fn dropped(&self, job: Job, refused: &Refused) {
        let Job {
            guild,
            channel,
            what,
        } = job;
        match what {
            // The next message looks itself.
            What::Nudge | What::Look { .. } | What::Made { .. } => {}
            What::Used {
                call, acknowledged, ..
            } => {
                let Some(me) = self.shared.me.get() else {
                    return;
                };
                let outbox = AnswerOutbox::new(&self.shared, me.application, &call, acknowledged);
                self.shared
                    .spawn(async move { outbox.excuse(TOO_MUCH).await });
            }
            // Which changes were missed is found out for the newest messages.
            What::Said { .. } | What::Passed { .. } | What::Changed(_) | What::Gone(_) => {
                if self.shared.fall_behind(guild, channel) {
                    tracing::warn!(channel, %refused, "too much comes in; the channel's messages are fetched later");
                }
            }
        }
    }

    /// Counts a new session of a shard, or a hole in one: what was missed is looked for again.
    fn advance(&self, shard: u32) {
        let number = self.last.fetch_add(1, SeqCst) + 1;
        let index = usize::try_from(shard).unwrap_or_default();
        let mut sessions = self.sessions.lock();
        if sessions.len() <= index {
            sessions.resize(index + 1, 0);
        }
        if let Some(session) = sessions.get_mut(index) {
            *session = number;
        }
    }

    fn session(&self, shard: u32) -> u64 {
        let index = usize::try_from(shard).unwrap_or_default();
        self.sessions.lock().get(index).copied().unwrap_or(0)
    }

    fn ready(self: &Arc<Self>, shard: u32, ready: &Ready) {
        let application = ready
            .application
            .as_ref()
            .map_or(ready.user.id.get(), |a| a.id.get());
        let me = Me::new(ready.user.id.get(), application, &ready.user.username);
        let me = Arc::clone(self.shared.me.get_or_init(|| Arc::new(me)));
        self.advance(shard);
        self.shared.rest.closed.open_all();
        // Private chats are the first shard's.
        if shard != 0 {
            return;
        }
        let session = self.session(shard);
        let intake = Arc::clone(self);
        self.shared
            .spawn(async move { intake.look_at_private(session).await });
        if !self.commands_set.swap(true, SeqCst) {
            let rest = Arc::clone(&self.shared.rest);
            self.shared
                .spawn(async move { slash::announce(&rest, me.application).await });
        }
    }

    async fn look_at_private(self: Arc<Self>, session: u64) {
        let Some(me) = self.shared.me.get() else {
            return;
        };
        let Ok(book) = self.shared.cursors.book(me.id, None).await else {
            return;
        };
        for channel in book.recent(PRIVATE) {
            self.submit(Job::new(
                None,
                channel,
                What::Look {
                    last: None,
                    session,
                },
            ));
        }
    }

    /// A guild came into sight: its channels that have moved on are caught up, a new one begins now.
    fn guild(self: &Arc<Self>, shard: u32, guild: Box<Guild>) {
        self.shared.directory.learn_guild(&guild);
        self.shared.rest.closed.open_all();
        let session = self.session(shard);
        let intake = Arc::clone(self);
        self.shared
            .spawn(async move { intake.look_at(*guild, session).await });
    }

    async fn look_at(self: Arc<Self>, guild: Guild, session: u64) {
        let Some(me) = self.shared.me.get() else {
            return;
        };
        let id = Some(guild.id);
        let Ok(book) = self.shared.cursors.book(me.id, id).await else {
            return;
        };
        let all = || {
            guild
                .channels
                .iter()
                .chain(&guild.threads)
                .filter(|c| c.holds_messages())
        };
        let newest = all().filter_map(|channel| channel.last_message_id).max();
        book.begin(newest.unwrap_or(guild.id));
        for channel in all() {
            let (cursor, last) = (book.cursor(channel.id), channel.last_message_id);
            let moved = last.is_some_and(|last| last > cursor);
            // What was taken in long ago, or not at all, is not looked through for edits.
            let recent = book.has(channel.id) && self.shared.is_recent(cursor);
            if moved || (recent && book.checked(channel.id) < session) {
                self.submit(Job::new(id, channel.id, What::Look { last, session }));
            } else {
                book.check(channel.id, session);
            }
        }
    }

    fn channel(&self, shard: u32, channel: &Channel, new: bool) {
        self.shared.directory.learn(channel, None);
        self.shared.rest.closed.open(channel.id);
        if new && channel.holds_messages() {
            let session = self.session(shard);
            self.submit(Job::new(
                channel.guild_id,
                channel.id,
                What::Made { session },
            ));
        }
    }

    /// A command of Discord's own list: it is acknowledged at once, then waits its turn.
    fn used(&self, used: Box<CommandInteraction>) {
        let Some(call) = slash::Call::of(&used) else {
            return;
        };
        let acknowledged = slash::acknowledge(&self.shared, &call);
        let (guild, channel) = (used.guild_id.map(u64::from), used.channel_id.get());
        let what = What::Used {
            used,
            call,
            acknowledged,
        };
        self.submit(Job::new(guild, channel, what));
    }

    fn said(&self, shard: u32, said: Box<serenity::all::Message>) {
        let Some(me) = self.shared.me.get() else {
            return;
        };
        let (guild, channel) = (said.guild_id.map(u64::from), said.channel_id.get());
        let session = self.session(shard);
        let what = match kind(&said, me) {
            Kind::Talk => What::Said { said, session },
            Kind::Own | Kind::Notice => What::Passed {
                id: said.id.get(),
                session,
            },
        };
        self.submit(Job::new(guild, channel, what));
    }

    fn take(self: &Arc<Self>, shard: u32, name: &str, news: News) {
        let shared = &self.shared;
        match news {
            News::Said(said) => self.said(shard, said),
            News::Changed(update) => {
                let (guild, channel) = (update.guild_id.map(u64::from), update.channel_id.get());
                if update.edited_timestamp.is_some() {
                    self.submit(Job::new(guild, channel, What::Changed(update)));
                }
            }
            News::Gone {
                guild,
                channel,
                ids,
            } => self.submit(Job::new(guild, channel, What::Gone(ids))),
            News::Used(used) => self.used(used),
            News::Guild(guild) => self.guild(shard, guild),
            News::GuildGone { id, away: true } => {
                tracing::info!(guild = id, "a Discord guild is away for now")
            }
            News::GuildGone { id, away: false } => {
                shared.directory.forget_guild(id);
                tracing::info!(
                    guild = id,
                    "the bot is no longer in a Discord guild; what was said there stays"
                );
            }
            News::Channel { channel, new } => self.channel(shard, &channel, new),
            News::ChannelGone(id) => tracing::debug!(
                channel = id,
                "a Discord channel is gone; what was said there stays"
            ),
            News::Threads(threads) => {
                threads
                    .iter()
                    .for_each(|thread| self.channel(shard, thread, false));
            }
            News::Role { guild, role } => {
                shared.directory.learn_role(guild, role);
                shared.rest.closed.open_all();
            }
            News::RoleGone { guild, id } => shared.directory.forget_role(guild, id),
            News::Member { guild } => {
                tracing::debug!(guild, "the bot's own roles changed");
                shared.rest.closed.open_all();
            }
            News::Unreadable { guild, channel } => {
                tracing::warn!(event = name, "an event from Discord cannot be read");
                if let Some(channel) = channel {
                    shared.fall_behind(guild, channel);
                    self.submit(Job::new(guild, channel, What::Nudge));
                }
            }
        }
    }
}

/// Hears for an [`Intake`].
#[derive(Debug)]
pub(crate) struct Ear(pub(crate) Arc<Intake>);

impl Listener for Ear {
    fn hear(&self, shard: u32, heard: Heard) {
        let intake = &self.0;
        if intake.shared.is_stopping() {
            return;
        }
        match heard {
            Heard::Session(ready) => intake.ready(shard, &ready),
            Heard::Gap => {
                tracing::warn!(
                    shard,
                    "something that Discord sent was lost; it is looked for"
                );
                intake.advance(shard);
            }
            Heard::Event { kind, data } => {
                if let Some(news) = read(&kind, data) {
                    intake.take(shard, &kind, news);
                }
            }
        }
    }
}
