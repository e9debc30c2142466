//! What the Bot API answered: a result, or why there is none.
//!
//! Invariant: total; any bytes with any status have a meaning.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::failure::CallError;

/// A result of which only matters that there is one.
pub(crate) type Done = IgnoredAny;

/// What to wait after a 429 that does not tell.
const UNTOLD: Duration = Duration::from_secs(5);
/// The longest wait that is believed: a day, longer than Telegram's bans for flooding; more is nonsense,
/// which no clock can count to.
const LONGEST: u64 = 24 * 3600;

#[derive(Deserialize)]
struct Answer<T> {
    ok: bool,
    result: Option<T>,
    error_code: Option<u16>,
    description: Option<String>,
    parameters: Option<Parameters>,
}

#[derive(Deserialize, Default)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

pub(super) fn read<T: DeserializeOwned>(status: u16, body: &[u8]) -> Result<T, CallError> {
    // One byte that is no UTF-8 in one of a hundred updates must not keep the others from coming.
    let body = String::from_utf8_lossy(body);
    let Ok(answer) = serde_json::from_str::<Answer<T>>(&body) else {
        return Err(match status {
            429 => CallError::TooMany { after: UNTOLD },
            500.. => CallError::Server { status },
            _ => CallError::Garbage { status },
        });
    };
    match answer.result {
        Some(result) if answer.ok => Ok(result),
        _ if answer.ok => Err(CallError::Garbage { status }),
        _ => Err(refusal(
            answer.error_code.unwrap_or(status),
            &answer.description.unwrap_or_default(),
            &answer.parameters.unwrap_or_default(),
        )),
    }
}

fn refusal(code: u16, description: &str, parameters: &Parameters) -> CallError {
    if let Some(to) = parameters.migrate_to_chat_id {
        return CallError::Moved { to };
    }
    match code {
        429 => CallError::TooMany {
            after: parameters
                .retry_after
                .map_or(UNTOLD, |after| Duration::from_secs(after.min(LONGEST))),
        },
        401 => CallError::Unauthorized,
        // An unknown method is "Not Found: method not found".
        404 if description == "Not Found" => CallError::Unauthorized,
        409 => CallError::Conflict {
            webhook: description.contains("webhook"),
        },
        500.. => CallError::Server { status: code },
        _ => CallError::Refused {
            code,
            why: showable(description),
        },
    }
}

/// A description without what it may quote from a text.
fn showable(description: &str) -> String {
    let head = description.split('"').next().unwrap_or_default();
    head.chars().filter(|c| !c.is_control()).take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(status: u16, body: &str) -> CallError {
        read::<Vec<u8>>(status, body.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_result_is_handed_out() {
        assert_eq!(
            read::<Vec<u8>>(200, br#"{"ok":true,"result":[1]}"#).unwrap(),
            [1]
        );
        assert!(read::<Done>(200, br#"{"ok":true,"result":{"a":[{}]}}"#).is_ok());
        let odd = b"{\"ok\":true,\"result\":[{\"x\":\"\xff\"},{}]}";
        let batch = read::<Vec<Box<serde_json::value::RawValue>>>(200, odd).unwrap();
        assert_eq!(batch.len(), 2);
    }

    #[test]
    fn each_refusal_has_its_meaning() {
        let moved = r#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","parameters":{"migrate_to_chat_id":-1002}}"#;
        assert!(matches!(failed(400, moved), CallError::Moved { to: -1002 }));
        let many = r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 7","parameters":{"retry_after":7}}"#;
        assert!(matches!(failed(429, many), CallError::TooMany { after } if after.as_secs() == 7));
        let ever =
            r#"{"ok":false,"error_code":429,"parameters":{"retry_after":18446744073709551615}}"#;
        assert!(
            matches!(failed(429, ever), CallError::TooMany { after } if after.as_secs() == LONGEST)
        );
        let lost = r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#;
        assert!(matches!(failed(401, lost), CallError::Unauthorized));
        let none = r#"{"ok":false,"error_code":404,"description":"Not Found"}"#;
        assert!(matches!(failed(404, none), CallError::Unauthorized));
        let method = r#"{"ok":false,"error_code":404,"description":"Not Found: method not found"}"#;
        assert!(matches!(
            failed(404, method),
            CallError::Refused { code: 404, .. }
        ));
        let two = r#"{"ok":false,"error_code":409,"description":"Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"}"#;
        assert!(matches!(
            failed(409, two),
            CallError::Conflict { webhook: false }
        ));
        let hook = r#"{"ok":false,"error_code":409,"description":"Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"}"#;
        assert!(matches!(
            failed(409, hook),
            CallError::Conflict { webhook: true }
        ));
        let broken = r#"{"ok":false,"error_code":500,"description":"Internal Server Error"}"#;
        assert!(matches!(
            failed(500, broken),
            CallError::Server { status: 500 }
        ));
    }

    #[test]
    fn any_bytes_have_a_meaning() {
        for status in [200, 302, 400, 404, 413, 429, 500, 502] {
            for body in [
                "",
                "<html>502</html>",
                "null",
                "[]",
                "{}",
                r#"{"ok":1}"#,
                r#"{"ok":true}"#,
                r#"{"ok":true,"result":"x"}"#,
                r#"{"ok":false}"#,
                r#"{"ok":false,"error_code":-1}"#,
                r#"{"ok":false,"parameters":[]}"#,
                "{\"ok\":true,\"result\":[",
                "\u{feff}{}",
            ] {
                let error = failed(status, body);
                assert!(!matches!(error, CallError::Unauthorized), "{status} {body}");
                assert!(!format!("{error} {error:?}").contains("html"));
            }
        }
        let deep = "[".repeat(10_000);
        assert!(matches!(failed(200, &deep), CallError::Garbage { .. }));
    }

    #[test]
    fn a_description_quotes_no_text() {
        let quoting = r#"{"ok":false,"error_code":400,"description":"Bad Request: can't parse entities: Unsupported start tag \"canary\" at byte offset 0"}"#;
        let shown = failed(400, quoting).to_string();
        assert!(
            shown.contains("can't parse entities") && !shown.contains("canary"),
            "{shown}"
        );
    }
}
