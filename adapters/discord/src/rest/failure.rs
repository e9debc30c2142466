//! Why a call did not do what it should, by what the caller can do about it.

use std::time::Duration;

use scrollback_kit::SendError;

/// Why a call failed. Holds numbers only: an answer's words may be anybody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Too many calls; none of them arrived.
    #[error("Discord limits the rate")]
    Limited {
        /// How long to wait.
        after: Duration,
    },
    /// No answer in time; the call may have arrived.
    #[error("Discord did not answer in time")]
    Late,
    /// No connection; the call did not arrive.
    #[error("Discord cannot be reached")]
    Unreachable,
    /// The connection broke; the call may have arrived.
    #[error("the connection to Discord broke")]
    Broken,
    /// Discord's side failed; the call may have arrived.
    #[error("Discord failed (status {status})")]
    Down {
        /// The HTTP status.
        status: u16,
    },
    /// An answer that cannot be read; the call may have arrived.
    #[error("Discord's answer cannot be read")]
    Garbled,
    /// It will never succeed.
    #[error("Discord refused (status {status}, {})", meaning(*code))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Discord's own code.
        code: Option<u64>,
    },
}

impl Failure {
    /// True when the same call may succeed later.
    pub(crate) const fn passes(self) -> bool {
        !matches!(self, Self::Refused { .. })
    }

    /// True when the call may have had its effect all the same.
    pub(crate) const fn may_have_arrived(self) -> bool {
        matches!(
            self,
            Self::Late | Self::Broken | Self::Down { .. } | Self::Garbled
        )
    }

    /// How long to wait before another try, if Discord told.
    pub(crate) const fn after(self) -> Option<Duration> {
        match self {
            Self::Limited { after } => Some(after),
            _ => None,
        }
    }

    /// Discord's own code of a refusal.
    pub(crate) const fn code(self) -> Option<u64> {
        match self {
            Self::Refused { code, .. } => code,
            _ => None,
        }
    }

    /// True when what was sent is larger than Discord takes.
    pub(crate) const fn is_size(self) -> bool {
        matches!(
            self,
            Self::Refused { status: 413, .. }
                | Self::Refused {
                    code: Some(40005),
                    ..
                }
        )
    }

    /// For the kit, of a call that may be repeated without doubling anything.
    pub(crate) fn repeatable(self) -> SendError {
        if self.passes() {
            SendError::Later {
                after: self.after(),
            }
        } else if self.is_size() {
            SendError::TooLarge
        } else {
            SendError::Refused(self.to_string())
        }
    }

    /// For the kit, of a call that may not be repeated once it may have arrived.
    pub(crate) fn once(self) -> SendError {
        if self.may_have_arrived() {
            SendError::Failed(Box::new(self))
        } else {
            self.repeatable()
        }
    }
}

/// What Discord's codes mean, in words of ours.
fn meaning(code: Option<u64>) -> String {
    let known = match code {
        None => return "no code".into(),
        Some(10003) => "unknown channel",
        Some(10008) => "the message is gone",
        Some(10015 | 10062 | 50027) => "the interaction has run out",
        Some(40005) => "that is too large",
        Some(40060) => "the interaction was answered already",
        Some(50001) => "no access to the channel",
        Some(50006) => "the message is empty",
        Some(50007) => "the person takes no private messages from the bot",
        Some(50013) => "the bot may not do that there",
        Some(50035) => "the form is not valid",
        Some(50083) => "the thread is archived",
        Some(160_002) => "the bot may not read what it is to reply to",
        Some(code) => return format!("code {code}"),
    };
    format!("code {}: {known}", code.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kit_does_follows_from_what_may_have_happened() {
        let limited = Failure::Limited {
            after: Duration::from_secs(7),
        };
        for failure in [limited, Failure::Unreachable] {
            assert!(
                matches!(failure.once(), SendError::Later { .. }),
                "{failure}"
            );
            assert!(
                matches!(failure.repeatable(), SendError::Later { .. }),
                "{failure}"
            );
        }
        let after = Some(Duration::from_secs(7));
        assert!(matches!(limited.once(), SendError::Later { after: told } if told == after));
        let down = Failure::Down { status: 502 };
        for failure in [Failure::Late, Failure::Broken, Failure::Garbled, down] {
            assert!(matches!(failure.once(), SendError::Failed(_)), "{failure}");
            assert!(
                matches!(failure.repeatable(), SendError::Later { after: None }),
                "{failure}"
            );
        }
    }

    #[test]
    fn a_refusal_says_what_it_means_in_words_of_ours() {
        let said = |status, code| Failure::Refused { status, code }.repeatable().to_string();
        assert!(said(403, Some(50013)).contains("may not do that"));
        assert!(said(404, None).contains("status 404, no code"));
        assert!(said(400, Some(99)).contains("code 99"));
    }
}
