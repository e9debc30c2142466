//! The flow that every adapter shares: accept, answer in order, keep the answer, close.
//!
//! Invariants: [`Bot::accept`] returns only when the message is acknowledged by the cache, so an adapter
//! that confirms an update after it loses none; a duplicate is never answered again; a message that was
//! only overheard is kept and not answered; commands and apologies are no conversation and stay out
//! of the session. A failing, hanging or panicking responder costs one answer and nothing else.

use std::sync::Arc;
use std::time::Duration;

use scrollback::{Author, Cache, Closed, Message, Origin, Role, Session, SessionKey, Turn};
use tokio::time::Instant;

use crate::commands::{self, Answer, Asked, Command, Content, Parsed};
use crate::deliver::{deliver, persist};
use crate::dispatch::{DispatchLimits, Dispatcher, Refused};
use crate::outbox::{Outbox, SendError};
use crate::pace::Pace;
use crate::place::{Access, Scopes};
use crate::rate::{self, Rate, Rates};
use crate::responder::{Request, Responder};

mod answer;
mod changes;
mod keep;
mod standing;

use answer::{ask, say};
use keep::keep;
use standing::standing;

/// How a [`Bot`] behaves.
#[derive(Debug, Clone)]
pub struct BotConfig {
    /// What tells sessions apart (default: one per channel).
    pub scopes: Scopes,
    /// Who may talk to the bot (default: everybody).
    pub access: Access,
    /// How often one person is answered; `None` for no bound.
    pub rate: Option<Rate>,
    /// How long a responder may think before its first word (default 60 s: people give up sooner).
    pub deadline: Duration,
    /// How a streamed reply is shown.
    pub pace: Pace,
    /// How old a message may be that is still answered (default 15 minutes): after an outage what was
    /// missed is kept, and old questions are left alone. Commands are run however old.
    pub answer_within: Duration,
    /// How much may wait to be answered.
    pub limits: DispatchLimits,
}

impl Default for BotConfig {
    fn default() -> Self {
        Self {
            scopes: Scopes::default(),
            access: Access::default(),
            rate: Some(Rate::default()),
            deadline: Duration::from_secs(60),
            pace: Pace::default(),
            answer_within: Duration::from_secs(15 * 60),
            limits: DispatchLimits::default(),
        }
    }
}

/// A message as an adapter hands it over.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Where it came from.
    pub origin: Origin,
    /// What was said, with the platform's id and time.
    pub message: Message,
    /// True when the bot is to answer: private chat, mention, reply to the bot, or a command that the
    /// platform routed to it. Otherwise the message is only kept.
    pub addressed: bool,
    /// True in a chat of one person and the bot.
    pub private: bool,
    /// True for a person who may remove others' messages there.
    pub moderator: bool,
    /// The bot's name as people type it there in `/help@name`, without `@`.
    pub bot_name: Option<String>,
}

impl Incoming {
    /// A message that the bot overhears.
    #[must_use]
    pub const fn new(origin: Origin, message: Message) -> Self {
        Self {
            origin,
            message,
            addressed: false,
            private: false,
            moderator: false,
            bot_name: None,
        }
    }
}

/// A message that is safe; what is left is to answer it.
#[derive(Debug)]
pub struct Accepted {
    origin: Origin,
    session: Session,
    message: Arc<Message>,
    asker: Author,
    private: bool,
    moderator: bool,
    next: Next,
}

#[derive(Debug)]
enum Next {
    /// Nobody is to be answered.
    Nothing { duplicate: bool },
    /// A command is to be run.
    Run(Command),
    /// A command has run; its answer is to be sent.
    Tell(Answer),
    /// The responder is to answer.
    Respond(Turn),
}

impl Accepted {
    /// The session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// True when there is something to do in [`Bot::handle`].
    #[must_use]
    pub fn needs_answer(&self) -> bool {
        !matches!(self.next, Next::Nothing { .. })
    }

    /// True when the message was there already: a redelivery.
    #[must_use]
    pub fn duplicate(&self) -> bool {
        matches!(self.next, Next::Nothing { duplicate: true })
    }
}

/// How a close ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BotClosed {
    /// Messages that were accepted and not answered; they are in their sessions.
    pub unanswered: usize,
    /// What the cache says of its own close.
    pub cache: Closed,
}

type Job = (Accepted, Arc<dyn Outbox>);

/// A cache, a responder, and the flow between them; one for all adapters of a process.
#[derive(Debug)]
pub struct Bot {
    core: Arc<Core>,
    dispatcher: Dispatcher<Job>,
}

struct Core {
    cache: Cache,
    responder: Arc<dyn Responder>,
    config: BotConfig,
    rates: Option<Rates>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Bot {
    /// A bot on a cache.
    #[must_use]
    pub fn new(cache: Cache, responder: Arc<dyn Responder>, config: BotConfig) -> Self {
        let limits = config.limits;
        let core = Arc::new(Core {
            cache,
            responder,
            rates: config.rate.map(Rates::new),
            config,
        });
        let worker = Arc::clone(&core);
        let dispatcher = Dispatcher::new(limits, move |(accepted, outbox): Job| {
            let core = Arc::clone(&worker);
            async move { core.handle(accepted, outbox.as_ref()).await }
        });
        Self { core, dispatcher }
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.core.cache
    }

    /// The session of a place, for edits and deletes that a platform reports.
    #[must_use]
    pub fn session(&self, origin: &Origin) -> Session {
        self.core.session(origin)
    }

    /// Applies an edit that the platform reports, made at `at_ms` (milliseconds since the Unix epoch).
    /// Where the platform does not tell who wrote the message, `origin.user` is empty.
    ///
    /// # Errors
    /// What the cache answers; deliver it again.
    pub async fn edit(
        &self,
        origin: &Origin,
        id: &str,
        text: &str,
        at_ms: u64,
    ) -> scrollback::Result<()> {
        self.core.edit(origin, id, text, at_ms).await
    }

    /// Applies a deletion that the platform reports; `origin.user` as in [`edit`](Self::edit).
    ///
    /// # Errors
    /// What the cache answers; deliver it again.
    pub async fn delete(&self, origin: &Origin, id: &str) -> scrollback::Result<()> {
        self.core.delete(origin, id).await
    }

    /// Makes a message safe. When this returns `Ok`, the adapter may confirm the update.
    ///
    /// Call it in the order in which the platform delivers; it does not wait for answers. A `/reset` takes
    /// effect here, in its place between the messages around it.
    ///
    /// # Errors
    /// What the cache answers; nothing was kept, or after a time-out it is unknown: deliver it again.
    pub async fn accept(&self, incoming: Incoming) -> scrollback::Result<Accepted> {
        self.core.accept(incoming).await
    }

    /// Queues the answer behind the others of its session, without waiting.
    ///
    /// # Errors
    /// [`Refused`] at a bound or while closing; the message is safe, its answer is dropped.
    pub fn submit(&self, accepted: Accepted, outbox: Arc<dyn Outbox>) -> Result<(), Refused> {
        if !accepted.needs_answer() {
            return Ok(());
        }
        let key = accepted.session.key().clone();
        let taken = self.dispatcher.submit(&key, (accepted, outbox));
        taken.map_err(|(refused, _)| noted(refused, &key))
    }

    /// As [`submit`](Self::submit), waiting for room at a bound.
    ///
    /// # Errors
    /// [`Refused`] when there was no room in time, or while closing.
    pub async fn submit_within(
        &self,
        accepted: Accepted,
        outbox: Arc<dyn Outbox>,
        patience: Duration,
    ) -> Result<(), Refused> {
        if !accepted.needs_answer() {
            return Ok(());
        }
        let key = accepted.session.key().clone();
        let taken = self
            .dispatcher
            .submit_within(&key, (accepted, outbox), patience);
        taken.await.map_err(|(refused, _)| noted(refused, &key))
    }

    /// Answers at once, in the caller's task; for callers that keep the order themselves (a console).
    pub async fn handle(&self, accepted: Accepted, outbox: &dyn Outbox) {
        self.core.handle(accepted, outbox).await;
    }

    /// Refuses new answers, finishes what is queued, then closes the cache, all by the deadline.
    ///
    /// # Errors
    /// What the cache's close answers.
    pub async fn close(&self, deadline: Duration) -> scrollback::Result<BotClosed> {
        let start = Instant::now();
        // A third is kept for the flush: answers can be asked for again, data cannot.
        let drained = self.dispatcher.drain(deadline.mul_f32(2.0 / 3.0)).await;
        let rest = deadline.saturating_sub(start.elapsed());
        let cache = self.core.cache.close(rest).await?;
        Ok(BotClosed {
            unanswered: drained.left,
            cache,
        })
    }
}

fn noted(refused: Refused, session: &SessionKey) -> Refused {
    tracing::warn!(%session, %refused, "a message is kept and will not be answered");
    refused
}

impl Core {
    fn session(&self, origin: &Origin) -> Session {
        let scope = self.config.scopes.at(origin);
        self.cache.session(scope.key(origin))
    }

    async fn accept(&self, incoming: Incoming) -> scrollback::Result<Accepted> {
        let Incoming {
            origin,
            mut message,
            addressed,
            private,
            moderator,
            bot_name,
        } = incoming;
        let session = self.session(&origin);
        let parsed = match message.role {
            _ if !self.config.access.permits(&origin) => Parsed::NotForUs,
            Role::User => commands::parse(&message.text, bot_name.as_deref(), addressed, private),
            _ => Parsed::Talk,
        };
        self.config.scopes.qualify(&origin, &mut message);
        let asker = message.author.clone();
        let mut accepted = Accepted {
            asker: asker.unwrap_or_else(|| Author::new(&origin.platform, &origin.user)),
            origin,
            session,
            message: Arc::new(message),
            private,
            moderator,
            next: Next::Nothing { duplicate: false },
        };
        accepted.next = match parsed {
            Parsed::NotForUs => Next::Nothing { duplicate: false },
            Parsed::Command(command) => self.command(command, &accepted).await?,
            Parsed::Talk => self.talk(&accepted, addressed).await?,
        };
        Ok(accepted)
    }

    /// Keeps what was said, and answers it when it is new, for the bot, and within the rate.
    async fn talk(&self, accepted: &Accepted, addressed: bool) -> scrollback::Result<Next> {
        let message = Message::clone(&accepted.message);
        let turn = accepted.session.append(message).await?;
        let duplicate = turn.receipt().duplicate;
        if duplicate || !addressed || self.is_old(&accepted.message) {
            return Ok(Next::Nothing { duplicate });
        }
        Ok(self.within_rate(accepted, Next::Respond(turn)))
    }

    /// True for what is no longer answered; a message without a time was said now.
    fn is_old(&self, message: &Message) -> bool {
        let now = jiff::Timestamp::now().as_millisecond();
        let age = u64::try_from(now)
            .unwrap_or_default()
            .saturating_sub(message.at_ms);
        message.at_ms != 0 && Duration::from_millis(age) > self.config.answer_within
    }

    /// Notes that a command has come, so that a redelivery does not run it again, and runs it if it must
    /// take effect in its place between the messages around it.
    async fn command(&self, command: Command, accepted: &Accepted) -> scrollback::Result<Next> {
        if let Some(id) = &accepted.message.id
            && accepted.session.delete(id).await?.receipt().duplicate
        {
            return Ok(Next::Nothing { duplicate: true });
        }
        let next = self.within_rate(accepted, Next::Run(command));
        if !matches!(next, Next::Run(Command::Reset)) {
            return Ok(next);
        }
        // From here on a redelivery would be taken for done: a failure is told, not returned.
        let answer = match commands::run(command, self.asked(accepted)).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(session = %accepted.session.key(), %error, "a command failed");
                Answer::everyone(answer::LATER)
            }
        };
        Ok(Next::Tell(answer))
    }

    fn within_rate(&self, accepted: &Accepted, next: Next) -> Next {
        match self.rates.as_ref().map(|r| r.ask(&accepted.asker)) {
            None | Some(rate::Turn::Answer) => next,
            Some(rate::Turn::Tell) => Next::Tell(Answer::everyone(answer::TOO_FAST)),
            Some(rate::Turn::Silence) => Next::Nothing { duplicate: false },
        }
    }

    fn asked<'a>(&'a self, accepted: &'a Accepted) -> Asked<'a> {
        Asked {
            cache: &self.cache,
            session: &accepted.session,
            asker: &accepted.asker,
            private: accepted.private,
            moderator: accepted.moderator,
            reply_to: accepted.message.reply_to.as_deref(),
        }
    }

    async fn handle(&self, accepted: Accepted, outbox: &dyn Outbox) {
        let key = accepted.session.key().clone();
        let asked = self.asked(&accepted);
        let sent = match &accepted.next {
            Next::Nothing { .. } => Ok(()),
            Next::Tell(answer) => tell(answer, outbox).await,
            Next::Run(command) => match Box::pin(commands::run(*command, asked)).await {
                Ok(answer) => tell(&answer, outbox).await,
                Err(error) => {
                    tracing::warn!(session = %key, %error, "a command failed");
                    let told = deliver(outbox, answer::LATER, commands::audience(*command)).await;
                    told.whole().map(drop)
                }
            },
            Next::Respond(turn) => self.respond(&accepted, turn, outbox).await,
        };
        if let Err(error) = sent {
            tracing::warn!(session = %key, %error, "an answer was not sent");
        }
    }

    /// Answers a message, if it still stands, and keeps the answer.
    async fn respond(
        &self,
        accepted: &Accepted,
        turn: &Turn,
        outbox: &dyn Outbox,
    ) -> Result<(), SendError> {
        let (session, question) = (&accepted.session, &accepted.message);
        let key = session.key();
        // Before the session is read: an answer is kept only if nothing was forgotten since.
        let turn = turn.clone().renewed();
        let Some(context) = standing(session, question, turn.context()).await else {
            tracing::info!(session = %key, "a message was erased before it was answered");
            return Ok(());
        };
        let last = context.messages.last().filter(|m| m.id == question.id);
        let request = Request {
            session: session.clone(),
            message: Arc::clone(last.unwrap_or(question)),
            context,
            seq: turn.receipt().seq,
            private: accepted.private,
        };
        let respond = self.responder.respond(request);
        let reply = ask(respond, outbox, self.config.deadline, key).await;
        let said = say(reply, outbox, self.config.pace, key).await;
        let mut sent = said.sent;
        for id in sent.iter_mut().filter_map(|s| s.id.as_mut()) {
            *id = self.config.scopes.id(&accepted.origin, id);
        }
        keep(&turn, key, question, sent).await;
        said.failed.map_or(Ok(()), Err)
    }
}

async fn tell(answer: &Answer, outbox: &dyn Outbox) -> Result<(), SendError> {
    let audience = answer.audience;
    match &answer.content {
        Content::Text(text) => deliver(outbox, text, audience).await.whole().map(drop),
        Content::File { name, bytes } => {
            let sent = persist(|| outbox.send_file(name, bytes.clone(), audience)).await;
            if matches!(sent, Err(SendError::TooLarge)) {
                // Why that too goes no further, if so, is told by the first error.
                let _ = deliver(outbox, answer::NO_FILE, audience).await;
            }
            sent.map(drop)
        }
    }
}
