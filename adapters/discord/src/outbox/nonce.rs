//! Names one message of one answer, so that Discord takes it once however often it is sent.
//!
//! Invariant: at most 25 characters, and different for each message that is a different one. Pure.

/// Where a message goes: an answer in the channel and one in private are two messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The channel.
    Channel,
    /// The asker, in private.
    Private,
    /// A file into the channel.
    File,
    /// A file to the asker.
    PrivateFile,
    /// A line in the channel about what cannot be sent in private.
    Notice,
}

/// The nonce of the `nth` message in answer to one.
pub(super) fn nonce(message: u64, to: Way, nth: u32) -> String {
    let to = match to {
        Way::Channel => 'm',
        Way::Private => 'p',
        Way::File => 'x',
        Way::PrivateFile => 'q',
        Way::Notice => 'n',
    };
    // 16 and 8 hexadecimal digits at most, and the letter.
    format!("{message:x}{to}{nth:x}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_nonce_fits_and_is_the_same_for_the_same_message_only() {
        let all = [
            Way::Channel,
            Way::Private,
            Way::File,
            Way::PrivateFile,
            Way::Notice,
        ];
        let mut seen = HashSet::new();
        for message in [1, 0x10, 0x1c0, u64::MAX] {
            for nth in [0, 1, 0x10, u32::MAX] {
                for to in all {
                    let name = nonce(message, to, nth);
                    assert!(name.len() <= 25, "{name}");
                    assert_eq!(name, nonce(message, to, nth));
                    assert!(seen.insert(name), "{message} {to:?} {nth}");
                }
            }
        }
    }
}
