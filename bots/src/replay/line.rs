//! One line of a log: its form, its stable platform id, its message and its session.

use std::collections::HashMap;
use std::time::Duration;

use scrollback::{Author, Message, Role, SessionKey};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::cli::KeyBy;

/// The platform of what is replayed.
const PLATFORM: &str = "replay";

/// The length of a line's id.
const ID_BYTES: usize = 64;

/// A line as it is in a log.
#[derive(Debug, Deserialize)]
struct Raw {
    ts: f64,
    space: String,
    channel: String,
    author: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    len: Option<u64>,
}

/// A line that is understood.
#[derive(Debug)]
pub(crate) struct Line {
    raw: Raw,
    at_ms: u64,
}

/// What stands for a text in an id.
enum Said<'a> {
    Text(&'a str),
    Size(u64),
}

impl Line {
    /// Reads a line; the error says what is wrong with it and quotes none of it.
    pub(crate) fn parse(bytes: &[u8], max_bytes: usize) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(|_| wrong(bytes))?;
        let at_ms = millis(raw.ts).ok_or("ts is not a time since 1970 in seconds")?;
        let size = match (&raw.text, raw.len) {
            (Some(text), _) => Some(text.len()),
            (None, Some(len)) => usize::try_from(len).ok(),
            (None, None) => return Err("neither text nor len".to_owned()),
        };
        // Checked here too, so that a filler of any size is never made.
        match size.filter(|size| *size <= max_bytes) {
            Some(_) => Ok(Self { raw, at_ms }),
            None => Err(format!(
                "the message is too large: {} bytes, limit {max_bytes}; raise --max-message-bytes",
                size.map_or_else(|| "too many".to_owned(), |size| size.to_string())
            )),
        }
    }

    /// When it was said, in milliseconds since the Unix epoch.
    pub(crate) const fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// Where it was said.
    pub(crate) fn space(&self) -> &str {
        &self.raw.space
    }

    /// Where in the space it was said.
    pub(crate) fn channel(&self) -> &str {
        &self.raw.channel
    }

    /// Who said it.
    pub(crate) fn author(&self) -> &str {
        &self.raw.author
    }

    /// True when a bot said it.
    pub(crate) fn is_answer(&self) -> bool {
        self.raw.author == "assistant" || self.raw.author.starts_with("bot:")
    }

    /// The bytes of its [message](Self::message), which is not made for it.
    pub(crate) fn bytes(&self) -> usize {
        let said = self.raw.text.as_ref().map(String::len);
        let said = said.or_else(|| usize::try_from(self.raw.len?).ok());
        said.unwrap_or_default()
            .saturating_add(PLATFORM.len() + self.raw.author.len() + ID_BYTES)
    }

    /// The session to which it belongs.
    pub(crate) fn session(&self, by: KeyBy) -> SessionKey {
        let key = SessionKey::new(PLATFORM, "log")
            .space(&self.raw.space)
            .channel(&self.raw.channel);
        match by {
            KeyBy::Channel => key,
            KeyBy::ChannelAuthor => key.user(&self.raw.author),
        }
    }

    /// The message, with its stable id.
    pub(crate) fn message(self, ids: &mut Ids) -> Message {
        let id = ids.next(&self);
        let answer = self.is_answer();
        let Raw {
            author, text, len, ..
        } = self.raw;
        let role = if answer { Role::Assistant } else { Role::User };
        let text = text.unwrap_or_else(|| filler(len.unwrap_or_default()));
        Message::new(role, text)
            .author(Author::new(PLATFORM, author))
            .id(id)
            .at_ms(self.at_ms)
    }

    /// The hash of everything that the log says of the line. Every part is preceded by its length,
    /// so that no two different lines give the same bytes.
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(bytes);
        };
        part(self.raw.space.as_bytes());
        part(self.raw.channel.as_bytes());
        part(&self.at_ms.to_be_bytes());
        part(self.raw.author.as_bytes());
        let said = match &self.raw.text {
            Some(text) => Said::Text(text),
            None => Said::Size(self.raw.len.unwrap_or_default()),
        };
        match said {
            Said::Text(text) => {
                part(b"text");
                part(text.as_bytes());
            }
            Said::Size(size) => {
                part(b"len");
                part(&size.to_be_bytes());
            }
        }
        hash.finalize().into()
    }
}

/// What is wrong with a line that is no message, without quoting any of it.
fn wrong(bytes: &[u8]) -> String {
    let value: serde_json::Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return format!("not JSON, at column {}", error.column()),
    };
    let Some(fields) = value.as_object() else {
        return "not a message: not a JSON object".to_owned();
    };
    let text = |name: &str| fields.get(name).is_some_and(serde_json::Value::is_string);
    if !fields.get("ts").is_some_and(serde_json::Value::is_number) {
        return "not a message: `ts` is missing or not a number".to_owned();
    }
    if let Some(name) = ["space", "channel", "author"]
        .into_iter()
        .find(|name| !text(name))
    {
        return format!("not a message: `{name}` is missing or not a string");
    }
    "not a message: `text` is not a string or null, or `len` is not a whole number of bytes"
        .to_owned()
}

/// Gives out the lines' ids, which depend on the lines only, not on a file's name or place.
///
/// Counts equal lines over the whole run: 16 bytes of hash and a count for each different line.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    seen: HashMap<u128, u32>,
}

impl Ids {
    /// The hex SHA-256 of the line and of how many equal ones came before it.
    fn next(&mut self, line: &Line) -> String {
        let digest = line.digest();
        let head = digest
            .iter()
            .take(16)
            .fold(0, |sum, b| sum << 8 | u128::from(*b));
        let count = self.seen.entry(head).or_default();
        let nth = *count;
        *count = count.saturating_add(1);
        let id = Sha256::new()
            .chain_update(digest)
            .chain_update(nth.to_be_bytes())
            .finalize();
        format!("{id:x}")
    }
}

/// Seconds to the nearest millisecond.
fn millis(ts: f64) -> Option<u64> {
    let exact = Duration::try_from_secs_f64(ts).ok()?;
    let rounded = exact.checked_add(Duration::from_micros(500))?;
    u64::try_from(rounded.as_millis()).ok()
}

/// Text of `size` bytes where a log keeps only sizes: always the same, in words of different length.
fn filler(size: u64) -> String {
    let words = "lorem ipsum dolor sit amet ".chars().cycle();
    words
        .take(usize::try_from(size).unwrap_or_default())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, String> {
        Line::parse(text.as_bytes(), 100)
    }

    const LINE: &str = r#"{"ts":1700000000.3,"space":"s","channel":"c","author":"bot:x","text":" a\u0000","len":3}"#;

    #[test]
    fn a_line_becomes_a_message_byte_for_byte() {
        let line = line(LINE).unwrap();
        assert_eq!(
            line.session(KeyBy::Channel).to_string(),
            "replay/log/space=s/channel=c"
        );
        let message = line.message(&mut Ids::default());
        assert_eq!(
            (message.text.as_str(), message.at_ms),
            (" a\0", 1_700_000_000_300)
        );
        assert_eq!(message.role, Role::Assistant);
        assert_eq!(message.author.unwrap().id, "bot:x");
    }

    #[test]
    fn the_bytes_of_a_line_are_those_of_its_message() {
        let sized = r#"{"ts":1,"space":"","channel":"c","author":"ünï","text":null,"len":30}"#;
        for text in [LINE, sized] {
            let bytes = line(text).unwrap().bytes();
            let message = line(text).unwrap().message(&mut Ids::default());
            assert_eq!(bytes, message.bytes());
        }
    }

    #[test]
    fn equal_lines_get_different_ids_and_a_second_run_the_same_ones() {
        let run = || {
            let mut ids = Ids::default();
            [LINE, LINE, &LINE.replace("x", "y")]
                .map(|text| line(text).unwrap().message(&mut ids).id.unwrap())
        };
        let [a, b, c] = run();
        assert!(a != b && b != c && a != c);
        assert_eq!(run(), [a.clone(), b, c]);
        assert_eq!(a.len(), 64);
    }

    #[test]
    fn a_missing_text_is_filled_up_to_its_size() {
        let line =
            line(r#"{"ts":1,"space":"","channel":"c","author":"u","text":null,"len":30}"#).unwrap();
        let message = line.message(&mut Ids::default());
        assert_eq!(message.text, "lorem ipsum dolor sit amet lor");
        assert_eq!(message.role, Role::User);
    }

    #[test]
    fn a_broken_line_says_why() {
        let bad = [
            ("", "JSON"),
            ("{", "JSON"),
            (r#"{"ts":1,"space":"","channel":"c","text":"x"}"#, "author"),
            (
                r#"{"ts":-1,"space":"","channel":"c","author":"u","text":"x"}"#,
                "ts",
            ),
            (
                r#"{"ts":1,"space":"","channel":"c","author":"u"}"#,
                "neither",
            ),
            (
                r#"{"ts":1,"space":"","channel":"c","author":"u","len":101}"#,
                "too large",
            ),
            (
                r#"{"ts":1,"space":"","channel":"c","author":"u","len":99999999999999}"#,
                "too large",
            ),
        ];
        for (text, why) in bad {
            let error = line(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(Line::parse(b"\xff", 9).is_err());
    }
}
