//! A raw client: one HTTP request on one connection, and a gateway connection frame by frame.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use flate2::read::ZlibDecoder;
use flate2::{Decompress, FlushDecompress};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::fake_discord::{FakeDiscord, intent};

pub(super) const ALL: u64 =
    intent::GUILDS | intent::GUILD_MESSAGES | intent::DIRECT_MESSAGES | intent::MESSAGE_CONTENT;

/// An answer; a connection that ended without one has status 0.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Got {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(super) fn code(&self) -> u64 {
        self.json()["code"].as_u64().unwrap()
    }
}

pub(super) fn call(fake: &FakeDiscord, method: &str, path: &str, body: &Value) -> Got {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let token = format!("Bot {}", fake.token());
    raw(fake, method, path, &token, "application/json", &body)
}

pub(super) fn raw(
    fake: &FakeDiscord,
    method: &str,
    path: &str,
    token: &str,
    kind: &str,
    body: &str,
) -> Got {
    let host = fake.url().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let long = body.len();
    let head = format!(
        "{method} /api/v10{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {token}\r\n\
         content-type: {kind}\r\ncontent-length: {long}\r\nconnection: close\r\n\r\n{body}"
    );
    // A connection may be cut at any point; what came before it is what counts.
    let _ = stream.write_all(head.as_bytes());
    let mut all = String::new();
    let _ = stream.read_to_string(&mut all);
    let Some((head, body)) = all.split_once("\r\n\r\n") else {
        return Got::default();
    };
    Got {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

pub(super) struct Gateway {
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
    stream: Option<Decompress>,
    pub(super) seq: u64,
    /// The last frame was compressed.
    pub(super) binary: bool,
}

impl Gateway {
    /// Connects and takes HELLO.
    pub(super) async fn connect(fake: &FakeDiscord) -> Self {
        Self::connect_with(fake, None).await
    }

    /// Connects with one zlib stream for all payloads.
    pub(super) async fn connect_streamed(fake: &FakeDiscord) -> Self {
        Self::connect_with(fake, Some(Decompress::new(true))).await
    }

    async fn connect_with(fake: &FakeDiscord, stream: Option<Decompress>) -> Self {
        let asked = stream.as_ref().map_or("", |_| "&compress=zlib-stream");
        let url = format!("{}/?v=10&encoding=json{asked}", fake.gateway_url());
        let (socket, _) = connect_async(url).await.unwrap();
        let mut new = Self {
            socket,
            stream,
            seq: 0,
            binary: false,
        };
        let hello = new.next().await.unwrap();
        assert_eq!(hello["op"], 10);
        assert!(hello["d"]["heartbeat_interval"].is_u64());
        new
    }

    /// Connects and identifies; returns READY's data.
    pub(super) async fn ready(fake: &FakeDiscord, intents: u64) -> (Self, Value) {
        let mut new = Self::connect(fake).await;
        new.send(&identify(fake.token(), intents)).await;
        let ready = new.event("READY").await;
        (new, ready)
    }

    pub(super) async fn resume(fake: &FakeDiscord, session: &Value, seq: u64) -> Self {
        let mut new = Self::connect(fake).await;
        let token = format!("Bot {}", fake.token());
        let data = json!({"token": token, "session_id": session, "seq": seq});
        new.send(&json!({"op": 6, "d": data})).await;
        new
    }

    pub(super) async fn send(&mut self, payload: &Value) {
        self.say(&payload.to_string()).await;
    }

    pub(super) async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next payload, or the close code; 0 for a connection cut without one.
    pub(super) async fn next(&mut self) -> Result<Value, u16> {
        let wait = tokio::time::timeout(Duration::from_secs(10), self.socket.next());
        let text = match wait.await.expect("nothing came") {
            Some(Ok(Message::Text(text))) => {
                self.binary = false;
                text.to_string()
            }
            Some(Ok(Message::Binary(bytes))) => {
                self.binary = true;
                let mut text = String::new();
                if let Some(stream) = &mut self.stream {
                    assert!(bytes.ends_with(&[0, 0, 0xff, 0xff]));
                    let mut out = Vec::with_capacity(100_000);
                    let flush = FlushDecompress::Sync;
                    stream.decompress_vec(&bytes, &mut out, flush).unwrap();
                    let payload: Value = serde_json::from_slice(&out).unwrap();
                    return Ok(payload);
                }
                ZlibDecoder::new(&bytes[..])
                    .read_to_string(&mut text)
                    .unwrap();
                text
            }
            Some(Ok(Message::Close(frame))) => return Err(frame.map_or(0, |f| f.code.into())),
            _ => return Err(0),
        };
        let payload: Value = serde_json::from_str(&text).unwrap();
        if let Some(seq) = payload["s"].as_u64() {
            self.seq = seq;
        }
        Ok(payload)
    }

    /// Waits for an event by name; returns its data.
    pub(super) async fn event(&mut self, name: &str) -> Value {
        loop {
            let payload = self.next().await.unwrap();
            if payload["t"] == name {
                return payload["d"].clone();
            }
        }
    }

    /// The code with which the connection is closed, whatever comes before.
    pub(super) async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }
}

pub(super) fn identify(token: &str, intents: u64) -> Value {
    json!({"op": 2, "d": {
        "token": token, "intents": intents, "compress": true, "shard": [0, 1],
        "properties": {"os": "linux", "browser": "raw", "device": "raw"},
    }})
}
