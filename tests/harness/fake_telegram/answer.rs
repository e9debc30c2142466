//! What a method answers: a result, or a refusal with the Bot API's code and exact text.
//!
//! Texts are the ones that clients compare with; they are part of the protocol.

use serde_json::{Map, Value, json};

/// A method's result, with the description that the webhook calls add.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) result: Value,
    pub(crate) description: Option<&'static str>,
}

impl From<Value> for Done {
    fn from(result: Value) -> Self {
        Self {
            result,
            description: None,
        }
    }
}

impl Done {
    /// `true`, as most calls that change something answer.
    pub(crate) fn yes() -> Self {
        Value::Bool(true).into()
    }

    /// `true` with a description.
    pub(crate) fn told(description: &'static str) -> Self {
        Self {
            result: Value::Bool(true),
            description: Some(description),
        }
    }

    pub(crate) fn body(self) -> Value {
        let mut body = Map::new();
        body.insert("ok".into(), Value::Bool(true));
        body.insert("result".into(), self.result);
        if let Some(description) = self.description {
            body.insert("description".into(), description.into());
        }
        Value::Object(body)
    }
}

/// A refusal as the Bot API words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) description: String,
    pub(crate) parameters: Option<Value>,
}

pub(crate) type Reply = Result<Done, Refusal>;

impl Refusal {
    pub(crate) fn new(code: u16, description: impl Into<String>) -> Self {
        Self {
            code,
            description: description.into(),
            parameters: None,
        }
    }

    /// 400 with `Bad Request: ` before the text.
    pub(crate) fn bad(text: impl AsRef<str>) -> Self {
        Self::new(400, format!("Bad Request: {}", text.as_ref()))
    }

    /// 403 with `Forbidden: ` before the text.
    pub(crate) fn forbidden(text: impl AsRef<str>) -> Self {
        Self::new(403, format!("Forbidden: {}", text.as_ref()))
    }

    /// 409 with `Conflict: ` before the text.
    pub(crate) fn conflict(text: impl AsRef<str>) -> Self {
        Self::new(409, format!("Conflict: {}", text.as_ref()))
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized")
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "Not Found")
    }

    pub(crate) fn too_many(seconds: u64) -> Self {
        Self {
            code: 429,
            description: format!("Too Many Requests: retry after {seconds}"),
            parameters: Some(json!({ "retry_after": seconds })),
        }
    }

    pub(crate) fn migrated(to: i64) -> Self {
        Self {
            parameters: Some(json!({ "migrate_to_chat_id": to })),
            ..Self::bad("group chat was upgraded to a supergroup chat")
        }
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("ok".into(), Value::Bool(false));
        body.insert("error_code".into(), self.code.into());
        body.insert("description".into(), self.description.clone().into());
        if let Some(parameters) = &self.parameters {
            body.insert("parameters".into(), parameters.clone());
        }
        Value::Object(body)
    }
}
