//! What answers look like: long ones in parts with code fences kept, Markdown as HTML, and no pings
//! (FAULTS.md §4).

use harness::fake_telegram::{Failure, SentMessage};
use scrollback_kit::Pings;
use serde_json::Value;

use super::{Ear, World, quick};

fn kinds(sent: &SentMessage) -> Vec<&str> {
    sent.entities
        .iter()
        .filter_map(|e| e["type"].as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_reply_comes_in_parts_with_its_code_kept() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let code: Vec<String> = (0..400)
        .map(|n| format!("let x{n} = \"<{n}> & 😀\";"))
        .collect();
    let reply = format!(
        "Here you go:\n```rust\n{}\n```\nThat is **all**.",
        code.join("\n")
    );
    let running = world.start(&Ear::saying(move |_| reply.clone())).await?;
    let ann = fake.user("Ann");
    fake.say(ann, ann, "code, please");
    fake.until("the reply is whole", |fake| {
        fake.sent()
            .last()
            .is_some_and(|one| one.text.ends_with("That is all."))
    })
    .await?;
    let sent = fake.sent();
    assert!(sent.len() >= 3, "{}", sent.len());
    let mut lines = Vec::new();
    for part in &sent {
        assert!(part.text.encode_utf16().count() <= 4096);
        let pre = part.entities.iter().find(|e| e["type"] == "pre");
        assert_eq!(
            pre.map(|e| &e["language"]),
            Some(&Value::from("rust")),
            "{part:?}"
        );
        lines.extend(
            part.text
                .lines()
                .filter(|l| l.starts_with("let "))
                .map(str::to_owned),
        );
    }
    assert_eq!(lines, code);
    assert!(kinds(sent.last().unwrap()).contains(&"bold"));
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_telegram_cannot_parse_is_sent_plain() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let running = world
        .start(&Ear::saying(|_| "a **b** `@ann_user`".into()))
        .await?;
    let ann = fake.user("Ann");
    let why = "Bad Request: can't parse entities: Unsupported start tag \"x\" at byte offset 0";
    fake.say(ann, ann, "one");
    fake.until_sent(1).await?;
    fake.fail_next("SendMessage", 1, Failure::Refused(400, why.into()));
    fake.say(ann, ann, "two");
    let sent = fake.until_sent(2).await?;
    assert_eq!(sent[0].text, "a b @ann_user");
    assert_eq!(kinds(&sent[0]), ["bold", "code"]);
    assert_eq!(sent[1].text, "a **b** `@\u{200b}ann_user`");
    assert!(sent.iter().all(|one| !one.mentions));
    running.stop().await?;
    Ok(())
}

/// Pieces that may ping, alone or together.
const HOSTILE: [&str; 28] = [
    "@ann_user",
    "@everyone",
    "@here",
    "@channel",
    "@ann_user@bo_user",
    "<@7100000001>",
    "[Ann](tg://user?id=7100000001)",
    "<a href=\"tg://user?id=7100000001\">Ann</a>",
    "tg://user?id=7100000001",
    "https://t.me/ann_user",
    "**@ann_user**",
    "**@**ann_user",
    "__@ann_user__",
    "`@`ann_user",
    "`@ann_user",
    "```\n@ann_user",
    "~~~\n@ann_user\n~~~\n",
    "@\u{200d}ann_user",
    "\u{202e}@ann_user",
    "@\u{202e}ann_user",
    "\u{200b}@ann_user",
    "@\rann_user",
    "&#64;ann_user",
    "&commat;ann_user",
    "&lt;@ann_user&gt;",
    "a@ann_user",
    "é@ann_user",
    "||@ann_user||",
];

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_hostile_texts_ping_nobody() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let text = |n: usize| {
        let at = |k: usize| HOSTILE[(n * (k + 1) + n / HOSTILE.len() * k) % HOSTILE.len()];
        let sep = ["", " ", "\n", "**", "`", "."][n % 6];
        format!("{n}{sep}{}{sep}{}{sep}{}", at(0), at(1), at(2))
    };
    let ear = Ear::saying(move |asked| text(asked.parse().unwrap_or_default()));
    let running = world.start(&ear).await?;
    let users: Vec<i64> = ["Ann", "Bo", "Cy", "Di", "Ed"]
        .map(|name| fake.user(name))
        .into();
    for n in 0..300 {
        let user = users[n % users.len()];
        fake.say(user, user, &n.to_string());
        if n % 100 == 99 {
            fake.until_sent(n + 1).await?;
        }
    }
    let sent = fake.until_sent(300).await?;
    for one in &sent {
        let named = kinds(one)
            .iter()
            .any(|kind| ["mention", "text_mention"].contains(kind));
        assert!(!one.mentions && !named, "{one:?}");
        let shown = one.text.replace('\u{200b}', "");
        assert!(shown.starts_with(|c: char| c.is_ascii_digit()), "{one:?}");
    }
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_that_are_allowed_come_through() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let pings = Pings {
        users: true,
        ..Pings::default()
    };
    let ear = Ear::saying(|_| "ask @bo_user".into());
    let running = world
        .start_with(&ear, world.config().pings(pings), quick())
        .await?;
    let (ann, _) = (fake.user("Ann"), fake.user("Bo"));
    fake.say(ann, ann, "who?");
    let sent = fake.until_sent(1).await?;
    assert!(sent[0].mentions);
    running.stop().await?;
    Ok(())
}
