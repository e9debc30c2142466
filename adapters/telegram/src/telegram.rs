//! A bot on Telegram: what is checked and asked at the start, then updates until told to stop.
//!
//! Invariant: an outage at the start is waited out as any other; only what its operator must mend ends it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use scrollback_kit::{Bot, commands, insist};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use teloxide::payloads::{DeleteWebhook, GetMe, GetWebhookInfo, SetMyCommands};
use teloxide::requests::Payload;
use teloxide::types::BotCommand;
use tokio::time::sleep;

use crate::api::{Api, CallError, Done};
use crate::backoff::Backoff;
use crate::business::Connections;
use crate::chats::Chats;
use crate::config::{TelegramConfig, host};
use crate::error::Error;
use crate::event::Me;
use crate::hub::Hub;
use crate::intake::Intake;
use crate::moved::Moved;
use crate::{poll, webhook};

/// A bot on Telegram.
#[derive(Debug)]
pub struct Telegram {
    config: TelegramConfig,
    api: Arc<Api>,
}

#[derive(Deserialize)]
struct Account {
    id: u64,
    #[serde(default)]
    username: String,
    #[serde(default)]
    can_read_all_group_messages: bool,
}

#[derive(Deserialize)]
struct Hook {
    #[serde(default)]
    url: String,
}

impl Telegram {
    /// A bot that takes no updates yet.
    ///
    /// # Errors
    /// [`Error::Config`], with every fault; [`Error::Failed`] when no client can be made.
    pub fn new(config: TelegramConfig) -> Result<Self, Error> {
        let url = config.validate()?;
        let api = Api::new(url, &config.token).map_err(|e| Error::Failed {
            what: "the client for Telegram cannot be made".into(),
            source: e.into(),
        })?;
        Ok(Self {
            config,
            api: Arc::new(api),
        })
    }

    /// Takes updates until `stop` completes; answers are given by `bot`, which the caller closes
    /// afterwards.
    ///
    /// # Errors
    /// What its operator must mend; an outage of Telegram or of the cache's tiers is waited out.
    pub async fn run(
        &self,
        bot: Arc<Bot>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), Error> {
        let mut stop = pin!(stop);
        let hub = tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            hub = Box::pin(self.start(&bot)) => Arc::new(hub?),
        };
        let intake = Intake { hub, bot };
        match &self.config.webhook {
            None => Box::pin(poll::run(&intake, stop)).await,
            Some(hook) => Box::pin(webhook::run(Arc::new(intake), hook, stop)).await,
        }
    }

    async fn start(&self, bot: &Bot) -> Result<Hub, Error> {
        let me = self.account().await?;
        let moved = Moved::of(bot.cache(), me.id);
        insist(|| moved.load()).await.map_err(|error| match error {
            scrollback::Error::Closed => Error::Closed,
            error => Error::Failed {
                what: "the notes on groups that became supergroups cannot be read".into(),
                source: error.into(),
            },
        })?;
        if self.config.webhook.is_none() {
            self.no_webhook().await?;
        }
        self.tell_commands().await;
        Ok(Hub {
            api: Arc::clone(&self.api),
            me,
            pings: self.config.pings,
            chats: Chats::default(),
            moved,
            connections: Connections::default(),
            left_out: AtomicU64::new(0),
        })
    }

    async fn account(&self) -> Result<Me, Error> {
        let account: Account = self.sure("getMe", &GetMe::new()).await?;
        let server = host(&self.config.api_url);
        tracing::info!(bot = account.id, name = %account.username, %server, "the bot is known to Telegram");
        if account.can_read_all_group_messages {
            tracing::info!("group privacy is off: in groups the bot hears everything");
        } else {
            tracing::info!(
                "group privacy is on: in groups the bot hears commands, replies to it and mentions, and \
                 the rest only as an administrator; to change it, say /setprivacy to @BotFather and add \
                 the bot to its groups again"
            );
        }
        Ok(Me {
            id: account.id,
            username: account.username,
            reads_all: account.can_read_all_group_messages,
        })
    }

    /// Takes off a webhook, which would keep updates from being fetched.
    async fn no_webhook(&self) -> Result<(), Error> {
        let hook: Hook = self.sure("getWebhookInfo", &GetWebhookInfo::new()).await?;
        if !hook.url.is_empty() {
            let at = host(&hook.url);
            tracing::warn!(%at, "a webhook was set for this bot; it is taken off, updates are fetched");
            let _: Done = self.sure("deleteWebhook", &DeleteWebhook::new()).await?;
        }
        Ok(())
    }

    /// Lets Telegram's apps offer the commands.
    async fn tell_commands(&self) {
        let commands = commands::COMMANDS.map(|c| BotCommand::new(c.name, c.description));
        let told = self
            .api
            .send::<_, Done>(&SetMyCommands::new(commands))
            .await;
        if let Err(error) = told {
            tracing::warn!(%error, "Telegram's apps will not offer the commands; they work all the same");
        }
    }

    /// Makes a call that the bot cannot start without, waiting out what passes.
    async fn sure<P, T>(&self, what: &'static str, payload: &P) -> Result<T, Error>
    where
        P: Payload + serde::Serialize,
        T: DeserializeOwned,
    {
        call_surely(&self.api, what, payload).await
    }
}

/// Makes a call until it succeeds or an operator must mend something.
pub(crate) async fn call_surely<P, T>(
    api: &Api,
    what: &'static str,
    payload: &P,
) -> Result<T, Error>
where
    P: Payload + serde::Serialize,
    T: DeserializeOwned,
{
    let mut backoff = Backoff::new(what);
    loop {
        match api.send(payload).await {
            Ok(done) => {
                backoff.over();
                return Ok(done);
            }
            Err(CallError::Unauthorized) => return Err(Error::Unauthorized),
            Err(CallError::Refused { code, why }) => {
                return Err(Error::Failed {
                    what: format!("Telegram refuses {what}"),
                    source: format!("{code}: {why}").into(),
                });
            }
            Err(error) => sleep(backoff.failed(&error)).await,
        }
    }
}
