//! Compaction on the data path and at the command line: space comes back, texts leave the files, nothing else
//! changes (P2, P13, P14).

use std::fs;
use std::path::Path;

use harness::world::{World, context, crash, fill, history, key, say, texts, until};
use harness::{Finished, Run, data_dir, read_export, scrollback, serving};
use scrollback::store::Store as _;

fn holds(dir: &Path, text: &str) -> bool {
    let mut entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.any(|path| {
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|w| w == text.as_bytes())
    })
}

#[tokio::test]
async fn a_forgotten_text_is_in_no_file_after_a_compaction() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let (s, other) = (cache.session(key("c")), cache.session(key("d")));
    for id in ["1", "2"] {
        s.append(say(id, "a text to be forgotten")).await.unwrap();
    }
    fill(&other, 1..=5).await;
    cache.flush().await.unwrap();
    assert!(holds(world.dir.path(), "a text to be forgotten"));
    s.forget().await.unwrap();
    cache.compact(|_| {}).await.unwrap();
    assert!(!holds(world.dir.path(), "a text to be forgotten"));
    let again = s.append(say("1", "again")).await.unwrap();
    assert!(again.receipt().duplicate && history(&s).await.is_empty());
    assert_eq!(history(&other).await, texts(1..=5));
    assert!(cache.verify().await.unwrap().violations.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_goes_on_during_compactions_and_a_crash_loses_nothing() {
    let world = World::in_memory();
    let cache = world.cache("a").await;
    let s = cache.session(key("c"));
    fill(&s, 1..=60).await;
    let compacting = tokio::spawn({
        let cache = cache.clone();
        async move {
            for _ in 0..5 {
                cache.compact(|_| {}).await.unwrap();
            }
        }
    });
    for n in 1..=50_u32 {
        s.delete(n.to_string()).await.unwrap();
        fill(&s, 60 + n..=60 + n).await;
    }
    compacting.await.unwrap();
    cache.compact(|_| {}).await.unwrap();
    fill(&s, 111..=115).await;
    let newest = context(&s).await;
    assert!(
        !newest.is_empty() && texts(51..=115).ends_with(&newest),
        "{newest:?}"
    );
    assert!(cache.verify().await.unwrap().violations.is_empty());
    drop(s);
    crash(cache).await;
    let cache = world.cache("a").await;
    let s = cache.session(key("c"));
    assert_eq!(history(&s).await, texts(51..=115));
    for n in 1..=115 {
        let again = s.append(say(&n.to_string(), "again")).await.unwrap();
        assert!(again.receipt().duplicate, "{n}");
    }
    assert!(cache.verify().await.unwrap().violations.is_empty());
}

#[tokio::test]
async fn a_wasteful_store_is_compacted_by_itself() {
    let world = World::in_memory();
    world.store.set_wasteful();
    let cache = world.cache("a").await;
    until("it is compacted", async || !world.store.is_wasteful()).await;
    cache.close(harness::world::TTL).await.unwrap();
}

fn run(data: &Path, args: &[&str], input: &str) -> anyhow::Result<Finished> {
    Run::to_end(scrollback(data, args)?, input.as_bytes())
}

#[test]
fn compact_works_on_a_directory_and_through_a_running_bot() -> anyhow::Result<()> {
    let data = data_dir()?;
    let said = "my cat is called Mog\nI live in Bath\n";
    run(data.path(), &["console"], said)?.expect(0)?;
    run(data.path(), &["forget", "--author", "console:ann"], "")?.expect(0)?;
    let bot = Run::start(scrollback(data.path(), ["console"])?)?;
    serving(data.path())?;
    let told = run(data.path(), &["compact"], "")?.expect(0)?.stdout;
    assert!(
        told.starts_with("compacted: ") && told.contains("live"),
        "{told}"
    );
    assert!(!holds(&data.path().join("store"), "Mog"));
    bot.finish()?.expect(0)?;
    let told = run(data.path(), &["compact", "--json"], "")?
        .expect(0)?
        .stdout;
    let done: serde_json::Value = serde_json::from_str(&told)?;
    assert!(done["rows_copied"].as_u64() > Some(0), "{done}");
    assert!(done["bytes_after"].as_u64() > Some(0), "{done}");
    let left = run(data.path(), &["export", "--all"], "")?.expect(0)?;
    assert!(read_export(&left.stdout)?.is_empty());
    run(data.path(), &["verify"], "")?.expect(0)?;
    assert!(!data.path().join("store.old").exists());
    assert!(!data.path().join("store.compacting").exists());
    Ok(())
}
