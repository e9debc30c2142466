//! What the close codes of the gateway mean for a session. Pure.

use crate::error::Error;

/// What is left after a close.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The session goes on at the next connection.
    Resume,
    /// The session is gone; a new one may be started.
    Anew,
    /// No further try can mend it.
    Over(Error),
}

/// Reads a close code; `None` is a close without one.
pub(super) fn verdict(code: Option<u16>) -> Verdict {
    let Some(code) = code else {
        return Verdict::Resume;
    };
    let over = |what| Verdict::Over(Error::Gateway { code, what });
    match code {
        // Not authenticated, wrong sequence, session timed out; 4006 is an older "session invalid".
        4003 | 4006 | 4007 | 4009 => Verdict::Anew,
        4004 => Verdict::Over(Error::Unauthorized),
        4010 => over("the shard is none of this bot's; check the number of shards"),
        4011 => over("the bot is in too many guilds for so few shards; configure more, or none"),
        4012 => over("this version of the gateway is no longer served; update the program"),
        4013 => over("the gateway does not know an intent; update the program"),
        4014 => Verdict::Over(Error::MissingIntent),
        _ => Verdict::Resume,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_survives_what_it_can() {
        for code in [
            None,
            Some(1000),
            Some(1001),
            Some(1006),
            Some(4000),
            Some(4008),
        ] {
            assert!(matches!(verdict(code), Verdict::Resume), "{code:?}");
        }
        for code in [4003, 4006, 4007, 4009] {
            assert!(matches!(verdict(Some(code)), Verdict::Anew), "{code}");
        }
    }

    #[test]
    fn what_no_try_can_mend_ends_the_run_with_what_to_do() {
        for (code, word) in [
            (4004, "Reset Token"),
            (4010, "shards"),
            (4011, "shards"),
            (4012, "update"),
            (4013, "update"),
            (4014, "Message Content Intent"),
        ] {
            let Verdict::Over(error) = verdict(Some(code)) else {
                panic!("{code} goes on");
            };
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
