//! From the configuration to an open cache, and the log on stderr.

use std::io::IsTerminal as _;

use std::time::Duration;

use anyhow::Context as _;
use scrollback::{Cache, Closed, RedisConfig, SledConfig, Window};
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::exit::{Exit, Failed};

/// What other crates log below a warning may hold tokens in addresses and texts in payloads.
const QUIET: [&str; 9] = [
    "h2=warn",
    "hyper=warn",
    "hyper_util=warn",
    "reqwest=warn",
    "rustls=warn",
    "serenity=warn",
    "teloxide_core=warn",
    "tokio_tungstenite=warn",
    "tungstenite=warn",
];

/// Sends log lines to stderr, as `filter` says.
pub(crate) fn log_to_stderr(filter: &str) -> anyhow::Result<()> {
    let mut filter = EnvFilter::try_new(filter).map_err(|error| {
        Failed::usage(format!(
            "log: {error}; expected error, warn, info, debug or a filter"
        ))
    })?;
    for directive in QUIET {
        filter = filter.add_directive(directive.parse().context("a log directive of our own")?);
    }
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

/// Opens the cache that the configuration describes.
pub(crate) async fn open(config: &Config) -> anyhow::Result<Cache> {
    let mut store = SledConfig::new(&config.data).wait_lock(config.wait_lock);
    if let Some(key) = &config.key {
        store = store.encrypt(key.master()?);
    }
    let mut builder = Cache::builder()
        .store(store)
        .window(Window::messages(config.window))
        .level(config.level)
        .flush_every(config.flush_every)
        .max_message_bytes(config.max_message_bytes);
    builder = config.ttl.apply(builder)?;
    if let Some(age) = config.retention {
        builder = builder.retention(age);
    }
    if let Some(url) = &config.redis {
        let mut redis = RedisConfig::new(url.expose());
        if let Some(prefix) = &config.redis_prefix {
            redis = redis.prefix(prefix);
        }
        redis.validate().map_err(|error| {
            Failed::usage(format!(
                "{error}; expected redis://[user:password@]host[:port][/database], a password's / # ? @ \
                 written as %2F %23 %3F %40"
            ))
        })?;
        builder = builder.hot(redis);
    }
    let cache = builder
        .build()
        .await
        .with_context(|| format!("cannot open the data directory {}", config.data.display()))?;
    if let Some(url) = config.redis.as_ref().filter(|_| cache.stats().degraded) {
        tracing::warn!(
            redis = %url,
            "redis does not answer; going on without it (degraded) until it does"
        );
    }
    Ok(cache)
}

/// Closes the cache within the time; `exit` stands unless something is not durable.
pub(crate) async fn close(cache: &Cache, exit: Exit, within: Duration) -> anyhow::Result<Exit> {
    let ended = cache
        .close(within)
        .await
        .context("cannot close the cache")?;
    Ok(closed(ended, exit))
}

/// `exit`, unless all is well but not everything is durable.
pub(crate) fn closed(Closed { left, .. }: Closed, exit: Exit) -> Exit {
    if left == 0 {
        return exit;
    }
    tracing::warn!(
        left,
        "not durable by the deadline; safe in the journal, stored at the next start"
    );
    if exit == Exit::Ok {
        Exit::NotDurable
    } else {
        exit
    }
}
