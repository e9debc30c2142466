//! Why a call failed, by what its caller can do, and by whether it may have taken effect.
//!
//! Invariant: shows neither token nor address nor text.

use std::error::Error as _;
use std::time::Duration;

use scrollback_kit::SendError;

/// A failed call of the Bot API.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// It never arrived: no connection.
    #[error("the server cannot be reached: {0}")]
    Unreached(String),
    /// It may have arrived; its answer did not.
    #[error("the answer was lost: {0}")]
    Lost(String),
    /// The server is in trouble; whether the call took effect is unknown.
    #[error("the server answers {status}")]
    Server { status: u16 },
    /// What came back is no answer of the Bot API.
    #[error(
        "the server's answer (status {status}) is none of the Bot API; is it a Bot API server?"
    )]
    Garbage { status: u16 },
    /// Too many calls.
    #[error("too many calls: again after {after:?}")]
    TooMany { after: Duration },
    /// The group has become a supergroup.
    #[error("the group is now the supergroup {to}")]
    Moved { to: i64 },
    /// The server does not know the token.
    #[error("the token is not accepted")]
    Unauthorized,
    /// Somebody else takes the updates.
    #[error("{}", conflict(*webhook))]
    Conflict { webhook: bool },
    /// It will never succeed.
    #[error("{code}: {why}")]
    Refused { code: u16, why: String },
}

const fn conflict(webhook: bool) -> &'static str {
    if webhook {
        "a webhook was set for this bot, so its updates cannot be fetched: take it off, or let it be"
    } else {
        "another process fetches the updates of this bot: only one can at a time"
    }
}

impl CallError {
    /// True when the refusal is about this.
    pub(crate) fn says(&self, what: &str) -> bool {
        matches!(self, Self::Refused { why, .. } if why.contains(what))
    }

    /// True when the bot cannot write to that chat at all, until something changes there.
    pub(crate) fn is_gone(&self) -> bool {
        let forbidden = matches!(self, Self::Refused { code: 403, .. });
        let lost = [
            "chat not found",
            "user is deactivated",
            "group chat was deactivated",
        ];
        forbidden || lost.iter().any(|what| self.says(what))
    }

    /// What the kit is told. What may have taken effect is tried again only where that is `harmless`:
    /// a message that is missing once can be asked for again, one that comes twice cannot be unsaid.
    pub(crate) fn for_kit(self, harmless: bool) -> SendError {
        match self {
            Self::TooMany { after } => SendError::Later { after: Some(after) },
            Self::Unreached(_) => SendError::Later { after: None },
            Self::Lost(_) | Self::Server { .. } | Self::Garbage { .. } if harmless => {
                SendError::Later { after: None }
            }
            Self::Refused { .. } | Self::Moved { .. } => SendError::Refused(self.to_string()),
            other => SendError::Failed(other.into()),
        }
    }
}

impl From<reqwest::Error> for CallError {
    fn from(error: reqwest::Error) -> Self {
        let never = error.is_connect() || error.is_builder();
        let error = error.without_url();
        let mut what = error.to_string();
        let mut cause = error.source();
        while let Some(deeper) = cause {
            what = format!("{what}: {deeper}");
            cause = deeper.source();
        }
        if never {
            Self::Unreached(what)
        } else {
            Self::Lost(what)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, why: &str) -> CallError {
        CallError::Refused {
            code,
            why: why.into(),
        }
    }

    #[test]
    fn what_may_have_been_sent_is_not_sent_again() {
        let unsure = || {
            [
                CallError::Lost("x".into()),
                CallError::Server { status: 502 },
                CallError::Garbage { status: 200 },
            ]
        };
        for error in unsure() {
            assert!(matches!(error.for_kit(false), SendError::Failed(_)));
        }
        for error in unsure() {
            assert!(matches!(
                error.for_kit(true),
                SendError::Later { after: None }
            ));
        }
        let unreached = CallError::Unreached("x".into());
        assert!(matches!(
            unreached.for_kit(false),
            SendError::Later { after: None }
        ));
    }

    #[test]
    fn a_rate_limit_tells_how_long_to_wait() {
        let after = Duration::from_secs(3);
        let told = CallError::TooMany { after }.for_kit(false);
        assert!(matches!(told, SendError::Later { after: Some(wait) } if wait == after));
    }

    #[test]
    fn a_refusal_is_final_and_some_mean_that_the_chat_is_gone() {
        for (error, gone) in [
            (refused(403, "Forbidden: bot was blocked by the user"), true),
            (
                refused(403, "Forbidden: bot was kicked from the supergroup chat"),
                true,
            ),
            (refused(400, "Bad Request: chat not found"), true),
            (
                refused(400, "Bad Request: message to edit not found"),
                false,
            ),
            (
                refused(
                    400,
                    "Bad Request: not enough rights to send text messages to the chat",
                ),
                false,
            ),
        ] {
            assert_eq!(error.is_gone(), gone, "{error}");
            assert!(matches!(error.for_kit(true), SendError::Refused(_)));
        }
    }

    #[tokio::test]
    async fn an_unreachable_server_is_told_without_the_address() {
        let error = reqwest::Client::new()
            .get("http://127.0.0.1:1/bot1:canary/getMe")
            .send()
            .await
            .unwrap_err();
        let error = CallError::from(error);
        assert!(matches!(error, CallError::Unreached(_)), "{error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}
