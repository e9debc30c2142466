//! Updates by webhook: only from Telegram, answered 200 only when safe (P9), bounded against strangers (P11).

use std::net::SocketAddr;
use std::time::Duration;

use harness::world::World as Lab;
use scrollback_kit::Secret;
use scrollback_telegram::{Error, Webhook};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Ear, Running, World, quick};

const SECRET: &str = "a-secret_of_the_test";

fn hook() -> anyhow::Result<Webhook> {
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    Ok(Webhook {
        listen: free,
        secret: Some(Secret::new(SECRET)),
        ..Webhook::new(format!("http://{free}/telegram/hook"))
    })
}

/// Sends bytes and returns the status that comes back; `None` when the connection is closed without one.
async fn status_of(at: SocketAddr, request: &[u8]) -> anyhow::Result<Option<u16>> {
    let mut stream = TcpStream::connect(at).await?;
    // The server may answer and close before all is written.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read =
        tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await?;
    drop(read);
    let head = String::from_utf8_lossy(&answer);
    Ok(head.split(' ').nth(1).and_then(|code| code.parse().ok()))
}

fn post(path: &str, secret: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         X-Telegram-Bot-Api-Secret-Token: {secret}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn telegram_delivers_in_order_and_a_polling_bot_takes_over() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let ear = Ear::echo();
    let config = world.config().webhook(Webhook {
        secret: None,
        ..hook()?
    });
    let running = world.start_with(&ear, config, quick()).await?;
    let (ann, bo) = (fake.user("Ann"), fake.user("Bo"));
    for n in 0..10 {
        fake.say(ann, ann, &format!("a{n}"));
        fake.say(bo, bo, &format!("b{n}"));
    }
    fake.until_sent(20).await?;
    let texts: Vec<String> = fake.sent_in(ann).into_iter().map(|one| one.text).collect();
    let expected: Vec<String> = (0..10).map(|n| format!("re: a{n}")).collect();
    assert_eq!(texts, expected);
    let set = &fake.calls_of("SetWebhook")[0].body;
    assert_eq!(set["max_connections"], 1);
    assert_eq!(set["secret_token"].as_str().map(str::len), Some(64));
    running.stop().await?;

    let running = world.start(&ear).await?;
    assert_eq!(fake.calls_of("DeleteWebhook").len(), 1);
    fake.say(ann, ann, "polled");
    let sent = fake.until_sent(21).await?;
    assert_eq!(sent[20].text, "re: polled");
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_safe_is_delivered_again() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    fake.webhook_backoff(Duration::from_millis(50));
    let lab = Lab::in_memory();
    let config = world.config().webhook(hook()?);
    let running = Running::start(lab.cache("bot").await, &Ear::echo(), config, quick())?;
    fake.until("the webhook is set", |fake| {
        !fake.calls_of("SetWebhook").is_empty()
    })
    .await?;
    lab.store.set_away(true);
    let ann = fake.user("Ann");
    fake.say(ann, ann, "one");
    fake.until("it was refused twice", |fake| {
        let refused = fake.deliveries();
        refused.iter().filter(|one| one.status == Some(503)).count() >= 2
    })
    .await?;
    assert!(fake.confirmed().is_empty());
    lab.store.set_away(false);
    fake.until_sent(1).await?;
    fake.until("it is confirmed", |fake| fake.pending().is_empty())
        .await?;
    running.kept(world.private_key(ann), 2).await?;
    assert_eq!(
        running.history(world.private_key(ann)).await?,
        ["Ann: one", "bot: re: one"]
    );
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_whose_caller_hangs_up_is_answered_all_the_same() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let lab = Lab::in_memory();
    let (hook, path) = (hook()?, "/telegram/hook");
    let at = hook.listen;
    let config = world.config().webhook(hook);
    let running = Running::start(lab.cache("bot").await, &Ear::echo(), config, quick())?;
    fake.until("the webhook is set", |fake| {
        !fake.calls_of("SetWebhook").is_empty()
    })
    .await?;
    let ann = fake.private(fake.user("Ann"));
    let update = json!({ "update_id": 1, "message": {
        "message_id": 1, "date": jiff::Timestamp::now().as_second(), "text": "one",
        "chat": { "id": ann, "type": "private", "first_name": "Ann" },
        "from": { "id": ann, "is_bot": false, "first_name": "Ann" },
    }});
    let delivery = post(path, SECRET, &update.to_string());
    let mut held = lab.hot.hold_next_append();
    let mut caller = TcpStream::connect(at).await?;
    caller.write_all(&delivery).await?;
    held.arrived().await;
    drop(caller);
    let again = tokio::spawn(async move { status_of(at, &delivery).await });
    // Time for the server to see that its caller is gone.
    tokio::time::sleep(Duration::from_millis(300)).await;
    held.go();
    assert_eq!(again.await??, Some(200));
    let sent = fake.until_sent(1).await?;
    assert_eq!(sent[0].text, "re: one");
    running.stop().await?;
    assert_eq!(fake.sent().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_nowhere() -> anyhow::Result<()> {
    let world = World::new()?;
    let hook = hook()?;
    let (at, ear) = (hook.listen, Ear::echo());
    let running = world
        .start_with(&ear, world.config().webhook(hook), quick())
        .await?;
    let path = "/telegram/hook";
    let forged = json!({ "update_id": 1, "message": {
        "message_id": 1, "date": 1, "text": "forged", "chat": { "id": 5, "type": "private" },
        "from": { "id": 5, "is_bot": false, "first_name": "Eve" },
    }})
    .to_string();
    for secret in [
        "",
        "wrong",
        SECRET.trim_start_matches('a'),
        &format!("{SECRET}x"),
        &SECRET.to_uppercase(),
    ] {
        assert_eq!(
            status_of(at, &post(path, secret, &forged)).await?,
            Some(401),
            "{secret}"
        );
    }
    assert_eq!(status_of(at, &post("/", SECRET, &forged)).await?, Some(404));
    let get = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(status_of(at, get.as_bytes()).await?, Some(405));
    let big = format!("{{\"update_id\":1,\"x\":\"{}\"}}", "y".repeat(1 << 20));
    assert_eq!(status_of(at, &post(path, SECRET, &big)).await?, Some(413));
    for broken in ["", "{", "[]", "null", "{\"update_id\":7}"] {
        assert_eq!(
            status_of(at, &post(path, SECRET, broken)).await?,
            Some(200),
            "{broken}"
        );
    }
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(16 << 10));
    assert!(matches!(
        status_of(at, long.as_bytes()).await?,
        None | Some(400 | 431)
    ));
    assert!(matches!(
        status_of(at, b"\x16\x03\x01 hello\r\n\r\n").await?,
        None | Some(400)
    ));
    assert!(ear.heard().is_empty());
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_idle_connections_is_waited_out() -> anyhow::Result<()> {
    let world = World::new()?;
    let hook = hook()?;
    let at = hook.listen;
    let running = world
        .start_with(&Ear::echo(), world.config().webhook(hook), quick())
        .await?;
    let mut crowd = Vec::new();
    for _ in 0..80 {
        crowd.push(TcpStream::connect(at).await?);
    }
    // All places are taken; they are free again when the idle ones have had their time.
    let body = "{\"update_id\":7}";
    let answered = status_of(at, &post("/telegram/hook", SECRET, body)).await?;
    assert_eq!(answered, Some(200));
    drop(crowd);
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_address_and_a_revoked_token_are_told() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut config = hook()?;
    config.listen = taken.local_addr()?;
    let config = world.config().webhook(config);
    let running = Running::start(world.cache().await?, &Ear::echo(), config, quick())?;
    let error = running.ended().await?.unwrap_err();
    assert!(error.to_string().contains("listen"), "{error}");

    let running = world
        .start_with(&Ear::echo(), world.config().webhook(hook()?), quick())
        .await?;
    let ann = fake.user("Ann");
    fake.revoke();
    fake.say(ann, ann, "anybody there?");
    let error = running.ended().await?.unwrap_err();
    assert!(matches!(error, Error::Unauthorized), "{error}");
    Ok(())
}
