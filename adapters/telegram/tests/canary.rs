//! Nothing that the bot or the libraries below it log, at any level and whatever goes wrong, shows the
//! token or anybody's words (FAULTS.md §4: canaries through the error paths at TRACE).
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use scrollback::{Cache, SledConfig};
use scrollback_kit::{Bot, BotConfig, Reply, RespondError, Responder};
use scrollback_telegram::{Telegram, TelegramConfig};
use serde_json::{Value, json};
use tokio::sync::Notify;

const TOKEN: &str = "CANARYxTOKENxAAHdqTcvCH1vGWJxfSeofSAs0K5PALD";
const TEXT: &str = "CANARYxTEXT";

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Html,
    Garbage,
    WrongType,
    Deep,
    Reset,
    Redirect,
    Refused,
    Unparseable,
    Forbidden,
    TooMany,
    Conflict,
    Revoked,
    NoSuchToken,
    Broken,
}

const FAULTS: [Fault; 14] = [
    Fault::Html,
    Fault::Garbage,
    Fault::WrongType,
    Fault::Deep,
    Fault::Reset,
    Fault::Redirect,
    Fault::Refused,
    Fault::Unparseable,
    Fault::Forbidden,
    Fault::TooMany,
    Fault::Conflict,
    Fault::Revoked,
    Fault::NoSuchToken,
    Fault::Broken,
];

/// The calls that go wrong.
const METHODS: [&str; 9] = [
    "GetMe",
    "GetWebhookInfo",
    "SetMyCommands",
    "GetUpdates",
    "GetChatMember",
    "SendMessage",
    "EditMessageText",
    "SendChatAction",
    "SendDocument",
];

/// A server whose first call of one method goes wrong.
struct Server {
    bot: u64,
    method: &'static str,
    fault: Fault,
    failed: AtomicBool,
    /// Told when all updates are confirmed.
    done: Notify,
    /// Told when the fault was answered.
    hit: Notify,
}

fn refusal(code: u16, description: &str) -> Response {
    let answer = json!({ "ok": false, "error_code": code, "description": description });
    (StatusCode::from_u16(code).unwrap(), answer.to_string()).into_response()
}

impl Fault {
    fn answer(self) -> Response {
        let quoting =
            format!("Bad Request: can't parse entities: unsupported start tag \"{TEXT}\"");
        match self {
            Self::Html => (StatusCode::BAD_GATEWAY, format!("<html>{TEXT}</html>")).into_response(),
            Self::Garbage => format!("{{{TEXT}").into_response(),
            Self::WrongType => json!({ "ok": true, "result": TEXT })
                .to_string()
                .into_response(),
            Self::Deep => "[".repeat(20_000).into_response(),
            Self::Reset => {
                let broken =
                    stream::iter([Ok(Bytes::from(TEXT)), Err(std::io::Error::other("cut"))]);
                Body::from_stream(broken).into_response()
            }
            Self::Redirect => {
                let to = format!("/bot1:{TOKEN}/elsewhere");
                (StatusCode::FOUND, [("location", to)]).into_response()
            }
            Self::Refused => refusal(400, "Bad Request: chat not found"),
            Self::Unparseable => refusal(400, &quoting),
            Self::Forbidden => refusal(403, "Forbidden: bot was blocked by the user"),
            Self::TooMany => {
                let answer = json!({
                    "ok": false, "error_code": 429, "description": "Too Many Requests: retry after 1",
                    "parameters": { "retry_after": 1 },
                });
                (StatusCode::TOO_MANY_REQUESTS, answer.to_string()).into_response()
            }
            Self::Conflict => refusal(409, "Conflict: terminated by other getUpdates request"),
            Self::Revoked => refusal(401, "Unauthorized"),
            Self::NoSuchToken => refusal(404, "Not Found"),
            Self::Broken => refusal(500, "Internal Server Error: restart"),
        }
    }
}

fn updates() -> Value {
    let now = 1_700_000_000;
    let ann = json!({ "id": 221, "is_bot": false, "first_name": TEXT });
    let private = json!({ "id": 221, "type": "private", "first_name": TEXT });
    let group = json!({ "id": -1_002, "type": "supergroup", "title": TEXT });
    let said = |id: i32, chat: &Value, text: &str| json!({ "message_id": id, "date": now, "from": ann, "chat": chat, "text": text });
    let bo = json!({ "id": 5, "is_bot": false, "first_name": "Bo" });
    let mut delete = said(13, &group, "/delete@ScrollBot");
    delete["entities"] = json!([{ "type": "bot_command", "offset": 0, "length": 17 }]);
    delete["reply_to_message"] = said(12, &group, TEXT);
    delete["reply_to_message"]["from"] = bo;
    json!([
        { "update_id": 1, "message": said(11, &private, TEXT) },
        { "update_id": 2, "message": said(12, &private, "/export") },
        { "update_id": 3, "message": delete },
        { "update_id": 4, "message": { "text": TEXT } },
        { "update_id": 5, "message": { "text": [TEXT], "message_id": TEXT } },
        { "update_id": 6, TEXT: { "text": TEXT } },
        { "text": TEXT },
        { "update_id": 7, "edited_message": said(11, &private, "CANARYxTEXT edited") },
        { "update_id": 8, "message": said(14, &private, &TEXT.repeat(10_000)) },
    ])
}

async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let method = path.rsplit('/').next().unwrap_or_default();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    if method == server.method && !server.failed.swap(true, SeqCst) {
        server.hit.notify_one();
        return server.fault.answer();
    }
    let result = match method {
        "GetMe" => {
            json!({ "id": server.bot, "is_bot": true, "first_name": "B", "username": "ScrollBot" })
        }
        "GetWebhookInfo" => json!({ "url": format!("https://h/{TEXT}") }),
        "GetUpdates" if asked["offset"].as_i64().unwrap_or(0) > 8 => {
            server.done.notify_one();
            std::future::pending().await
        }
        "GetUpdates" => updates(),
        "GetChatMember" => {
            json!({ "status": "creator", "user": { "id": 221, "is_bot": false, "first_name": TEXT }, "is_anonymous": false })
        }
        "SendMessage" | "SendDocument" => json!({ "message_id": 99, "text": TEXT }),
        _ => json!(true),
    };
    json!({ "ok": true, "result": result })
        .to_string()
        .into_response()
}

/// Streams its answer, so that it is edited.
struct Canary;

#[async_trait]
impl Responder for Canary {
    async fn respond(&self, _: scrollback_kit::Request) -> Result<Reply, RespondError> {
        // Long enough for "typing", and for the first piece to be shown before the second.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let pieces = stream::iter([TEXT, " **bold**"]).then(|piece| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(piece.to_owned())
        });
        Ok(Reply::Stream(pieces.boxed()))
    }
}

/// Everything that was logged or returned.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl log::Log for Buffer {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}\n", record.target(), record.args());
        self.0.lock().extend_from_slice(line.as_bytes());
    }
    fn flush(&self) {}
}

fn listen_to_everything() -> Buffer {
    let buffer = Buffer::default();
    let writer = buffer.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    log::set_boxed_logger(Box::new(buffer.clone())).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    buffer
}

/// Runs a bot against a server until all updates are confirmed or it gives up.
async fn run(case: usize, bot: Arc<Bot>, mut buffer: Buffer) -> bool {
    let server = Arc::new(Server {
        bot: 1000 + u64::try_from(case).unwrap(),
        method: METHODS[case % METHODS.len()],
        fault: FAULTS[case / METHODS.len()],
        failed: AtomicBool::new(false),
        done: Notify::new(),
        hit: Notify::new(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .fallback(answer)
        .with_state(Arc::clone(&server));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let config = TelegramConfig::new(format!("{}:{TOKEN}", server.bot)).api_url(url);
    write!(buffer, "{config:?}").unwrap();
    let telegram = Telegram::new(config).unwrap();
    write!(buffer, "{telegram:?}").unwrap();
    let ended = telegram.run(bot, server.done.notified()).await;
    // The answers of the last chats may still be under way.
    if ended.is_ok() {
        let hit = server.hit.notified();
        tokio::time::timeout(Duration::from_secs(10), hit)
            .await
            .ok();
    }
    if let Err(error) = &ended {
        write!(buffer, "{error} {error:?}").unwrap();
    }
    drop(serving);
    server.failed.load(SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_canary_is_logged_whatever_goes_wrong() {
    let buffer = listen_to_everything();
    let dir = tempfile::tempdir().unwrap();
    let store = SledConfig::new(dir.path().join("store"));
    let cache = Cache::builder().store(store).build().await.unwrap();
    let config = BotConfig {
        rate: None,
        answer_within: Duration::MAX,
        ..BotConfig::default()
    };
    let bot = Arc::new(Bot::new(cache, Arc::new(Canary), config));
    let cases = (0..METHODS.len() * FAULTS.len()).map(|n| run(n, Arc::clone(&bot), buffer.clone()));
    let hit = futures::future::join_all(cases).await;
    bot.close(Duration::from_secs(30)).await.unwrap();
    let missed: Vec<usize> = (0..hit.len()).filter(|n| !hit[*n]).collect();
    assert!(missed.is_empty(), "these faults were never met: {missed:?}");
    let logged = String::from_utf8_lossy(&buffer.0.lock()).into_owned();
    assert!(
        logged.contains("scrollback_telegram") && logged.contains("hyper"),
        "logging is on"
    );
    let leaks: Vec<&str> = logged
        .lines()
        .filter(|line| line.contains("CANARY"))
        .collect();
    assert!(
        leaks.is_empty(),
        "{} leaks, such as {:?}",
        leaks.len(),
        leaks.iter().take(3)
    );
}
