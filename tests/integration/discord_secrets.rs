//! What a Discord bot logs: kinds, ids and codes; no text, no token. FAULTS.md §4.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use harness::fake_discord::{Failure, permission};
use parking_lot::Mutex;
use scrollback_discord::{Discord, DiscordConfig};
use scrollback_kit::{Reply, RespondError};
use serde_json::json;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::discord_stage::{Running, Scripted, Stage, quick};

/// What was logged.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

const CANARY: &str = "CANARYTEXT";

/// What requests meet.
fn failures() -> Vec<Failure> {
    let retry_after = Duration::from_millis(20);
    let global = false;
    vec![
        Failure::LostReply,
        Failure::LostRequest,
        Failure::Html(502),
        Failure::Garbage,
        Failure::status(400),
        Failure::status(500),
        Failure::RateLimited {
            retry_after,
            global,
        },
        Failure::Api {
            status: 403,
            code: 50001,
            message: CANARY,
        },
        Failure::Api {
            status: 418,
            code: 7,
            message: CANARY,
        },
    ]
}

/// Everything that can go wrong, with a canary in every text.
async fn misfortunes(stage: &Stage) {
    let (fake, channel) = (&stage.fake, stage.channel);
    let responder = Scripted::new(|request| match request.message.text.len() % 3 {
        0 => Reply::Text(format!("{CANARY} {}", request.message.text)),
        1 => Reply::Stream(Box::pin(futures::stream::iter([
            Ok(CANARY.to_owned()),
            Err(RespondError::failed("it broke")),
        ]))),
        _ => Reply::None,
    });
    let bot = stage.run(responder).await;
    let say = |n: usize| {
        fake.say(
            channel,
            stage.ann,
            &format!("{} {CANARY} {}", stage.me(), "x".repeat(n)),
        )
    };
    for (n, failure) in failures().into_iter().enumerate() {
        fake.fail_next("POST /channels/*/messages", 1, failure);
        let id = say(3 * n);
        say(3 * n + 1);
        fake.edit(channel, id, &format!("{CANARY} edited"));
    }
    let broken = json!({"guild_id": stage.guild.to_string(), "channel_id": channel.to_string(), "content": [CANARY]});
    fake.send_raw_event("MESSAGE_CREATE", broken);
    fake.send_raw_event("MESSAGE_UPDATE", json!({"content": CANARY}));
    fake.send_raw_event(
        "INTERACTION_CREATE",
        json!({"token": CANARY, "data": CANARY}),
    );
    fake.until("commands are there", |fake| {
        !fake.registered_commands().is_empty()
    })
    .await
    .unwrap();
    fake.fail_next("POST /interactions/**", 1, Failure::status(404));
    let id = fake.interact(channel, stage.ann, "history", &json!({}));
    let token = fake.interaction_token(id).unwrap();
    fake.interact(channel, stage.ann, "export", &json!({}));
    fake.deny(channel, permission::SEND_MESSAGES);
    say(30);
    fake.drop_connections();
    say(31);
    fake.lose_session();
    fake.fail_next("GET /channels/*/messages", 1, Failure::Html(500));
    say(32);
    fake.until("it is back", |fake| fake.identifies() == 2)
        .await
        .unwrap();
    stage.connected().await;
    let written = format!(
        "{:?} {:?} {:?}",
        bot.bot,
        stage.config(),
        Discord::new(stage.config())
    );
    assert!(
        !written.contains(CANARY) && !written.contains(stage.fake.token()),
        "{written}"
    );
    bot.close().await;
    TOKENS.lock().push(token);
}

/// Tokens of interactions, which are secrets too.
static TOKENS: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[tokio::test]
async fn nothing_logs_a_text_or_a_token() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("trace"))
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let stage = Stage::new();
    let guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    misfortunes(&stage).await;
    let wrong = DiscordConfig::new(format!("{CANARY}.token")).api_url(stage.fake.url());
    let discord = Discord::new(wrong).unwrap();
    let mut refused = Running::start(discord, stage.cache().await, Scripted::echo(), quick());
    let error = refused.ended().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(CANARY));
    drop(guard);
    let text = log.text();
    assert!(
        text.lines().count() > 20,
        "hardly anything was logged:\n{text}"
    );
    assert!(
        text.contains("scrollback_discord"),
        "nothing of ours was logged:\n{text}"
    );
    let secrets = [CANARY.to_owned(), stage.fake.token().to_owned()];
    for secret in secrets.iter().chain(TOKENS.lock().iter()) {
        let shown: Vec<&str> = text.lines().filter(|line| line.contains(secret)).collect();
        assert!(shown.is_empty(), "{secret} in:\n{}", shown.join("\n"));
    }
}
