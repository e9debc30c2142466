//! One WebSocket of the gateway: frames in and out.
//!
//! Invariants: a frame is bounded, compressed or not; what cannot be read is told, never logged.

use std::io::Read as _;
use std::time::Duration;

use flate2::read::ZlibDecoder;
use futures::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// The largest frame: the greatest guilds are a few MiB.
const LARGEST: usize = 64 << 20;
/// How long opening, writing and closing may take.
const OPEN: Duration = Duration::from_secs(10);
const WRITE: Duration = Duration::from_secs(10);
const CLOSE: Duration = Duration::from_secs(1);

/// What comes in.
#[derive(Debug)]
pub(super) enum Arrived {
    /// A frame of the gateway's protocol.
    Frame(Frame),
    /// A message that is no such frame.
    Unreadable,
    /// The other side closed, perhaps with a code.
    Closed(Option<u16>),
    /// The connection broke.
    Broken,
}

/// A frame of the gateway's protocol.
#[derive(Debug, Deserialize)]
pub(super) struct Frame {
    pub(super) op: u8,
    #[serde(default)]
    pub(super) s: Option<u64>,
    #[serde(default)]
    pub(super) t: Option<String>,
    #[serde(default)]
    pub(super) d: Value,
}

#[derive(Debug)]
pub(super) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// Why there is no socket, in words without a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unopened {
    #[error("the gateway did not answer in time")]
    Late,
    #[error("the gateway cannot be reached")]
    Unreachable,
}

impl Socket {
    pub(super) async fn open(base: &str) -> Result<Self, Unopened> {
        let config = WebSocketConfig {
            max_message_size: Some(LARGEST),
            max_frame_size: Some(LARGEST),
            ..WebSocketConfig::default()
        };
        let opening = connect_async_with_config(address(base), Some(config), true);
        match timeout(OPEN, opening).await {
            Ok(Ok((socket, _))) => Ok(Self(socket)),
            Ok(Err(_)) => Err(Unopened::Unreachable),
            Err(_) => Err(Unopened::Late),
        }
    }

    /// The next thing that comes in; dropping the call loses nothing.
    pub(super) async fn next(&mut self) -> Arrived {
        loop {
            let message = match self.0.next().await {
                Some(Ok(message)) => message,
                Some(Err(_)) | None => return Arrived::Broken,
            };
            let frame = match message {
                Message::Text(text) => plain(text.as_bytes()),
                Message::Binary(bytes) => inflate(&bytes),
                Message::Close(frame) => return Arrived::Closed(frame.map(|f| f.code.into())),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            return frame.map_or(Arrived::Unreadable, Arrived::Frame);
        }
    }

    /// Writes a frame; false when the connection does not take it.
    pub(super) async fn send(&mut self, frame: &Value) -> bool {
        let sent = timeout(WRITE, self.0.send(Message::Text(frame.to_string()))).await;
        matches!(sent, Ok(Ok(())))
    }

    /// Says goodbye, without waiting long for an answer.
    pub(super) async fn close(mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        let goodbye = async {
            if self.0.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.0.next().await {}
            }
        };
        let _ = timeout(CLOSE, goodbye).await;
    }
}

/// The gateway's URL with the version and encoding that are spoken here.
fn address(base: &str) -> String {
    let base = base.split(['?', '#']).next().unwrap_or_default();
    let has_path = base
        .split_once("://")
        .is_some_and(|(_, rest)| rest.contains('/'));
    let slash = if has_path { "" } else { "/" };
    format!("{base}{slash}?v=10&encoding=json")
}

pub(super) fn plain(text: &[u8]) -> Option<Frame> {
    serde_json::from_slice(text).ok()
}

fn inflate(bytes: &[u8]) -> Option<Frame> {
    let limit = u64::try_from(LARGEST).unwrap_or(u64::MAX);
    let mut text = Vec::new();
    let read = ZlibDecoder::new(bytes).take(limit).read_to_end(&mut text);
    read.ok().and_then(|_| plain(&text))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_secure_gateway_is_greeted_in_tls_and_one_that_is_none_does_not_open() {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("wss://{}", server.local_addr().unwrap());
        let answer = async {
            let (mut socket, _) = server.accept().await.unwrap();
            let mut greeting = [0; 2];
            socket.read_exact(&mut greeting).await.unwrap();
            socket.write_all(b"no TLS here\r\n").await.unwrap();
            greeting
        };
        let (opened, greeting) = tokio::join!(Socket::open(&url), answer);
        assert_eq!(greeting, [0x16, 3]);
        assert_eq!(opened.unwrap_err(), Unopened::Unreachable);
    }

    #[test]
    fn the_version_is_asked_for_whatever_the_url_looks_like() {
        for (base, address_of) in [
            (
                "wss://gateway.discord.gg",
                "wss://gateway.discord.gg/?v=10&encoding=json",
            ),
            (
                "wss://gateway.discord.gg/",
                "wss://gateway.discord.gg/?v=10&encoding=json",
            ),
            (
                "ws://127.0.0.1:1/gw?x=1",
                "ws://127.0.0.1:1/gw?v=10&encoding=json",
            ),
        ] {
            assert_eq!(address(base), address_of);
        }
    }

    #[test]
    fn a_compressed_frame_is_read_and_garbage_is_none() {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder
            .write_all(br#"{"op":0,"s":7,"t":"X","d":{"a":1}}"#)
            .unwrap();
        let whole = encoder.finish().unwrap();
        let frame = inflate(&whole).unwrap();
        assert_eq!(
            (frame.op, frame.s, frame.t.as_deref()),
            (0, Some(7), Some("X"))
        );
        assert!(inflate(&whole[..whole.len() / 2]).is_none());
        assert!(inflate(b"not zlib").is_none());
    }
}
