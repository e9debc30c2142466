//! The configuration: flags over `SCROLLBACK_*` variables over the file over the defaults.
//!
//! Invariant: nothing here ever prints a password, in an error or in `Debug`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use scrollback::{Level, Window};

use crate::duration::Span;
use crate::exit::Failed;

mod chat;
mod key;
mod redis_url;
mod settings;
mod ttl;

pub(crate) use chat::Chat;
pub(crate) use key::{Key, generate as generate_key};
use redis_url::RedisUrl;
use settings::Acknowledge;
pub(crate) use settings::Settings;
pub(crate) use ttl::Ttl;

/// The configuration in force.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The data directory.
    pub(crate) data: PathBuf,
    /// Redis, when it is the hot tier.
    pub(crate) redis: Option<RedisUrl>,
    /// The prefix of Redis keys, when not the default.
    pub(crate) redis_prefix: Option<String>,
    /// Messages in a context.
    pub(crate) window: usize,
    /// How long sessions stay hot.
    pub(crate) ttl: Ttl,
    /// The acknowledgement level.
    pub(crate) level: Level,
    /// Messages older than this are erased.
    pub(crate) retention: Option<Duration>,
    /// The interval of flushes.
    pub(crate) flush_every: Duration,
    /// How long to wait for the data directory.
    pub(crate) wait_lock: Duration,
    /// The largest message text.
    pub(crate) max_message_bytes: usize,
    /// The master key that encrypts what is kept, if any.
    pub(crate) key: Option<Key>,
    /// The log filter, if one was given.
    pub(crate) log: Option<String>,
    /// What concerns chat platforms.
    pub(crate) chat: Chat,
}

impl Config {
    /// Joins flags and variables (`settings`) with the file that they name, and checks the whole.
    ///
    /// # Errors
    /// A file that cannot be read or has an unknown key; every fault of a value, at once.
    pub(crate) fn load(settings: Settings) -> anyhow::Result<Self> {
        let file = settings.config.as_deref().map(read).transpose()?;
        let settings = settings.with_secrets(|name| std::env::var(name).ok());
        let config = Self::merge(settings, file.unwrap_or_default());
        let faults = config.faults();
        if faults.is_empty() {
            return Ok(config);
        }
        Err(Failed::usage(format!(
            "invalid configuration: {}",
            faults.join("; ")
        )))
    }

    /// What a file's text alone makes, and everything wrong with it.
    #[cfg(feature = "testing")]
    pub(crate) fn of(text: &str) -> Result<(Self, Vec<String>), String> {
        let config = Self::merge(Settings::default(), parse(text)?);
        let faults = config.faults();
        Ok((config, faults))
    }

    fn merge(mut over: Settings, mut under: Settings) -> Self {
        let chat = Chat::merge(&mut over, &mut under);
        let key = Key::merge(&over, &under);
        let ttl = Ttl::merge(&over, &under);
        let span = |over: Option<Span>, under: Option<Span>| over.or(under).map(|span| span.0);
        let level = match over.level.or(under.level) {
            None | Some(Acknowledge::Journaled) => Level::Journaled,
            Some(Acknowledge::Synced) => Level::Synced,
            Some(Acknowledge::Cached) => Level::Cached,
        };
        let redis = over.redis.or(under.redis);
        Self {
            data: over.data.or(under.data).unwrap_or_else(|| "./data".into()),
            // An empty variable, as container files like to pass, means none.
            redis: redis.filter(|url| !url.expose().is_empty()),
            redis_prefix: over.redis_prefix.or(under.redis_prefix),
            // As the core's own defaults; they give the reasons.
            window: over.window.or(under.window).unwrap_or(50),
            ttl,
            level,
            retention: span(over.retention, under.retention),
            flush_every: span(over.flush_every, under.flush_every)
                .unwrap_or(Duration::from_secs(2)),
            wait_lock: span(over.wait_lock, under.wait_lock).unwrap_or_default(),
            max_message_bytes: over
                .max_message_bytes
                .or(under.max_message_bytes)
                .unwrap_or(64 * 1024),
            key,
            log: over.log.or(under.log),
            chat,
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = self.chat.faults.clone();
        faults.extend(self.ttl.faults());
        if let Some(Err(error)) = self.key.as_ref().map(Key::master) {
            faults.push(format!("key: {error}"));
        }
        if let Some((url, why)) = self
            .redis
            .as_ref()
            .and_then(|url| Some((url, url.fault()?)))
        {
            faults.push(format!(
                "redis: {url}: {why}; expected redis://[user:password@]host[:port][/db]"
            ));
        }
        if !(1..=Window::MAX_MESSAGES).contains(&self.window) {
            faults.push(format!(
                "window: {} is not 1 to {}",
                self.window,
                Window::MAX_MESSAGES
            ));
        }
        if !(1..=Window::MAX_BYTES).contains(&self.max_message_bytes) {
            faults.push(format!(
                "max_message_bytes: {} is not 1 to {}",
                self.max_message_bytes,
                Window::MAX_BYTES
            ));
        }
        let zero = [
            ("retention", self.retention),
            ("flush_every", Some(self.flush_every)),
        ];
        for (name, _) in zero
            .iter()
            .filter(|(_, span)| span.is_some_and(|span| span.is_zero()))
        {
            faults.push(format!("{name}: must be longer than nothing"));
        }
        faults
    }
}

/// Reads a configuration file.
fn read(path: &Path) -> anyhow::Result<Settings> {
    let usage = |why: &dyn fmt::Display| {
        Failed::usage(format!("configuration file {}: {why}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| usage(&error))?;
    parse(&text).map_err(|why| usage(&why))
}

/// Reads a configuration file's text.
fn parse(text: &str) -> Result<Settings, String> {
    // The parser's full report quotes the line, and the line may hold a password.
    toml::from_str(text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start));
        let message = error.message();
        match line {
            Some(before) => {
                let line = before.matches('\n').count() + 1;
                format!("line {line}: {message}")
            }
            None => message.to_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> anyhow::Result<Settings> {
        let dir = std::env::temp_dir().join(format!("scrollback-config-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{}.toml", text.len()));
        std::fs::write(&path, text)?;
        let settings = read(&path);
        std::fs::remove_file(&path)?;
        settings
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let under = file("window = 7\nttl = \"5m\"\nlevel = \"synced\"\n").unwrap();
        let over = Settings {
            window: Some(9),
            ..Settings::default()
        };
        let config = Config::merge(over, under);
        assert_eq!(config.window, 9);
        let five = Settings {
            ttl: Some(Span(Duration::from_secs(300))),
            ..Settings::default()
        };
        assert_eq!(config.ttl, Ttl::merge(&five, &Settings::default()));
        assert_eq!(
            (config.level, config.flush_every),
            (Level::Synced, Duration::from_secs(2))
        );
    }

    #[test]
    fn an_unknown_key_is_named_and_no_line_of_the_file_is_quoted() {
        let error = file("\nredsi = \"redis://:hunter2@h\"\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("redsi") && error.contains("line 2"),
            "{error}"
        );
        assert!(!error.contains("hunter2"), "{error}");
        let error = file("ttl = \"soon\"").unwrap_err().to_string();
        assert!(error.contains("soon"), "{error}");
    }

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "redis://u:hunter2@h:1/2",
            "redis://:hun@ter2@h",
            "hunter2",
            "unix:///s?pass=hunter2",
            "http://a:hunter2@h",
        ] {
            let url = RedisUrl(url.into());
            let config = Config::merge(
                Settings {
                    redis: Some(url.clone()),
                    ..Settings::default()
                },
                Settings::default(),
            );
            let shown = format!("{url} {config:?} {:?}", config.faults());
            assert!(!shown.contains("ter2"), "{shown}");
        }
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let settings = Settings {
            redis: Some(RedisUrl("http://h".into())),
            window: Some(0),
            ttl: Some(Span(Duration::ZERO)),
            ..Settings::default()
        };
        let error = Config::load(settings).unwrap_err().to_string();
        for part in ["redis:", "window:", "ttl:"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
