//! Takes the ping out of quoted mentions. Adapters also forbid mentions by their platform's own means;
//! this is the second line.

/// Whom the bot's messages may ping (default: nobody).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pings {
    /// Persons who are named in a message.
    pub users: bool,
    /// Roles.
    pub roles: bool,
    /// `@everyone` and `@here`.
    pub everyone: bool,
}

/// A zero-width space: invisible, and enough to make a mention plain text.
const BREAK: char = '\u{200b}';

/// Inserts a zero-width space after the `@` of `@everyone`, `@here` and `<@…>` mentions.
#[must_use]
pub fn defuse_mentions(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut before = None;
    for (at, c) in text.char_indices() {
        safe.push(c);
        let after = text.get(at + c.len_utf8()..).unwrap_or_default();
        if c == '@' && (before == Some('<') || pings(after)) {
            safe.push(BREAK);
        }
        before = Some(c);
    }
    safe
}

fn pings(after: &str) -> bool {
    ["everyone", "here"].iter().any(|word| {
        after
            .get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_mention_no_longer_pings() {
        for (text, safe) in [
            ("hi @everyone!", "hi @\u{200b}everyone!"),
            ("@Here", "@\u{200b}Here"),
            (
                "<@&123> <@!4> <@5>",
                "<@\u{200b}&123> <@\u{200b}!4> <@\u{200b}5>",
            ),
            ("@@everyone", "@@\u{200b}everyone"),
        ] {
            assert_eq!(defuse_mentions(text), safe);
            assert_eq!(defuse_mentions(safe).replace(BREAK, ""), text);
        }
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in ["", "a@b.example", "@ann", "@ever", "@é", "日本@語"] {
            assert_eq!(defuse_mentions(text), text);
        }
    }
}
