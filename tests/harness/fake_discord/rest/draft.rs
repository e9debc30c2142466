//! What a message may be made of, checked the way the real API checks it.

use serde_json::Value;

use super::body::Payload;
use super::mentions;
use crate::fake_discord::error::ApiError;
use crate::fake_discord::record::SentFile;
use crate::fake_discord::world::flag;

/// The longest text, in code points.
const CONTENT: usize = 2000;
/// The longest nonce.
const NONCE: usize = 25;
/// The longest sum of the texts of a message's embeds.
const EMBEDS: usize = 6000;

/// A checked message.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// `None` when the body does not name it.
    pub(crate) content: Option<String>,
    pub(crate) nonce: Option<Value>,
    pub(crate) enforce_nonce: bool,
    pub(crate) embeds: Option<Vec<Value>>,
    pub(crate) components: Option<Vec<Value>>,
    pub(crate) flags: u64,
    pub(crate) tts: bool,
    pub(crate) allowed: Option<Value>,
    pub(crate) reference: Option<Value>,
    pub(crate) files: Vec<SentFile>,
    stickers: bool,
}

impl Draft {
    /// Reads and checks a body; `path` stands before the fields' names in errors, with its dot.
    pub(crate) fn read(payload: Payload, path: &str) -> Result<Self, ApiError> {
        let Payload { json, files } = payload;
        if !json.is_object() && !json.is_null() {
            return Err(ApiError::new(400, 50035, "Invalid Form Body"));
        }
        if files.len() > 10 {
            return Err(ApiError::too_long(&format!("{path}files"), 10));
        }
        let at = |name: &str| format!("{path}{name}");
        let allowed = Some(json["allowed_mentions"].clone()).filter(|allowed| !allowed.is_null());
        if let Some(allowed) = &allowed {
            mentions::check(allowed, &at("allowed_mentions"))?;
        }
        check_attachments(&json["attachments"], &files, &at("attachments"))?;
        Ok(Self {
            content: content(&json, &at("content"))?,
            nonce: nonce(&json["nonce"], &at("nonce"))?,
            enforce_nonce: json["enforce_nonce"].as_bool().unwrap_or(false),
            embeds: embeds(&json["embeds"], &at("embeds"))?,
            components: list(&json["components"], &at("components"), 5)?,
            flags: flags(&json["flags"], &at("flags"))?,
            tts: json["tts"].as_bool().unwrap_or(false),
            allowed,
            reference: reference(&json["message_reference"], &at("message_reference"))?,
            files: files.into_iter().map(|(_, file)| file).collect(),
            stickers: json["sticker_ids"]
                .as_array()
                .is_some_and(|all| !all.is_empty()),
        })
    }

    /// The text as it is kept: without white space around it.
    pub(crate) fn trimmed(&self) -> String {
        self.content
            .as_deref()
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// Refuses a message with nothing in it.
    pub(crate) fn check_filled(&self) -> Result<(), ApiError> {
        let some = |list: &Option<Vec<Value>>| list.as_ref().is_some_and(|all| !all.is_empty());
        let filled = !self.trimmed().is_empty()
            || some(&self.embeds)
            || some(&self.components)
            || !self.files.is_empty()
            || self.stickers;
        if filled {
            Ok(())
        } else {
            Err(ApiError::empty_message())
        }
    }
}

fn content(json: &Value, path: &str) -> Result<Option<String>, ApiError> {
    match json.get("content") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(String::new())),
        Some(Value::String(text)) if text.chars().count() > CONTENT => {
            Err(ApiError::too_long(path, CONTENT))
        }
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => {
            let message = format!("Could not interpret \"{other}\" as string.");
            Err(ApiError::field(path, "STRING_TYPE_CONVERT", &message))
        }
    }
}

fn nonce(json: &Value, path: &str) -> Result<Option<Value>, ApiError> {
    match json {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() > NONCE => Err(ApiError::too_long(path, NONCE)),
        Value::String(_) => Ok(Some(json.clone())),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(Some(json.clone())),
        _ => Err(ApiError::field(
            path,
            "NONCE_TYPE_INVALID",
            "Invalid nonce.",
        )),
    }
}

fn flags(json: &Value, path: &str) -> Result<u64, ApiError> {
    let known = flag::SUPPRESS_EMBEDS | flag::EPHEMERAL | flag::SUPPRESS_NOTIFICATIONS;
    match json {
        Value::Null => Ok(0),
        Value::Number(number) => Ok(number.as_u64().unwrap_or_default() & known),
        _ => {
            let message = format!("Value {json} is not int.");
            Err(ApiError::field(path, "NUMBER_TYPE_COERCE", &message))
        }
    }
}

fn list(json: &Value, path: &str, most: usize) -> Result<Option<Vec<Value>>, ApiError> {
    match json {
        Value::Null => Ok(None),
        Value::Array(all) if all.len() > most => Err(ApiError::too_long(path, most)),
        Value::Array(all) => Ok(Some(all.clone())),
        _ => {
            let message = "Only iterables may be used in a ListType";
            Err(ApiError::field(path, "LIST_TYPE_CONVERT", message))
        }
    }
}

fn embeds(json: &Value, path: &str) -> Result<Option<Vec<Value>>, ApiError> {
    let Some(all) = list(json, path, 10)? else {
        return Ok(None);
    };
    let mut sum = 0;
    for (number, embed) in all.iter().enumerate() {
        for (field, most) in [("title", 256), ("description", 4096)] {
            let long = embed[field].as_str().map_or(0, |text| text.chars().count());
            if long > most {
                return Err(ApiError::too_long(
                    &format!("{path}.{number}.{field}"),
                    most,
                ));
            }
            sum += long;
        }
    }
    if sum > EMBEDS {
        let message = "Embed size exceeds maximum size of 6000";
        return Err(ApiError::field(path, "MAX_EMBED_SIZE_EXCEEDED", message));
    }
    let full = |embed: Value| {
        let mut embed = embed;
        if let Some(fields) = embed.as_object_mut() {
            fields.entry("type").or_insert_with(|| "rich".into());
        }
        embed
    };
    Ok(Some(all.into_iter().map(full).collect()))
}

fn reference(json: &Value, path: &str) -> Result<Option<Value>, ApiError> {
    if json.is_null() {
        return Ok(None);
    }
    if !json.is_object() {
        let message = "Only dictionaries may be used in a ModelType";
        return Err(ApiError::field(path, "MODEL_TYPE_CONVERT", message));
    }
    let at = format!("{path}.message_id");
    match &json["message_id"] {
        Value::String(text) => super::snowflake(text, &at)?,
        Value::Number(number) if number.is_u64() => 0,
        _ => return Err(ApiError::required(&at)),
    };
    Ok(Some(json.clone()))
}

fn check_attachments(
    json: &Value,
    files: &[(Option<u64>, SentFile)],
    path: &str,
) -> Result<(), ApiError> {
    let Some(all) = json.as_array() else {
        return Ok(());
    };
    for (number, one) in all.iter().enumerate() {
        let id = &one["id"];
        let id = id
            .as_u64()
            .or_else(|| id.as_str().and_then(|id| id.parse().ok()));
        let Some(id) = id else {
            return Err(ApiError::required(&format!("{path}.{number}.id")));
        };
        // A small number names an uploaded file, a snowflake one that the message has already.
        if id < 1 << 22 && !files.iter().any(|(index, _)| *index == Some(id)) {
            let message = "Attachment data not found";
            let at = format!("{path}.{number}");
            return Err(ApiError::field(&at, "ATTACHMENT_NOT_FOUND", message));
        }
    }
    Ok(())
}
