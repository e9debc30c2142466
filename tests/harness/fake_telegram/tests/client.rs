//! A small client over plain connections.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::fake_telegram::FakeTelegram;

/// Opens a connection and sends a call on it.
pub(crate) fn begin(fake: &FakeTelegram, method: &str, kind: &str, body: &[u8]) -> TcpStream {
    let address = fake.url();
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let head = format!(
        "POST /bot{}/{method} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n",
        fake.token(),
        body.len()
    );
    // A server that cuts connections may have done so before the call is written.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
    stream
}

/// Status and body of the answer; `None` when the connection ended without one.
pub(crate) fn end(mut stream: TcpStream) -> Option<(u16, String)> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Calls a method with a JSON body.
pub(crate) fn call(fake: &FakeTelegram, method: &str, body: &Value) -> Value {
    let stream = begin(
        fake,
        method,
        "application/json",
        body.to_string().as_bytes(),
    );
    let (_, body) = end(stream).unwrap();
    serde_json::from_str(&body).unwrap()
}

/// The result of a call that must succeed.
pub(crate) fn ok(fake: &FakeTelegram, method: &str, body: &Value) -> Value {
    let answer = call(fake, method, body);
    assert_eq!(answer["ok"], true, "{answer}");
    answer["result"].clone()
}

/// The description of a call that must be refused.
pub(crate) fn refused(fake: &FakeTelegram, method: &str, body: &Value) -> String {
    let answer = call(fake, method, body);
    assert_eq!(answer["ok"], false, "{answer}");
    answer["description"].as_str().unwrap().to_owned()
}

/// The texts of an answer to getUpdates.
pub(crate) fn texts(updates: &Value) -> Vec<String> {
    let text = |update: &Value| update["message"]["text"].as_str().unwrap_or("-").to_owned();
    updates.as_array().unwrap().iter().map(text).collect()
}
