//! What is set for chat platforms, joined and checked.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

use scrollback::Scope;
use scrollback_discord::DiscordConfig;
use scrollback_kit::{Access, BotConfig, Pings, Rate, Rule, Scopes, Secret};
use scrollback_telegram::{TelegramConfig, Webhook};

use super::settings::{Ping, ScopeName, Settings};

/// Where the webhook listens: behind a reverse proxy of the same machine, which ends TLS.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);

/// The configuration of chat platforms in force.
#[derive(Debug, Clone)]
pub(crate) struct Chat {
    /// How the bot behaves everywhere.
    bot: BotConfig,
    pings: Pings,
    discord: Option<Secret>,
    discord_api_url: Option<String>,
    discord_message_content: bool,
    discord_shards: Option<NonZeroU32>,
    telegram: Option<Secret>,
    telegram_api_url: Option<String>,
    telegram_webhook: Option<String>,
    telegram_webhook_listen: SocketAddr,
    telegram_webhook_secret: Option<Secret>,
    /// What is wrong with it.
    pub(super) faults: Vec<String>,
}

impl Chat {
    /// How the bot behaves.
    pub(crate) fn bot(&self) -> BotConfig {
        self.bot.clone()
    }

    /// Discord, when there is a token for it.
    pub(crate) fn discord(&self) -> Option<DiscordConfig> {
        let mut config = DiscordConfig::new(self.discord.as_ref()?.expose())
            .pings(self.pings)
            .message_content(self.discord_message_content);
        if let Some(url) = &self.discord_api_url {
            config = config.api_url(url);
        }
        if let Some(shards) = self.discord_shards {
            config = config.shards(shards);
        }
        Some(config)
    }

    /// Telegram, when there is a token for it.
    pub(crate) fn telegram(&self) -> Option<TelegramConfig> {
        let mut config = TelegramConfig::new(self.telegram.as_ref()?.expose()).pings(self.pings);
        if let Some(url) = &self.telegram_api_url {
            config = config.api_url(url);
        }
        if let Some(url) = &self.telegram_webhook {
            config = config.webhook(Webhook {
                url: url.clone(),
                listen: self.telegram_webhook_listen,
                secret: self.telegram_webhook_secret.clone(),
            });
        }
        Some(config)
    }

    /// Joins what `over` and `under` say; takes from both what concerns chat platforms.
    pub(super) fn merge(over: &mut Settings, under: &mut Settings) -> Self {
        macro_rules! set {
            ($field:ident) => {
                over.$field.take().or_else(|| under.$field.take())
            };
        }
        let mut faults = Vec::new();
        let bot = BotConfig {
            scopes: scopes(set!(scope), set!(scope_in), &mut faults),
            access: Access {
                allow: rules("allow", set!(allow), &mut faults),
                deny: rules("deny", set!(deny), &mut faults),
            },
            rate: rate(set!(rate)),
            answer_within: set!(answer_within)
                .map_or(BotConfig::default().answer_within, |span| span.0),
            ..BotConfig::default()
        };
        // An empty variable, as container files like to pass, means none.
        let token = |token: Option<Secret>| token.filter(|t| !t.expose().is_empty());
        let url = |url: Option<String>| url.filter(|u| !u.trim().is_empty());
        Self {
            bot,
            pings: pings(&set!(pings).unwrap_or_default()),
            discord: token(set!(discord_token)),
            discord_api_url: url(set!(discord_api_url)),
            discord_message_content: set!(discord_message_content).unwrap_or(true),
            discord_shards: set!(discord_shards),
            telegram: token(set!(telegram_token)),
            telegram_api_url: url(set!(telegram_api_url)),
            telegram_webhook: url(set!(telegram_webhook)),
            telegram_webhook_listen: set!(telegram_webhook_listen).unwrap_or(LISTEN),
            telegram_webhook_secret: token(set!(telegram_webhook_secret)),
            faults,
        }
    }
}

fn scopes(
    default: Option<ScopeName>,
    spaces: Option<Vec<String>>,
    faults: &mut Vec<String>,
) -> Scopes {
    let mut scopes = Scopes::from(match default {
        None | Some(ScopeName::Channel) => Scope::Channel,
        Some(ScopeName::UserInChannel) => Scope::UserInChannel,
        Some(ScopeName::User) => Scope::User,
    });
    for line in words(spaces) {
        if let Err(fault) = named(&line).and_then(|()| scopes.add(&line)) {
            faults.push(format!("scope_in: {fault}"));
        }
    }
    scopes
}

fn rules(name: &str, lines: Option<Vec<String>>, faults: &mut Vec<String>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for line in words(lines) {
        match line.parse().and_then(|rule| named(&line).map(|()| rule)) {
            Ok(rule) => rules.push(rule),
            Err(fault) => faults.push(format!("{name}: {fault}")),
        }
    }
    rules
}

/// A rule for a platform that is misspelt would protect nothing, in silence.
fn named(line: &str) -> Result<(), String> {
    let platform = line.split([':', '=']).next().unwrap_or_default();
    if ["discord", "telegram"].contains(&platform) {
        return Ok(());
    }
    Err(format!(
        "`{line}`: `{platform}` is no platform; there are discord and telegram"
    ))
}

/// The entries of a list, without the blanks that people put around commas.
fn words(lines: Option<Vec<String>>) -> impl Iterator<Item = String> {
    let lines = lines.unwrap_or_default().into_iter();
    lines
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
}

/// `0` stands for no bound.
fn rate(per_minute: Option<u32>) -> Option<Rate> {
    let default = Rate::default();
    match per_minute.map(NonZeroU32::new) {
        None => Some(default),
        Some(None) => None,
        Some(Some(per_minute)) => Some(Rate {
            per_minute,
            burst: default.burst.min(per_minute),
        }),
    }
}

fn pings(allowed: &[Ping]) -> Pings {
    Pings {
        users: allowed.contains(&Ping::Users),
        roles: allowed.contains(&Ping::Roles),
        everyone: allowed.contains(&Ping::Everyone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(mut over: Settings) -> Chat {
        Chat::merge(&mut over, &mut Settings::default())
    }

    #[test]
    fn every_fault_of_a_list_is_named() {
        let chat = merge(Settings {
            allow: Some(vec!["discord:space=1".into(), "x y".into()]),
            deny: Some(vec![
                "telegram:who=1".into(),
                String::new(),
                "telegrm".into(),
            ]),
            scope_in: Some(vec!["discord:1=guild".into()]),
            ..Settings::default()
        });
        let faults = chat.faults.join("\n");
        for part in [
            "allow: `x y`",
            "deny: `telegram:who=1`",
            "scope_in: `discord:1=guild`",
            "`telegrm` is no platform",
        ] {
            assert!(faults.contains(part), "{faults}");
        }
        assert_eq!(chat.faults.len(), 4);
    }

    #[test]
    fn no_token_is_ever_shown_and_an_empty_one_is_none() {
        let secret = |s: &str| Some(Secret::new(s));
        let chat = merge(Settings {
            discord_token: secret("canary"),
            telegram_token: secret(" "),
            telegram_webhook_secret: secret("canary"),
            ..Settings::default()
        });
        assert!(chat.discord().is_some() && chat.telegram().is_none());
        let shown = format!("{chat:?} {:?}", chat.discord());
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn the_rate_may_be_switched_off() {
        assert_eq!(rate(None), Some(Rate::default()));
        assert_eq!(rate(Some(0)), None);
        assert_eq!(rate(Some(2)).map(|r| r.burst.get()), Some(2));
    }
}
