//! What a bot's author sets.
//!
//! Invariant: nothing here prints the token; every fault is named at once, before anything is connected.

use std::fmt;
use std::num::NonZeroU32;

use scrollback_kit::{Pings, Secret};
use serenity::all::GatewayIntents;

/// How a Discord bot is set up.
#[derive(Clone)]
pub struct DiscordConfig {
    pub(crate) token: Secret,
    pub(crate) api_url: Option<String>,
    pub(crate) pings: Pings,
    pub(crate) message_content: bool,
    pub(crate) shards: Option<NonZeroU32>,
}

impl fmt::Debug for DiscordConfig {
    /// Leaves out the URL too: one that is not yet checked may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscordConfig")
            .field("token", &self.token)
            .field("own_api_url", &self.api_url.is_some())
            .field("pings", &self.pings)
            .field("message_content", &self.message_content)
            .field("shards", &self.shards)
            .finish()
    }
}

impl DiscordConfig {
    /// A bot by its token from the Developer Portal.
    pub fn new(token: impl AsRef<str>) -> Self {
        let token = token.as_ref().trim();
        Self {
            token: Secret::new(token.strip_prefix("Bot ").unwrap_or(token)),
            api_url: None,
            pings: Pings::default(),
            message_content: true,
            shards: None,
        }
    }

    /// Another server of the same API (default: Discord's); `http` or `https`, without `/api`. The real
    /// Discord is then never called.
    #[must_use]
    pub fn api_url(mut self, url: impl Into<String>) -> Self {
        self.api_url = Some(url.into());
        self
    }

    /// Whom the bot's messages may ping (default: nobody).
    #[must_use]
    pub fn pings(mut self, pings: Pings) -> Self {
        self.pings = pings;
        self
    }

    /// Whether to ask for the texts of messages that are not for the bot (default: yes). It needs the
    /// privileged Message Content Intent; without it the bot reads private chats, mentions and replies only.
    #[must_use]
    pub fn message_content(mut self, wanted: bool) -> Self {
        self.message_content = wanted;
        self
    }

    /// How many connections share the guilds (default: as many as Discord recommends).
    #[must_use]
    pub fn shards(mut self, shards: NonZeroU32) -> Self {
        self.shards = Some(shards);
        self
    }

    pub(crate) fn intents(&self) -> GatewayIntents {
        let plain = GatewayIntents::GUILDS
            | GatewayIntents::GUILD_MESSAGES
            | GatewayIntents::DIRECT_MESSAGES;
        if self.message_content {
            plain | GatewayIntents::MESSAGE_CONTENT
        } else {
            plain
        }
    }

    /// Every fault, none when it can be used.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let token = self.token.expose();
        if token.is_empty() {
            faults.push(
                "the token is empty; copy it from the Developer Portal, your application → Bot → \
                 Reset Token"
                    .into(),
            );
        } else if !token.bytes().all(|b| b.is_ascii_graphic()) {
            faults.push(
                "the token holds characters that no token has; copy it again, without quotes or \
                 spaces"
                    .into(),
            );
        }
        if let Some(fault) = self.api_url.as_deref().and_then(url_fault) {
            faults.push(format!("the API URL {fault}"));
        }
        if self.shards.is_some_and(|n| n.get() > MOST_SHARDS) {
            faults.push(format!(
                "more than {MOST_SHARDS} shards are no setup of one process"
            ));
        }
        faults
    }
}

/// A bound against a slip of the keyboard: at 1,000 guilds a shard more than any process serves.
const MOST_SHARDS: u32 = 1000;

fn url_fault(url: &str) -> Option<&'static str> {
    let Ok(url) = reqwest::Url::parse(url) else {
        return Some("is no URL, such as http://127.0.0.1:8080");
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        Some("must start with http:// or https:// and name a host")
    } else if !url.username().is_empty() || url.password().is_some() {
        Some("must hold no name or password")
    } else if url.query().is_some() || url.fragment().is_some() {
        Some("must hold no ? or #")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_and_no_secret_is_printed() {
        let config = DiscordConfig::new("canary token").api_url("ftp://ann:canary@example.org");
        assert_eq!(config.faults().len(), 2, "{:?}", config.faults());
        let printed = format!("{config:?} {:?}", config.faults());
        assert!(!printed.contains("canary"), "{printed}");
    }

    #[test]
    fn a_token_is_taken_as_people_paste_it() {
        for pasted in ["abc.def", " abc.def\n", "Bot abc.def"] {
            let config = DiscordConfig::new(pasted);
            assert_eq!(config.token.expose(), "abc.def");
            assert!(config.faults().is_empty());
        }
        assert_eq!(DiscordConfig::new("  ").faults().len(), 1);
    }

    #[test]
    fn an_api_url_is_plain_http() {
        for good in ["http://127.0.0.1:1", "https://example.org/discord/"] {
            assert_eq!(url_fault(good), None, "{good}");
        }
        for bad in [
            "",
            "x",
            "127.0.0.1:80",
            "ws://a",
            "http://a/?b",
            "http://u:p@a",
            "http://",
        ] {
            assert!(url_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn message_content_is_asked_for_unless_it_is_not_wanted() {
        let config = DiscordConfig::new("a");
        assert!(config.intents().contains(GatewayIntents::MESSAGE_CONTENT));
        let without = config.message_content(false);
        assert!(!without.intents().contains(GatewayIntents::MESSAGE_CONTENT));
    }
}
