//! Quotes: who, when, and a bounded excerpt that cannot ping anybody.

use scrollback::{Author, Message};
use unicode_segmentation::UnicodeSegmentation;

use crate::commands::when;
use crate::mentions::defuse_mentions;

/// The longest quote, in characters.
pub(crate) const LONGEST: usize = 500;
/// The longest name shown, in characters.
const LONGEST_NAME: usize = 64;
/// How much is shown before the match in a sentence that is itself too long, in characters.
const LEAD: usize = 100;

/// `You said on 2026-11-22 21:50 UTC: …`, with the part of the text from `from` (a sentence's start)
/// that holds the match at `hit`, when not all of it fits.
pub(super) fn quote(message: &Message, asker: Option<&Author>, from: usize, hit: usize) -> String {
    let text = excerpt(&message.text, from, hit);
    defuse_mentions(&format!(
        "{} said on {}: {text}",
        who(message, asker),
        when(message.at_ms)
    ))
}

/// What may be quoted in a text that [`quote`] made: names and quotes can hold the marks themselves.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    const MARK: &str = " UTC: ";
    let marked = text.contains(" said on ");
    let marks = text.match_indices(MARK).filter(move |_| marked);
    marks.filter_map(|(at, mark)| text.get(at + mark.len()..))
}

fn who(message: &Message, asker: Option<&Author>) -> String {
    let Some(author) = &message.author else {
        return "Someone".into();
    };
    if asker.is_some_and(|a| a.same(author)) {
        return "You".into();
    }
    let name = author.name.as_deref().unwrap_or_default();
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() {
        "Someone".into()
    } else {
        clip(&name, LONGEST_NAME).into()
    }
}

fn excerpt(text: &str, from: usize, hit: usize) -> String {
    let whole = text.trim();
    if whole.chars().count() <= LONGEST {
        return whole.into();
    }
    let lead = text.get(from..hit).unwrap_or_default();
    let start = if lead.chars().count() + LEAD <= LONGEST {
        from
    } else {
        let back = lead
            .graphemes(true)
            .rev()
            .take(LEAD)
            .map(str::len)
            .sum::<usize>();
        hit.saturating_sub(back)
    };
    let rest = text.get(start..).unwrap_or(text).trim();
    let shown = clip(rest, LONGEST - 2);
    let head = if start > 0 { "…" } else { "" };
    let tail = if shown.len() < rest.len() { "…" } else { "" };
    format!("{head}{shown}{tail}")
}

/// The start of a text, at most `most` characters, whole grapheme clusters where they fit.
fn clip(text: &str, most: usize) -> &str {
    let (mut used, mut end) = (0, 0);
    for (at, grapheme) in text.grapheme_indices(true) {
        used += grapheme.chars().count();
        if used > most {
            break;
        }
        end = at + grapheme.len();
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Author {
        Author::new("t", 1).named("Ann")
    }

    #[test]
    fn a_quote_says_who_and_when() {
        let m = Message::user(ann(), "my cat is called Mog").at_ms(1_700_000_000_000);
        let you = "You said on 2023-11-14 22:13 UTC: my cat is called Mog";
        assert_eq!(quote(&m, Some(&Author::new("t", 1)), 0, 3), you);
        assert_eq!(
            quote(&m, Some(&Author::new("u", 1)), 0, 3),
            you.replace("You", "Ann")
        );
        let nameless = Message::user(Author::new("t", 2), "x");
        assert!(quote(&nameless, Some(&ann()), 0, 0).starts_with("Someone said on 1970"));
    }

    #[test]
    fn a_long_message_is_quoted_around_the_match_and_within_bounds() {
        let text = format!(
            "{} The key is under the mat. {}",
            "Blah é🦀 blah. ".repeat(200),
            "More. ".repeat(200)
        );
        let (from, hit) = (text.find("The").unwrap(), text.find("key").unwrap());
        let shown = excerpt(&text, from, hit);
        assert!(shown.starts_with("…The key is under the mat. More.") && shown.ends_with('…'));
        assert!(shown.chars().count() <= LONGEST);
        let text = "é".repeat(3000) + "key" + &"e\u{301}".repeat(3000);
        let shown = excerpt(&text, 0, 6000);
        assert!(shown.contains("ékeye") && shown.chars().count() <= LONGEST);
    }

    #[test]
    fn a_quote_pings_nobody_and_a_name_forges_no_line() {
        let eve = Author::new("t", 3).named("@everyone\nAnn");
        let shown = quote(&Message::user(eve, "hi @here <@&1>"), None, 0, 0);
        assert!(!shown.contains("@everyone") && !shown.contains("@here") && !shown.contains("<@&"));
        assert!(!shown.contains('\n'));
    }
}
