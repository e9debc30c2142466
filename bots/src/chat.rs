//! `discord`, `telegram` and `run`: chat platforms on one cache, until a signal or until none is left.
//!
//! Invariant: a platform that fails does not stop the others; nothing is closed before every platform has
//! stopped taking updates.

use std::sync::Arc;

use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use scrollback_discord::Discord;
use scrollback_kit::{Bot, BotClosed, Recall};
use scrollback_telegram::Telegram;

use crate::config::Config;
use crate::control::Server;
use crate::exit::{Exit, Failed, warn};
use crate::open;
use crate::signals::{self, DEADLINE, Stop};

/// Which platforms to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Platforms {
    /// Discord alone.
    Discord,
    /// Telegram alone.
    Telegram,
    /// Every one that has a token.
    All,
}

const DISCORD_TOKEN: &str = "set SCROLLBACK_DISCORD_TOKEN to the bot's token \
    (discord.com/developers/applications, your application, Bot, Reset Token)";
const TELEGRAM_TOKEN: &str = "set SCROLLBACK_TELEGRAM_TOKEN to the bot's token \
    (in Telegram, send /newbot to @BotFather)";

/// Serves the platforms.
///
/// # Errors
/// A missing or refused token, a data directory that cannot be opened, or a platform that gave up.
pub(crate) async fn run(config: &Config, platforms: Platforms) -> anyhow::Result<Exit> {
    let adapters = adapters(config, platforms)?;
    let stop = Stop::new();
    let _watching = signals::watch(stop.clone())?;
    let cache = open::open(config).await?;
    let server = Server::start(&config.data, &cache);
    let bot = Arc::new(Bot::new(
        cache,
        Arc::new(Recall::default()),
        config.chat.bot(),
    ));
    let served = join_all(adapters.iter().map(|a| a.serve(&bot, &stop))).await;
    if let Some(server) = server {
        server.stop().await;
    }
    let exit = served.into_iter().find(|exit| *exit != Exit::Ok);
    close(&bot, exit.unwrap_or(Exit::Ok)).await
}

/// A platform that has a token.
#[derive(Debug)]
enum Adapter {
    Discord(Discord),
    Telegram(Telegram),
}

fn adapters(config: &Config, platforms: Platforms) -> anyhow::Result<Vec<Adapter>> {
    let (discord, telegram) = (config.chat.discord(), config.chat.telegram());
    match platforms {
        Platforms::Discord if discord.is_none() => {
            return Err(Failed::usage(format!("no token: {DISCORD_TOKEN}")));
        }
        Platforms::Telegram if telegram.is_none() => {
            return Err(Failed::usage(format!("no token: {TELEGRAM_TOKEN}")));
        }
        Platforms::All if discord.is_none() && telegram.is_none() => {
            return Err(Failed::usage(format!(
                "no token for any platform: {DISCORD_TOKEN}; or {TELEGRAM_TOKEN}"
            )));
        }
        _ => {}
    }
    let mut adapters = Vec::new();
    if let Some(config) = discord.filter(|_| platforms != Platforms::Telegram) {
        let adapter = Discord::new(config).map_err(|e| Failed::usage(e.to_string()))?;
        adapters.push(Adapter::Discord(adapter));
    }
    if let Some(config) = telegram.filter(|_| platforms != Platforms::Discord) {
        let adapter = Telegram::new(config).map_err(|e| Failed::usage(e.to_string()))?;
        adapters.push(Adapter::Telegram(adapter));
    }
    Ok(adapters)
}

impl Adapter {
    /// Serves the platform until the stop; says at once why it gave up, if it did.
    fn serve<'a>(&'a self, bot: &'a Arc<Bot>, stop: &'a Stop) -> BoxFuture<'a, Exit> {
        let bot = Arc::clone(bot);
        async move {
            let (name, ended) = match self {
                Self::Discord(discord) => {
                    let ended = discord.run(bot, stop.wait()).await;
                    (
                        "discord",
                        ended.map_err(|e| (discord_exit(&e), anyhow::Error::new(e))),
                    )
                }
                Self::Telegram(telegram) => {
                    let ended = telegram.run(bot, stop.wait()).await;
                    (
                        "telegram",
                        ended.map_err(|e| (telegram_exit(&e), anyhow::Error::new(e))),
                    )
                }
            };
            match ended {
                Ok(()) => Exit::Ok,
                Err((exit, error)) => {
                    warn(format_args!("error: {name}: {error:#}"));
                    exit
                }
            }
        }
        .boxed()
    }
}

/// What the operator has to mend is wrong configuration.
const fn discord_exit(error: &scrollback_discord::Error) -> Exit {
    use scrollback_discord::Error;
    match error {
        Error::Config(_) | Error::Unauthorized | Error::MissingIntent => Exit::Usage,
        _ => Exit::Failure,
    }
}

const fn telegram_exit(error: &scrollback_telegram::Error) -> Exit {
    use scrollback_telegram::Error;
    match error {
        Error::Config(_) | Error::Unauthorized => Exit::Usage,
        _ => Exit::Failure,
    }
}

/// Finishes the answers in hand, then closes the cache, by the deadline.
async fn close(bot: &Bot, exit: Exit) -> anyhow::Result<Exit> {
    let BotClosed { unanswered, cache } = bot
        .close(DEADLINE)
        .await
        .context("cannot close the cache")?;
    if unanswered > 0 {
        tracing::warn!(unanswered, "messages are kept and were not answered");
    }
    Ok(open::closed(cache, exit))
}
