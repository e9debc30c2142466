//! Why the bot cannot start or go on, by what its operator can do. Never shows the token.

/// The boxed cause of an [`Error`].
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Ends [`Telegram::new`](crate::Telegram::new) or [`Telegram::run`](crate::Telegram::run).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration has faults; each is named.
    #[error("invalid Telegram configuration: {0}")]
    Config(String),
    /// Telegram does not know the token (any more).
    #[error(
        "Telegram does not accept the token: copy it again from @BotFather (/mybots, API Token); \
         if it was revoked, the new one is there"
    )]
    Unauthorized,
    /// Somebody else has been taking this bot's updates for long.
    #[error(
        "another process takes the updates of this bot: stop it, or give this one a bot of its own"
    )]
    Conflict,
    /// The cache was closed under the running bot.
    #[error("the cache is closed: close it only after the bot has stopped")]
    Closed,
    /// Something that trying again does not mend.
    #[error("{what}")]
    Failed {
        /// What was attempted and what to do.
        what: String,
        /// The underlying failure.
        source: Source,
    },
}
