//! Stores that released versions wrote (P16): each opens in today's code and says what it said then, also when the
//! opening is cut short by kill -9; what a newer version wrote is refused and stays as it is, byte for byte.
//!
//! `tests/fixtures/golden/format-N.tar.gz` is a data directory as format N leaves it after a crash, with
//! `format-N.jsonl`, everything that can be read from it. When the format changes, the old pair stays and
//! `SCROLLBACK_GOLDEN_WRITE=1` writes that of the new one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use harness::random::Random;
use harness::{Run, data_dir, scrollback};
use scrollback::testing::ManualClock;
use scrollback::{
    Attachment, Author, Cache, Error, Message, Session, SessionKey, SledConfig, ToolCall, Window,
};
use serde_json::{Value, json};

/// The format that is written today.
const FORMAT: u8 = 2;

/// Platform ids whose fate a later version must know, as well as those of all messages.
const IDS: [&str; 8] = ["1", "4", "5", "50", "60", "70", "90", "99"];

fn golden(format: u8, end: &str) -> PathBuf {
    harness::root().join(format!("tests/fixtures/golden/format-{format}.{end}"))
}

fn tar(args: &[&str], dir: &Path, archive: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("tar");
    command.args(args).arg(archive).arg("-C").arg(dir);
    if args.contains(&"-czf") {
        command.args([
            "--sparse",
            "--owner=0",
            "--group=0",
            "--mtime=2023-11-14",
            ".",
        ]);
    }
    let done = command.output().context("tar is missing")?;
    ensure!(
        done.status.success(),
        "tar: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}

fn unpacked(format: u8) -> anyhow::Result<tempfile::TempDir> {
    let dir = data_dir()?;
    tar(&["-xzf"], dir.path(), &golden(format, "tar.gz"))?;
    Ok(dir)
}

fn keys() -> [SessionKey; 3] {
    [
        SessionKey::new("discord", "1").space("g/1").channel(7),
        SessionKey::new("telegram", "2").channel(-100).user("ann"),
        SessionKey::new("console", "bot"),
    ]
}

async fn open(dir: &Path, clock: Option<Arc<ManualClock>>) -> scrollback::Result<Cache> {
    let mut builder = Cache::builder()
        .store(SledConfig::new(dir).wait_lock(Duration::from_secs(10)))
        .window(Window::messages(20))
        .journal_limits(1 << 30, 0)
        .flush_every(Duration::from_secs(3600));
    if let Some(clock) = clock {
        builder = builder.clock(clock);
    }
    builder.build().await
}

fn ann(text: impl Into<String>) -> Message {
    Message::user(Author::new("discord", "ann").named("Ann"), text)
}

/// Every kind of entry, some of it forgotten; all of it durable.
async fn durable_part(cache: &Cache, clock: &ManualClock) -> scrollback::Result<()> {
    let [one, two, _] = keys().map(|key| cache.session(key));
    one.append(Message::system("be kind")).await?;
    one.edit_at("5", "edited before it was said", 1_700_000_005_000)
        .await?;
    one.delete("50").await?;
    for n in 1..=30 {
        clock.advance(Duration::from_millis(1_500));
        one.append(ann(format!("message {n} \u{1F980}\0\r\n")).id(n))
            .await?;
    }
    let file = Attachment {
        reference: "https://cdn/x.png?a=1".into(),
        media_type: Some("image/png".into()),
        name: Some("x.png".into()),
        size: Some(12_345),
    };
    one.append(ann("look").id("60").reply_to("4").attach(file))
        .await?;
    one.append(ann("gone before it was said").id("50")).await?;
    one.edit_at("4", "four, edited", 1_700_000_099_000).await?;
    one.delete("6").await?;
    one.set_state(&json!({ "step": 1 })).await?;
    one.set_state(&json!({ "step": 2, "names": ["a", "b"] }))
        .await?;
    let bob = Author::new("discord", "bob");
    one.append(Message::user(bob.clone(), "to be forgotten").id("70"))
        .await?;
    // Over several of the store's chunks.
    two.append(ann("long ".repeat(3_000)).id("1")).await?;
    let call = ToolCall {
        id: "c1".into(),
        name: "look_up".into(),
        arguments: r#"{"q":"x"}"#.into(),
    };
    two.append_all([
        Message::assistant("").call(call),
        Message::tool("c1", "found it"),
    ])
    .await?;
    two.reset().await?;
    two.append(ann("after the reset").id("2")).await?;
    two.end().await?;
    let gone = cache.session(SessionKey::new("console", "forgotten"));
    gone.append(ann("a session to be forgotten")).await?;
    cache.flush().await?;
    gone.forget().await?;
    cache.forget_author(&bob).await?;
    // All of it was said long ago, so it is packed.
    cache.compact(|_| {}).await.map(drop)
}

/// What only the journal holds.
async fn pending_part(cache: &Cache, clock: &ManualClock) -> scrollback::Result<()> {
    let [one, two, three] = keys().map(|key| cache.session(key));
    clock.advance(Duration::from_secs(60));
    one.append(ann("pending").id("80")).await?;
    one.append_all([Message::assistant("answer"), Message::assistant("in two")])
        .await?;
    one.edit_at("80", "pending, edited", 1_700_000_999_000)
        .await?;
    one.edit_at("90", "ahead, pending", 1_700_000_999_001)
        .await?;
    one.delete("7").await?;
    let _: Option<(u64, Value)> = one.state().await?;
    one.set_state(&json!({ "step": 3 })).await?;
    two.reset().await?;
    two.append(ann("after another reset").id("3")).await?;
    three
        .append(ann("a session in the journal alone").id("1"))
        .await?;
    Ok(())
}

/// Writes a data directory as a crash leaves it, and what can be read from it.
async fn write(archive: &Path, export: &Path) -> anyhow::Result<()> {
    let dir = data_dir()?;
    let clock = ManualClock::shared();
    let cache = open(dir.path(), Some(Arc::clone(&clock))).await?;
    durable_part(&cache, &clock).await?;
    pending_part(&cache, &clock).await?;
    // As a crash: nothing is flushed.
    drop(cache);
    released(dir.path()).await?;
    tar(&["-czf"], dir.path(), archive)?;
    let fresh = unpacked(FORMAT)?;
    std::fs::write(export, exported(fresh.path()).await?)?;
    Ok(())
}

/// Waits until a dropped cache has let go of its directory.
async fn released(dir: &Path) -> anyhow::Result<()> {
    let lock = std::fs::File::open(dir.join("lock"))?;
    harness::eventually("the directory is free", || {
        Ok(lock.try_lock().is_ok().then_some(()))
    })?;
    Ok(())
}

/// Everything that can be read from a data directory, a line each.
async fn exported(dir: &Path) -> anyhow::Result<String> {
    let cache = open(dir, None).await?;
    ensure!(cache.warnings().is_empty(), "{:?}", cache.warnings());
    cache.flush().await?;
    let mut lines = Vec::new();
    for key in cache.sessions(None, 100).await? {
        lines.extend(session(&cache.session(key)).await?);
    }
    let found = cache.verify().await?;
    ensure!(found.violations.is_empty(), "{:?}", found.violations);
    let closed = cache.close(Duration::from_secs(10)).await?;
    ensure!(closed.left == 0, "{closed:?}");
    Ok(lines.into_iter().map(|line| format!("{line}\n")).collect())
}

async fn session(session: &Session) -> anyhow::Result<Vec<Value>> {
    let name = session.key().to_string();
    let mut lines = Vec::new();
    for (seq, m) in session.export().await? {
        lines.push(json!({ "session": name, "seq": seq.0, "message": shown(&m) }));
    }
    let context = session.context().await?;
    let texts: Vec<_> = context.messages.iter().map(|m| m.text.clone()).collect();
    lines.push(json!({ "session": name, "context": texts }));
    let state: Option<(u64, Value)> = session.state().await?;
    lines.push(json!({ "session": name, "state": state }));
    let mut known = Vec::new();
    for id in IDS {
        if session.knows(id).await? {
            known.push(id);
        }
    }
    lines.push(json!({ "session": name, "knows": known }));
    Ok(lines)
}

fn shown(m: &Message) -> Value {
    let file = |a: &Attachment| json!([a.reference, a.media_type, a.name, a.size]);
    let call = |c: &ToolCall| json!([c.id, c.name, c.arguments]);
    json!({
        "author": m.author.as_ref().map(|a| json!([a.platform, a.id, a.name])),
        "role": m.role.as_str(), "text": m.text, "id": m.id, "at_ms": m.at_ms, "reply_to": m.reply_to,
        "attachments": m.attachments.iter().map(file).collect::<Vec<_>>(),
        "tool_calls": m.tool_calls.iter().map(call).collect::<Vec<_>>(),
        "tool_call_id": m.tool_call_id, "edited_ms": m.edited_ms,
    })
}

fn wanted(format: u8) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(golden(format, "jsonl"))?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_every_released_format_says_what_it_said() -> anyhow::Result<()> {
    if std::env::var("SCROLLBACK_GOLDEN_WRITE").is_ok_and(|v| v == "1") {
        write(&golden(FORMAT, "tar.gz"), &golden(FORMAT, "jsonl")).await?;
    }
    for format in 1..=FORMAT {
        let dir = unpacked(format)?;
        // The second time nothing is left in the journal.
        for _ in 0..2 {
            ensure!(
                exported(dir.path()).await? == wanted(format)?,
                "format {format}"
            );
        }
    }
    Ok(())
}

/// True when a file of the store holds `text` as it was written.
fn is_in_rows(dir: &Path, text: &str) -> anyhow::Result<bool> {
    let files = bytes_below(&dir.join("store"))?;
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    Ok(files.iter().any(|(_, bytes)| holds(bytes)))
}

#[test]
fn since_format_2_what_is_asleep_is_packed() -> anyhow::Result<()> {
    for (format, in_rows) in [(1, true), (2, false)] {
        let dir = unpacked(format)?;
        ensure!(
            is_in_rows(dir.path(), "message 17 ")? == in_rows,
            "format {format}"
        );
        ensure!(std::fs::read(dir.path().join("store.mark"))?.first() == Some(&format));
    }
    Ok(())
}

/// What is written today is what the golden store of today's format was written by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_golden_store_is_what_is_written_today() -> anyhow::Result<()> {
    let dir = data_dir()?;
    let (archive, export) = (dir.path().join("now.tar.gz"), dir.path().join("now.jsonl"));
    write(&archive, &export).await?;
    ensure!(
        std::fs::read_to_string(&export)? == wanted(FORMAT)?,
        "today's differs"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_opens_an_old_store_it_says_the_same_after() -> anyhow::Result<()> {
    let rounds = std::env::var("SCROLLBACK_KILLS").map_or(Ok(8), |n| n.parse())?;
    let mut random = Random::new(16);
    for format in 1..=FORMAT {
        // How long an opening takes here, so that the kills fall into it.
        let dir = unpacked(format)?;
        // The first command builds the program.
        let verify = scrollback(dir.path(), ["verify"])?;
        let started = Instant::now();
        Run::to_end(verify, b"")?.expect(0)?;
        let whole = u64::try_from(started.elapsed().as_millis())?.max(1);
        let dir = unpacked(format)?;
        for round in 0..rounds {
            // Every other round goes on from what the last one left.
            let fresh = unpacked(format)?;
            let dir = if round % 2 == 0 {
                fresh.path()
            } else {
                dir.path()
            };
            let run = Run::start(scrollback(dir, ["verify", "--wait-lock", "10s"])?)?;
            run.kill_9_after(Duration::from_millis(random.below(whole)))?;
            ensure!(exported(dir).await? == wanted(format)?, "round {round}");
        }
    }
    Ok(())
}

/// All files below a directory that matter: not the lock, which everybody touches.
fn bytes_below(dir: &Path) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut all = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else {
                all.push((path.clone(), std::fs::read(&path)?));
            }
        }
    }
    all.sort();
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_a_newer_format_is_refused_and_not_touched() -> anyhow::Result<()> {
    let dir = unpacked(FORMAT)?;
    let mark = dir.path().join("store.mark");
    let mut bytes = std::fs::read(&mark)?;
    bytes[0] = FORMAT + 1;
    std::fs::write(&mark, bytes)?;
    let before = bytes_below(dir.path())?;
    let refused = open(dir.path(), None).await.err();
    ensure!(matches!(refused, Some(Error::Config(_))), "{refused:?}");
    ensure!(bytes_below(dir.path())? == before, "it was touched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_with_a_newer_record_is_refused_and_not_touched() -> anyhow::Result<()> {
    let dir = unpacked(FORMAT)?;
    let journal = dir.path().join("journal");
    let record = bytes::Bytes::from_static(&[scrollback::codec::SEALED + 1, b'E', 0, 0]);
    let address = scrollback::key::Address::from(&keys()[0]);
    let id = scrollback::message::EntryId(77);
    let frame = scrollback::testing::formats::append(&address, id, 1, &record);
    std::fs::write(journal.join("000000000999.journal"), frame)?;
    let before = bytes_below(&journal)?;
    let refused = open(dir.path(), None).await.err();
    ensure!(matches!(refused, Some(Error::Config(_))), "{refused:?}");
    ensure!(bytes_below(&journal)? == before, "it was touched");
    // With a program that knows it, or without it, everything is there.
    std::fs::remove_file(journal.join("000000000999.journal"))?;
    ensure!(
        exported(dir.path()).await? == wanted(FORMAT)?,
        "something is lost"
    );
    Ok(())
}
