//! The whole flow on a real cache (in-process hot tier, sled): recall, order, duplicates (P9), commands,
//! forget and export (P14), close (P12).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use scrollback::{Author, Cache, Message, Origin, Page, Role, Scope, SledConfig};
use scrollback_kit::{
    Audience, Bot, BotConfig, ExportLine, Incoming, Limit, Outbox, Part, Recall, Reply, Request,
    RespondError, Responder, SendError, Unit,
};

#[derive(Default)]
struct Seen {
    texts: Mutex<Vec<(String, Audience)>>,
    files: Mutex<Vec<(String, Vec<u8>, Audience)>>,
}

#[async_trait]
impl Outbox for Seen {
    fn limit(&self) -> Limit {
        Limit::new(2000, Unit::Chars)
    }
    async fn send(&self, part: Part<'_>) -> Result<Option<String>, SendError> {
        let mut texts = self.texts.lock();
        texts.push((part.text.into(), part.audience));
        Ok(Some(format!("bot-{}", texts.len())))
    }
    async fn edit(&self, _: &str, _: &str) -> Result<(), SendError> {
        Ok(())
    }
    async fn send_file(
        &self,
        name: &str,
        bytes: Vec<u8>,
        audience: Audience,
    ) -> Result<Option<String>, SendError> {
        self.files.lock().push((name.into(), bytes, audience));
        Ok(None)
    }
}

struct World {
    bot: Bot,
    outbox: Arc<Seen>,
    private: bool,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new(private: bool, responder: Arc<dyn Responder>) -> Self {
        let config = BotConfig {
            rate: None,
            ..BotConfig::default()
        };
        Self::with(private, responder, config).await
    }

    async fn with(private: bool, responder: Arc<dyn Responder>, config: BotConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SledConfig::new(dir.path());
        let cache = Cache::builder().store(store).build().await.unwrap();
        Self {
            bot: Bot::new(cache, responder, config),
            outbox: Arc::default(),
            private,
            _dir: dir,
        }
    }

    async fn recall(private: bool) -> Self {
        Self::new(private, Arc::new(Recall::default())).await
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

    fn incoming(&self, user: &str, id: &str, text: &str, addressed: bool) -> Incoming {
        let author = Author::new("test", user).named(user);
        let message = Message::user(author, text);
        let message = if id.is_empty() {
            message
        } else {
            message.id(id)
        };
        Incoming {
            addressed,
            private: self.private,
            ..Incoming::new(Self::origin(user), message)
        }
    }

    /// What is answered to a text, joined.
    async fn say(&self, user: &str, text: &str) -> String {
        self.say_as(self.incoming(user, "", text, true)).await
    }

    async fn say_as(&self, incoming: Incoming) -> String {
        let before = self.outbox.texts.lock().len();
        let accepted = self.bot.accept(incoming).await.unwrap();
        self.bot.handle(accepted, self.outbox.as_ref()).await;
        let texts = self.outbox.texts.lock();
        texts[before..].iter().map(|(t, _)| t.as_str()).collect()
    }

    async fn history(&self) -> Vec<Message> {
        let page = Page {
            before: None,
            limit: 100,
        };
        let session = self.bot.session(&Self::origin("ann"));
        session
            .history(page)
            .await
            .unwrap()
            .into_iter()
            .map(|(_, m)| m)
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_is_recalled_and_nothing_else() {
    let world = World::recall(true).await;
    assert_eq!(world.say("ann", "my cat is called Mog").await, "Noted.");
    assert_eq!(world.say("ann", "my dog is called Rex").await, "Noted.");
    let answer = world.say("ann", "what is my cat called?").await;
    assert!(answer.starts_with("You said on ") && answer.ends_with("my cat is called Mog"));
    let nothing = world.say("ann", "what is my hamster called?").await;
    assert_eq!(nothing, "Nothing was said here about that.");
    let roles: Vec<Role> = world.history().await.iter().map(|m| m.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant].repeat(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_beyond_the_window_and_many_pages_is_recalled() {
    let world = World::recall(true).await;
    world.say("ann", "the wifi password is swordfish").await;
    for n in 0..1200 {
        let noise = world.incoming("ann", "", &format!("ticket {n} is closed"), false);
        world.bot.accept(noise).await.unwrap();
    }
    assert!(
        world
            .say("ann", "what is the wifi password?")
            .await
            .ends_with("swordfish")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_message_is_neither_kept_nor_answered_twice() {
    let world = World::recall(true).await;
    assert_eq!(
        world.say_as(world.incoming("ann", "m1", "hi", true)).await,
        "Noted."
    );
    let again = world
        .bot
        .accept(world.incoming("ann", "m1", "hi", true))
        .await
        .unwrap();
    assert!(again.duplicate() && !again.needs_answer());
    assert_eq!(
        world.say_as(world.incoming("ann", "m1", "hi", true)).await,
        ""
    );
    let history = world.history().await;
    assert_eq!(history.len(), 2);
    assert_eq!(history[1].id.as_deref(), Some("bot-1"));
    assert_eq!(history[1].reply_to.as_deref(), Some("m1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overheard_message_is_kept_and_commands_are_not() {
    let world = World::recall(false).await;
    for (text, addressed) in [
        ("the shop opens at ten", false),
        ("/help", true),
        ("/help@x", true),
    ] {
        world
            .say_as(world.incoming("ann", "", text, addressed))
            .await;
    }
    assert_eq!(world.history().await.len(), 1);
    let answer = world.say("bob", "when does the shop open?").await;
    assert!(
        answer.starts_with("ann said on ") && answer.ends_with("ten"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_keeps_the_history_and_empties_the_context() {
    let world = World::recall(true).await;
    world.say("ann", "my cat is called Mog").await;
    assert!(world.say("ann", "/reset").await.contains("afresh"));
    let session = world.bot.session(&World::origin("ann"));
    assert!(session.context().await.unwrap().messages.is_empty());
    assert!(
        world
            .say("ann", "what is my cat called?")
            .await
            .contains("Mog")
    );
    let shown = world.say("ann", "/history 3").await;
    assert_eq!(shown.lines().count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn export_hands_the_asker_alone_their_own_words_alone() {
    let world = World::recall(false).await;
    world
        .say_as(world.incoming("ann", "m1", "I like tea", true))
        .await;
    world.say("bob", "I like coffee").await;
    world.say("ann", "/export").await;
    let files = world.outbox.files.lock();
    let (_, bytes, audience) = &files[0];
    assert_eq!(*audience, Audience::Asker);
    let lines: Vec<ExportLine> = std::str::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (lines[0].id.as_str(), lines[0].text.as_str()),
        ("m1", "I like tea")
    );
    assert_eq!(lines[0].session, "test/b/channel=c");
}

#[tokio::test(flavor = "multi_thread")]
async fn forget_asks_first_and_then_leaves_nothing_readable() {
    for private in [true, false] {
        let world = World::recall(private).await;
        world.say("bob", "my dog is called Rex").await;
        world.say("ann", "my cat is called Mog").await;
        assert!(
            world
                .say("ann", "what is my cat called?")
                .await
                .contains("Mog")
        );
        assert!(
            world
                .say("bob", "what is Ann's cat called?")
                .await
                .contains("Mog")
        );
        assert!(world.say("ann", "/forget").await.contains("/forget yes"));
        assert!(
            world
                .say("ann", "what is my cat called?")
                .await
                .contains("Mog")
        );
        assert!(
            world
                .say("ann", "/forget yes")
                .await
                .starts_with("Forgotten: ")
        );
        let left = world.history().await;
        assert!(
            left.iter().all(|m| !m.text.contains("Mog")),
            "private: {private}"
        );
        assert_eq!(left.iter().any(|m| m.text.contains("Rex")), !private);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_and_help_are_answered() {
    let world = World::recall(true).await;
    world.say("ann", "hi").await;
    assert!(
        world
            .say("ann", "/stats")
            .await
            .contains("2 messages of this conversation")
    );
    assert!(world.say("ann", "/help").await.contains("/forget"));
    assert!(
        world
            .say("ann", "/dance")
            .await
            .starts_with("Unknown command")
    );
}

struct Broken;

#[async_trait]
impl Responder for Broken {
    async fn respond(&self, _: Request) -> Result<Reply, RespondError> {
        panic!("on purpose")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_responder_loses_no_message() {
    let world = World::new(true, Arc::new(Broken)).await;
    assert!(world.say("ann", "hi").await.starts_with("Sorry"));
    assert_eq!(world.history().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_answers_what_is_queued_and_refuses_what_comes_after() {
    let world = World::recall(true).await;
    let outbox: Arc<dyn Outbox> = Arc::clone(&world.outbox) as _;
    for n in 0..20 {
        let incoming = world.incoming("ann", &format!("m{n}"), "hello there", true);
        let accepted = world.bot.accept(incoming).await.unwrap();
        world.bot.submit(accepted, Arc::clone(&outbox)).unwrap();
    }
    let closed = world.bot.close(Duration::from_secs(20)).await.unwrap();
    assert_eq!((closed.unanswered, closed.cache.left), (0, 0));
    assert_eq!(world.outbox.texts.lock().len(), 20);
    let late = world
        .bot
        .accept(world.incoming("ann", "late", "x", true))
        .await;
    assert!(matches!(late, Err(scrollback::Error::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_command_is_not_run_again() {
    let world = World::recall(true).await;
    world.say("ann", "my cat is called Mog").await;
    let reset = || world.incoming("ann", "m2", "/reset", true);
    assert!(world.say_as(reset()).await.contains("start afresh"));
    world.say("ann", "my dog is called Rex").await;
    assert_eq!(world.say_as(reset()).await, "");
    let session = world.bot.session(&World::origin("ann"));
    let context = session.context().await.unwrap().messages;
    assert_eq!(context[0].text, "my dog is called Rex");
}

/// Says the same long text to everything.
struct Long;

#[async_trait]
impl Responder for Long {
    async fn respond(&self, _: Request) -> Result<Reply, RespondError> {
        Ok(Reply::Text("word ".repeat(1000)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_several_messages_is_kept_as_each_of_them() {
    let world = World::new(true, Arc::new(Long)).await;
    let said = world.say_as(world.incoming("ann", "m1", "hi", true)).await;
    let kept = world.history().await;
    let ids: Vec<_> = kept[1..].iter().filter_map(|m| m.id.as_deref()).collect();
    assert_eq!(ids, ["bot-1", "bot-2", "bot-3"]);
    assert!(
        kept[1..]
            .iter()
            .all(|m| m.reply_to.as_deref() == Some("m1"))
    );
    let texts: String = kept[1..].iter().map(|m| m.text.as_str()).collect();
    assert_eq!(texts, said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_removed_by_who_wrote_it_or_a_moderator_and_by_nobody_else() {
    let world = World::recall(false).await;
    world
        .say_as(world.incoming("ann", "m1", "my cat is called Mog", true))
        .await;
    let delete = |user: &str, target: &str, moderator: bool| {
        let mut incoming = world.incoming(user, "", "/delete", true);
        incoming.message.reply_to = Some(target.into());
        incoming.moderator = moderator;
        world.say_as(incoming)
    };
    assert!(delete("bob", "m1", false).await.contains("Only who wrote"));
    assert!(
        delete("bob", "bot-1", false)
            .await
            .contains("Only who wrote")
    );
    assert!(delete("bob", "m7", true).await.contains("do not have"));
    assert_eq!(world.history().await.len(), 2);
    assert_eq!(
        delete("ann", "bot-1", false).await,
        "Removed from my memory."
    );
    assert_eq!(delete("bob", "m1", true).await, "Removed from my memory.");
    assert!(world.history().await.is_empty());
    let no_reply = world.incoming("ann", "", "/delete", true);
    assert!(world.say_as(no_reply).await.contains("as a reply"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_denied_is_neither_kept_nor_answered_and_who_is_too_fast_is_kept() {
    let mut config = BotConfig::default();
    config.access.deny.push("test:user=eve".parse().unwrap());
    let world = World::with(false, Arc::new(Recall::default()), config).await;
    assert_eq!(world.say("eve", "let me in").await, "");
    assert_eq!(world.say("eve", "/stats").await, "");
    assert!(world.history().await.is_empty());
    for _ in 0..5 {
        assert_eq!(world.say("ann", "on and on").await, "Noted.");
    }
    assert!(world.say("ann", "and on").await.contains("faster than"));
    assert_eq!(world.say("ann", "and on").await, "");
    let said = world.history().await;
    let by_ann = said.iter().filter(|m| m.author.is_some()).count();
    assert_eq!(by_ann, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_over_two_chats_keeps_their_messages_apart() {
    let config = BotConfig {
        scopes: Scope::User.into(),
        ..BotConfig::default()
    };
    let world = World::with(true, Arc::new(Recall::default()), config).await;
    let mut other = world.incoming("ann", "1", "in the other chat", false);
    other.origin.channel = "d".into();
    let origin = other.origin.clone();
    world
        .say_as(world.incoming("ann", "1", "here", false))
        .await;
    world.say_as(other).await;
    assert_eq!(world.history().await.len(), 2);
    world.bot.edit(&origin, "1", "edited", 9).await.unwrap();
    let texts = |m: Vec<Message>| m.into_iter().map(|m| m.text).collect::<Vec<_>>();
    assert_eq!(texts(world.history().await), ["here", "edited"]);
    world.bot.delete(&origin, "1").await.unwrap();
    assert_eq!(texts(world.history().await), ["here"]);
    world.say("ann", "hello").await;
    let answer = world.history().await.pop().unwrap();
    assert_eq!(answer.id.as_deref(), Some("c:bot-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_finds_its_message_when_the_platform_does_not_say_whose_it_was() {
    for scope in [Scope::Channel, Scope::UserInChannel, Scope::User] {
        let config = BotConfig {
            scopes: scope.into(),
            ..BotConfig::default()
        };
        let world = World::with(false, Arc::new(Recall::default()), config).await;
        for (user, id) in [("ann", "m1"), ("bob", "m2")] {
            let said = world.incoming(user, id, "my cat is called Mog", false);
            world.bot.accept(said).await.unwrap();
        }
        let nobody = World::origin("");
        world.bot.edit(&nobody, "m2", "edited", 7).await.unwrap();
        world.bot.delete(&nobody, "m1").await.unwrap();
        let ann = world.bot.session(&World::origin("ann"));
        let bob = world.bot.session(&World::origin("bob"));
        let texts =
            |all: Vec<(_, Message)>| all.into_iter().map(|(_, m)| m.text).collect::<Vec<_>>();
        let kept = if scope == Scope::Channel {
            vec!["edited".to_owned()]
        } else {
            vec![]
        };
        assert_eq!(texts(ann.export().await.unwrap()), kept, "{scope:?}");
        assert_eq!(texts(bob.export().await.unwrap()), ["edited"], "{scope:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_long_ago_is_kept_and_not_answered_but_its_commands_are_run() {
    let world = World::recall(true).await;
    let mut old = world.incoming("ann", "m1", "what is my cat called?", true);
    old.message.at_ms = 1_700_000_000_000;
    assert_eq!(world.say_as(old).await, "");
    assert_eq!(world.history().await.len(), 1);
    let mut command = world.incoming("ann", "m2", "/forget yes", true);
    command.message.at_ms = 1_700_000_000_000;
    assert!(world.say_as(command).await.starts_with("Forgotten: "));
    assert!(world.history().await.is_empty());
}
