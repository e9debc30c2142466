//! What goes wrong on demand: failures of requests, and the handle's faults of the gateway.

use std::time::Duration;

use serde_json::{Value, json};

use super::FakeDiscord;
use super::error::ApiError;
use super::gateway::Event;
use super::net::cut_all;

/// What becomes of a request that is to fail.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// 429 with this wait; for one route or for all.
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
        /// For all routes.
        global: bool,
    },
    /// An error in the API's form.
    Api {
        /// The HTTP status.
        status: u16,
        /// The JSON error code.
        code: u32,
        /// Its text.
        message: &'static str,
    },
    /// An HTML page, as proxies before the API send it.
    Html(u16),
    /// No answer, and the connection stays open.
    Hang,
    /// Status 200, and no JSON in it.
    Garbage,
    /// The connection is closed before anything happens.
    LostRequest,
    /// It takes effect, then the connection is closed.
    LostReply,
}

impl Failure {
    /// The API's own error for a status: 400, 401, 403, 404, or "Internal Server Error".
    #[must_use]
    pub fn status(status: u16) -> Self {
        let (code, message) = match status {
            400 => (50035, "Invalid Form Body"),
            401 => (0, "401: Unauthorized"),
            403 => (50013, "Missing Permissions"),
            404 => (10003, "Unknown Channel"),
            503 => (0, "503: Service Unavailable"),
            _ => (0, "500: Internal Server Error"),
        };
        Self::Api {
            status,
            code,
            message,
        }
    }

    pub(crate) fn error(&self) -> Option<ApiError> {
        match *self {
            Self::Api {
                status,
                code,
                message,
            } => Some(ApiError::new(status, code, message)),
            _ => None,
        }
    }
}

/// A method and a path below `/api/v10`, such as `POST /channels/*/messages`; without a method it
/// stands for all, `*` stands for one part, `**` at the end for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    pub(crate) fn fits(&self, method: &str, path: &str) -> bool {
        let (wanted, pattern) = self.0.split_once(' ').unwrap_or(("", &self.0));
        if !wanted.is_empty() && wanted != method {
            return false;
        }
        let path = path.split('?').next().unwrap_or_default();
        let mut parts = path.split('/');
        for wanted in pattern.split('/') {
            match (wanted, parts.next()) {
                ("**", _) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(part)) if wanted == part => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }
}

/// Failures and delays to come.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    failures: Vec<(Pattern, u32, Failure)>,
    delays: Vec<(Pattern, Duration)>,
}

impl Plan {
    pub(crate) fn failure(&mut self, method: &str, path: &str) -> Option<Failure> {
        let mut fitting = self.failures.iter_mut();
        let (_, left, failure) =
            fitting.find(|(pattern, left, _)| *left > 0 && pattern.fits(method, path))?;
        *left -= 1;
        Some(failure.clone())
    }

    pub(crate) fn delay(&self, method: &str, path: &str) -> Option<Duration> {
        let mut fitting = self.delays.iter();
        fitting
            .find(|(pattern, _)| pattern.fits(method, path))
            .map(|(_, delay)| *delay)
    }
}

impl FakeDiscord {
    /// Fails the next `n` requests that fit a pattern such as `POST /channels/*/messages`.
    pub fn fail_next(&self, pattern: &str, n: u32, failure: Failure) {
        let failure = (Pattern::new(pattern), n, failure);
        self.shared.with(|state| state.plan.failures.push(failure));
    }

    /// How many planned failures no request has met yet.
    pub fn failures_left(&self) -> u32 {
        self.shared
            .read(|state| state.plan.failures.iter().map(|(_, left, _)| left).sum())
    }

    /// Answers requests that fit a pattern only after this time; zero takes it back.
    pub fn delay(&self, pattern: &str, time: Duration) {
        let pattern = Pattern::new(pattern);
        self.shared.with(|state| {
            state.plan.delays.retain(|(known, _)| *known != pattern);
            if !time.is_zero() {
                state.plan.delays.push((pattern, time));
            }
        });
    }

    /// Allows `most` requests in `per` for each bucket of the routes that fit, and refuses more.
    pub fn rate_limit(&self, pattern: &str, most: u64, per: Duration) {
        let rule = (Pattern::new(pattern), most, per);
        self.shared.with(|state| state.limits.rules.push(rule));
    }

    /// Allows `most` requests in `per` over all routes.
    pub fn global_rate_limit(&self, most: u64, per: Duration) {
        self.shared
            .with(|state| state.limits.global = Some((most, per)));
    }

    /// Cuts all gateway connections without a close frame.
    pub fn drop_connections(&self) {
        self.shared.with(|state| state.gateway.cut());
    }

    /// Closes all gateway connections with a close code such as 4000.
    pub fn close(&self, code: u16) {
        self.shared.with(|state| state.gateway.close_all(code));
    }

    /// Asks all connections to reconnect and resume (opcode 7).
    pub fn ask_reconnect(&self) {
        self.shared
            .with(|state| state.gateway.tell_all(7, &Value::Null));
    }

    /// Asks all connections for a heartbeat at once (opcode 1).
    pub fn ask_heartbeat(&self) {
        self.shared
            .with(|state| state.gateway.tell_all(1, &Value::Null));
    }

    /// Declares all sessions invalid (opcode 9); those that are not resumable are forgotten.
    pub fn invalidate_session(&self, resumable: bool) {
        self.shared.with(|state| {
            state.gateway.tell_all(9, &resumable.into());
            if !resumable {
                state.gateway.forget();
            }
        });
    }

    /// Cuts all connections and forgets their sessions: what happens until the next IDENTIFY is
    /// never sent, and can only be had by REST.
    pub fn lose_session(&self) {
        self.shared.with(|state| {
            state.gateway.forget();
            state.gateway.cut();
        });
    }

    /// Cuts everything and hangs up on everybody, or comes back. Sessions are kept meanwhile.
    pub fn offline(&self, offline: bool) {
        self.shared.with(|state| {
            state.offline = offline;
            if offline {
                cut_all(&mut state.wires);
            }
        });
    }

    /// Holds all events back, READY and RESUMED too, or sends what was held.
    pub fn pause_events(&self, paused: bool) {
        self.shared.with(|state| {
            state.gateway.settings.paused = paused;
            state.gateway.wake();
        });
    }

    /// Sends events only so long after they happened.
    pub fn delay_events(&self, time: Duration) {
        self.shared
            .with(|state| state.gateway.settings.delay = time);
    }

    /// Sends this share of the message events twice; the same seed chooses the same ones.
    pub fn duplicate(&self, percent: u64, seed: u64) {
        self.shared.with(|state| {
            state.gateway.settings.duplicate_percent = percent;
            state.gateway.seed(seed);
        });
    }

    /// Lets this share of the message events overtake the one before, if that is still unsent: use
    /// it with [`Self::delay_events`] or [`Self::pause_events`].
    pub fn reorder(&self, percent: u64, seed: u64) {
        self.shared.with(|state| {
            state.gateway.settings.reorder_percent = percent;
            state.gateway.seed(seed);
        });
    }

    /// Makes a resumed session replay up to `n` events that the client has seen already.
    pub fn replay_overlap(&self, n: u64) {
        self.shared.with(|state| state.gateway.settings.overlap = n);
    }

    /// Sends an event as it is to all sessions of its guild's shard (`guild_id`, or shard 0).
    pub fn send_raw_event(&self, name: &str, data: Value) {
        let guild = data["guild_id"].as_str().and_then(|id| id.parse().ok());
        self.shared.with(|state| {
            state.dispatch(&Event {
                name: name.to_owned(),
                data,
                guild,
                intents: 0,
            });
        });
    }

    /// Takes the token back: 401 from REST, 4004 from the gateway.
    pub fn revoke(&self) {
        self.shared.with(|state| {
            state.revoked = true;
            state.gateway.close_all(4004);
        });
    }

    /// Sets the interval of heartbeats for connections to come.
    pub fn heartbeat_interval(&self, interval: Duration) {
        self.shared
            .with(|state| state.gateway.settings.heartbeat = interval);
    }

    /// Acknowledges heartbeats, or does not, as a dead connection.
    pub fn acknowledge_heartbeats(&self, acknowledge: bool) {
        self.shared
            .with(|state| state.gateway.settings.acknowledge = acknowledge);
    }

    /// The privileged intents that are switched on for the application; all at first.
    pub fn allow_intents(&self, privileged: u64) {
        self.shared
            .with(|state| state.gateway.settings.intents = privileged);
    }

    /// How many events a session keeps for a replay; 10,000 at first.
    pub fn replay_buffer(&self, events: usize) {
        self.shared
            .with(|state| state.gateway.settings.buffer = events);
    }

    /// Refuses sessions that do not say which of several shards they are (4011).
    pub fn require_shards(&self, required: bool) {
        self.shared
            .with(|state| state.gateway.settings.sharding_required = required);
    }

    /// Compresses payloads from this many bytes on, for those who take it; 1,024 at first.
    pub fn compress_from(&self, bytes: usize) {
        self.shared
            .with(|state| state.gateway.settings.compress_from = bytes);
    }

    /// How long an interaction waits for its first response; 3 s at first.
    pub fn interaction_deadline(&self, time: Duration) {
        self.shared
            .with(|state| state.options.interaction_deadline = time);
    }

    /// How long an interaction's token is good; 15 min at first.
    pub fn interaction_life(&self, time: Duration) {
        self.shared
            .with(|state| state.options.interaction_life = time);
    }

    /// How long a nonce is remembered; 3 min at first.
    pub fn nonce_window(&self, time: Duration) {
        self.shared.with(|state| state.options.nonce_window = time);
    }

    /// The code for an answer to a message that is gone: `REPLIES_UNKNOWN_MESSAGE` at first;
    /// since 2025 the real API has also been seen to say `MESSAGE_REFERENCE_UNKNOWN_MESSAGE`.
    pub fn unknown_reference_code(&self, code: &'static str) {
        self.shared
            .with(|state| state.options.unknown_reference = code);
    }
}

/// The page that stands before an API that is down.
pub(crate) fn page(status: u16) -> String {
    format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1>\
         </center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
    )
}

/// The body of a 429.
pub(crate) fn limited(retry_after: Duration, global: bool) -> Value {
    json!({
        "message": "You are being rate limited.",
        "retry_after": retry_after.as_secs_f64(), "global": global,
    })
}
