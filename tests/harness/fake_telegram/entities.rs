//! Entities that Telegram finds in a text by itself, and UTF-16 arithmetic.
//!
//! Offsets and lengths count UTF-16 units; a text is walked by characters, so none is ever split.

use serde_json::{Value, json};

/// The length of a text in UTF-16 units.
pub(crate) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// An entity of this type.
pub(crate) fn entity(kind: &str, offset: usize, length: usize) -> Value {
    json!({ "type": kind, "offset": offset, "length": length })
}

fn number(entity: &Value, name: &str) -> usize {
    entity
        .get(name)
        .and_then(Value::as_u64)
        .and_then(|number| usize::try_from(number).ok())
        .unwrap_or(0)
}

/// `offset` and the end of an entity.
pub(crate) fn span(entity: &Value) -> (usize, usize) {
    let offset = number(entity, "offset");
    (offset, offset + number(entity, "length"))
}

/// The part of `text` that an entity covers.
pub(crate) fn covered(text: &str, entity: &Value) -> String {
    let (from, to) = span(entity);
    let units: Vec<u16> = text.encode_utf16().collect();
    let part = units.get(from..to.min(units.len())).unwrap_or_default();
    String::from_utf16_lossy(part)
}

/// The given entities together with what is found outside of code and links, in order.
pub(crate) fn detect(text: &str, given: &[Value]) -> Vec<Value> {
    let mut all = given.to_vec();
    let closed: Vec<(usize, usize)> = given
        .iter()
        .filter(|entity| {
            let kind = entity.get("type").and_then(Value::as_str);
            matches!(
                kind,
                Some("code" | "pre" | "text_link" | "text_mention" | "custom_emoji")
            )
        })
        .map(span)
        .collect();
    for found in find(text) {
        let (from, to) = span(&found);
        if closed
            .iter()
            .all(|(open, close)| to <= *open || from >= *close)
        {
            all.push(found);
        }
    }
    all.sort_by_key(|entity| {
        let (from, to) = span(entity);
        (from, usize::MAX - to)
    });
    all
}

/// Mentions, commands, hashtags, links and mail addresses.
fn find(text: &str) -> Vec<Value> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    let mut offset = 0;
    let mut before: Option<char> = None;
    while let Some(rest) = chars.get(at..).filter(|rest| !rest.is_empty()) {
        let taken = token(rest, before);
        let step = taken.map_or(1, |(_, length)| length);
        let part = rest.get(..step).unwrap_or_default();
        let length: usize = part.iter().map(|c| c.len_utf16()).sum();
        if let Some((kind, _)) = taken {
            found.push(entity(kind, offset, length));
        }
        before = part.last().copied();
        offset += length;
        at += step;
    }
    found
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn word(chars: &[char]) -> usize {
    chars.iter().take_while(|c| is_word(**c)).count()
}

/// The entity that starts here, with its length in characters.
fn token(rest: &[char], before: Option<char>) -> Option<(&'static str, usize)> {
    let glued = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (first, tail) = rest.split_first()?;
    match first {
        '@' if !glued => {
            let name = word(tail);
            (4..=32).contains(&name).then_some(("mention", name + 1))
        }
        '/' if !glued && !matches!(before, Some('/' | '<' | '>')) => {
            command(tail).map(|length| ("bot_command", length + 1))
        }
        '#' if !glued => {
            let is_tag = |c: &&char| c.is_alphanumeric() || **c == '_';
            let name = tail.iter().take_while(is_tag).count();
            let some_letter = tail.iter().take(name).any(|c| !c.is_numeric());
            (some_letter && name <= 255).then_some(("hashtag", name + 1))
        }
        'h' if !glued => link(rest).map(|length| ("url", length)),
        c if c.is_ascii_alphanumeric() && !glued => mail(rest).map(|length| ("email", length)),
        _ => None,
    }
}

/// The length of a command after its slash: a name of 1–64, and perhaps `@` with a user name.
fn command(tail: &[char]) -> Option<usize> {
    let name = word(tail);
    if !(1..=64).contains(&name) {
        return None;
    }
    let after = tail.get(name..).unwrap_or_default();
    let target = match after.split_first() {
        Some(('@', bot)) => Some(word(bot)).filter(|length| (3..=32).contains(length)),
        _ => None,
    };
    let end = name + target.map_or(0, |length| length + 1);
    // `/usr/bin` is a path.
    let next = tail.get(end);
    (next != Some(&'/')).then_some(end)
}

fn link(rest: &[char]) -> Option<usize> {
    let head: String = rest.iter().take(8).collect();
    let scheme = ["https://", "http://"]
        .into_iter()
        .find(|scheme| head.starts_with(scheme))?;
    let mut length = rest
        .iter()
        .take_while(|c| !c.is_whitespace() && !matches!(c, '<' | '>' | '"'))
        .count();
    while length > 0
        && matches!(
            rest.get(length - 1),
            Some('.' | ',' | '!' | '?' | ':' | ';' | ')' | '\'')
        )
    {
        length -= 1;
    }
    (length > scheme.len()).then_some(length)
}

fn mail(rest: &[char]) -> Option<usize> {
    let local = rest
        .iter()
        .take_while(|c| is_word(**c) || matches!(c, '.' | '+' | '-'))
        .count();
    let (at, tail) = rest.get(local..)?.split_first()?;
    if *at != '@' {
        return None;
    }
    let mut host = tail
        .iter()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
        .count();
    while host > 0 && tail.get(host - 1) == Some(&'.') {
        host -= 1;
    }
    let dotted = tail.iter().take(host).skip(1).any(|c| *c == '.');
    dotted.then_some(local + 1 + host)
}
