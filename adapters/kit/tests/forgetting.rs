//! What is forgotten while an answer is under way (P14): the answer may quote it, so it is not kept.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use scrollback::{Author, Cache, Message, Origin, SledConfig};
use scrollback_kit::commands::forget_person;
use scrollback_kit::{
    Audience, Bot, BotConfig, Incoming, Limit, Outbox, Part, Reply, Request, RespondError,
    Responder, SendError, Unit,
};
use tokio::sync::Semaphore;

/// Says back all it was told, when it is let.
struct Slow {
    asked: Semaphore,
    go: Semaphore,
}

#[async_trait]
impl Responder for Slow {
    async fn respond(&self, request: Request) -> Result<Reply, RespondError> {
        self.asked.add_permits(1);
        self.go.acquire().await.unwrap().forget();
        let all = request.context.messages.iter().map(|m| m.text.as_str());
        Ok(Reply::Text(all.collect::<Vec<_>>().join(", ")))
    }
}

#[derive(Default)]
struct Sent(Mutex<Vec<String>>);

#[async_trait]
impl Outbox for Sent {
    fn limit(&self) -> Limit {
        Limit::new(2000, Unit::Chars)
    }
    async fn send(&self, part: Part<'_>) -> Result<Option<String>, SendError> {
        let mut sent = self.0.lock();
        sent.push(part.text.into());
        Ok(Some(format!("bot-{}", sent.len())))
    }
    async fn edit(&self, _: &str, _: &str) -> Result<(), SendError> {
        Ok(())
    }
    async fn send_file(
        &self,
        _: &str,
        _: Vec<u8>,
        _: Audience,
    ) -> Result<Option<String>, SendError> {
        Ok(None)
    }
}

struct World {
    bot: Bot,
    slow: Arc<Slow>,
    sent: Arc<Sent>,
    dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SledConfig::new(dir.path());
        let cache = Cache::builder().store(store).build().await.unwrap();
        let slow = Arc::new(Slow {
            asked: Semaphore::new(0),
            go: Semaphore::new(0),
        });
        let responder = Arc::clone(&slow) as Arc<dyn Responder>;
        Self {
            bot: Bot::new(cache, responder, BotConfig::default()),
            slow,
            sent: Arc::default(),
            dir,
        }
    }

    fn origin(user: &str) -> Origin {
        Origin {
            platform: "test".into(),
            bot: "b".into(),
            space: None,
            channel: "c".into(),
            thread: None,
            user: user.into(),
        }
    }

    /// Says something; it is queued when it is a question.
    async fn say(&self, user: &str, id: &str, text: &str, question: bool) {
        let message = Message::user(Author::new("test", user), text).id(id);
        let incoming = Incoming {
            addressed: question,
            ..Incoming::new(Self::origin(user), message)
        };
        let accepted = self.bot.accept(incoming).await.unwrap();
        let outbox = Arc::clone(&self.sent) as Arc<dyn Outbox>;
        self.bot.submit(accepted, outbox).unwrap();
    }

    /// Waits until a question is being answered.
    async fn asked(&self) {
        self.slow.asked.acquire().await.unwrap().forget();
    }

    /// Lets answers be given, and waits until they are kept or dropped.
    async fn answered(self, count: usize) -> Vec<String> {
        self.slow.go.add_permits(count);
        let drained = self.bot.close(Duration::from_secs(30)).await;
        assert_eq!(drained.unwrap().unanswered, 0);
        assert_eq!(self.sent.0.lock().len(), count);
        let key = self.bot.session(&Self::origin("ann")).key().clone();
        drop(self.bot);
        let store = SledConfig::new(self.dir.path()).wait_lock(Duration::from_secs(10));
        let cache = Cache::builder().store(store).build().await.unwrap();
        let all = cache.session(key).export().await.unwrap();
        all.into_iter().map(|(_, m)| m.text).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_under_way_while_a_person_is_forgotten_is_not_kept() {
    let world = World::new().await;
    world.say("bob", "1", "bob's secret", false).await;
    world.say("ann", "2", "what did bob say?", true).await;
    world.say("ann", "3", "and now?", true).await;
    world.asked().await;
    let bob = Author::new("test", "bob");
    let forgotten = forget_person(world.bot.cache(), &bob).await.unwrap();
    assert_eq!(forgotten.messages, 1);
    // The second question is asked after it, so its answer knows nothing of bob and stays.
    let kept = world.answered(2).await;
    assert_eq!(
        kept,
        [
            "what did bob say?",
            "and now?",
            "what did bob say?, and now?"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_under_way_while_its_session_is_forgotten_is_not_kept() {
    let world = World::new().await;
    world.say("ann", "1", "my secret", true).await;
    world.asked().await;
    let session = world.bot.session(&World::origin("ann"));
    assert_eq!(session.forget().await.unwrap().messages, 1);
    assert!(world.answered(1).await.is_empty());
}
