//! The arguments of a call, whichever of the four ways they came: query, JSON, form or multipart.
//!
//! Everything but JSON carries text only, so that every getter reads both a value and its text.

use std::collections::BTreeMap;

use axum::RequestExt as _;
use axum::body::to_bytes;
use axum::extract::{Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::answer::Refusal;

/// The largest body that the server reads: a document of 50 MB and what stands around it.
const LARGEST_BODY: usize = 52 * 1024 * 1024;

/// An uploaded file.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) file_name: String,
    pub(crate) mime_type: String,
    pub(crate) bytes: Bytes,
}

/// The arguments and files of one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Args {
    pub(crate) values: Map<String, Value>,
    pub(crate) files: BTreeMap<String, Upload>,
}

impl Args {
    /// Reads query and body.
    pub(crate) async fn read(request: Request) -> Result<Self, Refusal> {
        let mut args = Self::default();
        args.take_form(request.uri().query().unwrap_or_default());
        let kind = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_ascii_lowercase();
        if kind.starts_with("multipart/form-data") {
            args.take_multipart(request).await?;
            return Ok(args);
        }
        let body = to_bytes(request.into_body(), LARGEST_BODY)
            .await
            .map_err(|_| too_large())?;
        if kind.starts_with("application/json") {
            args.take_json(&body)?;
        } else if kind.starts_with("application/x-www-form-urlencoded") {
            args.take_form(&String::from_utf8_lossy(&body));
        }
        Ok(args)
    }

    /// The arguments of a JSON object.
    pub(crate) const fn of(values: Map<String, Value>) -> Self {
        Self {
            values,
            files: BTreeMap::new(),
        }
    }

    fn take_json(&mut self, body: &[u8]) -> Result<(), Refusal> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(values)) => self.values.extend(values),
            Ok(_) => return Err(Refusal::bad("object expected as JSON request body")),
            Err(_) => return Err(Refusal::bad("can't parse JSON object")),
        }
        Ok(())
    }

    fn take_form(&mut self, text: &str) {
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.values.insert(decoded(name), decoded(value).into());
        }
    }

    async fn take_multipart(&mut self, request: Request) -> Result<(), Refusal> {
        let broken = |_| Refusal::bad("can't parse multipart/form-data request body");
        let mut parts: Multipart = request
            .extract()
            .await
            .map_err(|_| Refusal::bad("boundary not found"))?;
        while let Some(part) = parts.next_field().await.map_err(broken)? {
            let name = part.name().unwrap_or_default().to_owned();
            let file_name = part.file_name().map(str::to_owned);
            let mime_type = part.content_type().map(str::to_owned);
            let bytes = part.bytes().await.map_err(|_| too_large())?;
            if let Some(file_name) = file_name {
                let mime_type = mime_type.unwrap_or_else(|| "application/octet-stream".into());
                let upload = Upload {
                    file_name,
                    mime_type,
                    bytes,
                };
                self.files.insert(name, upload);
            } else {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                self.values.insert(name, text.into());
            }
        }
        Ok(())
    }

    /// A text, or a number or flag as its text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        match self.values.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        match self.values.get(name)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A flag: `true`, `yes` or `1`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        match self.values.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::Number(number)) => number.as_i64() == Some(1),
            Some(Value::String(text)) => {
                matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "1")
            }
            _ => false,
        }
    }

    /// A JSON value, or the text of one; `None` when it is absent or empty.
    ///
    /// `what` names it in the refusal: `can't parse {what} JSON object`.
    pub(crate) fn json(&self, name: &str, what: &str) -> Result<Option<Value>, Refusal> {
        match self.values.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text)
                .map(Some)
                .map_err(|_| Refusal::bad(format!("can't parse {what} JSON object"))),
            Some(value) => Ok(Some(value.clone())),
        }
    }
}

fn too_large() -> Refusal {
    Refusal::new(413, "Request Entity Too Large")
}

/// Undoes `application/x-www-form-urlencoded`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.as_bytes();
    while let Some((&first, rest)) = left.split_first() {
        left = rest;
        let hex = rest
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                left = rest.get(2..).unwrap_or_default();
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
