//! Works off one thing that happened in a channel.
//!
//! Invariants: a cursor moves only after the message is journaled, and only when nothing before it is
//! missing; while a channel catches up, what happens there waits.

use std::sync::Arc;

use scrollback::Error;
use scrollback_kit::commands::{Command, Parsed, parse};
use scrollback_kit::{Incoming, insist};
use serenity::all::{CommandInteraction, Message, MessageUpdateEvent};

use crate::catch_up::{Look, catch_up};
use crate::cursors::Book;
use crate::directory::At;
use crate::gateway::Backoff;
use crate::map;
use crate::news::Channel;
use crate::outbox::{AnswerOutbox, ChannelOutbox};
use crate::shared::Shared;
use crate::slash::{Acknowledged, Call};
use crate::text::Me;

/// Said to a person whose command there is no time for.
pub(crate) const TOO_MUCH: &str = "I have too much to do right now. Please try again later.";

/// One thing that happened in a channel.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) guild: Option<u64>,
    /// The channel or thread.
    pub(crate) channel: u64,
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum What {
    /// Somebody said something.
    Said {
        said: Box<Message>,
        /// In which of Discord's sessions it was told.
        session: u64,
    },
    /// A message that is not taken in came by: the bot's own, or a notice.
    Passed { id: u64, session: u64 },
    /// A message changed.
    Changed(Box<MessageUpdateEvent>),
    /// Messages are gone.
    Gone(Vec<u64>),
    /// A command was used.
    Used {
        used: Box<CommandInteraction>,
        call: Call,
        acknowledged: Acknowledged,
    },
    /// The channel was made just now.
    Made { session: u64 },
    /// In a new session: compare with what is there.
    Look { last: Option<u64>, session: u64 },
    /// Something was dropped.
    Nudge,
}

impl Job {
    pub(crate) const fn new(guild: Option<u64>, channel: u64, what: What) -> Self {
        Self {
            guild,
            channel,
            what,
        }
    }
}

/// Where the work is done.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) shared: Arc<Shared>,
    pub(crate) me: Arc<Me>,
    pub(crate) at: At,
    pub(crate) book: Arc<Book>,
}

/// Works off one thing that happened.
pub(crate) async fn work(shared: Arc<Shared>, job: Job) {
    let Some(me) = shared.me.get().cloned() else {
        return;
    };
    let at = place(&shared, job.guild, job.channel).await;
    let Ok(book) = shared.cursors.book(me.id, at.guild).await else {
        shared.closed.notify_one();
        return;
    };
    let site = Site {
        shared,
        me,
        at,
        book,
    };
    if let Err(Closed) = Box::pin(site.work(job.what)).await {
        site.shared.closed.notify_one();
    }
}

/// The cache is closed: nothing more can be taken in.
#[derive(Debug)]
pub(crate) struct Closed;

impl Site {
    async fn work(&self, what: What) -> Result<(), Closed> {
        let channel = self.at.itself();
        let behind = self.shared.behind.lock().remove(&channel).is_some();
        let (session, look) = match &what {
            What::Said { said, session } => (*session, self.before(said.id.get())),
            What::Passed { id, session } => (*session, self.before(*id)),
            What::Made { session } => (*session, Look::Nothing),
            What::Look { last, session } => (*session, self.look(*last)),
            _ => (0, Look::Nothing),
        };
        let unchecked = session > self.book.checked(channel);
        let look = match look {
            _ if behind => Look::Missed(None),
            Look::Compare | Look::Missed(None) if !unchecked => Look::Nothing,
            look => look,
        };
        if self.shared.is_stopping() && look != Look::Nothing {
            // What cannot be fetched any more is fetched at the next start: the cursor stays.
            self.fall_behind();
        } else {
            catch_up(self, look).await?;
            if session > 0 {
                self.book.check(channel, session);
            }
        }
        self.perform(what).await
    }

    /// What to look for before a message is taken in. A guild that is seen for the first time begins with it,
    /// and so do the private chats.
    fn before(&self, message: u64) -> Look {
        if self.book.is_new() {
            self.book.begin(message - 1);
            return Look::Nothing;
        }
        Look::Missed(None)
    }

    /// What to look for in a new session; of private chats Discord does not tell the last message.
    fn look(&self, last: Option<u64>) -> Look {
        match last {
            Some(last) if last <= self.book.cursor(self.at.itself()) => Look::Compare,
            last => Look::Missed(last),
        }
    }

    async fn perform(&self, what: What) -> Result<(), Closed> {
        match what {
            What::Said { said, .. } => self.said(&said).await,
            What::Passed { id, .. } => {
                self.passed(id);
                Ok(())
            }
            What::Changed(update) => self.changed(&update).await,
            What::Gone(ids) => {
                for id in ids {
                    self.gone(None, id).await?;
                }
                Ok(())
            }
            What::Used {
                used,
                call,
                acknowledged,
            } => self.used(&used, call, acknowledged).await,
            What::Look { .. } | What::Made { .. } | What::Nudge => Ok(()),
        }
    }

    /// Something is missing; from here on the cursor stays until it is fetched.
    pub(crate) fn fall_behind(&self) {
        self.shared.fall_behind(self.at.guild, self.at.itself());
    }

    /// Everything up to this message is taken in, unless something before it is missing.
    pub(crate) fn passed(&self, message: u64) {
        let channel = self.at.itself();
        let behind = self.shared.is_stopping() && self.shared.behind.lock().contains_key(&channel);
        if !behind {
            self.book.advance(channel, message);
        }
    }

    /// Takes in what somebody said, and has it answered.
    pub(crate) async fn said(&self, said: &Message) -> Result<(), Closed> {
        let shared = &self.shared;
        if self.at.guild.is_none() {
            // Who writes in private may have opened their private chats just now.
            let person = said.author.id.get();
            shared.rest.closed.open(person);
            shared.rest.closed.open(self.at.itself());
        }
        let mut incoming = map::incoming(said, self.at, &self.me, &shared.directory);
        if asks_to_delete(&incoming) {
            incoming.moderator = self.may_moderate(said).await;
        }
        let accepted = Box::pin(insist(|| shared.bot.accept(incoming.clone()))).await;
        match accepted {
            Ok(accepted) => {
                self.passed(said.id.get());
                let outbox = ChannelOutbox::new(
                    Arc::clone(&shared.rest),
                    self.at,
                    said.id.get(),
                    said.author.id.get(),
                    shared.pings,
                );
                // A refusal is logged by the kit; the message is kept.
                let _ = shared.bot.submit(accepted, Arc::new(outbox));
                Ok(())
            }
            Err(Error::Closed) => Err(Closed),
            Err(error) => {
                tracing::warn!(%error, channel = self.at.itself(), "a Discord message cannot be kept");
                self.passed(said.id.get());
                Ok(())
            }
        }
    }

    async fn changed(&self, update: &MessageUpdateEvent) -> Result<(), Closed> {
        let shared = &self.shared;
        let Some(edit) = map::edit(update, self.at, &self.me, &shared.directory) else {
            return Ok(());
        };
        self.edit(&edit).await
    }

    pub(crate) async fn edit(&self, edit: &map::Edit) -> Result<(), Closed> {
        let origin = map::origin(self.at, &self.me, edit.user);
        let (bot, id) = (&self.shared.bot, edit.id.to_string());
        let session = bot.session(&origin);
        // Where the person is not known the kit looks for the session that knows the message.
        if !session.key().user_id().is_some_and(str::is_empty) {
            let known_as = map::known_as(session.key(), self.at, &id);
            match insist(|| session.knows(&known_as)).await {
                Ok(true) => {}
                // Never taken in: its text is not to be kept by way of an edit.
                Ok(false) => return Ok(()),
                Err(error) => return self.noted(Err(error)),
            }
        }
        let edited = insist(|| bot.edit(&origin, &id, &edit.text, edit.at_ms)).await;
        self.noted(edited)
    }

    /// A message is gone; `user` is who wrote it, if known.
    pub(crate) async fn gone(&self, user: Option<u64>, id: u64) -> Result<(), Closed> {
        let origin = map::origin(self.at, &self.me, user);
        let id = id.to_string();
        let deleted = insist(|| self.shared.bot.delete(&origin, &id)).await;
        self.noted(deleted)
    }

    fn noted(&self, done: scrollback::Result<()>) -> Result<(), Closed> {
        match done {
            Ok(()) => Ok(()),
            Err(Error::Closed) => Err(Closed),
            Err(error) => {
                tracing::warn!(%error, channel = self.at.itself(), "a change of a Discord message cannot be kept");
                Ok(())
            }
        }
    }

    async fn used(
        &self,
        used: &CommandInteraction,
        call: Call,
        acknowledged: Acknowledged,
    ) -> Result<(), Closed> {
        let shared = &self.shared;
        let incoming = call.incoming(used, self.at, &self.me);
        let application = self.me.application;
        let outbox = Arc::new(AnswerOutbox::new(shared, application, &call, acknowledged));
        let told = match Box::pin(insist(|| shared.bot.accept(incoming.clone()))).await {
            Ok(accepted) if accepted.needs_answer() => {
                let submitted = shared.bot.submit(accepted, Arc::clone(&outbox) as _);
                submitted.err().map(|_| TOO_MUCH)
            }
            Ok(accepted) if accepted.duplicate() => None,
            Ok(_) => Some("I cannot do that here, or not so soon again."),
            Err(Error::Closed) => return Err(Closed),
            Err(error) => {
                tracing::warn!(%error, "a Discord command cannot be taken");
                Some("I cannot do that right now. Please try again later.")
            }
        };
        if let Some(told) = told {
            // Not in the lane: what comes next need not wait for it.
            shared.spawn(async move { outbox.excuse(told).await });
        }
        Ok(())
    }

    async fn may_moderate(&self, said: &Message) -> bool {
        let (Some(guild), user) = (self.at.guild, said.author.id.get()) else {
            return false;
        };
        let roles: Vec<u64> = match &said.member {
            Some(member) => member.roles.iter().map(|role| role.get()).collect(),
            None => match self.shared.rest.member(guild, user).await {
                Ok(member) => roles_of(&member),
                Err(_) => return false,
            },
        };
        self.shared.directory.may_moderate(self.at, user, &roles)
    }
}

fn roles_of(member: &serde_json::Value) -> Vec<u64> {
    let roles = member.get("roles").and_then(serde_json::Value::as_array);
    roles
        .into_iter()
        .flatten()
        .filter_map(crate::snowflake::in_json)
        .collect()
}

fn asks_to_delete(incoming: &Incoming) -> bool {
    let Incoming {
        message,
        addressed,
        private,
        bot_name,
        ..
    } = incoming;
    let parsed = parse(&message.text, bot_name.as_deref(), *addressed, *private);
    parsed == Parsed::Command(Command::Delete)
}

/// Where a channel is; Discord is asked for one that is not known, since a thread is not a channel.
async fn place(shared: &Shared, guild: Option<u64>, channel: u64) -> At {
    let Some(guild) = guild else {
        return shared
            .directory
            .at(channel)
            .unwrap_or(At::plain(None, channel));
    };
    let mut backoff = Backoff::default();
    loop {
        if let Some(at) = shared.directory.at(channel) {
            return At {
                guild: Some(guild),
                ..at
            };
        }
        match shared.rest.channel(channel).await {
            Ok(json) => match serde_json::from_value::<Channel>(json) {
                Ok(known) => shared.directory.learn(&known, Some(guild)),
                Err(_) => return At::plain(Some(guild), channel),
            },
            Err(failure) if failure.passes() => {
                tokio::time::sleep(failure.after().unwrap_or_else(|| backoff.pause())).await;
            }
            Err(_) => return At::plain(Some(guild), channel),
        }
    }
}
