//! Calls of the Bot API: teloxide's payloads, our own transport.
//!
//! Invariants: an error tells whether the call may have taken effect, and shows neither token nor text;
//! nothing here sleeps or tries again (teloxide's own transport sleeps 10 s after each server error).

use std::fmt;
use std::time::Duration;

use reqwest::multipart::Form;
use reqwest::{Client, RequestBuilder, Url};
use scrollback_kit::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use teloxide::requests::Payload;
use tokio::sync::Notify;

mod answer;
mod failure;

pub(crate) use answer::Done;
pub(crate) use failure::CallError;

/// The deadline of an ordinary call, below the kit's deadline for one call of an outbox (30 s).
const WITHIN: Duration = Duration::from_secs(20);
/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(5);
/// An idle connection is closed by us before the other side does it under a request.
const IDLE: Duration = Duration::from_secs(30);
/// The largest answer that is read: a hundred updates are less than a tenth of it.
const LARGEST_ANSWER: usize = 32 << 20;

/// A bot's access to the Bot API.
pub(crate) struct Api {
    client: Client,
    /// The address with the token in its path: never shown.
    base: Url,
    /// Told when the server no longer knows the token.
    pub(crate) revoked: Notify,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Api(..)")
    }
}

impl Api {
    /// Access to the server at `url`.
    pub(crate) fn new(mut url: Url, token: &Secret) -> Result<Self, reqwest::Error> {
        if let Ok(mut segments) = url.path_segments_mut() {
            let bot = format!("bot{}", token.expose());
            segments.pop_if_empty().push(&bot);
        }
        // A redirect would carry the token to another address, and into reqwest's log.
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .http1_only()
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(reqwest::Error::without_url)?;
        Ok(Self {
            client,
            base: url,
            revoked: Notify::new(),
        })
    }

    /// Calls a method with teloxide's payload for it.
    pub(crate) async fn send<P, T>(&self, payload: &P) -> Result<T, CallError>
    where
        P: Payload + Serialize,
        T: DeserializeOwned,
    {
        self.call(P::NAME, payload, WITHIN).await
    }

    /// Calls a method with arguments of any form and a deadline.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        arguments: &impl Serialize,
        within: Duration,
    ) -> Result<T, CallError> {
        let body = serde_json::to_vec(arguments)
            .map_err(|e| CallError::Unreached(format!("the call cannot be written: {e}")))?;
        let request = self
            .request(method)
            .timeout(within)
            .header("content-type", "application/json")
            .body(body);
        self.execute(request).await
    }

    /// Calls a method that takes a file.
    pub(crate) async fn upload<T: DeserializeOwned>(
        &self,
        method: &str,
        form: Form,
    ) -> Result<T, CallError> {
        self.execute(self.request(method).timeout(WITHIN).multipart(form))
            .await
    }

    fn request(&self, method: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(method);
        }
        self.client.post(url)
    }

    async fn execute<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, CallError> {
        let mut response = request.send().await.map_err(CallError::from)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(CallError::from)? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(CallError::Garbage { status });
            }
            body.extend_from_slice(&chunk);
        }
        let answer = answer::read(status, &body);
        if matches!(answer, Err(CallError::Unauthorized)) {
            self.revoked.notify_one();
        }
        answer
    }
}
