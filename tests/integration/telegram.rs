//! A bot on Telegram, in process: a real cache, the kit, and `Telegram::run` against a Bot API server of the
//! harness, over HTTP. The suites below say which promises they cover; this file is what they share.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use harness::FakeTelegram;
use harness::world::until;
use parking_lot::Mutex;
use scrollback::{Cache, Message, Role, SessionKey, SledConfig};
use scrollback_kit::{Bot, BotClosed, BotConfig, Reply, Request, RespondError, Responder};
use scrollback_telegram::{Error, Telegram, TelegramConfig};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

mod answering;
mod business;
mod changes;
mod dialogue;
mod moving;
mod outages;
mod pace;
mod safety;
mod sending;
mod texts;
mod webhook;

/// A server, and the directory of a bot's cache.
pub(crate) struct World {
    pub(crate) fake: Arc<FakeTelegram>,
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            fake: Arc::new(FakeTelegram::start()?),
            dir: harness::data_dir()?,
        })
    }

    pub(crate) fn config(&self) -> TelegramConfig {
        TelegramConfig::new(self.fake.token()).api_url(self.fake.url())
    }

    /// The bot's cache; waits for an earlier one to let go of the directory.
    pub(crate) async fn cache(&self) -> anyhow::Result<Cache> {
        let until = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let store = SledConfig::new(self.dir.path());
            match Cache::builder().store(store).build().await {
                Err(scrollback::Error::Locked { .. }) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                cache => return Ok(cache?),
            }
        }
    }

    /// Runs a bot that answers with `ear`, by long polling, and waits until it takes updates.
    pub(crate) async fn start(&self, ear: &Arc<Ear>) -> anyhow::Result<Running> {
        self.start_with(ear, self.config(), quick()).await
    }

    pub(crate) async fn start_with(
        &self,
        ear: &Arc<Ear>,
        telegram: TelegramConfig,
        bot: BotConfig,
    ) -> anyhow::Result<Running> {
        let takes = |fake: &FakeTelegram| {
            fake.calls_of("GetUpdates").len() + fake.calls_of("SetWebhook").len()
        };
        let (cache, before) = (self.cache().await?, takes(&self.fake));
        let running = Running::start(cache, ear, telegram, bot)?;
        let ready = move |fake: &FakeTelegram| takes(fake) > before;
        self.fake.until("the bot takes updates", ready).await?;
        Ok(running)
    }

    /// The key of a private chat's session.
    pub(crate) fn private_key(&self, chat: i64) -> SessionKey {
        SessionKey::new("telegram", self.fake.bot_id()).channel(chat)
    }

    /// The key of a group's session.
    pub(crate) fn group_key(&self, chat: i64) -> SessionKey {
        let key = SessionKey::new("telegram", self.fake.bot_id());
        key.space(chat).channel(chat)
    }

    /// The text with a mention of the bot.
    pub(crate) fn calling(&self, text: &str) -> String {
        format!("@{} {text}", self.fake.bot_username())
    }
}

/// A bot that tests may ask as often as they like.
pub(crate) fn quick() -> BotConfig {
    BotConfig {
        rate: None,
        ..BotConfig::default()
    }
}

/// A bot that takes updates.
pub(crate) struct Running {
    pub(crate) bot: Arc<Bot>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub(crate) fn start(
        cache: Cache,
        ear: &Arc<Ear>,
        telegram: TelegramConfig,
        config: BotConfig,
    ) -> anyhow::Result<Self> {
        let responder = Arc::clone(ear) as Arc<dyn Responder>;
        let bot = Arc::new(Bot::new(cache, responder, config));
        let telegram = Telegram::new(telegram)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let for_task = Arc::clone(&bot);
        let task = tokio::spawn(async move {
            telegram
                .run(for_task, async { stopped.await.unwrap_or_default() })
                .await
        });
        Ok(Self { bot, stop, task })
    }

    /// Stops as SIGTERM does: no new updates, answers finished, all durable.
    pub(crate) async fn stop(self) -> anyhow::Result<BotClosed> {
        let _ = self.stop.send(());
        self.task.await??;
        Ok(self.bot.close(Duration::from_secs(20)).await?)
    }

    /// Ends as a kill does: nothing is finished, nothing is flushed.
    pub(crate) async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
        drop(self.bot);
    }

    /// How the run ended by itself.
    pub(crate) async fn ended(self) -> anyhow::Result<Result<(), Error>> {
        let within = Duration::from_secs(30);
        Ok(tokio::time::timeout(within, self.task).await??)
    }

    /// What a session holds from its beginning, as `name: text`.
    pub(crate) async fn history(&self, key: SessionKey) -> anyhow::Result<Vec<String>> {
        let all = self.bot.cache().session(key).export().await?;
        Ok(all.iter().map(|(_, message)| line(message)).collect())
    }

    /// Waits until a session holds so many messages: an answer is kept a moment after it is seen.
    pub(crate) async fn kept(&self, key: SessionKey, count: usize) -> anyhow::Result<()> {
        let what = format!("{count} messages in {key}");
        let session = self.bot.cache().session(key);
        until(&what, async || {
            session.export().await.is_ok_and(|all| all.len() >= count)
        })
        .await;
        Ok(())
    }
}

fn line(message: &Message) -> String {
    let name = message
        .author
        .as_ref()
        .and_then(|author| author.name.clone());
    let name = match message.role {
        Role::Assistant => "bot".into(),
        _ => name.unwrap_or_else(|| "someone".into()),
    };
    format!("{name}: {}", message.text)
}

/// What a responder was asked.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) text: String,
    /// The context as `name: text`, the message to answer last.
    pub(crate) context: Vec<String>,
    pub(crate) message: Arc<Message>,
}

type Answer = BoxFuture<'static, Result<Reply, RespondError>>;

/// A responder that remembers what it was asked.
pub(crate) struct Ear {
    heard: Mutex<Vec<Heard>>,
    answer: Box<dyn Fn(Heard) -> Answer + Send + Sync>,
}

impl Ear {
    pub(crate) fn with(answer: impl Fn(Heard) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            heard: Mutex::default(),
            answer: Box::new(answer),
        })
    }

    /// Answers at once with a text.
    pub(crate) fn saying(text: impl Fn(&str) -> String + Send + Sync + 'static) -> Arc<Self> {
        Self::with(move |heard| {
            let reply = Reply::Text(text(&heard.text));
            async { Ok(reply) }.boxed()
        })
    }

    /// Answers with what it was told.
    pub(crate) fn echo() -> Arc<Self> {
        Self::saying(|text| format!("re: {text}"))
    }

    /// Hears all and says nothing.
    pub(crate) fn silent() -> Arc<Self> {
        Self::with(|_| async { Ok(Reply::None) }.boxed())
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().clone()
    }

    /// The context of the last question.
    pub(crate) fn last(&self) -> Vec<String> {
        self.heard
            .lock()
            .last()
            .map(|heard| heard.context.clone())
            .unwrap_or_default()
    }
}

#[async_trait]
impl Responder for Ear {
    async fn respond(&self, request: Request) -> Result<Reply, RespondError> {
        let heard = Heard {
            text: request.message.text.clone(),
            context: request.context.messages.iter().map(|m| line(m)).collect(),
            message: Arc::clone(&request.message),
        };
        self.heard.lock().push(heard.clone());
        (self.answer)(heard).await
    }
}
