//! The HTML style of formatting, with the refusals of what it does not allow.

use serde_json::Value;

use super::formatting::{Growing, link};

/// A tag that is open.
struct Open {
    tag: String,
    from: usize,
    attribute: Option<String>,
}

/// The tags and the entities they make.
fn kind_of(tag: &str) -> Option<&'static str> {
    Some(match tag {
        "b" | "strong" => "bold",
        "i" | "em" => "italic",
        "u" | "ins" => "underline",
        "s" | "strike" | "del" => "strikethrough",
        "span" | "tg-spoiler" => "spoiler",
        "a" => "text_link",
        "tg-emoji" => "custom_emoji",
        "code" => "code",
        "pre" => "pre",
        "blockquote" => "blockquote",
        _ => return None,
    })
}

/// The text and its entities.
pub(crate) fn parse(raw: &str) -> Result<(String, Vec<Value>), String> {
    let mut grown = Growing::default();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(rest) = raw.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(tail) = rest.strip_prefix("</") {
            at += 2 + end_tag(tail, at, &mut open, &mut grown)?;
        } else if let Some(tail) = rest.strip_prefix('<') {
            let (tag, length) = start_tag(tail, at, grown.units)?;
            open.push(tag);
            at += 1 + length;
        } else if let Some((c, length)) = named(rest) {
            grown.push(c);
            at += length;
        } else {
            let c = rest.chars().next().unwrap_or_default();
            grown.push(c);
            at += c.len_utf8();
        }
    }
    if let Some(tag) = open.last() {
        return Err(format!(
            "Can't find end tag corresponding to start tag \"{}\"",
            tag.tag
        ));
    }
    grown.entities.sort_by_key(super::entities::span);
    Ok((grown.text, grown.entities))
}

/// A character written as `&name;` or `&#number;`, with the length of that.
fn named(rest: &str) -> Option<(char, usize)> {
    let tail = rest.strip_prefix('&')?;
    let (name, _) = tail.split_once(';')?;
    let c = match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    };
    Some((c, name.len() + 2))
}

/// Reads a tag after its `<`: the tag, and its length up to and with `>`.
fn start_tag(tail: &str, byte: usize, from: usize) -> Result<(Open, usize), String> {
    let name_end = tail
        .find(|c: char| c.is_whitespace() || c == '>')
        .ok_or_else(|| format!("Unclosed start tag at byte offset {byte}"))?;
    let (name, rest) = tail.split_at_checked(name_end).unwrap_or_default();
    let tag = name.to_ascii_lowercase();
    if kind_of(&tag).is_none() {
        return Err(format!(
            "Unsupported start tag \"{tag}\" at byte offset {byte}"
        ));
    }
    let close = end_of_attributes(rest)
        .ok_or_else(|| format!("Unclosed start tag at byte offset {byte}"))?;
    let attributes = attributes(rest.get(..close).unwrap_or_default(), &tag, byte)?;
    let value = |wanted: &str| {
        let is_it = |one: &&(String, String)| one.0 == wanted;
        attributes
            .iter()
            .find(is_it)
            .map(|(_, value)| value.clone())
    };
    let attribute = match tag.as_str() {
        "a" => value("href"),
        "code" => value("class").and_then(|class| Some(class.strip_prefix("language-")?.into())),
        "blockquote" => value("expandable"),
        "tg-emoji" => value("emoji-id"),
        "span" => {
            if value("class").as_deref() != Some("tg-spoiler") {
                return Err(format!(
                    "Tag \"span\" must have class \"tg-spoiler\" at byte offset {byte}"
                ));
            }
            None
        }
        _ => None,
    };
    let open = Open {
        tag,
        from,
        attribute,
    };
    Ok((open, name_end + close + 1))
}

/// Where the `>` stands that ends a tag, outside of quotes.
fn end_of_attributes(rest: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in rest.char_indices() {
        match (quote, c) {
            (None, '>') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn attributes(text: &str, tag: &str, byte: usize) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut left = text.trim();
    while !left.is_empty() {
        let end = left
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(left.len());
        let (name, rest) = left.split_at_checked(end).unwrap_or_default();
        if name.is_empty() {
            return Err(format!(
                "Empty attribute name in the tag \"{tag}\" at byte offset {byte}"
            ));
        }
        let name = name.to_ascii_lowercase();
        let Some(rest) = rest.trim_start().strip_prefix('=') else {
            // A name alone is a flag.
            found.push((name, String::new()));
            left = rest.trim_start();
            continue;
        };
        let rest = rest.trim_start();
        let (value, rest) = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => rest
                .get(1..)
                .and_then(|rest| rest.split_once(quote))
                .ok_or_else(|| format!("Unclosed start tag at byte offset {byte}"))?,
            _ => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        found.push((name, unescaped(value)));
        left = rest.trim_start();
    }
    Ok(found)
}

fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut left = value;
    while let Some(c) = left.chars().next() {
        let (c, length) = named(left).unwrap_or((c, c.len_utf8()));
        text.push(c);
        left = left.get(length..).unwrap_or_default();
    }
    text
}

/// Reads an end tag after its `</`; its length up to and with `>`.
fn end_tag(
    tail: &str,
    byte: usize,
    open: &mut Vec<Open>,
    grown: &mut Growing,
) -> Result<usize, String> {
    let Some(tag) = open.pop() else {
        return Err(format!("Unexpected end tag at byte offset {byte}"));
    };
    let Some((name, _)) = tail.split_once('>') else {
        return Err(format!("Unclosed end tag at byte offset {byte}"));
    };
    let found = name.trim_end().to_ascii_lowercase();
    // `</>` ends whatever is open.
    if !found.is_empty() && found != tag.tag {
        return Err(format!(
            "Unmatched end tag at byte offset {byte}, expected \"</{}>\", found \"</{found}>\"",
            tag.tag
        ));
    }
    close(&tag, open, grown);
    Ok(name.len() + 1)
}

fn close(tag: &Open, open: &[Open], grown: &mut Growing) {
    let kind = kind_of(&tag.tag).unwrap_or_default();
    let outer = open.last();
    match tag.tag.as_str() {
        "a" => {
            // Without an address the text is the address.
            let all = super::entities::entity(kind, tag.from, grown.units - tag.from);
            let own = tag.attribute.clone();
            let url = own.unwrap_or_else(|| super::entities::covered(&grown.text, &all));
            if let Some((kind, extra)) = link(&url) {
                grown.close(kind, tag.from, Some(extra));
            }
        }
        "code" if outer.is_some_and(|outer| outer.tag == "pre" && outer.from == tag.from) => {
            // `<pre><code class="language-…">` is one entity: `pre` with its language.
            if let Some(language) = &tag.attribute {
                grown.close("pre", tag.from, Some(("language", language.clone().into())));
            }
        }
        "pre" => {
            let is_inner = |entity: &Value| {
                entity.get("type") == Some(&"pre".into())
                    && super::entities::span(entity) == (tag.from, grown.units)
            };
            if !grown.entities.iter().any(is_inner) {
                grown.close(kind, tag.from, None);
            }
        }
        "blockquote" if tag.attribute.is_some() => {
            grown.close("expandable_blockquote", tag.from, None);
        }
        "tg-emoji" => {
            let id = tag.attribute.clone().unwrap_or_default();
            grown.close(kind, tag.from, Some(("custom_emoji_id", id.into())));
        }
        _ => grown.close(kind, tag.from, None),
    }
}
