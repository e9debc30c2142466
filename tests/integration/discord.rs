//! A Discord bot in ordinary times: whom it answers, what it keeps, in which order. P1, P9, P13.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use harness::fake_discord::Post;
use scrollback::{Role, Scope, SessionKey};
use scrollback_kit::{Reply, split};
use serde_json::json;

use crate::discord_stage::{Scripted, Stage, author, quick, scoped, texts};

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_mentions_replies_and_private_chats_and_only_listens_otherwise() {
    let stage = Stage::new();
    let (fake, channel, ann) = (&stage.fake, stage.channel, stage.ann);
    let bot = stage.echo().await;
    fake.say(channel, ann, "just talking");
    let asked = fake.say(channel, ann, &format!("{} hello", stage.me()));
    let answered = stage.said(channel, 1).await;
    assert_eq!(answered, ["re: @Scrollback hello"]);
    let answer = fake.sent_in(channel).remove(0);
    assert_eq!(
        (answer.reference, answer.enforce_nonce),
        (Some(asked), true)
    );
    // The answer is noted once Discord has taken it; who replies within that moment comes before it.
    let so_far = ["just talking", "@Scrollback hello", "re: @Scrollback hello"];
    bot.reads(&stage.key(channel), &so_far).await;
    fake.reply(channel, ann, answer.id, "and you?");
    assert_eq!(stage.said(channel, 2).await[1], "re: and you?");
    let private = fake.dm(stage.bob);
    fake.say(private, stage.bob, "psst");
    assert_eq!(stage.said(private, 1).await, ["re: psst"]);
    let wanted = [
        "just talking",
        "@Scrollback hello",
        "re: @Scrollback hello",
        "and you?",
        "re: and you?",
    ];
    bot.reads(&stage.key(channel), &wanted).await;
    let kept = bot.history(&stage.key(channel)).await;
    assert_eq!(kept[2].id.as_deref(), Some(answer.id.to_string().as_str()));
    assert_eq!((kept[2].role, kept[1].role), (Role::Assistant, Role::User));
    assert_eq!(
        kept[2].reply_to.as_deref(),
        Some(asked.to_string().as_str())
    );
    let said_by = kept[0].author.as_ref().unwrap();
    assert!(said_by.same(&author(ann)) && said_by.name.as_deref() == Some("Ann"));
    let private_key = SessionKey::new("discord", fake.bot_id()).channel(private);
    bot.reads(&private_key, &["psst", "re: psst"]).await;
    assert!(fake.pings().is_empty());
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bots_and_webhooks_are_heard_and_not_answered_and_notices_are_not_heard() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let bot = stage.echo().await;
    let other = fake.other_bot("Other");
    let call = format!("{} hello", stage.me());
    fake.say(channel, other, &call);
    fake.post(channel, stage.ann, &Post::new(&call).by_webhook());
    fake.post(channel, stage.ann, &Post::new("").kind(7));
    fake.post(channel, stage.ann, &Post::new(&call).kind(6));
    fake.say(channel, stage.ann, &format!("{} last", stage.me()));
    assert_eq!(stage.said(channel, 1).await, ["re: @Scrollback last"]);
    let heard = [
        "@Scrollback hello",
        "@Scrollback hello",
        "@Scrollback last",
        "re: @Scrollback last",
    ];
    bot.reads(&stage.key(channel), &heard).await;
    bot.close().await;
    assert_eq!(fake.sent().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_and_forum_posts_are_conversations_of_their_own() {
    let stage = Stage::new();
    let (fake, channel, ann) = (&stage.fake, stage.channel, stage.ann);
    let bot = stage.echo().await;
    let start = fake.say(channel, ann, "let us talk about cats");
    let thread = fake.thread(channel, ann, "cats", Some(start));
    fake.say(thread, ann, &format!("{} in the thread", stage.me()));
    assert_eq!(
        stage.said(thread, 1).await,
        ["re: @Scrollback in the thread"]
    );
    let forum = fake.forum(stage.guild, "help");
    let post = fake.forum_post(forum, ann, "a question", &format!("{} why?", stage.me()));
    assert_eq!(stage.said(post, 1).await, ["re: @Scrollback why?"]);
    bot.reads(&stage.key(channel), &["let us talk about cats"])
        .await;
    let key = |channel: u64, thread: u64| stage.key(channel).thread(thread);
    let in_thread = ["@Scrollback in the thread", "re: @Scrollback in the thread"];
    bot.reads(&key(channel, thread), &in_thread).await;
    bot.reads(
        &key(forum, post),
        &["@Scrollback why?", "re: @Scrollback why?"],
    )
    .await;
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_deletions_are_in_the_next_context_hot_and_cold() {
    let stage = Stage::new();
    let (fake, channel, ann) = (&stage.fake, stage.channel, stage.ann);
    let responder = Scripted::new(|_| Reply::None);
    let bot = stage.run(responder.clone()).await;
    let ids: Vec<u64> = (0..6)
        .map(|n| fake.say(channel, ann, &format!("m{n}")))
        .collect();
    fake.edit(channel, ids[0], "m0, edited");
    fake.unfurl(channel, ids[1], "https://example.org");
    fake.delete(channel, ids[2]);
    fake.bulk_delete(channel, &ids[3..5]);
    let ask = || fake.say(channel, ann, &format!("{} ?", stage.me()));
    let first = ask();
    let left = ["m0, edited", "m1", "m5", "@Scrollback ?"];
    bot.reads(&stage.key(channel), &left).await;
    harness::world::until("asked", async || responder.contexts().len() == 1).await;
    assert_eq!(responder.last_context(), left);
    bot.close().await;

    let responder = Scripted::new(|_| Reply::None);
    let bot = stage.run(responder.clone()).await;
    fake.delete(channel, first);
    fake.edit(channel, ids[1], "m1, edited cold");
    ask();
    harness::world::until("asked", async || responder.contexts().len() == 1).await;
    assert_eq!(
        responder.last_context(),
        ["m0, edited", "m1, edited cold", "m5", "@Scrollback ?"]
    );
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_finds_its_message_whatever_tells_sessions_apart() {
    for scope in [Scope::UserInChannel, Scope::User] {
        let stage = Stage::new();
        let (fake, channel) = (&stage.fake, stage.channel);
        let bot = stage
            .run_on(stage.cache().await, Scripted::echo(), scoped(scope))
            .await;
        let of_ann = fake.say(channel, stage.ann, "by Ann");
        fake.say(channel, stage.bob, "by Bob");
        let key = |user: u64| match scope {
            Scope::User => SessionKey::new("discord", fake.bot_id()).user(user),
            _ => stage.key(channel).user(user),
        };
        bot.holds(&key(stage.ann), 1).await;
        bot.holds(&key(stage.bob), 1).await;
        fake.delete(channel, of_ann);
        bot.reads(&key(stage.ann), &[]).await;
        bot.reads(&key(stage.bob), &["by Bob"]).await;
        bot.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_channel_keeps_its_order_under_load_and_duplicates_change_nothing() {
    let stage = Stage::new();
    let fake = &stage.fake;
    let channels: Vec<u64> = (0..20)
        .map(|n| fake.text_channel(stage.guild, &format!("c{n}")))
        .collect();
    let bot = stage.echo().await;
    fake.duplicate(10, 7);
    let mut said: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for n in 0..2000_usize {
        let channel = channels[(n * 7) % channels.len()];
        let text = format!("m{n}");
        fake.say(
            channel,
            if n % 2 == 0 { stage.ann } else { stage.bob },
            &text,
        );
        said.entry(channel).or_default().push(text);
    }
    for (channel, wanted) in said {
        let kept = bot.holds(&stage.key(channel), wanted.len()).await;
        assert_eq!(texts(&kept), wanted);
    }
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_reply_grows_by_edits_and_is_kept_once() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let responder = Scripted::new(|_| {
        let words = ["one ", "two ", "three ", "four"].map(|word| Ok(word.to_owned()));
        Reply::Stream(
            stream::iter(words)
                .then(|word| async {
                    tokio::time::sleep(Duration::from_millis(120)).await;
                    word
                })
                .boxed(),
        )
    });
    let bot = stage.run(responder).await;
    fake.say(channel, stage.ann, &format!("{} count", stage.me()));
    let whole = "one two three four";
    bot.reads(&stage.key(channel), &["@Scrollback count", whole])
        .await;
    let sent = fake.sent_in(channel);
    assert_eq!((sent.len(), sent[0].text()), (1, whole));
    assert!(!sent[0].edits.is_empty(), "it did not grow");
    // Its echoes have all come by when a later message has.
    fake.say(channel, stage.ann, "later");
    bot.reads(&stage.key(channel), &["@Scrollback count", whole, "later"])
        .await;
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_reply_is_split_and_its_code_fence_goes_on() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let code: String = (0..300).map(|n| format!("let line_{n} = {n};\n")).collect();
    let long = format!("Look:\n```rust\n{code}```\nThat is all.");
    let text = long.clone();
    let bot = stage
        .run(Scripted::new(move |_| Reply::Text(text.clone())))
        .await;
    fake.say(channel, stage.ann, &format!("{} code", stage.me()));
    let parts = split(
        &long,
        scrollback_kit::Limit::new(2000, scrollback_kit::Unit::Chars),
    );
    assert!(parts.len() > 2);
    let said = stage.said(channel, parts.len()).await;
    let trimmed = |texts: &[String]| {
        texts
            .iter()
            .map(|t| t.trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(trimmed(&said), trimmed(&parts));
    for part in &said {
        assert!(part.chars().count() <= 2000);
        assert_eq!(part.matches("```").count() % 2, 0, "a fence is left open");
    }
    bot.holds(&stage.key(channel), parts.len() + 1).await;
    bot.close().await;
}

/// What stands around a ping; `X` is where.
const FRAMES: &str = r"X|X X X|**X**|`X`|> X|[X](https://example.org)|\X|# X|-# X|<X>|(X|_X_|~~X~~|a@X|@X
    |X@|é X|1. X|* X|<<X>>|X:smile:|<#1>X|<:a:1>X|<t:1:R>X|</a:1>X|𝕏 X|🦀X|%X%|&X;|X!|!X|$X|{X}|[X]|/X|=X=
    |+X|^X|X?|X X|- X|X.|X,|'X'|X/X";
/// The same with what is not seen, or is more than one line.
const UNSEEN: [&str; 8] = [
    "```\nX\n```",
    "\u{202e}X",
    "\u{200b}X",
    "X\u{200d}",
    "\nX\n",
    "\u{2066}X\u{2069}",
    "\u{feff}X",
    "X\r\n",
];

/// Texts that would ping somebody, or try to.
fn hostile(user: u64, role: u64) -> Vec<String> {
    let pings = [
        "@everyone".to_owned(),
        "@here".to_owned(),
        format!("<@{user}>"),
        format!("<@!{user}>"),
        format!("<@&{role}>"),
        "<@&0>".to_owned(),
    ];
    let frames = FRAMES.split('|').map(str::trim).chain(UNSEEN);
    let all = frames.flat_map(|frame| pings.iter().map(|ping| frame.replace('X', ping)));
    all.take(300).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_hostile_texts_ping_nobody() {
    let stage = Stage::new();
    let (fake, channel) = (&stage.fake, stage.channel);
    let role = fake.role(stage.guild, "everybody", true);
    let texts = hostile(stage.bob, role);
    assert_eq!(texts.len(), 300);
    let script = texts.clone();
    let responder = Scripted::new(move |request| {
        let n: usize = request
            .message
            .text
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let text = script[n].clone();
        if n.is_multiple_of(10) {
            // Half of it first, the rest by an edit.
            let cut = text.floor_char_boundary(text.len() / 2);
            let (first, rest) = text.split_at(cut);
            let halves = [first.to_owned(), rest.to_owned()].map(Ok);
            let slowly = stream::iter(halves).then(|half| async {
                tokio::time::sleep(Duration::from_millis(80)).await;
                half
            });
            return Reply::Stream(slowly.boxed());
        }
        Reply::Text(text)
    });
    let config = scrollback_kit::BotConfig {
        limits: scrollback_kit::DispatchLimits {
            per_session: 1000,
            total: 1000,
        },
        ..quick()
    };
    let bot = stage.run_on(stage.cache().await, responder, config).await;
    for n in 0..texts.len() {
        fake.say(channel, stage.ann, &format!("{} {n}", stage.me()));
    }
    fake.until("all are answered", |fake| {
        fake.sent_in(channel).len() == texts.len()
    })
    .await
    .unwrap();
    bot.close().await;
    assert_eq!(fake.pings(), []);
    let forbidden = json!({"parse": [], "replied_user": false});
    assert!(
        fake.sent()
            .iter()
            .all(|sent| sent.allowed_mentions.as_ref() == Some(&forbidden))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_shards_share_the_guilds() {
    let stage = Stage::new();
    let fake = &stage.fake;
    let second = fake.guild("Other garden");
    let elsewhere = fake.text_channel(second, "general");
    let two = std::num::NonZeroU32::new(2).unwrap();
    let discord = scrollback_discord::Discord::new(stage.config().shards(two)).unwrap();
    let cache = stage.cache().await;
    let bot = crate::discord_stage::Running::start(discord, cache, Scripted::echo(), quick());
    fake.until("both shards are there", |fake| fake.connected() == 2)
        .await
        .unwrap();
    for channel in [stage.channel, elsewhere] {
        fake.say(channel, stage.ann, &format!("{} hello", stage.me()));
        assert_eq!(stage.said(channel, 1).await, ["re: @Scrollback hello"]);
    }
    bot.close().await;
}
