//! teloxide's dialogues over Redis: the cases of teloxide's own storages, and a restart.

use std::sync::Arc;
use std::time::Duration;

use scrollback::testing::RedisServer;
use scrollback::{Cache, RedisConfig, SledConfig};
use scrollback_telegram::teloxide::dispatching::dialogue::Storage;
use scrollback_telegram::teloxide::types::ChatId;
use scrollback_telegram::{DialogueError, DialogueStorage};

async fn cache(redis: &RedisServer, dir: &tempfile::TempDir) -> anyhow::Result<Cache> {
    let builder = Cache::builder().hot(RedisConfig::new(redis.url()));
    Ok(builder.store(SledConfig::new(dir.path())).build().await?)
}

async fn get(storage: &Arc<DialogueStorage>, chat: i64) -> anyhow::Result<Option<String>> {
    Ok(Arc::clone(storage).get_dialogue(ChatId(chat)).await?)
}

async fn remove(storage: &Arc<DialogueStorage>, chat: i64) -> Result<(), DialogueError> {
    Storage::<String>::remove_dialogue(Arc::clone(storage), ChatId(chat)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dialogues_pass_teloxides_own_cases_over_redis() -> anyhow::Result<()> {
    let (redis, dir) = (RedisServer::start(), harness::data_dir()?);
    let before = cache(&redis, &dir).await?;
    let storage = DialogueStorage::new(before.clone());
    let chats = [(1, "ABC"), (11, "DEF"), (256, "GHI")];
    for (chat, dialogue) in chats {
        assert_eq!(get(&storage, chat).await?, None);
        Arc::clone(&storage)
            .update_dialogue(ChatId(chat), dialogue.to_owned())
            .await?;
    }
    for (chat, dialogue) in chats {
        assert_eq!(get(&storage, chat).await?.as_deref(), Some(dialogue));
    }
    before.close(Duration::from_secs(5)).await?;
    drop((before, storage));

    let after = cache(&redis, &dir).await?;
    let storage = DialogueStorage::new(after.clone());
    for (chat, dialogue) in chats {
        assert_eq!(get(&storage, chat).await?.as_deref(), Some(dialogue));
        remove(&storage, chat).await?;
        assert_eq!(get(&storage, chat).await?, None);
        assert!(matches!(
            remove(&storage, chat).await,
            Err(DialogueError::Missing)
        ));
    }
    after.close(Duration::from_secs(5)).await?;
    Ok(())
}
