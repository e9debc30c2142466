//! What can be set, by flag, variable and key of the file; decides nothing.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use scrollback_kit::Secret;
use serde::Deserialize;

use super::redis_url::RedisUrl;
use super::ttl::{PolicyName, Worth};
use crate::duration::Span;

/// The heading under which `--help` lists what concerns chat platforms.
const CHAT: &str = "Chat platforms";

/// What flags, variables or the file say; what none of them says stays `None`.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Configuration file (TOML; keys as these options, with `_` for `-`)
    #[arg(long, global = true, value_name = "FILE", env = "SCROLLBACK_CONFIG")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
    /// Data directory, created if absent [default: ./data]
    #[arg(long, global = true, value_name = "DIR", env = "SCROLLBACK_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Redis as the hot tier: redis://[user:password@]host[:port][/db], rediss:// for TLS [default: in-process]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "SCROLLBACK_REDIS",
        hide_env_values = true
    )]
    pub(crate) redis: Option<RedisUrl>,
    /// Prefix of every Redis key [default: scrollback]
    #[arg(
        long,
        global = true,
        value_name = "PREFIX",
        env = "SCROLLBACK_REDIS_PREFIX"
    )]
    pub(crate) redis_prefix: Option<String>,
    /// Messages a context holds at most, 1 to 2000 [default: 50]
    #[arg(long, global = true, value_name = "N", env = "SCROLLBACK_WINDOW")]
    pub(crate) window: Option<usize>,
    /// How long sessions stay hot [default: economic, or sliding with --ttl]
    #[arg(
        long,
        global = true,
        value_name = "POLICY",
        env = "SCROLLBACK_TTL_POLICY"
    )]
    pub(crate) ttl_policy: Option<PolicyName>,
    /// How long a silent session stays hot, whatever it costs
    #[arg(long, global = true, value_name = "DURATION", env = "SCROLLBACK_TTL")]
    pub(crate) ttl: Option<Span>,
    /// How long an average session may be kept hot for what one load costs, or `measured` [default: 100m]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "SCROLLBACK_TTL_COST"
    )]
    pub(crate) ttl_cost: Option<Worth>,
    /// The shortest time a session stays hot [default: none]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "SCROLLBACK_TTL_FLOOR"
    )]
    pub(crate) ttl_floor: Option<Span>,
    /// The longest time a silent session stays hot [default: none]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "SCROLLBACK_TTL_CAP"
    )]
    pub(crate) ttl_cap: Option<Span>,
    /// When a message counts as accepted [default: journaled]
    #[arg(long, global = true, value_name = "LEVEL", env = "SCROLLBACK_LEVEL")]
    pub(crate) level: Option<Acknowledge>,
    /// Erase messages older than this [default: never]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "SCROLLBACK_RETENTION"
    )]
    pub(crate) retention: Option<Span>,
    /// How often new messages go to the durable store [default: 2s]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "SCROLLBACK_FLUSH_EVERY"
    )]
    pub(crate) flush_every: Option<Span>,
    /// How long to wait while another process holds the data directory [default: 0s]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "SCROLLBACK_WAIT_LOCK"
    )]
    pub(crate) wait_lock: Option<Span>,
    /// The largest message in bytes, 1 to 1048576 [default: 65536]
    #[arg(
        long,
        global = true,
        value_name = "BYTES",
        env = "SCROLLBACK_MAX_MESSAGE_BYTES"
    )]
    pub(crate) max_message_bytes: Option<usize>,
    /// Encrypt what is kept, with the master key in this file (`scrollback keygen FILE` makes one)
    #[arg(long, global = true, value_name = "FILE", env = "SCROLLBACK_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// What to log on stderr: error, warn, info, debug, or a tracing filter [default: warn]
    #[arg(long, global = true, value_name = "FILTER", env = "SCROLLBACK_LOG")]
    pub(crate) log: Option<String>,
    /// How much of a place tells conversations apart [default: channel]
    #[arg(long, global = true, value_name = "SCOPE", env = "SCROLLBACK_SCOPE", help_heading = CHAT)]
    pub(crate) scope: Option<ScopeName>,
    /// Another scope in one guild or group, such as discord:1234=user_in_channel
    #[arg(
        long,
        global = true,
        value_name = "PLATFORM:SPACE=SCOPE",
        env = "SCROLLBACK_SCOPE_IN",
        value_delimiter = ',',
        help_heading = CHAT
    )]
    pub(crate) scope_in: Option<Vec<String>>,
    /// Listen only there: discord, telegram:channel=ID, discord:space=ID, telegram:user=ID [default: everywhere]
    #[arg(
        long,
        global = true,
        value_name = "RULE",
        env = "SCROLLBACK_ALLOW",
        value_delimiter = ',',
        help_heading = CHAT
    )]
    pub(crate) allow: Option<Vec<String>>,
    /// Never listen there; stronger than --allow
    #[arg(
        long,
        global = true,
        value_name = "RULE",
        env = "SCROLLBACK_DENY",
        value_delimiter = ',',
        help_heading = CHAT
    )]
    pub(crate) deny: Option<Vec<String>>,
    /// Answers a minute for one person, 0 for no bound [default: 20]
    #[arg(long, global = true, value_name = "N", env = "SCROLLBACK_RATE", help_heading = CHAT)]
    pub(crate) rate: Option<u32>,
    /// How old a missed message may be that is still answered [default: 15m]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "SCROLLBACK_ANSWER_WITHIN",
        help_heading = CHAT
    )]
    pub(crate) answer_within: Option<Span>,
    /// Whom the bot's messages may ping [default: nobody]
    #[arg(
        long,
        global = true,
        value_name = "WHOM",
        env = "SCROLLBACK_PINGS",
        value_delimiter = ',',
        help_heading = CHAT
    )]
    pub(crate) pings: Option<Vec<Ping>>,
    /// Another server of Discord's API [default: Discord's own]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "SCROLLBACK_DISCORD_API_URL",
        help_heading = CHAT
    )]
    pub(crate) discord_api_url: Option<String>,
    /// Ask Discord for the text of all messages (a privileged intent) [default: true]
    #[arg(
        long,
        global = true,
        value_name = "BOOL",
        env = "SCROLLBACK_DISCORD_MESSAGE_CONTENT",
        help_heading = CHAT
    )]
    pub(crate) discord_message_content: Option<bool>,
    /// Gateway connections to Discord [default: as many as it recommends]
    #[arg(
        long,
        global = true,
        value_name = "N",
        env = "SCROLLBACK_DISCORD_SHARDS",
        help_heading = CHAT
    )]
    pub(crate) discord_shards: Option<NonZeroU32>,
    /// Another server of Telegram's Bot API [default: Telegram's own]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "SCROLLBACK_TELEGRAM_API_URL",
        help_heading = CHAT
    )]
    pub(crate) telegram_api_url: Option<String>,
    /// The https URL under which Telegram reaches this bot [default: none, long polling]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "SCROLLBACK_TELEGRAM_WEBHOOK",
        help_heading = CHAT
    )]
    pub(crate) telegram_webhook: Option<String>,
    /// Where to listen for the webhook's calls [default: 127.0.0.1:8443]
    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        env = "SCROLLBACK_TELEGRAM_WEBHOOK_LISTEN",
        help_heading = CHAT
    )]
    pub(crate) telegram_webhook_listen: Option<SocketAddr>,
    // Secrets are no flags: other users of the machine can read a command line.
    /// `SCROLLBACK_KEY`: the master key itself.
    #[arg(skip)]
    pub(crate) key: Option<Secret>,
    /// `SCROLLBACK_DISCORD_TOKEN`.
    #[arg(skip)]
    pub(crate) discord_token: Option<Secret>,
    /// `SCROLLBACK_TELEGRAM_TOKEN`.
    #[arg(skip)]
    pub(crate) telegram_token: Option<Secret>,
    /// `SCROLLBACK_TELEGRAM_WEBHOOK_SECRET`.
    #[arg(skip)]
    pub(crate) telegram_webhook_secret: Option<Secret>,
}

impl Settings {
    /// Adds the secrets that the environment holds.
    pub(crate) fn with_secrets(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let secret = |name: &str| variable(name).map(Secret::new);
        self.key = secret("SCROLLBACK_KEY");
        self.discord_token = secret("SCROLLBACK_DISCORD_TOKEN");
        self.telegram_token = secret("SCROLLBACK_TELEGRAM_TOKEN");
        self.telegram_webhook_secret = secret("SCROLLBACK_TELEGRAM_WEBHOOK_SECRET");
        self
    }
}

/// When a message counts as accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Acknowledge {
    /// Written to the journal: survives kill -9.
    Journaled,
    /// The journal is also fsynced: survives a power cut.
    Synced,
    /// In the hot tier only: nothing is promised.
    Cached,
}

/// What tells conversations apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum ScopeName {
    /// One conversation per channel, thread or private chat.
    Channel,
    /// One per person in each of them.
    UserInChannel,
    /// One per person, wherever they talk to the bot.
    User,
}

/// Whom a message may ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ping {
    /// Persons named in it.
    Users,
    /// Roles named in it.
    Roles,
    /// Everyone there.
    Everyone,
}
