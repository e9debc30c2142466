//! Encryption at rest: nothing that people say stands readable in journal, store or Redis; keys and store
//! stay in step; a forget holds in copies made before it (P14); nothing is lost by a rotation.

use std::path::Path;
use std::time::Duration;

use harness::world::{history, key, say};
use scrollback::testing::RedisServer;
use scrollback::{
    Author, Cache, CacheBuilder, Error, MasterKey, Message, RedisConfig, SessionKey, SledConfig,
};

const MARKER: &str = "MARKER-7f3a";

fn builder(dir: &Path, master: Option<&MasterKey>) -> CacheBuilder {
    let mut store = SledConfig::new(dir).wait_lock(Duration::from_secs(5));
    if let Some(master) = master {
        store = store.encrypt(master.clone());
    }
    Cache::builder()
        .store(store)
        .journal_limits(1 << 30, 0)
        .flush_every(Duration::from_secs(3600))
}

async fn open(dir: &Path, master: &MasterKey) -> Cache {
    builder(dir, Some(master)).build().await.unwrap()
}

async fn close(cache: Cache) {
    cache.close(Duration::from_secs(5)).await.unwrap();
}

/// Says all kinds of things, every text with the marker.
async fn speak(cache: &Cache, channel: &str) {
    let session = cache.session(key(channel));
    for n in 0..30 {
        let message = say(&n.to_string(), &format!("{MARKER} {n}"));
        session.append(message).await.unwrap();
    }
    session
        .append(Message::assistant(MARKER).id("bot"))
        .await
        .unwrap();
    session.append(Message::system(MARKER)).await.unwrap();
    session.edit("3", format!("{MARKER} edited")).await.unwrap();
    session.edit("ahead", MARKER).await.unwrap();
    session.set_state(&MARKER).await.unwrap();
}

/// Files below a directory in which the marker stands.
fn marked(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(marked(&path));
        } else if has_marker(&std::fs::read(&path).unwrap()) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn has_marker(bytes: &[u8]) -> bool {
    bytes.windows(MARKER.len()).any(|w| w == MARKER.as_bytes())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[tokio::test]
async fn no_text_stands_in_journal_store_or_redis_and_without_a_key_it_does() {
    let redis = RedisServer::start();
    for encrypted in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let master = MasterKey::generate();
        let prefix = format!("t{encrypted}");
        let cache = builder(dir.path(), encrypted.then_some(&master))
            .hot(RedisConfig::new(redis.url()).prefix(&prefix))
            .build()
            .await
            .unwrap();
        speak(&cache, "c").await;
        let in_journal = marked(&dir.path().join("journal"));
        cache.flush().await.unwrap();
        // Hydrated again, so that a snapshot and a carried summary are in Redis too.
        cache.session(key("c")).end().await.unwrap();
        cache.session(key("c")).context().await.unwrap();
        let dump = redis.take_dump();
        close(cache).await;
        let found = marked(dir.path());
        if encrypted {
            assert!(
                in_journal.is_empty() && found.is_empty(),
                "{in_journal:?} {found:?}"
            );
            assert!(!has_marker(&dump));
        } else {
            assert!(!in_journal.is_empty() && !found.is_empty() && has_marker(&dump));
        }
        let _ = redis.cli(&["FLUSHALL"]);
    }
}

#[tokio::test]
async fn everything_reads_back_after_a_crash_and_after_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let master = MasterKey::generate();
    let cache = open(dir.path(), &master).await;
    speak(&cache, "c").await;
    let before = cache.session(key("c")).export().await.unwrap();
    harness::world::crash(cache).await;
    for _ in 0..2 {
        let cache = open(dir.path(), &master).await;
        let session = cache.session(key("c"));
        assert_eq!(session.export().await.unwrap().len(), before.len());
        let texts = history(&session).await;
        assert!(texts.contains(&format!("{MARKER} edited")) && texts.len() == 32);
        assert_eq!(session.state::<String>().await.unwrap().unwrap().1, MARKER);
        let late = session.append(say("ahead", "old")).await.unwrap();
        assert!(
            late.receipt().duplicate || late.context().messages.iter().any(|m| m.text == MARKER)
        );
        assert!(cache.verify().await.unwrap().violations.is_empty());
        let again = say("0", MARKER);
        assert!(session.append(again).await.unwrap().receipt().duplicate);
        session.delete("ahead").await.unwrap();
        close(cache).await;
    }
}

#[tokio::test]
async fn another_key_no_key_or_no_file_of_keys_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let master = MasterKey::generate();
    let cache = open(dir.path(), &master).await;
    speak(&cache, "c").await;
    close(cache).await;
    let refused = async |master: Option<&MasterKey>| {
        let error = builder(dir.path(), master).build().await.unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{error}");
        error.to_string()
    };
    assert!(refused(None).await.contains("master key"));
    assert!(
        refused(Some(&MasterKey::generate()))
            .await
            .contains("master key")
    );
    let (keys, aside) = (dir.path().join("keys"), dir.path().join("aside"));
    std::fs::rename(&keys, &aside).unwrap();
    assert!(refused(Some(&master)).await.contains("missing"));
    assert!(refused(None).await.contains("missing"));
    std::fs::rename(&aside, &keys).unwrap();
    let cache = open(dir.path(), &master).await;
    assert_eq!(history(&cache.session(key("c"))).await.len(), 32);
    assert!(cache.warnings().is_empty());
    close(cache).await;
}

#[tokio::test]
async fn what_was_written_before_it_was_turned_on_still_reads() {
    let dir = tempfile::tempdir().unwrap();
    let cache = builder(dir.path(), None).build().await.unwrap();
    speak(&cache, "old").await;
    close(cache).await;
    let cache = open(dir.path(), &MasterKey::generate()).await;
    speak(&cache, "new").await;
    assert_eq!(history(&cache.session(key("old"))).await.len(), 32);
    assert_eq!(history(&cache.session(key("new"))).await.len(), 32);
    assert!(cache.verify().await.unwrap().violations.is_empty());
    close(cache).await;
}

/// Two people in two channels, and a bot.
async fn crowd(cache: &Cache) {
    for channel in ["a", "b"] {
        let session = cache.session(key(channel));
        for n in 0..20 {
            let author = Author::new("test", ["ann", "bob"][n % 2]);
            let said = Message::user(author, format!("{MARKER} {channel}{n}")).id(n);
            session.append(said).await.unwrap();
        }
        session.append(Message::assistant("noted")).await.unwrap();
        session.set_state(&"state").await.unwrap();
    }
    cache.flush().await.unwrap();
}

async fn by(cache: &Cache, channel: &str, author: &str) -> usize {
    let all = cache.session(key(channel)).export().await.unwrap();
    let same = |m: &Message| m.author.as_ref().is_some_and(|a| a.id == author);
    all.iter().filter(|(_, m)| same(m)).count()
}

#[tokio::test]
async fn a_forget_holds_in_a_copy_of_yesterday_that_is_put_back() {
    let (dir, yesterday) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let master = MasterKey::generate();
    let cache = open(dir.path(), &master).await;
    crowd(&cache).await;
    harness::world::crash(cache).await;
    copy(dir.path(), yesterday.path());
    let cache = open(dir.path(), &master).await;
    let forgotten = cache.session(key("a")).forget().await.unwrap();
    assert_eq!(forgotten.messages, 21);
    let ann = Author::new("test", "ann");
    assert_eq!(cache.forget_author(&ann).await.unwrap().messages, 10);
    close(cache).await;
    // Everything but the file of keys comes back.
    std::fs::remove_file(yesterday.path().join("keys")).unwrap();
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
    copy(yesterday.path(), dir.path());
    for _ in 0..2 {
        let cache = open(dir.path(), &master).await;
        assert!(cache.warnings().is_empty(), "{:?}", cache.warnings());
        assert!(history(&cache.session(key("a"))).await.is_empty());
        assert_eq!(by(&cache, "b", "ann").await, 0);
        assert_eq!(by(&cache, "b", "bob").await, 10);
        assert!(cache.export_author(&ann).await.unwrap().is_empty());
        let again = Message::user(ann.clone(), MARKER).id(2);
        let b = cache.session(key("b"));
        assert!(b.append(again).await.unwrap().receipt().duplicate);
        assert_eq!(b.state::<String>().await.unwrap().unwrap().1, "state");
        assert_eq!(
            cache.verify().await.unwrap().violations,
            Vec::<String>::new()
        );
        close(cache).await;
    }
}

#[tokio::test]
async fn a_forget_that_was_cut_short_before_its_keys_were_destroyed_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let master = MasterKey::generate();
    let cache = open(dir.path(), &master).await;
    crowd(&cache).await;
    let copied = tempfile::tempdir().unwrap();
    // The file of keys cannot be written anew while something lies where it is begun.
    let obstacle = dir.path().join("keys.new");
    std::fs::create_dir(&obstacle).unwrap();
    cache.session(key("a")).forget().await.unwrap_err();
    std::fs::remove_dir(&obstacle).unwrap();
    assert!(
        history(&cache.session(key("a"))).await.is_empty(),
        "it is erased all the same"
    );
    harness::world::crash(cache).await;
    copy(dir.path(), copied.path());
    let keys = |dir: &Path| std::fs::metadata(dir.join("keys")).unwrap().len();
    let before = keys(dir.path());
    for dir in [dir.path(), copied.path()] {
        let cache = open(dir, &master).await;
        assert!(keys(dir) < before);
        assert!(history(&cache.session(key("a"))).await.is_empty());
        assert_eq!(by(&cache, "b", "ann").await, 10);
        close(cache).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_under_load_loses_nothing() {
    const EACH: usize = 1_500;
    let dir = tempfile::tempdir().unwrap();
    let mut master = MasterKey::generate();
    let cache = open(dir.path(), &master).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let cache = cache.clone();
        writers.spawn(async move {
            for n in 0..EACH {
                let session = cache.session(SessionKey::new("test", writer).channel(n % 50));
                let author = Author::new("test", n % 7);
                let said = Message::user(author, format!("{n}")).id(n);
                session.append(said).await.unwrap();
            }
        });
    }
    let mut rotations = 0;
    while rotations < 5 || !writers.is_empty() {
        let next = MasterKey::generate();
        cache.rotate_key(&next).await.unwrap();
        cache.flush().await.unwrap();
        master = next;
        rotations += 1;
        while let Some(done) = writers.try_join_next() {
            done.unwrap();
        }
    }
    harness::world::crash(cache).await;
    let cache = open(dir.path(), &master).await;
    let mut kept = 0;
    for session in cache.sessions(None, 10_000).await.unwrap() {
        kept += cache.session(session).export().await.unwrap().len();
    }
    assert_eq!(kept, 4 * EACH);
    close(cache).await;
}
