//! A stage for the Discord suites: a fake Discord, a data directory, and bots that come and go on them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use harness::FakeDiscord;
use harness::world::until;
use parking_lot::Mutex;
use scrollback::{Author, Cache, Error, Message, Scope, SessionKey, SledConfig};
use scrollback_discord::{Discord, DiscordConfig};
use scrollback_kit::{Bot, BotConfig, Reply, Request, RespondError, Responder};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Asked by a test's responder: what to reply.
type Script = Box<dyn Fn(&Request) -> Reply + Send + Sync>;

/// Replies by a script and keeps the contexts it was handed.
pub(crate) struct Scripted {
    script: Script,
    /// How long it thinks anywhere.
    pub(crate) thinks: Mutex<Duration>,
    /// How long it thinks in a channel, by its id.
    pub(crate) slow: Mutex<Option<(u64, Duration)>>,
    contexts: Mutex<Vec<Vec<String>>>,
}

impl Scripted {
    pub(crate) fn new(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            thinks: Mutex::default(),
            slow: Mutex::default(),
            contexts: Mutex::default(),
        })
    }

    /// Replies `re: ` and the text.
    pub(crate) fn echo() -> Arc<Self> {
        Self::new(|request| Reply::Text(format!("re: {}", request.message.text)))
    }

    /// The texts of every context, in the order in which they were handed out.
    pub(crate) fn contexts(&self) -> Vec<Vec<String>> {
        self.contexts.lock().clone()
    }

    pub(crate) fn last_context(&self) -> Vec<String> {
        self.contexts().pop().unwrap_or_default()
    }
}

#[async_trait]
impl Responder for Scripted {
    async fn respond(&self, request: Request) -> Result<Reply, RespondError> {
        let texts = request.context.messages.iter().map(|m| m.text.clone());
        self.contexts.lock().push(texts.collect());
        let slow = self.slow.lock().filter(|(channel, _)| {
            request.session.key().channel_id() == Some(&channel.to_string())
        });
        let thinks = slow.map_or(*self.thinks.lock(), |(_, time)| time);
        tokio::time::sleep(thinks).await;
        Ok((self.script)(&request))
    }
}

/// A fake Discord with a guild, a channel and two people.
pub(crate) struct Stage {
    pub(crate) fake: FakeDiscord,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) guild: u64,
    pub(crate) channel: u64,
    pub(crate) ann: u64,
    pub(crate) bob: u64,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let fake = FakeDiscord::start().unwrap();
        let guild = fake.guild("Garden");
        Self {
            channel: fake.text_channel(guild, "general"),
            ann: fake.user("Ann"),
            bob: fake.user("Bob"),
            dir: harness::data_dir().unwrap(),
            guild,
            fake,
        }
    }

    /// A mention of the bot.
    pub(crate) fn me(&self) -> String {
        format!("<@{}>", self.fake.bot_id())
    }

    pub(crate) fn config(&self) -> DiscordConfig {
        DiscordConfig::new(self.fake.token()).api_url(self.fake.url())
    }

    /// The session of a channel of the guild.
    pub(crate) fn key(&self, channel: u64) -> SessionKey {
        SessionKey::new("discord", self.fake.bot_id())
            .space(self.guild)
            .channel(channel)
    }

    pub(crate) async fn cache(&self) -> Cache {
        cache(self.dir.path()).await
    }

    /// A bot that echoes, connected.
    pub(crate) async fn echo(&self) -> Running {
        self.run(Scripted::echo()).await
    }

    pub(crate) async fn run(&self, responder: Arc<Scripted>) -> Running {
        self.run_on(self.cache().await, responder, quick()).await
    }

    pub(crate) async fn run_on(
        &self,
        cache: Cache,
        responder: Arc<Scripted>,
        config: BotConfig,
    ) -> Running {
        let running = self.start_on(cache, responder, config);
        self.connected().await;
        running
    }

    /// As [`Self::run_on`], without waiting for the connection.
    pub(crate) fn start_on(
        &self,
        cache: Cache,
        responder: Arc<Scripted>,
        config: BotConfig,
    ) -> Running {
        let discord = Discord::new(self.config()).unwrap();
        Running::start(discord, cache, responder, config)
    }

    pub(crate) async fn connected(&self) {
        let ready = |fake: &FakeDiscord| fake.connected() == 1 && fake.unsent_events() == 0;
        self.fake
            .until("the bot is connected", ready)
            .await
            .unwrap();
    }

    /// Ends a bot as a kill does: nothing is finished, flushed or said.
    pub(crate) async fn kill(&self, bot: Running) {
        bot.task.abort();
        drop(bot);
        let gone = |fake: &FakeDiscord| fake.connected() == 0;
        self.fake.until("the bot is gone", gone).await.unwrap();
        // Nobody will resume its session.
        self.fake.lose_session();
    }

    /// Waits until the bot has said `n` messages in a channel; their texts.
    pub(crate) async fn said(&self, channel: u64, n: usize) -> Vec<String> {
        let filled = |fake: &FakeDiscord| fake.sent_in(channel).len() >= n;
        let what = format!("{n} messages in a channel");
        self.fake.until(&what, filled).await.unwrap();
        let sent = self.fake.sent_in(channel);
        sent.iter().map(|sent| sent.text().to_owned()).collect()
    }
}

/// Answers at any rate, and shows streams at once.
pub(crate) fn quick() -> BotConfig {
    BotConfig {
        rate: None,
        pace: scrollback_kit::pace::Pace {
            every: Duration::from_millis(50),
            ..Default::default()
        },
        ..BotConfig::default()
    }
}

pub(crate) fn scoped(scope: Scope) -> BotConfig {
    BotConfig {
        scopes: scope.into(),
        ..quick()
    }
}

/// A cache on a directory; one that was dropped just now lets go of it soon.
pub(crate) async fn cache(dir: &Path) -> Cache {
    let opened = async {
        loop {
            match Cache::builder().store(SledConfig::new(dir)).build().await {
                Ok(cache) => return cache,
                Err(Error::Locked { .. }) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(error) => panic!("no cache: {error}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), opened)
        .await
        .expect("the directory is free")
}

/// A bot on a stage.
pub(crate) struct Running {
    pub(crate) bot: Arc<Bot>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), scrollback_discord::Error>>,
}

impl Running {
    pub(crate) fn start(
        discord: Discord,
        cache: Cache,
        responder: Arc<Scripted>,
        config: BotConfig,
    ) -> Self {
        let bot = Arc::new(Bot::new(cache, responder, config));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&bot);
        let task = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or_default() };
            discord.run(served, stopped).await
        });
        Self {
            bot,
            stop: Some(stop),
            task,
        }
    }

    pub(crate) fn cache(&self) -> &Cache {
        self.bot.cache()
    }

    /// Stops the run, not the bot.
    pub(crate) async fn stop(&mut self) -> Result<(), scrollback_discord::Error> {
        drop(self.stop.take());
        self.ended().await
    }

    /// Waits for the run's end.
    pub(crate) async fn ended(&mut self) -> Result<(), scrollback_discord::Error> {
        let ended = tokio::time::timeout(Duration::from_secs(20), &mut self.task).await;
        ended.expect("the run ends").unwrap()
    }

    /// Stops and closes; all must be answered and durable.
    pub(crate) async fn close(mut self) {
        self.stop().await.unwrap();
        let closed = self.bot.close(Duration::from_secs(20)).await.unwrap();
        assert_eq!((closed.unanswered, closed.cache.left), (0, 0));
    }

    /// Waits until a session holds `n` messages.
    pub(crate) async fn holds(&self, key: &SessionKey, n: usize) -> Vec<Message> {
        let session = self.cache().session(key.clone());
        let what = format!("{n} messages in {key}");
        until(&what, async || session.export().await.unwrap().len() >= n).await;
        self.history(key).await
    }

    pub(crate) async fn history(&self, key: &SessionKey) -> Vec<Message> {
        let all = self.cache().session(key.clone()).export().await.unwrap();
        all.into_iter().map(|(_, message)| message).collect()
    }

    pub(crate) async fn texts(&self, key: &SessionKey) -> Vec<String> {
        texts(&self.history(key).await)
    }

    /// Waits until a session's texts are these.
    pub(crate) async fn reads(&self, key: &SessionKey, wanted: &[&str]) {
        let what = format!("{key} reads {wanted:?}");
        let seen = Mutex::new(Vec::new());
        let same = tokio::time::timeout(Duration::from_secs(15), async {
            loop {
                let now = self.texts(key).await;
                if now == wanted {
                    return;
                }
                *seen.lock() = now;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(
            same.await.is_ok(),
            "not in time: {what}; it reads {:?}",
            seen.lock()
        );
    }

    /// The stored cursors of a guild, as anybody can read them.
    pub(crate) async fn cursor(&self, fake: &FakeDiscord, guild: u64, channel: u64) -> Option<u64> {
        #[derive(serde::Deserialize)]
        struct Saved {
            cursors: std::collections::BTreeMap<u64, u64>,
        }
        let key = SessionKey::new("discord-cursors", fake.bot_id()).space(guild);
        let state = self.cache().session(key).state::<Saved>().await.unwrap();
        state.and_then(|(_, saved)| saved.cursors.get(&channel).copied())
    }
}

pub(crate) fn texts(messages: &[Message]) -> Vec<String> {
    messages
        .iter()
        .map(|message| message.text.clone())
        .collect()
}

pub(crate) fn author(id: u64) -> Author {
    Author::new("discord", id)
}
