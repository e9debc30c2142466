//! Whom the bot answers, where, and what it then knows: private chats, groups, topics, commands.

use std::time::Duration;

use harness::fake_telegram::{Draft, Role};
use scrollback::{Role as Speaker, Scope};
use scrollback_kit::BotConfig;
use serde_json::json;

use super::{Ear, World, quick};

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_what_is_meant_for_it_and_knows_what_it_overheard() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    fake.reads_all_group_messages(true);
    let ear = Ear::echo();
    let running = world.start(&ear).await?;
    let (ann, bo) = (fake.user("Ann"), fake.user("Bo"));
    let cats = fake.group("Cats", &[ann, bo]);
    fake.say(cats, ann, "Mog ate my shoe");
    let asked = fake.say(cats, bo, &world.calling("what did Mog eat?"));
    let sent = fake.until_sent(1).await?;
    assert_eq!((sent[0].chat, sent[0].reply_to), (cats, Some(asked)));
    let called = world.calling("what did Mog eat?");
    assert_eq!(
        ear.last(),
        ["Ann: Mog ate my shoe".to_owned(), format!("Bo: {called}")]
    );

    running.kept(world.group_key(cats), 3).await?;
    fake.say(cats, ann, "both of them");
    let first = sent[0].message_id;
    fake.reply_to(cats, bo, first, "both?");
    let sent = fake.until_sent(2).await?;
    assert_eq!(sent[1].text, "re: both?");
    let heard = ear.last();
    let quiet = called.replace('@', "@\u{200b}");
    assert_eq!(
        heard[2],
        format!("bot: re: {quiet}"),
        "what was said, as it was said"
    );
    assert_eq!(heard[3..], ["Ann: both of them", "Bo: both?"]);
    let replied = ear.heard()[1].message.reply_to.clone();
    assert_eq!(replied, Some(first.to_string()));

    let chat = fake.private(ann);
    fake.say(chat, ann, "hello");
    let sent = fake.until_sent(3).await?;
    assert_eq!((sent[2].chat, sent[2].reply_to), (chat, None));
    assert_eq!(ear.last(), ["Ann: hello"]);
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_conversations_of_their_own() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let ear = Ear::echo();
    let running = world.start(&ear).await?;
    let ann = fake.user("Ann");
    let forum = fake.forum("Pets", &[ann]);
    // The number 1 is the topic General's.
    fake.say(forum, ann, "the first message");
    let (cats, dogs) = (fake.topic(forum, "Cats"), fake.topic(forum, "Dogs"));
    fake.say_in_topic(forum, cats, ann, &world.calling("Mog"));
    fake.say_in_topic(forum, dogs, ann, &world.calling("Rex"));
    fake.say(forum, ann, &world.calling("all"));
    let mut sent = fake.until_sent(3).await?;
    sent.sort_by_key(|one| one.text.clone());
    let threads: Vec<_> = sent.iter().map(|one| one.thread).collect();
    assert_eq!(threads, [Some(cats), Some(dogs), None]);
    for heard in ear.heard() {
        assert_eq!(heard.context.len(), 1, "{heard:?}");
    }
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bots_are_not_answered_but_known() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let ear = Ear::echo();
    let running = world.start(&ear).await?;
    let ann = fake.user("Ann");
    let other = fake.person(harness::fake_telegram::Person {
        first_name: "Robo".into(),
        username: Some("robo_bot".into()),
        is_bot: true,
        ..Default::default()
    });
    let cats = fake.supergroup("Cats", &[ann, other]);
    fake.say(cats, other, &world.calling("let us talk for ever"));
    fake.say(cats, other, &format!("/help@{}", fake.bot_username()));
    let anonymous = Draft {
        as_group: true,
        ..Draft::text(world.calling("what was that?"))
    };
    fake.post(cats, ann, &anonymous);
    let sent = fake.until_sent(1).await?;
    let known = ear.last();
    assert_eq!(
        known[0],
        format!("Robo: {}", world.calling("let us talk for ever"))
    );
    assert!(known.last().unwrap().starts_with("Cats: "), "{known:?}");
    assert!(sent[0].text.contains("what was that?"));
    running.stop().await?;
    assert_eq!(fake.sent().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_known_by_reference() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let ear = Ear::echo();
    let running = world.start(&ear).await?;
    let ann = fake.user("Ann");
    fake.photo(ann, ann, "my cat");
    fake.document(ann, ann, "cat.pdf", "her papers");
    fake.until_sent(2).await?;
    let heard = ear.heard();
    let photo = &heard[0].message.attachments[0];
    assert_eq!(photo.size, Some(71_044), "the largest");
    let document = &heard[1].message.attachments[0];
    assert_eq!(document.name.as_deref(), Some("cat.pdf"));
    assert_eq!(heard[1].context.last().unwrap(), "Ann: her papers");
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_offered_and_understood() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let ear = Ear::echo();
    let running = world.start(&ear).await?;
    let offered = fake.commands(&json!({ "type": "default" }), "").unwrap();
    assert_eq!(offered.as_array().unwrap().len(), 7);
    let ann = fake.user("Ann");
    fake.say(ann, ann, "my cat is Mog");
    running.kept(world.private_key(ann), 2).await?;
    fake.say(ann, ann, "/reset");
    let sent = fake.until_sent(2).await?;
    assert!(sent[1].text.contains("afresh"), "{}", sent[1].text);
    fake.say(ann, ann, "what is my cat?");
    fake.until_sent(3).await?;
    assert_eq!(ear.last(), ["Ann: what is my cat?"]);
    let cats = fake.supergroup("Cats", &[ann]);
    fake.say(cats, ann, &format!("/help@{}", fake.bot_username()));
    let sent = fake.until_sent(4).await?;
    assert!(sent[3].chat == cats && sent[3].text.contains("/forget"));
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_the_asker_alone_goes_to_their_private_chat() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    fake.reads_all_group_messages(true);
    let running = world.start(&Ear::echo()).await?;
    let (ann, bo) = (fake.user("Ann"), fake.user("Bo"));
    let cats = fake.supergroup("Cats", &[ann, bo]);
    fake.say(cats, ann, "my cat is Mog");
    let export = format!("/export@{}", fake.bot_username());
    let asked = fake.say(cats, ann, &export);
    let told = fake.until_sent(1).await?;
    assert_eq!((told[0].chat, told[0].reply_to), (cats, Some(asked)));
    assert!(
        told[0].text.contains("open a chat with me"),
        "{}",
        told[0].text
    );
    assert!(!told[0].text.contains("Mog") && fake.documents().is_empty());

    fake.say(ann, ann, "/start");
    fake.until_sent(2).await?;
    fake.say(cats, ann, &export);
    fake.until("the export is sent", |fake| !fake.documents().is_empty())
        .await?;
    let file = &fake.documents()[0];
    assert_eq!((file.chat, file.file_name.as_str()), (ann, "export.jsonl"));
    let lines = String::from_utf8(file.bytes.to_vec())?;
    assert!(lines.contains("my cat is Mog"), "{lines}");
    fake.say(cats, ann, &format!("/history@{}", fake.bot_username()));
    let sent = fake.until_sent(4).await?;
    assert!(sent[3].chat == ann && sent[3].text.contains("Ann: my cat is Mog"));
    running.stop().await?;
    assert_eq!(fake.sent_in(cats).len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_removed_by_who_wrote_it_or_may_moderate() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    fake.reads_all_group_messages(true);
    let running = world.start(&Ear::echo()).await?;
    let [owner, ann, bo] = ["Olga", "Ann", "Bo"].map(|name| fake.user(name));
    let cats = fake.supergroup("Cats", &[owner, ann, bo]);
    for user in [owner, ann, bo] {
        let _ = fake.private(user);
    }
    let ids = ["one", "two", "three"].map(|text| fake.say(cats, ann, text));
    let delete = format!("/delete@{}", fake.bot_username());
    fake.reply_to(cats, bo, ids[0], &delete);
    let sent = fake.until_sent(1).await?;
    assert!(
        sent[0].chat == bo && sent[0].text.contains("Only who wrote"),
        "{sent:?}"
    );
    fake.reply_to(cats, ann, ids[0], &delete);
    fake.until_sent(2).await?;
    assert!(
        fake.calls_of("GetChatMember").len() == 1,
        "asked only where it matters"
    );
    fake.reply_to(cats, owner, ids[1], &delete);
    fake.until_sent(3).await?;
    fake.set_role(cats, bo, Role::Administrator);
    fake.reply_to(cats, bo, ids[2], &delete);
    fake.until_sent(4).await?;
    assert!(running.history(world.group_key(cats)).await?.is_empty());
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_persons_session_over_all_chats_keeps_every_answer() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let ear = Ear::echo();
    let config = BotConfig {
        scopes: Scope::User.into(),
        ..quick()
    };
    let running = world.start_with(&ear, world.config(), config).await?;
    let ann = fake.user("Ann");
    let key = scrollback::SessionKey::new("telegram", fake.bot_id()).user(ann);
    // Supergroups number their messages each from 1, so the bot's ids in them are the same.
    let groups = ["a", "b"].map(|name| fake.supergroup(name, &[ann]));
    for (n, group) in groups.into_iter().enumerate() {
        fake.say(group, ann, &world.calling("hi"));
        fake.until_sent(n + 1).await?;
        running.kept(key.clone(), (n + 1) * 2).await?;
    }
    let ids: Vec<_> = fake.sent().iter().map(|one| one.message_id).collect();
    assert_eq!(ids[0], ids[1]);
    fake.say(ann, ann, "and here");
    fake.until_sent(3).await?;
    assert_eq!(
        ear.last()
            .iter()
            .filter(|line| line.starts_with("bot: "))
            .count(),
        2
    );
    running.stop().await?;
    let cache = world.cache().await?;
    let kept = cache.session(key).export().await?;
    let said = kept
        .iter()
        .filter(|(_, m)| m.role == Speaker::Assistant)
        .count();
    assert_eq!(said, 3);
    cache.close(Duration::from_secs(5)).await?;
    Ok(())
}
