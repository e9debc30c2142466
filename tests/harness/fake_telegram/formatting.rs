//! From a call's text, parse_mode and entities to the text that is sent.

use serde_json::Value;

use super::answer::Refusal;
use super::args::Args;
use super::entities::{detect, entity, span, units};
use super::{html, markdown};

/// The most entities that a message keeps; the others are dropped.
const MOST_ENTITIES: usize = 100;

/// A text with its entities.
#[derive(Debug, Clone)]
pub(crate) struct Formatted {
    /// As it came.
    pub(crate) raw: String,
    /// As it is sent.
    pub(crate) text: String,
    pub(crate) entities: Vec<Value>,
    pub(crate) parse_mode: Option<String>,
}

/// The text of the argument `field`; its own entities are those of the argument `entities`.
pub(crate) fn formatted(args: &Args, field: &str, entities: &str) -> Result<Formatted, Refusal> {
    let raw = args.text(field).unwrap_or_default();
    let mode = args.text("parse_mode").filter(|mode| !mode.is_empty());
    let broken = |text: String| Refusal::bad(format!("can't parse entities: {text}"));
    let (text, given) = match mode.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("none") => (raw.clone(), own_entities(args, entities)?),
        Some("html") => html::parse(&raw).map_err(broken)?,
        Some("markdownv2") => markdown::parse(&raw).map_err(broken)?,
        Some("markdown") => markdown::parse_legacy(&raw).map_err(broken)?,
        Some(_) => return Err(Refusal::bad("unsupported parse_mode")),
    };
    let (text, given) = trimmed(&text, &given);
    let mut entities = detect(&text, &given);
    entities.truncate(MOST_ENTITIES);
    Ok(Formatted {
        raw,
        text,
        entities,
        parse_mode: mode,
    })
}

fn own_entities(args: &Args, name: &str) -> Result<Vec<Value>, Refusal> {
    let Some(list) = args.json(name, "entities")? else {
        return Ok(Vec::new());
    };
    let list = list
        .as_array()
        .ok_or_else(|| Refusal::bad("expected an Array of MessageEntity"))?;
    for one in list {
        let fields = ["offset", "length"].map(|name| one.get(name).and_then(Value::as_i64));
        if one.get("type").and_then(Value::as_str).is_none() || fields.contains(&None) {
            return Err(Refusal::bad(
                "can't parse MessageEntity: can't find field \"type\"",
            ));
        }
    }
    Ok(list.clone())
}

/// Takes the white space off both ends, as the server does before it sends a text.
fn trimmed(text: &str, entities: &[Value]) -> (String, Vec<Value>) {
    let kept = text.trim();
    let before = units(text).saturating_sub(units(text.trim_start()));
    let length = units(kept);
    let entities = entities
        .iter()
        .filter_map(|one| {
            let (from, to) = span(one);
            let from = from.saturating_sub(before).min(length);
            let to = to.saturating_sub(before).min(length);
            let mut one = one.clone();
            if let Some(fields) = one.as_object_mut() {
                fields.insert("offset".into(), from.into());
                fields.insert("length".into(), (to - from).into());
            }
            (to > from).then_some(one)
        })
        .collect();
    (kept.to_owned(), entities)
}

/// Text under construction, which the parsers share: it counts units while it grows.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    pub(crate) text: String,
    pub(crate) units: usize,
    pub(crate) entities: Vec<Value>,
}

impl Growing {
    pub(crate) fn push(&mut self, c: char) {
        self.text.push(c);
        self.units += c.len_utf16();
    }

    /// Ends an entity that began at `from`; an empty one is none.
    pub(crate) fn close(&mut self, kind: &str, from: usize, extra: Option<(&str, Value)>) {
        if self.units <= from {
            return;
        }
        let mut entity = entity(kind, from, self.units - from);
        if let (Some(fields), Some((name, value))) = (entity.as_object_mut(), extra) {
            fields.insert(name.to_owned(), value);
        }
        self.entities.push(entity);
    }
}

/// A link's entity: a link to a person by identifier is a mention.
pub(crate) fn link(url: &str) -> Option<(&'static str, (&'static str, Value))> {
    let url = url.trim();
    if let Some(id) = url.strip_prefix("tg://user?id=") {
        let id: i64 = id.parse().ok()?;
        let user = serde_json::json!({ "id": id, "is_bot": false, "first_name": "User" });
        return Some(("text_mention", ("user", user)));
    }
    let with_scheme = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    // An address without a dot in its host is no link; the text stays.
    let host = with_scheme.split_once("://")?.1.split(['/', '?']).next()?;
    let host_is_one = host.contains('.') || with_scheme.starts_with("tg://");
    let with_slash = if host.len() + with_scheme.find("://")? + 3 == with_scheme.len() {
        format!("{with_scheme}/")
    } else {
        with_scheme.clone()
    };
    host_is_one.then_some(("text_link", ("url", Value::String(with_slash))))
}
