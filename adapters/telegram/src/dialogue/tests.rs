//! The cases of teloxide's own storages, and what a durable one adds. Over Redis: the workspace's tests.

use std::time::Duration;

use scrollback::SledConfig;
use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Order {
    Start,
    Size { pizza: String },
}

async fn cache(dir: &tempfile::TempDir) -> Cache {
    let store = SledConfig::new(dir.path().join("store"));
    Cache::builder().store(store).build().await.unwrap()
}

async fn get<D>(storage: &Arc<DialogueStorage>, chat: i64) -> Option<D>
where
    D: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    Arc::clone(storage)
        .get_dialogue(ChatId(chat))
        .await
        .unwrap()
}

async fn set<D>(storage: &Arc<DialogueStorage>, chat: i64, dialogue: D)
where
    D: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let done = Arc::clone(storage)
        .update_dialogue(ChatId(chat), dialogue)
        .await;
    done.unwrap();
}

async fn remove(storage: &Arc<DialogueStorage>, chat: i64) -> Result<(), DialogueError> {
    let storage = Arc::clone(storage);
    Storage::<String>::remove_dialogue(storage, ChatId(chat)).await
}

#[tokio::test]
async fn it_passes_the_cases_of_teloxides_own_storages() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DialogueStorage::new(cache(&dir).await);
    let chats = [(1, "ABC"), (11, "DEF"), (256, "GHI")];
    for (chat, _) in chats {
        assert_eq!(get::<String>(&storage, chat).await, None);
    }
    for (chat, dialogue) in chats {
        set(&storage, chat, dialogue.to_owned()).await;
    }
    for (chat, dialogue) in chats {
        assert_eq!(
            get::<String>(&storage, chat).await.as_deref(),
            Some(dialogue)
        );
    }
    for (chat, _) in chats {
        remove(&storage, chat).await.unwrap();
        assert_eq!(get::<String>(&storage, chat).await, None);
        assert!(matches!(
            remove(&storage, chat).await,
            Err(DialogueError::Missing)
        ));
    }
}

#[tokio::test]
async fn a_dialogue_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let size = Order::Size {
        pizza: "Margherita".into(),
    };
    let before = cache(&dir).await;
    let storage = DialogueStorage::new(before.clone());
    set(&storage, -100, size.clone()).await;
    set(&storage, 2, Order::Start).await;
    assert!(remove(&storage, 2).await.is_ok());
    before.close(Duration::from_secs(5)).await.unwrap();
    drop((before, storage));
    let storage = DialogueStorage::new(cache(&dir).await);
    assert_eq!(get(&storage, -100).await, Some(size));
    assert_eq!(get::<Order>(&storage, 2).await, None);
}

#[tokio::test]
async fn any_dialogue_has_a_form_and_an_older_type_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DialogueStorage::new(cache(&dir).await);
    set(&storage, 1, ()).await;
    assert_eq!(get::<()>(&storage, 1).await, Some(()));
    set(&storage, 1, None::<u8>).await;
    assert_eq!(get::<Option<u8>>(&storage, 1).await, Some(None));
    let unreadable = Arc::clone(&storage).get_dialogue(ChatId(1)).await;
    let unreadable: Result<Option<Order>, _> = unreadable;
    assert!(matches!(unreadable, Err(DialogueError::Cache(_))));
    set(&storage, 1, Order::Start).await;
    assert_eq!(get(&storage, 1).await, Some(Order::Start));
}

#[tokio::test]
async fn storages_of_two_names_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(&dir).await;
    let one = DialogueStorage::named(cache.clone(), "one");
    set(&one, 1, "x".to_owned()).await;
    let two = DialogueStorage::named(cache, "two");
    assert_eq!(get::<String>(&two, 1).await, None);
}

#[tokio::test]
async fn changes_at_the_same_time_all_take_effect_in_some_order() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DialogueStorage::new(cache(&dir).await);
    let all = (0..8u32).map(|n| Arc::clone(&storage).update_dialogue(ChatId(1), n));
    for done in futures::future::join_all(all).await {
        done.unwrap();
    }
    assert!(get::<u32>(&storage, 1).await.is_some());
}

#[tokio::test]
async fn teloxides_dialogue_works_on_it() {
    use teloxide::dispatching::dialogue::Dialogue;

    #[derive(Default, Clone, PartialEq, Debug, Serialize, Deserialize)]
    struct Counter(u32);

    let dir = tempfile::tempdir().unwrap();
    let storage = DialogueStorage::new(cache(&dir).await);
    let dialogue = Dialogue::<Counter, DialogueStorage>::new(storage, ChatId(5));
    assert_eq!(dialogue.get_or_default().await.unwrap(), Counter(0));
    dialogue.update(Counter(3)).await.unwrap();
    assert_eq!(dialogue.get().await.unwrap(), Some(Counter(3)));
    dialogue.exit().await.unwrap();
    assert!(dialogue.exit().await.is_err());
}
