//! One HTTP/1.1 POST over a plain connection, which the webhook's deliveries need.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long the webhook may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An address of the form `http://<ip>:<port>/<path>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    host: String,
    address: SocketAddr,
    path: String,
}

impl Target {
    pub(crate) fn of(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (host, path) = rest.split_at_checked(end)?;
        let (name, port) = host.rsplit_once(':').unwrap_or((host, "80"));
        let name = if name == "localhost" {
            "127.0.0.1"
        } else {
            name.trim_matches(['[', ']'])
        };
        let ip: IpAddr = name.parse().ok()?;
        let path = if path.is_empty() { "/" } else { path };
        Some(Self {
            host: host.to_owned(),
            address: SocketAddr::new(ip, port.parse().ok()?),
            path: path.to_owned(),
        })
    }

    pub(crate) const fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback()
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Such as `500 Internal Server Error`.
    pub(crate) reason: String,
    pub(crate) body: Vec<u8>,
}

/// Posts a JSON text. The error is worded as `last_error_message` does.
pub(crate) async fn post(url: &str, secret: Option<&str>, json: &str) -> Result<Answer, String> {
    // There is no TLS here; https addresses can be set but not reached.
    let target = Target::of(url).ok_or("SSL error {error:00000000:lib(0)::reason(0)}")?;
    tokio::time::timeout(PATIENCE, exchange(&target, secret, json))
        .await
        .map_err(|_| "Read timeout expired".to_owned())?
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "Connection refused".to_owned(),
            std::io::ErrorKind::InvalidData => "Wrong HTTP response from the webhook".to_owned(),
            _ => "Connection reset by peer".to_owned(),
        })
}

async fn exchange(target: &Target, secret: Option<&str>, json: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(target.address).await?;
    let secret = secret
        .map(|secret| format!("X-Telegram-Bot-Api-Secret-Token: {secret}\r\n"))
        .unwrap_or_default();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{secret}\
         Content-Length: {}\r\nConnection: close\r\nAccept-Encoding: gzip, deflate\r\n\r\n",
        target.path,
        target.host,
        json.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(json.as_bytes()).await?;
    stream.flush().await?;
    let mut bytes = Vec::new();
    // A reset after a whole answer does not take the answer back.
    let end = stream.read_to_end(&mut bytes).await;
    parse(&bytes).ok_or_else(|| {
        end.err()
            .unwrap_or_else(|| std::io::ErrorKind::InvalidData.into())
    })
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let (_, reason) = head.lines().next()?.split_once(' ')?;
    let status = reason.split(' ').next()?.parse().ok()?;
    Some(Answer {
        status,
        reason: reason.to_owned(),
        body: bytes.get(end + 4..)?.to_vec(),
    })
}
