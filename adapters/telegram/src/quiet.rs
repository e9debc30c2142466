//! Makes mentions plain: Telegram notifies whoever a message names, and has no switch against it.
//!
//! Invariants: no `@name` outside code is left that Telegram would take for a mention, with what its server
//! strips from texts taken into account; code keeps its `@`, since nothing in code is a mention; mail
//! addresses stay as they are. Links to profiles (`t.me/name`) notify nobody and stay.

use std::borrow::Cow;

use scrollback_kit::mentions::defuse_mentions;
use scrollback_kit::{Limit, Pings};

use crate::markdown::{Piece, Style, pieces};

/// A zero-width space: invisible, and enough to make a mention plain text.
const BREAK: char = '\u{200b}';
/// Takes the place of `@` where there is no room for one more character.
const WIDE_AT: &str = "＠";

/// The text with its mentions made plain, unless pings are allowed.
pub(crate) fn quiet(text: &str, pings: Pings) -> Cow<'_, str> {
    if !text.contains('@') && !text.contains("tg:") {
        return Cow::Borrowed(text);
    }
    Cow::Owned(match pings {
        Pings { users: false, .. } => calm(&pieces(text)),
        Pings {
            everyone: false, ..
        } => defuse_mentions(text),
        _ => text.to_owned(),
    })
}

/// As [`quiet`], for a part of a text, which must not outgrow the limit.
pub(crate) fn quiet_part(text: &str, pings: Pings, limit: Limit) -> Cow<'_, str> {
    fitting(text, quiet(text, pings), limit)
}

/// The text with every mention made plain, also in what would be code if it were formatted.
pub(crate) fn quiet_plain(text: &str, pings: Pings, limit: Limit) -> Cow<'_, str> {
    if pings.users || !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let style = Style::Plain;
    fitting(text, Cow::Owned(calm(&[Piece { style, text }])), limit)
}

fn fitting<'a>(text: &'a str, quiet: Cow<'a, str>, limit: Limit) -> Cow<'a, str> {
    if limit.fits(&quiet) {
        quiet
    } else {
        Cow::Owned(text.replace('@', WIDE_AT))
    }
}

fn calm(pieces: &[Piece<'_>]) -> String {
    let mut safe = String::new();
    for (n, piece) in pieces.iter().enumerate() {
        if !matches!(piece.style, Style::Plain | Style::Bold) {
            safe.push_str(piece.text);
            continue;
        }
        let mut before = None;
        for (at, c) in piece.text.char_indices() {
            safe.push(c);
            let after = piece.text.get(at + c.len_utf8()..).unwrap_or_default();
            // Marks vanish, so what follows them stands next to the `@`.
            let later = pieces.get(n + 1..).unwrap_or_default().iter();
            let later = later.filter(|p| p.style != Style::Mark).map(|p| p.text);
            let names = std::iter::once(after)
                .chain(later)
                .flat_map(str::chars)
                .find(|c| !vanishes(*c))
                .is_some_and(is_word);
            let mention = c == '@' && names && !before.is_some_and(is_word);
            let link = c == ':' && starts_user_link(&safe, after);
            if mention || link {
                safe.push(BREAK);
            }
            before = Some(c);
        }
    }
    safe
}

/// True for what a name is made of; a mention is not glued to such a character.
const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// True for what Telegram's server takes out of a text.
const fn vanishes(c: char) -> bool {
    matches!(
        c,
        '\r' | '\u{2028}'..='\u{202e}' | '\u{30a}' | '\u{333}' | '\u{33f}'
    )
}

/// True at the colon of `tg://user`.
fn starts_user_link(until: &str, after: &str) -> bool {
    let ends = |text: &str, end: &str| {
        let from = text.len().checked_sub(end.len());
        from.and_then(|from| text.get(from..))
            .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
    };
    let starts = after
        .get(.."//user".len())
        .is_some_and(|head| head.eq_ignore_ascii_case("//user"));
    ends(until, "tg:") && starts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use scrollback_kit::Unit;

    use super::*;

    const NOBODY: Pings = Pings {
        users: false,
        roles: false,
        everyone: false,
    };

    fn made(text: &str) -> String {
        quiet(text, NOBODY).replace(BREAK, "|")
    }

    #[test]
    fn a_mention_is_made_plain_and_mail_addresses_and_code_are_not() {
        for (text, safe) in [
            ("hi @bob!", "hi @|bob!"),
            ("@bob @everyone", "@|bob @|everyone"),
            ("(@bob)", "(@|bob)"),
            ("ann@mail.example", "ann@mail.example"),
            ("`@bob` @bob", "`@bob` @|bob"),
            (
                "```py\n@cache\ndef f(): ...\n```",
                "```py\n@cache\ndef f(): ...\n```",
            ),
            ("`@bob", "`@|bob"),
            ("@**bob**", "@|**bob**"),
            ("**@bob**", "**@|bob**"),
            ("@\u{202e}bob", "@|\u{202e}bob"),
            ("@\rbob", "@|\rbob"),
            ("é@bob", "é@|bob"),
            ("@ bob @", "@ bob @"),
            ("[x](tg://user?id=5)", "[x](tg:|//user?id=5)"),
            ("https://t.me/bob", "https://t.me/bob"),
        ] {
            assert_eq!(made(text), safe, "{text}");
            assert_eq!(made(&quiet(text, NOBODY)), safe, "twice: {text}");
        }
    }

    #[test]
    fn allowed_pings_stay() {
        let users = Pings {
            users: true,
            ..NOBODY
        };
        assert_eq!(quiet("@bob @everyone", users), "@bob @\u{200b}everyone");
        let all = Pings {
            everyone: true,
            ..users
        };
        assert_eq!(quiet("@bob @everyone", all), "@bob @everyone");
        assert_eq!(
            quiet_plain("@bob", users, Limit::new(4096, Unit::Utf16)),
            "@bob"
        );
    }

    #[test]
    fn a_part_never_outgrows_its_limit() {
        let limit = Limit::new(4096, Unit::Utf16);
        let full = "@bob ".repeat(4096 / 5);
        let safe = quiet_part(&full, NOBODY, limit);
        assert!(limit.fits(&safe) && !safe.contains('@'));
        assert!(quiet_part("@bob", NOBODY, limit).contains(BREAK));
        assert_eq!(quiet_plain("`@bob`", NOBODY, limit), "`@\u{200b}bob`");
    }

    /// True when Telegram's server would find a mention in a text.
    fn pings(text: &str) -> bool {
        let text: Vec<char> = text.chars().filter(|c| !vanishes(*c)).collect();
        (0..text.len()).any(|at| {
            let glued = at > 0 && is_word(text[at - 1]);
            text[at] == '@' && !glued && text.get(at + 1).copied().is_some_and(is_word)
        })
    }

    proptest! {
        #[test]
        fn no_mention_is_left_outside_code(
            text in "(@|[a-b_.]|\\*\\*|`|~~~|\n|\r|[\u{200b}\u{202e}\u{333}]|é| |@everyone){0,40}",
        ) {
            let safe = quiet(&text, NOBODY).into_owned();
            let mut shown = String::new();
            for piece in pieces(&safe) {
                match piece.style {
                    Style::Mark => {}
                    Style::Plain | Style::Bold => shown.push_str(piece.text),
                    // Nothing in code is a mention, and nothing reaches across it.
                    Style::Code | Style::Block(_) => shown.push('\u{fffc}'),
                }
            }
            prop_assert!(!pings(&shown), "{:?} -> {:?}", text, safe);
            prop_assert_eq!(safe.replace(BREAK, ""), text.replace(BREAK, ""));
            let limit = Limit::new(4096, Unit::Utf16);
            prop_assert!(!pings(&quiet_plain(&text, NOBODY, limit)));
        }
    }
}
