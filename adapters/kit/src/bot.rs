//! The flow that every adapter shares: accept, answer in order, keep the answer, close.
//!
//! Invariants: [`Bot::accept`] returns only when the message is acknowledged by the cache, so an adapter
//! that confirms an update after it loses none; a duplicate is never answered again; a message that was
//! only overheard is kept and not answered; commands and apologies are no conversation and stay out
//! of the session. A failing, hanging or panicking responder costs one answer and nothing else.

use std::sync::Arc;
use std::time::Duration;

use scrollback::{Author, Cache, Closed, Message, Origin, Role, Scope, Session, SessionKey, Turn};
use tokio::time::{Instant, sleep};

use crate::commands::{self, Answer, Command, Content, Parsed};
use crate::deliver::{deliver, persist};
use crate::dispatch::{DispatchLimits, Dispatcher, Refused};
use crate::outbox::{Outbox, SendError};
use crate::pace::Pace;
use crate::responder::{Request, Responder};

mod answer;

use answer::{Said, ask, say};

/// How a [`Bot`] behaves.
#[derive(Debug, Clone)]
pub struct BotConfig {
    /// What tells sessions apart (default: one per channel).
    pub scope: Scope,
    /// The bot's name as people type it in `/help@name`, without `@`.
    pub name: Option<String>,
    /// How long a responder may think before its first word (default 60 s: people give up sooner).
    pub deadline: Duration,
    /// How a streamed reply is shown.
    pub pace: Pace,
    /// How much may wait to be answered.
    pub limits: DispatchLimits,
}

impl Default for BotConfig {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            name: None,
            deadline: Duration::from_secs(60),
            pace: Pace::default(),
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
}

/// A message that is safe; what is left is to answer it.
#[derive(Debug)]
pub struct Accepted {
    session: Session,
    message: Arc<Message>,
    asker: Author,
    private: bool,
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
        self.cache.session(self.config.scope.key(origin))
    }

    async fn accept(&self, incoming: Incoming) -> scrollback::Result<Accepted> {
        let Incoming {
            origin,
            message,
            addressed,
            private,
        } = incoming;
        let session = self.session(&origin);
        let asker = message.author.clone();
        let asker = asker.unwrap_or_else(|| Author::new(origin.platform, origin.user));
        let parsed = match message.role {
            Role::User => {
                let name = self.config.name.as_deref();
                commands::parse(&message.text, name, addressed, private)
            }
            _ => Parsed::Talk,
        };
        let kept = Arc::new(message.clone());
        let next = match parsed {
            Parsed::NotForUs => Next::Nothing { duplicate: false },
            Parsed::Command(command @ Command::Reset) => {
                Next::Tell(commands::run(command, &self.cache, &session, &asker, private).await?)
            }
            Parsed::Command(command) => Next::Run(command),
            Parsed::Talk => {
                let turn = session.append(message).await?;
                let duplicate = turn.receipt().duplicate;
                if addressed && !duplicate {
                    Next::Respond(turn)
                } else {
                    Next::Nothing { duplicate }
                }
            }
        };
        Ok(Accepted {
            session,
            message: kept,
            asker,
            private,
            next,
        })
    }

    async fn handle(&self, accepted: Accepted, outbox: &dyn Outbox) {
        let key = accepted.session.key().clone();
        let sent = match accepted.next {
            Next::Nothing { .. } => Ok(()),
            Next::Tell(answer) => tell(answer, outbox).await,
            Next::Run(command) => {
                let Accepted {
                    session,
                    asker,
                    private,
                    ..
                } = &accepted;
                let run = commands::run(command, &self.cache, session, asker, *private);
                match Box::pin(run).await {
                    Ok(answer) => tell(answer, outbox).await,
                    Err(error) => {
                        tracing::warn!(session = %key, %error, "a command failed");
                        deliver(outbox, answer::LATER, commands::audience(command))
                            .await
                            .map(drop)
                    }
                }
            }
            Next::Respond(turn) => {
                let request = Request {
                    session: accepted.session.clone(),
                    context: turn.context().clone(),
                    message: Arc::clone(&accepted.message),
                    seq: turn.receipt().seq,
                    private: accepted.private,
                };
                let respond = self.responder.respond(request);
                let reply = ask(respond, outbox, self.config.deadline, &key).await;
                match say(reply, outbox, self.config.pace, &key).await {
                    Ok(Some(said)) => {
                        keep(&accepted.session, &accepted.message, said).await;
                        Ok(())
                    }
                    done => done.map(drop),
                }
            }
        };
        if let Err(error) = sent {
            tracing::warn!(session = %key, %error, "an answer was not sent");
        }
    }
}

async fn tell(answer: Answer, outbox: &dyn Outbox) -> Result<(), SendError> {
    let audience = answer.audience;
    match answer.content {
        Content::Text(text) => deliver(outbox, &text, audience).await.map(drop),
        Content::File { name, bytes } => {
            persist(|| outbox.send_file(&name, bytes.clone(), audience))
                .await
                .map(drop)
        }
    }
}

/// Appends what was said to the session; tries again while that is safe, as it cannot be unsaid.
async fn keep(session: &Session, question: &Message, said: Said) {
    let mut message = Message::assistant(said.text);
    message.id = said.id;
    message.reply_to.clone_from(&question.id);
    let mut wait = Duration::from_millis(500);
    for tries_left in (0..4).rev() {
        let Err(error) = session.append(message.clone()).await else {
            return;
        };
        // With an id a second append of the same message is found out, without one it is not.
        let safe = match error {
            scrollback::Error::Backpressure { .. } => true,
            ref other => other.is_outage() && message.id.is_some(),
        };
        if tries_left == 0 || !safe {
            tracing::error!(session = %session.key(), %error, "an answer was sent and not kept");
            return;
        }
        sleep(wait).await;
        wait = wait.saturating_mul(3);
    }
}
