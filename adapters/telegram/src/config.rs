//! How a bot is configured, and what may be wrong with it.
//!
//! Invariant: nothing here is printed that lets another act as the bot. Reads no environment.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use reqwest::Url;
use scrollback_kit::{Pings, Secret};

use crate::error::Error;

/// The server of Telegram itself.
const API_URL: &str = "https://api.telegram.org";
/// Where a webhook listens unless told: a proxy in front keeps the certificate.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
/// The longest secret that Telegram takes.
const LONGEST_SECRET: usize = 256;

/// How a bot takes updates and answers.
#[derive(Clone)]
pub struct TelegramConfig {
    pub(crate) token: Secret,
    pub(crate) api_url: String,
    pub(crate) pings: Pings,
    pub(crate) webhook: Option<Webhook>,
}

impl fmt::Debug for TelegramConfig {
    /// Leaves out the token, and of addresses all but their host.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelegramConfig")
            .field("token", &self.token)
            .field("api_url", &host(&self.api_url))
            .field("pings", &self.pings)
            .field("webhook", &self.webhook)
            .finish()
    }
}

impl TelegramConfig {
    /// A bot with the token that @BotFather gave.
    pub fn new(token: impl AsRef<str>) -> Self {
        Self {
            token: Secret::new(token),
            api_url: API_URL.into(),
            pings: Pings::default(),
            webhook: None,
        }
    }

    /// Another server of the same API (default: Telegram's own).
    #[must_use]
    pub fn api_url(mut self, url: impl Into<String>) -> Self {
        self.api_url = url.into();
        self
    }

    /// Whom the bot's messages may ping (default: nobody).
    #[must_use]
    pub const fn pings(mut self, pings: Pings) -> Self {
        self.pings = pings;
        self
    }

    /// Lets Telegram deliver the updates (default: they are fetched by long polling, which needs no
    /// public address).
    #[must_use]
    pub fn webhook(mut self, webhook: Webhook) -> Self {
        self.webhook = Some(webhook);
        self
    }

    /// The API's address, when nothing is wrong.
    pub(crate) fn validate(&self) -> Result<Url, Error> {
        let mut faults = Vec::new();
        faults.extend(token_fault(self.token.expose()));
        let api = api_address(&self.api_url);
        let hook = self.webhook.as_ref().map(Webhook::faults);
        faults.extend(hook.into_iter().flatten());
        match api {
            Ok(url) if faults.is_empty() => return Ok(url),
            Ok(_) => {}
            Err(fault) => faults.push(fault),
        }
        Err(Error::Config(faults.join("; ")))
    }
}

/// Where Telegram delivers updates.
#[derive(Clone)]
pub struct Webhook {
    /// The public address, https; its path is the one that is served.
    pub url: String,
    /// Where this process listens, in plain HTTP: a proxy in front ends TLS.
    pub listen: SocketAddr,
    /// What Telegram sends along to prove itself: up to 256 of `A-Z a-z 0-9 _ -`; random when `None`.
    pub secret: Option<Secret>,
}

impl fmt::Debug for Webhook {
    /// Leaves out the secret, and the path, which may be one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &host(&self.url))
            .field("listen", &self.listen)
            .field("secret", &self.secret)
            .finish()
    }
}

impl Webhook {
    /// A webhook at a public address, listening on `127.0.0.1:8443`, with a random secret.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            listen: LISTEN,
            secret: None,
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let public =
            |url: &Url| url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
        if !Url::parse(&self.url).is_ok_and(|url| public(&url)) {
            faults.push(
                "the webhook's address must be one that Telegram reaches: https://host/path".into(),
            );
        }
        if self.secret.as_ref().is_some_and(|s| !is_secret(s.expose())) {
            faults.push(format!(
                "the webhook's secret must be 1 to {LONGEST_SECRET} of A-Z a-z 0-9 _ -"
            ));
        }
        faults
    }
}

fn is_secret(secret: &str) -> bool {
    (1..=LONGEST_SECRET).contains(&secret.len()) && secret.bytes().all(is_token_byte)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn token_fault(token: &str) -> Option<String> {
    let looks_right = token.split_once(':').is_some_and(|(id, secret)| {
        let digits = !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
        digits && !secret.is_empty() && secret.bytes().all(is_token_byte)
    });
    match token {
        "" => Some("there is no token: ask @BotFather for one with /newbot".into()),
        _ if looks_right => None,
        _ => Some("the token is none: @BotFather's look like 123456789:AAE4xyz…".into()),
    }
}

fn api_address(url: &str) -> Result<Url, String> {
    let wrong = || "the API's address must be http(s)://host[:port][/path]".to_owned();
    let url = Url::parse(url).map_err(|_| wrong())?;
    let fits = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none();
    if fits { Ok(url) } else { Err(wrong()) }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// What of an address may be shown.
pub(crate) fn host(url: &str) -> String {
    Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_else(|| "no address".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "7305512840:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw0";

    #[test]
    fn every_fault_is_named_at_once() {
        let mut hook = Webhook::new("http://bot.example/hook");
        hook.secret = Some(Secret::new("a b"));
        let config = TelegramConfig::new("nonsense")
            .api_url("ftp://x")
            .webhook(hook);
        let said = config.validate().unwrap_err().to_string();
        for fault in [
            "token",
            "API's address",
            "webhook's address",
            "webhook's secret",
        ] {
            assert!(said.contains(fault), "{fault}: {said}");
        }
        assert!(!said.contains("nonsense"), "{said}");
    }

    #[test]
    fn a_sound_configuration_passes() {
        for url in ["http://127.0.0.1:8081", "https://bots.example/api/"] {
            assert!(
                TelegramConfig::new(TOKEN).api_url(url).validate().is_ok(),
                "{url}"
            );
        }
        for url in [
            "https://bot.example/hook/7",
            "http://127.0.0.1:9/hook",
            "http://[::1]:9/",
        ] {
            let config = TelegramConfig::new(format!(" {TOKEN}\n")).webhook(Webhook::new(url));
            assert!(config.validate().is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for token in ["", ":", "1:", ":x", "a:b", "1:x/../y", "1:x y", "12", "1:é"] {
            assert!(TelegramConfig::new(token).validate().is_err(), "{token}");
        }
        assert!(TelegramConfig::new("1:x").validate().is_ok());
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut hook = Webhook::new("https://bot.example/canary-path");
        hook.secret = Some(Secret::new("canary-secret"));
        let config = TelegramConfig::new("1:canary-token")
            .api_url("https://ann:canary-password@host/canary")
            .webhook(hook);
        let shown = format!("{config:?}");
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("bot.example"), "{shown}");
    }
}
