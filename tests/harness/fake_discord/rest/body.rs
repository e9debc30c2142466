//! Request bodies: JSON, or a form with `payload_json` and files.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::header;
use axum::http::request::Parts;
use serde_json::Value;

use crate::fake_discord::error::ApiError;
use crate::fake_discord::record::SentFile;

/// The longest file a bot may send without a boosted guild.
const FILE: usize = 10 * 1024 * 1024;

/// A read body; `Null` without one.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    pub(crate) json: Value,
    pub(crate) files: Vec<(Option<u64>, SentFile)>,
}

/// Reads a body by its content type.
pub(crate) async fn read(parts: Parts, bytes: Bytes) -> Result<Payload, ApiError> {
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("multipart/form-data") {
        return form(Request::from_parts(parts, Body::from(bytes))).await;
    }
    if bytes.is_empty() {
        return Ok(Payload::default());
    }
    if !kind.starts_with("application/json") {
        let message = "Expected \"Content-Type\" header to be one of {'application/json', 'multipart/form-data'}.";
        return Err(ApiError::field("_", "CONTENT_TYPE_INVALID", message));
    }
    let json = serde_json::from_slice(&bytes).map_err(|_| ApiError::invalid_json())?;
    Ok(Payload {
        json,
        files: Vec::new(),
    })
}

async fn form(request: Request) -> Result<Payload, ApiError> {
    let broken = || ApiError::new(400, 50035, "Invalid Form Body");
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|_| broken())?;
    let mut payload = Payload::default();
    while let Some(field) = form.next_field().await.map_err(|_| broken())? {
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().map(str::to_owned);
        let content_type = field.content_type().map(str::to_owned);
        let bytes = field.bytes().await.map_err(|_| broken())?;
        let Some(file_name) = file_name else {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if name == "payload_json" {
                payload.json = serde_json::from_str(&text).map_err(|_| ApiError::invalid_json())?;
            } else if payload.json.is_null() || payload.json.is_object() {
                payload.json[name] = text.into();
            }
            continue;
        };
        if bytes.len() > FILE {
            return Err(ApiError::too_large());
        }
        let index = name
            .strip_prefix("files[")
            .and_then(|rest| rest.strip_suffix(']'));
        let file = SentFile {
            name: file_name,
            content_type,
            bytes: bytes.to_vec(),
        };
        payload
            .files
            .push((index.and_then(|index| index.parse().ok()), file));
    }
    Ok(payload)
}
