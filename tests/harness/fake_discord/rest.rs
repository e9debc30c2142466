//! The HTTP side: records, fails, limits and authorizes each request, then finds its endpoint.

mod body;
mod channels;
mod commands;
mod draft;
mod mentions;
mod messages;
mod webhooks;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, Query, Request, State as Shares};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use jiff::Timestamp;

use super::error::{Answer, ApiError};
use super::faults::{Failure, limited, page};
use super::gateway;
use super::limits::Pass;
use super::net::Wired;
use super::record::Call;
use super::state::{Shared, State};
use body::Payload;
pub(crate) use mentions::named;

/// The longest body that is read; above the longest file.
const BODY: usize = 64 * 1024 * 1024;

/// A request as endpoints see it.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) parts: Vec<&'a str>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) payload: Payload,
}

/// Everything the fake serves.
pub(crate) fn router(shared: Arc<Shared>) -> axum::Router {
    axum::Router::new()
        .route("/gw", axum::routing::any(socket))
        .route("/gw/", axum::routing::any(socket))
        .fallback(answer)
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(shared)
}

async fn socket(
    Shares(shared): Shares<Arc<Shared>>,
    ConnectInfo(Wired(cut)): ConnectInfo<Wired>,
    Query(query): Query<BTreeMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response<Body> {
    let stream = query
        .get("compress")
        .is_some_and(|how| how == "zlib-stream");
    let version = query.get("v").cloned();
    upgrade.on_upgrade(async move |socket| {
        gateway::serve(socket, shared, cut, stream, version.as_deref()).await;
    })
}

async fn answer(
    Shares(shared): Shares<Arc<Shared>>,
    ConnectInfo(Wired(cut)): ConnectInfo<Wired>,
    request: Request,
) -> Response<Body> {
    let method = request.method().as_str().to_owned();
    let path = request
        .uri()
        .path_and_query()
        .map_or("", |path| path.as_str());
    let Some(path) = path.strip_prefix("/api/v10").map(str::to_owned) else {
        return error(&ApiError::not_found());
    };
    let (call, delay, failure, pass) = shared.with(|state| state.arrive(&method, &path));
    let (parts, body) = request.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, BODY).await else {
        return error(&ApiError::too_large());
    };
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    match &failure {
        Some(Failure::Hang) => return std::future::pending().await,
        Some(Failure::LostRequest) => {
            cut.cut();
            return StatusCode::OK.into_response();
        }
        _ => {}
    }
    let authorized = parts.headers.get(header::AUTHORIZATION).cloned();
    let response = match early(&shared, failure.as_ref(), &pass) {
        Some(early) => early,
        None => match body::read(parts, bytes).await {
            Ok(payload) => {
                let done = shared.with(|state| {
                    state.check_token(&path, authorized.as_ref())?;
                    state.route(asked(&method, &path, payload))
                });
                done.map_or_else(|refused| error(&refused), granted)
            }
            Err(refused) => error(&refused),
        },
    };
    if failure == Some(Failure::LostReply) {
        cut.cut();
        return StatusCode::OK.into_response();
    }
    let status = response.status().as_u16();
    shared.with(|state| {
        if let Some(call) = state.record.calls.get_mut(call) {
            call.status = Some(status);
        }
    });
    with_headers(response, &pass)
}

/// The answer of a request that is not to reach its endpoint.
fn early(shared: &Shared, failure: Option<&Failure>, pass: &Pass) -> Option<Response<Body>> {
    let planned = match failure {
        Some(&Failure::RateLimited {
            retry_after,
            global,
        }) => Some((retry_after, global)),
        _ => None,
    };
    if let Some((wait, global)) = planned {
        let name = if global { "" } else { pass.bucket.as_str() };
        shared.with(|state| state.limits.told(name, wait));
    }
    if let Some((wait, global)) = planned.or(pass.refused) {
        let mut response = json(429, &limited(wait, global));
        let headers = response.headers_mut();
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        let scope = if global { "global" } else { "user" };
        set(headers, "x-ratelimit-scope", scope);
        if global {
            set(headers, "x-ratelimit-global", "true");
        }
        return Some(response);
    }
    match failure? {
        Failure::Html(status) => {
            let mut response = Response::new(Body::from(page(*status)));
            *response.status_mut() = code(*status);
            set(response.headers_mut(), "content-type", "text/html");
            Some(response)
        }
        Failure::Garbage => Some(Response::new(Body::from("{\"id\": \"12"))),
        other => other.error().map(|refused| error(&refused)),
    }
}

fn asked<'a>(method: &'a str, path: &'a str, payload: Payload) -> Asked<'a> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    Asked {
        method,
        parts: path.split('/').skip(1).collect(),
        query: pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        payload,
    }
}

fn granted(reply: super::error::Reply) -> Response<Body> {
    match reply.body {
        Some(body) => json(reply.status, &body),
        None => code(reply.status).into_response(),
    }
}

fn error(refused: &ApiError) -> Response<Body> {
    json(refused.status, &refused.body)
}

fn json(status: u16, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = code(status);
    set(response.headers_mut(), "content-type", "application/json");
    response
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn set(headers: &mut axum::http::HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn with_headers(mut response: Response<Body>, pass: &Pass) -> Response<Body> {
    let reset = Timestamp::now().as_duration().as_secs_f64() + pass.reset_after.as_secs_f64();
    let headers = response.headers_mut();
    set(headers, "x-ratelimit-limit", &pass.limit.to_string());
    set(
        headers,
        "x-ratelimit-remaining",
        &pass.remaining.to_string(),
    );
    set(headers, "x-ratelimit-reset", &format!("{reset:.3}"));
    let after = format!("{:.3}", pass.reset_after.as_secs_f64());
    set(headers, "x-ratelimit-reset-after", &after);
    let sum = flate2::Crc::new();
    let hash = pass.bucket.bytes().fold(sum, |mut sum, byte| {
        sum.update(&[byte]);
        sum
    });
    set(
        headers,
        "x-ratelimit-bucket",
        &format!("{:08x}", hash.sum()),
    );
    response
}

type Arrival = (usize, Option<std::time::Duration>, Option<Failure>, Pass);

impl State {
    fn arrive(&mut self, method: &str, path: &str) -> Arrival {
        self.record.calls.push(Call {
            method: method.to_owned(),
            path: path.to_owned(),
            at: Timestamp::now(),
            status: None,
        });
        let pass = self.limits.take(method, path);
        self.record.impatient += u64::from(pass.impatient);
        let failure = self.plan.failure(method, path);
        let delay = self.plan.delay(method, path);
        (self.record.calls.len() - 1, delay, failure, pass)
    }

    /// Interactions carry their token in the path; all else needs the bot's.
    fn check_token(&self, path: &str, given: Option<&HeaderValue>) -> Result<(), ApiError> {
        if path.starts_with("/webhooks/") || path.starts_with("/interactions/") {
            return Ok(());
        }
        let given = given
            .and_then(|given| given.to_str().ok())
            .unwrap_or_default();
        if given.starts_with("Bot ") && self.is_token(given) {
            return Ok(());
        }
        Err(ApiError::unauthorized())
    }

    fn route(&mut self, asked: Asked<'_>) -> Answer {
        match asked.parts.first() {
            Some(&"channels") => self.route_channels(asked),
            Some(&"webhooks") => self.route_webhooks(asked),
            Some(&"interactions") => self.route_interactions(asked),
            Some(&"applications") if asked.parts.contains(&"commands") => {
                self.route_commands(&asked)
            }
            _ => self.route_rest(&asked),
        }
    }
}

/// A snowflake in a path.
pub(crate) fn snowflake(part: &str, name: &str) -> Result<u64, ApiError> {
    part.parse().map_err(|_| {
        let message = format!("Value \"{part}\" is not snowflake.");
        ApiError::field(name, "NUMBER_TYPE_COERCE", &message)
    })
}
