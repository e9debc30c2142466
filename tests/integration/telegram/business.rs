//! Business accounts: customers are answered, the owner is overheard, deletions are applied (P13), and these
//! chats are apart from the bot's own (P15).

use scrollback::Scope;
use scrollback_kit::BotConfig;
use serde_json::Value;

use super::{Ear, World, quick};

#[tokio::test(flavor = "multi_thread")]
async fn customers_are_answered_and_the_owner_is_overheard() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let ear = Ear::echo();
    let running = world.start(&ear).await?;
    let (olga, bo) = (fake.user("Olga"), fake.user("Bo"));
    let shop = fake.business_connection(olga);
    fake.business_owner_says(&shop, bo, "your order is ready");
    fake.business_message(&shop, bo, "when do you open?");
    let sent = fake.until_sent(1).await?;
    assert_eq!(
        (sent[0].chat, sent[0].business_connection.as_ref()),
        (bo, Some(&shop))
    );
    assert_eq!(
        ear.last(),
        ["Olga: your order is ready", "Bo: when do you open?"]
    );
    fake.say(bo, bo, "hello");
    let sent = fake.until_sent(2).await?;
    assert_eq!(sent[1].business_connection, None);
    assert_eq!(
        ear.last(),
        ["Bo: hello"],
        "the private chat is another session"
    );

    fake.disconnect_business(&shop);
    fake.business_message(&shop, bo, "are you there?");
    fake.say(bo, bo, "and you?");
    fake.until_sent(3).await?;
    running.stop().await?;
    assert_eq!(fake.sent().len(), 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_customer_said_elsewhere_is_not_shown_to_the_owner() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let running = world.start(&Ear::echo()).await?;
    let (olga, bo) = (fake.user("Olga"), fake.user("Bo"));
    let shop = fake.business_connection(olga);
    fake.say(bo, bo, "between you and me");
    fake.until_sent(1).await?;
    fake.business_message(&shop, bo, "/export");
    fake.until("the export is sent", |fake| !fake.documents().is_empty())
        .await?;
    let to = fake.calls_of("SendDocument")[0].body.clone();
    assert_eq!(
        (fake.documents()[0].chat, &to["business_connection_id"]),
        (bo, &Value::Null)
    );
    running.stop().await?;

    let world = World::new()?;
    let fake = &world.fake;
    let running = world.start(&Ear::echo()).await?;
    let (olga, cy) = (fake.user("Olga"), fake.user("Cy"));
    let shop = fake.business_connection(olga);
    fake.business_message(&shop, cy, "hello");
    fake.until_sent(1).await?;
    fake.business_message(&shop, cy, "/export");
    let told = fake.until_sent(2).await?;
    assert_eq!(told[1].business_connection.as_ref(), Some(&shop));
    assert!(told[1].text.contains("open a chat with me"), "{told:?}");
    running.stop().await?;
    assert!(fake.documents().is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_and_edited_messages_are_so_in_the_next_context_hot_and_cold() -> anyhow::Result<()>
{
    let world = World::new()?;
    let fake = &world.fake;
    let ear = Ear::echo();
    let running = world.start(&ear).await?;
    let (olga, bo) = (fake.user("Olga"), fake.user("Bo"));
    let shop = fake.business_connection(olga);
    let ids = ["one", "two", "three"].map(|text| fake.business_owner_says(&shop, bo, text));
    fake.delete_business_messages(&shop, bo, &ids[..1]);
    fake.edit_business(&shop, bo, ids[1], "two!");
    fake.business_message(&shop, bo, "and?");
    fake.until_sent(1).await?;
    assert_eq!(ear.last(), ["Olga: two!", "Olga: three", "Bo: and?"]);
    fake.delete_business_messages(&shop, bo, &ids);
    running.stop().await?;

    // The connection is not told again: it is asked for.
    let running = world.start(&ear).await?;
    fake.business_message(&shop, bo, "and now?");
    fake.until_sent(2).await?;
    assert_eq!(ear.last(), ["Bo: and?", "bot: re: and?", "Bo: and now?"]);
    running.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_chat_stays_apart_where_sessions_are_a_persons() -> anyhow::Result<()> {
    let world = World::new()?;
    let fake = &world.fake;
    let ear = Ear::echo();
    let config = BotConfig {
        scopes: Scope::User.into(),
        ..quick()
    };
    let running = world.start_with(&ear, world.config(), config).await?;
    let (olga, bo) = (fake.user("Olga"), fake.user("Bo"));
    let shop = fake.business_connection(olga);
    fake.business_owner_says(&shop, bo, "a word between us");
    fake.say(bo, bo, "hello");
    fake.until_sent(1).await?;
    assert_eq!(ear.last(), ["Bo: hello"]);
    fake.business_message(&shop, bo, "hello, Olga");
    fake.until_sent(2).await?;
    assert_eq!(ear.last(), ["Olga: a word between us", "Bo: hello, Olga"]);
    running.stop().await?;
    Ok(())
}
