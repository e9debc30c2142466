//! Replaying real logs: each message once, in order, byte for byte, whatever happens (P1, P2, P9).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use harness::{
    Exported, Finished, LogLine, Run, counter, data_dir, eventually, fixture, read_export,
    read_log, scrollback, write_log,
};
use serde_json::Value;

fn replay(data: &Path, args: &[&str]) -> anyhow::Result<Finished> {
    let all = ["replay", "--json"].iter().chain(args);
    Run::to_end(scrollback(data, all)?, b"")
}

fn summary(run: &Finished) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&run.stdout)?)
}

fn export(data: &Path) -> anyhow::Result<Vec<Exported>> {
    let run = Run::to_end(scrollback(data, ["export", "--all"])?, b"")?.expect(0)?;
    read_export(&run.stdout)
}

fn verify(data: &Path) -> anyhow::Result<()> {
    Run::to_end(scrollback(data, ["verify"])?, b"")?.expect(0)?;
    Ok(())
}

/// Session, author and text of each line as an export must hold them, by session.
fn expected(
    lines: &[LogLine],
    key: fn(&LogLine) -> String,
) -> BTreeMap<String, Vec<(String, String)>> {
    let mut sessions = BTreeMap::<_, Vec<_>>::new();
    for line in lines {
        let said = (line.author.clone(), line.text.clone().unwrap_or_default());
        sessions.entry(key(line)).or_default().push(said);
    }
    sessions
}

fn by_session(rows: Vec<Exported>) -> BTreeMap<String, Vec<(String, String)>> {
    let mut sessions = BTreeMap::<_, Vec<_>>::new();
    let mut last = None;
    for row in rows {
        let place = (row.session.clone(), row.seq);
        assert!(
            last.as_ref() < Some(&place),
            "not by session and seq: {last:?}, {place:?}"
        );
        last = Some(place);
        let said = (row.author.unwrap_or_default(), row.text);
        sessions.entry(row.session).or_default().push(said);
    }
    sessions
}

/// The key of a line whose channel holds no awkward byte besides `#`.
fn channel_key(line: &LogLine) -> String {
    format!("replay/log/space={}/channel={}", line.space, line.channel)
}

fn author_key(line: &LogLine) -> String {
    let author: String = line
        .author
        .chars()
        .map(|c| match c {
            '[' => "%5B".to_owned(),
            ']' => "%5D".to_owned(),
            '`' => "%60".to_owned(),
            '\\' => "%5C".to_owned(),
            other => other.to_string(),
        })
        .collect();
    format!("{}/user={author}", channel_key(line))
}

fn text_of(path: &Path) -> anyhow::Result<&str> {
    path.to_str().ok_or_else(|| anyhow::anyhow!("not UTF-8"))
}

#[test]
fn an_export_holds_each_message_once_in_order_and_a_second_run_appends_nothing()
-> anyhow::Result<()> {
    let (data, log) = (data_dir()?, read_log(&fixture())?);
    let first = replay(data.path(), &[text_of(&fixture())?])?.expect(0)?;
    let told = summary(&first)?;
    let names: Vec<&String> = told
        .as_object()
        .into_iter()
        .flat_map(|all| all.keys())
        .collect();
    let mut all = [
        "read",
        "appended",
        "duplicates",
        "skipped",
        "sessions",
        "elapsed_s",
        "hit_ratio",
        "flushes",
    ];
    all.sort_unstable();
    assert_eq!(names, all);
    assert_eq!(
        (&told["read"], &told["appended"], &told["sessions"]),
        (&1500.into(), &1500.into(), &1.into())
    );
    assert_eq!(
        by_session(export(data.path())?),
        expected(&log, channel_key)
    );
    for (row, line) in export(data.path())?.iter().zip(&log) {
        assert!((row.ts - line.ts).abs() < 0.001, "{row:?}");
    }

    let moved = data.path().join("renamed.log");
    write_log(&moved, &log)?;
    let second = summary(&replay(data.path(), &[text_of(&moved)?])?.expect(0)?)?;
    assert_eq!(
        (&second["appended"], &second["duplicates"]),
        (&0.into(), &1500.into())
    );
    assert_eq!(
        by_session(export(data.path())?),
        expected(&log, channel_key)
    );
    verify(data.path())
}

#[test]
fn killed_three_times_in_the_middle_it_ends_with_each_message_once() -> anyhow::Result<()> {
    let (data, log) = (data_dir()?, read_log(&fixture())?);
    let mut text = Vec::new();
    for line in &log {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    for least in [200, 600, 1000] {
        let mut run = Run::start(scrollback(data.path(), ["replay", "-"])?)?;
        run.write(&text)?;
        eventually("enough is replayed", || {
            let sum = |name| counter(data.path(), name);
            let done = sum("appended")?.zip(sum("duplicates")?).map(|(a, d)| a + d);
            Ok(done.filter(|done| *done >= least))
        })?;
        run.kill_9()?;
    }
    verify(data.path())?;
    replay(data.path(), &[text_of(&fixture())?])?.expect(0)?;
    assert_eq!(
        by_session(export(data.path())?),
        expected(&log, channel_key)
    );
    verify(data.path())
}

#[test]
fn by_channel_and_author_each_author_has_a_session() -> anyhow::Result<()> {
    let (data, log) = (data_dir()?, read_log(&fixture())?);
    replay(
        data.path(),
        &["--key", "channel,author", text_of(&fixture())?],
    )?
    .expect(0)?;
    assert_eq!(by_session(export(data.path())?), expected(&log, author_key));
    Ok(())
}

#[test]
fn texts_are_kept_byte_for_byte() -> anyhow::Result<()> {
    let data = data_dir()?;
    let texts = [
        "",
        " ",
        "  a  ",
        "\n",
        "a\r\nb\t",
        "\0\u{1}\u{7f}\u{85}",
        "\u{feff}é\u{301}🦀",
        "a",
        "a",
        "/reset",
    ];
    let lines: Vec<LogLine> = texts
        .iter()
        .map(|text| LogLine::new(7, "c", "u", text))
        .collect();
    let file = data.path().join("odd.jsonl");
    write_log(&file, &lines)?;
    replay(data.path(), &[text_of(&file)?])?.expect(0)?;
    let kept: Vec<String> = export(data.path())?
        .into_iter()
        .map(|row| row.text)
        .collect();
    assert_eq!(kept, texts);
    Ok(())
}

#[test]
fn where_a_log_has_no_text_the_size_is_kept() -> anyhow::Result<()> {
    let data = data_dir()?;
    let sizes = [0, 1, 50, 5000];
    let lines = sizes.map(|len| LogLine {
        text: None,
        len,
        ..LogLine::new(7, "c", "bot:x", "")
    });
    let file = data.path().join("sizes.jsonl");
    write_log(&file, &lines)?;
    replay(data.path(), &[text_of(&file)?])?.expect(0)?;
    let rows = export(data.path())?;
    let kept: Vec<usize> = rows.iter().map(|row| row.text.len()).collect();
    assert_eq!(kept, [0, 1, 50, 5000]);
    assert!(
        rows.iter()
            .all(|row| row.role == "assistant" && row.author.as_deref() == Some("bot:x"))
    );
    Ok(())
}

#[test]
fn broken_lines_are_named_skipped_and_counted() -> anyhow::Result<()> {
    let data = data_dir()?;
    let file = data.path().join("broken.jsonl");
    let good = serde_json::to_string(&LogLine::new(7, "c", "u", "good"))?;
    let mut out = std::fs::File::create(&file)?;
    writeln!(out, "{good}\nnonsense\n{{\"ts\":1}}")?;
    out.write_all(b"\xff\xfe\n")?;
    let large = serde_json::to_string(&LogLine::new(8, "c", "u", &"x".repeat(70_000)))?;
    writeln!(out, "{large}\n{good}")?;
    (0..30).try_for_each(|_| writeln!(out))?;
    drop(out);
    let run = replay(data.path(), &[text_of(&file)?])?.expect(0)?;
    let told = summary(&run)?;
    assert_eq!(
        (&told["read"], &told["appended"], &told["skipped"]),
        (&36.into(), &2.into(), &34.into())
    );
    let name = file.display();
    for (number, why) in [
        (2, "not JSON"),
        (3, "not a message"),
        (4, "not JSON"),
        (5, "too large"),
    ] {
        let head = format!("{name}:{number}: ");
        let line = run.stderr.lines().find(|line| line.starts_with(&head));
        assert!(
            line.is_some_and(|line| line.contains(why)),
            "{head}{why}: {}",
            run.stderr
        );
    }
    let named = run
        .stderr
        .lines()
        .filter(|line| line.contains(": skipped: "))
        .count();
    assert_eq!(named, 20);
    assert!(run.stderr.contains("14 more"), "{}", run.stderr);
    assert_eq!(export(data.path())?.len(), 2);
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_named_and_nothing_is_opened() -> anyhow::Result<()> {
    let data = data_dir()?;
    let inner = data.path().join("d");
    let run = replay(&inner, &["/nowhere/log.jsonl"])?.expect(2)?;
    assert!(run.stderr.contains("/nowhere/log.jsonl"), "{}", run.stderr);
    assert!(!inner.exists());
    Ok(())
}

#[test]
fn a_signal_stops_it_early_with_a_summary_and_the_next_run_goes_on() -> anyhow::Result<()> {
    let (data, log) = (data_dir()?, read_log(&fixture())?);
    let mut run = Run::start(scrollback(data.path(), ["replay", "--json", "-"])?)?;
    let mut text = Vec::new();
    for line in log.iter().take(300) {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    run.write(&text)?;
    eventually("the first part is appended", || {
        Ok(counter(data.path(), "appended")?.filter(|appended| *appended == 300))
    })?;
    run.signal("INT")?;
    let told = summary(&run.ended()?.expect(6)?)?;
    assert_eq!(told["appended"], 300);
    let rest = summary(&replay(data.path(), &[text_of(&fixture())?])?.expect(0)?)?;
    assert_eq!(
        (&rest["appended"], &rest["duplicates"]),
        (&1200.into(), &300.into())
    );
    assert_eq!(
        by_session(export(data.path())?),
        expected(&log, channel_key)
    );
    Ok(())
}
