//! One delivery: who sends it, what it says, and whether it is safe now.
//!
//! Invariants: total; a body is read only after the secret is right; what was begun is finished, also when
//! the caller hangs up.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use subtle::ConstantTimeEq as _;
use tokio::time::timeout;

use super::Door;
use crate::decode;

/// The header that carries the secret.
const SECRET: &str = "x-telegram-bot-api-secret-token";
/// The largest body: an update is a tenth of it at most.
const LARGEST_BODY: usize = 1 << 20;
/// The deadline of a delivery.
const WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn receive(State(door): State<Arc<Door>>, request: Request) -> StatusCode {
    if request.uri().path() != door.path {
        return StatusCode::NOT_FOUND;
    }
    if request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED;
    }
    if !is_telegram(request.headers(), door.secret.expose()) {
        if !door.warned.swap(true, Relaxed) {
            tracing::warn!("a call of the webhook without its secret was turned away; told once");
        }
        return StatusCode::UNAUTHORIZED;
    }
    let body = match timeout(WITHIN, to_bytes(request.into_body(), LARGEST_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE,
        Err(_) => return StatusCode::REQUEST_TIMEOUT,
    };
    take_in_turn(&door, body).await
}

fn is_telegram(headers: &HeaderMap, secret: &str) -> bool {
    let sent = headers.get(SECRET).map(|value| value.as_bytes());
    sent.is_some_and(|sent| bool::from(sent.ct_eq(secret.as_bytes())))
}

/// Takes in a delivery after those before it. Cut off half way, because its caller hung up, it could be safe
/// and never answered: delivered again it would be one that has come already.
async fn take_in_turn(door: &Arc<Door>, body: Bytes) -> StatusCode {
    let mut turn = door.turn.lock().await;
    while turn.join_next().await.is_some() {}
    let owned = Arc::clone(door);
    turn.spawn(async move { take(&owned, &body).await });
    match turn.join_next().await {
        Some(Ok(status)) => status,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn take(door: &Door, body: &[u8]) -> StatusCode {
    let raw = std::str::from_utf8(body).unwrap_or_default();
    let Some(received) = decode::read(raw, &door.intake.hub.me) else {
        tracing::warn!("a delivery that is no update was left out");
        return StatusCode::OK;
    };
    let taken = door.intake.take(&received).await;
    if let Err(error) = &taken
        && scrollback_kit::insist::passes(error)
    {
        tracing::warn!(update_id = received.id, %error, "an update is not safe yet; it comes again");
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    match door.intake.settled(received.id, taken) {
        Ok(()) => StatusCode::OK,
        Err(_) => {
            door.closed.notify_one();
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}
