//! Why a run cannot go on, by what a person can do about it.

/// The boxed cause of an [`Error`].
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a bot does not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings have faults; each is named.
    #[error("the Discord settings cannot be used: {0}")]
    Config(String),
    /// Discord does not know the token.
    #[error(
        "Discord refuses the token: it is wrong or was reset; copy it again from the Developer Portal \
         (your application → Bot → Reset Token)"
    )]
    Unauthorized,
    /// The bot asks for message texts, and its application is not allowed them.
    #[error(
        "Discord does not let this bot read messages: in the Developer Portal, open your application → \
         Bot → Privileged Gateway Intents, switch on \"Message Content Intent\", save and start again; or \
         go without it (`message_content(false)`), and the bot reads private chats, mentions and \
         replies only"
    )]
    MissingIntent,
    /// Discord ended the connection for good.
    #[error("Discord ended the connection for good (close code {code}): {what}")]
    Gateway {
        /// The close code.
        code: u16,
        /// What it means and what to do.
        what: &'static str,
    },
    /// The cache was closed under the running bot.
    #[error("the cache was closed while the bot was running; stop the bot first")]
    Closed,
    /// Anything else.
    #[error("the Discord bot cannot run")]
    Failed {
        /// The cause.
        #[source]
        source: Source,
    },
}

impl Error {
    pub(crate) fn failed(source: impl Into<Source>) -> Self {
        Self::Failed {
            source: source.into(),
        }
    }
}
