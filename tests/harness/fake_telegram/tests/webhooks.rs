//! Webhooks: what can be set, the secret, repeated deliveries, the conflict with polling.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{call, ok, refused, texts};
use crate::fake_telegram::{ConfirmedBy, FakeTelegram};

/// Reads one POST and answers it with this status line.
fn serve(listener: &TcpListener, status: &str) -> (String, Value) {
    let (mut stream, _) = listener.accept().unwrap();
    let (head, body) = read(&mut stream);
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).unwrap();
    (head, serde_json::from_str(&body).unwrap())
}

fn read(stream: &mut TcpStream) -> (String, String) {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let (_, length) = length.split_once("content-length: ").unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() >= length {
                return (head.to_owned(), body.to_owned());
            }
        }
    }
}

#[test]
fn a_failed_delivery_is_repeated_in_order_and_with_the_secret() {
    let fake = FakeTelegram::start().unwrap();
    fake.webhook_backoff(Duration::from_millis(10));
    let ann = fake.user("Ann");
    fake.say(ann, ann, "one");
    fake.say(ann, ann, "two");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let body = json!({ "url": url, "secret_token": "s3cret_-", "max_connections": 3 });
    let answer = call(&fake, "setWebhook", &body);
    assert_eq!(answer["description"], "Webhook was set");
    let (head, first) = serve(&listener, "500 Internal Server Error");
    assert!(
        head.contains("X-Telegram-Bot-Api-Secret-Token: s3cret_-"),
        "{head}"
    );
    fake.wait_for("the failure", |fake| fake.deliveries().len() == 1)
        .unwrap();
    let info = ok(&fake, "getWebhookInfo", &json!({}));
    let error = "Wrong response from the webhook: 500 Internal Server Error";
    assert_eq!(info["last_error_message"], error);
    assert_eq!(info["pending_update_count"], 2);
    assert_eq!(serve(&listener, "200 OK").1, first);
    let (_, second) = serve(&listener, "200 OK");
    assert_eq!(second["message"]["text"], "two");
    fake.wait_for("both confirmed", |fake| fake.confirmed().len() == 2)
        .unwrap();
    assert_eq!(fake.confirmed()[0].by, ConfirmedBy::Webhook);
    assert_eq!(fake.deliveries()[0].status, Some(500));
}

#[test]
fn a_webhook_and_polling_exclude_each_other() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.user("Ann");
    fake.say(ann, ann, "one");
    // Nobody listens there; the update stays.
    ok(
        &fake,
        "setWebhook",
        &json!({ "url": "http://127.0.0.1:1/" }),
    );
    assert_eq!(
        refused(&fake, "getUpdates", &json!({})),
        "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to \
         delete the webhook first"
    );
    let answer = call(&fake, "deleteWebhook", &json!({}));
    assert_eq!(answer["description"], "Webhook was deleted");
    assert_eq!(texts(&ok(&fake, "getUpdates", &json!({}))), ["one"]);
    ok(
        &fake,
        "deleteWebhook",
        &json!({ "drop_pending_updates": true }),
    );
    assert!(texts(&ok(&fake, "getUpdates", &json!({}))).is_empty());
    assert_eq!(fake.confirmed()[0].by, ConfirmedBy::Dropped);
}

#[test]
fn a_webhook_needs_https_a_known_port_and_a_clean_secret() {
    let fake = FakeTelegram::start().unwrap();
    let set = |url: &str, secret: &str| {
        refused(
            &fake,
            "setWebhook",
            &json!({ "url": url, "secret_token": secret }),
        )
    };
    assert_eq!(
        set("http://example.org/", ""),
        "Bad Request: bad webhook: HTTPS url must be provided for webhook"
    );
    assert_eq!(
        set("https://example.org:3000/", ""),
        "Bad Request: bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443"
    );
    assert_eq!(
        set("https://example.org/", "a+b"),
        "Bad Request: secret token contains unallowed characters"
    );
}
