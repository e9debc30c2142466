//! The one line format in which people get their data and operators get dumps: JSON lines.
//!
//! Invariant: a line stands alone; `id` is never empty of meaning (the platform's id, else the place).

use scrollback::{Message, Role, Seq, SessionKey};
use serde::{Deserialize, Serialize};

/// One message of an export.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportLine {
    /// The printed session key.
    pub session: String,
    /// The message's place in its session.
    pub seq: Seq,
    /// The platform's id of the message, or `seq` as text when it has none.
    pub id: String,
    /// The platform's id of who said it; `None` for the bot or a tool.
    pub author: Option<String>,
    /// In which role.
    pub role: Role,
    /// What was said.
    pub text: String,
    /// When it was said, milliseconds since the Unix epoch; seconds as `ts` in the JSON.
    #[serde(rename = "ts", with = "seconds")]
    pub at_ms: u64,
}

impl std::fmt::Debug for ExportLine {
    /// Leaves the text out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExportLine")
            .field("session", &self.session)
            .field("seq", &self.seq)
            .field("id", &self.id)
            .field("text_bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

impl ExportLine {
    /// The line for a message at a place of a session.
    #[must_use]
    pub fn new(session: &SessionKey, seq: Seq, message: Message) -> Self {
        Self {
            session: session.to_string(),
            seq,
            id: message.id.unwrap_or_else(|| seq.to_string()),
            author: message.author.map(|a| a.id),
            role: message.role,
            text: message.text,
            at_ms: message.at_ms,
        }
    }

    /// The line as JSON, without a line break.
    ///
    /// # Errors
    /// None in practice: every field has a JSON form.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

mod seconds {
    //! Seconds since the Unix epoch as a JSON number: whole where they are, else with decimals.

    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub(super) fn serialize<S: Serializer>(ms: &u64, to: S) -> Result<S::Ok, S::Error> {
        if ms.is_multiple_of(1000) {
            to.serialize_u64(ms / 1000)
        } else {
            to.serialize_f64(Duration::from_millis(*ms).as_secs_f64())
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let seconds = f64::deserialize(from)?;
        let exact = Duration::try_from_secs_f64(seconds).map_err(Error::custom)?;
        // The nearest millisecond: decimal fractions have no exact binary form.
        let nearest = exact.saturating_add(Duration::from_micros(500));
        u64::try_from(nearest.as_millis()).map_err(Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scrollback::Author;

    fn key() -> SessionKey {
        SessionKey::new("console", "bot").channel("c")
    }

    #[test]
    fn a_line_has_the_documented_fields() {
        let message = Message::user(Author::new("console", 7).named("Ann"), "hi \"you\"\n")
            .id("m1")
            .at_ms(1_700_000_000_000);
        let line = ExportLine::new(&key(), Seq::new(3, 0), message)
            .to_json()
            .unwrap();
        assert_eq!(
            line,
            r#"{"session":"console/bot/channel=c","seq":3072,"id":"m1","author":"7","role":"user","text":"hi \"you\"\n","ts":1700000000}"#
        );
    }

    #[test]
    fn a_message_without_platform_id_goes_by_its_place() {
        let line = ExportLine::new(&key(), Seq(5), Message::assistant("x"));
        assert_eq!((line.id.as_str(), line.author), ("5", None));
    }

    #[test]
    fn milliseconds_survive_the_way_through_json() {
        for at_ms in [
            0,
            1,
            999,
            1_700_000_000_123,
            1_700_000_000_999,
            4_102_444_800_001,
        ] {
            let line = ExportLine::new(&key(), Seq(1), Message::assistant("x").at_ms(at_ms));
            let read: ExportLine = serde_json::from_str(&line.to_json().unwrap()).unwrap();
            assert_eq!(read, line);
        }
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        for ts in ["-1", "1e300", "\"x\"", "null"] {
            let line = format!(
                r#"{{"session":"a/b","seq":1,"id":"1","author":null,"role":"user","text":"","ts":{ts}}}"#
            );
            assert!(serde_json::from_str::<ExportLine>(&line).is_err(), "{ts}");
        }
    }
}
