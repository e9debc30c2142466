//! Discord's HTTP API: one call in, JSON or a [`Failure`] out.
//!
//! Invariants: every call ends by its deadline; a failure holds no text, token or URL (an interaction's URL
//! holds its token); with another server's URL the real Discord is never called, and what a 429 said is
//! obeyed here, as serenity's limiter knows no other server. Knows no kit.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use parking_lot::Mutex;
use scrollback_kit::Secret;
use serde_json::Value;
use serenity::http::{HttpError, Ratelimiter, Request};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::dispatcher::{Dispatch, with_default};
use tracing::instrument::WithSubscriber as _;

use crate::config::DiscordConfig;

mod calls;
mod closed;
mod failure;
mod pauses;

pub(crate) use calls::{File, Posted, id_of};
pub(crate) use closed::Closed;
pub(crate) use failure::Failure;
pub(crate) use pauses::Bucket;

use pauses::Pauses;

/// The longest time of one call, below the kit's deadline for one, so that it is told "later" instead.
const WHOLE: Duration = Duration::from_secs(25);
/// The longest wait for an answer to one request.
const ANSWER: Duration = Duration::from_secs(10);
/// The largest answer that is read: a page of 100 messages is some 300 KiB.
const LARGEST: usize = 16 << 20;

/// A client of the API.
pub(crate) struct Rest {
    client: reqwest::Client,
    /// Serenity's limiter, on the real Discord.
    limiter: Option<Ratelimiter>,
    /// Another server, instead.
    server: Option<String>,
    token: Secret,
    pauses: Pauses,
    refused: AtomicBool,
    refusal: Notify,
    /// The private channel of a person, once known.
    private: Mutex<hashlink::LruCache<u64, u64>>,
    /// Where nothing can be written for now.
    pub(crate) closed: Closed,
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest")
            .field("own_server", &self.server.is_some())
            .finish_non_exhaustive()
    }
}

impl Rest {
    pub(crate) fn new(config: &DiscordConfig) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let token = Secret::new(format!("Bot {}", config.token.expose()));
        let server = config
            .api_url
            .as_deref()
            .map(|url| url.trim_end_matches('/').to_owned());
        let limiter = server
            .is_none()
            .then(|| Ratelimiter::new(client.clone(), token.expose()));
        Ok(Self {
            client,
            limiter,
            server,
            token,
            pauses: Pauses::default(),
            refused: AtomicBool::new(false),
            refusal: Notify::new(),
            private: Mutex::new(hashlink::LruCache::new(10_000)),
            closed: Closed::default(),
        })
    }

    /// Completes when Discord has refused the token.
    pub(crate) async fn token_refused(&self) {
        loop {
            let told = self.refusal.notified();
            if self.refused.load(SeqCst) {
                return;
            }
            told.await;
        }
    }

    /// Makes one call; waits while its bucket is told to wait, if that is not for long.
    async fn call(&self, bucket: Bucket, request: Request<'_>) -> Result<Value, Failure> {
        let until = Instant::now() + WHOLE;
        self.pauses.pass(bucket, until).await?;
        let called = async {
            let response = match &self.limiter {
                // Its own waits count too: it cannot be told how long it may. Its spans describe the whole
                // request, texts and interactions' tokens included, so nobody hears them.
                Some(limiter) => {
                    let performed = limiter.perform(request);
                    performed.with_subscriber(Dispatch::none()).await?
                }
                None => timeout(ANSWER, self.direct(request))
                    .await
                    .map_err(|_| Failure::Late)??,
            };
            self.read(bucket, response).await
        };
        timeout_at(until, called)
            .await
            .unwrap_or(Err(Failure::Late))
    }

    async fn direct(&self, request: Request<'_>) -> Result<reqwest::Response, Failure> {
        let token = self.token.expose();
        let server = self.server.as_deref();
        // Its span describes the whole request too.
        let built = with_default(&Dispatch::none(), || {
            let built = request.build(&self.client, token, server);
            built.map_err(Failure::from)
        })?;
        Ok(built.send().await?)
    }

    async fn read(&self, bucket: Bucket, response: reqwest::Response) -> Result<Value, Failure> {
        let status = response.status().as_u16();
        let headers = pauses::Told::of(response.headers());
        let body = timeout(ANSWER, body(response))
            .await
            .map_err(|_| Failure::Late)??;
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        if status == 429 {
            let told = headers.with_body(json.as_ref());
            self.pauses.limited(bucket, told);
            return Err(Failure::Limited { after: told.after });
        }
        if self.server.is_some() {
            self.pauses.spent(bucket, headers);
        }
        match status {
            204 => Ok(Value::Null),
            200..=299 => json.ok_or(Failure::Garbled),
            500.. => Err(Failure::Down { status }),
            _ => {
                let code = json.as_ref().and_then(|json| json.get("code")?.as_u64());
                self.note_refusal(status, code);
                Err(Failure::Refused { status, code })
            }
        }
    }

    /// Notes a refused token; 50027 is an interaction's, which has run out.
    fn note_refusal(&self, status: u16, code: Option<u64>) {
        if status == 401 && code != Some(50027) {
            self.refused.store(true, SeqCst);
            self.refusal.notify_waiters();
        }
    }
}

async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > LARGEST {
            return Err(Failure::Garbled);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

impl From<reqwest::Error> for Failure {
    /// Keeps only what kind it is: the error itself names the URL.
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::Late
        } else if error.is_connect() {
            Self::Unreachable
        } else {
            Self::Broken
        }
    }
}

impl From<serenity::Error> for Failure {
    fn from(error: serenity::Error) -> Self {
        match error {
            serenity::Error::Http(HttpError::Request(error)) => error.into(),
            _ => Self::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A client of the real Discord's URL that cannot leave this machine.
    fn client_at_home() -> Rest {
        let mut rest = Rest::new(&DiscordConfig::new("canary.token")).unwrap();
        let nowhere = ([127, 0, 0, 1], 443).into();
        rest.client = reqwest::Client::builder()
            .resolve("discord.com", nowhere)
            .build()
            .unwrap();
        rest.limiter = Some(Ratelimiter::new(rest.client.clone(), rest.token.expose()));
        rest
    }

    #[tokio::test]
    async fn a_call_of_the_real_discord_logs_neither_texts_nor_tokens() {
        let (log, rest) = (Log::default(), client_at_home());
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
            .with_writer(move || writer.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let body = json!({"content": "canary"});
        let said = rest.create_message(7, &body, None).await;
        let acknowledged = rest.acknowledge(8, "canary", &body).await;
        tracing::info!("the end");
        drop(guard);
        assert!(said.is_err() && acknowledged.is_err());
        let text = String::from_utf8_lossy(&log.0.lock()).into_owned();
        let bytes = format!("{:?}", b"canary");
        assert!(text.contains("the end"), "nothing was logged");
        assert!(!text.contains("canary"), "{text}");
        assert!(!text.contains(bytes.trim_matches(['[', ']'])), "{text}");
    }

    #[tokio::test]
    async fn a_secure_server_is_greeted_in_tls_and_one_that_is_none_is_a_failure() {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("https://{}", server.local_addr().unwrap());
        let rest = Rest::new(&DiscordConfig::new("a").api_url(url)).unwrap();
        let answer = async {
            let (mut socket, _) = server.accept().await.unwrap();
            let mut greeting = [0; 2];
            socket.read_exact(&mut greeting).await.unwrap();
            socket.write_all(b"no TLS here\r\n").await.unwrap();
            greeting
        };
        let (called, greeting) = tokio::join!(rest.gateway_bot(), answer);
        assert_eq!(greeting, [0x16, 3]);
        assert_eq!(called.unwrap_err(), Failure::Unreachable);
    }
}
