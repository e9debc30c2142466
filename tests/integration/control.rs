//! The control socket: what runs answers for its data directory, to its owner only, within bounds (P10, P11, P14).

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::Context as _;
use harness::{
    Finished, Run, ask_control, counter, data_dir, eventually, read_export, scrollback, serving,
};

fn run(data: &Path, args: &[&str]) -> anyhow::Result<Finished> {
    Run::to_end(scrollback(data, args)?, b"")
}

/// A console that was told these lines and is still running.
fn told(data: &Path, lines: &str) -> anyhow::Result<Run> {
    let mut bot = Run::start(scrollback(data, ["console", "--flush-every", "1h"])?)?;
    serving(data)?;
    bot.write(lines.as_bytes())?;
    let least = u64::try_from(lines.lines().count())?;
    eventually("the lines are appended", || {
        Ok(counter(data, "appended")?.filter(|appended| *appended >= least))
    })?;
    Ok(bot)
}

const KEY: &str = "console/local/channel=main/user=ann";

#[test]
fn a_running_bot_answers_also_for_what_is_not_durable_yet() -> anyhow::Result<()> {
    let data = data_dir()?;
    let bot = told(data.path(), "my cat is called Mog\n")?;
    let rows = read_export(
        &run(data.path(), &["export", "--session", KEY])?
            .expect(0)?
            .stdout,
    )?;
    let first = rows.first().context("no row")?;
    assert_eq!(
        (first.text.as_str(), first.author.as_deref()),
        ("my cat is called Mog", Some("ann"))
    );
    let history = run(data.path(), &["history", KEY, "-n", "50"])?
        .expect(0)?
        .stdout;
    assert!(history.contains("ann: my cat is called Mog"), "{history}");
    run(data.path(), &["verify"])?.expect(0)?;
    assert!(
        run(data.path(), &["stats"])?
            .expect(0)?
            .stdout
            .contains("hot_tier: memory")
    );
    bot.finish()?.expect(0)?;
    let later = read_export(
        &run(data.path(), &["export", "--session", KEY])?
            .expect(0)?
            .stdout,
    )?;
    assert_eq!(later.first(), rows.first());
    Ok(())
}

#[test]
fn forget_reaches_into_a_running_bot() -> anyhow::Result<()> {
    let data = data_dir()?;
    let mut bot = told(data.path(), "my cat is called Mog\n")?;
    run(data.path(), &["forget", "--session", KEY])?.expect(0)?;
    bot.write(b"what is my cat called?\n")?;
    let ended = bot.finish()?.expect(0)?;
    let last = ended.stdout.lines().last().unwrap_or_default();
    assert!(!last.contains("Mog"), "{ended:?}");
    let rows = run(data.path(), &["export", "--all"])?.expect(0)?.stdout;
    assert!(!rows.contains("Mog"), "{rows}");
    Ok(())
}

#[test]
fn the_socket_is_its_owners_alone_and_goes_with_the_bot() -> anyhow::Result<()> {
    let data = data_dir()?;
    let bot = told(data.path(), "hello\n")?;
    let socket = data.path().join("control.sock");
    let about = fs::symlink_metadata(&socket)?;
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    bot.finish()?.expect(0)?;
    assert!(!socket.exists());
    Ok(())
}

#[test]
fn a_socket_left_behind_stops_neither_the_commands_nor_the_next_bot() -> anyhow::Result<()> {
    let data = data_dir()?;
    told(data.path(), "my cat is called Mog\n")?.kill_9()?;
    assert!(data.path().join("control.sock").exists());
    let rows = run(data.path(), &["export", "--all"])?.expect(0)?.stdout;
    assert!(rows.contains("Mog"), "{rows}");
    drop(UnixListener::bind(data.path().join("other.sock"))?);
    fs::rename(
        data.path().join("other.sock"),
        data.path().join("control.sock"),
    )?;
    told(data.path(), "hello\n")?.finish()?.expect(0)?;
    Ok(())
}

#[test]
fn what_is_no_request_gets_an_error_and_the_bot_goes_on() -> anyhow::Result<()> {
    let data = data_dir()?;
    let bot = told(data.path(), "hello\n")?;
    let long = format!("{{\"cmd\":\"{}\"}}", "x".repeat(100_000));
    for request in [
        "",
        "nonsense",
        r#"{"cmd":"quit"}"#,
        r#"{"cmd":"stats","more":1}"#,
        r#"{"cmd":"history","session":"x","limit":1}"#,
    ] {
        let answer = ask_control(data.path(), request.as_bytes())?;
        let last = answer.last().context("no answer")?;
        assert_eq!(last["error"]["exit"], "usage", "{request}: {last}");
    }
    // The bot hangs up on a request without end; whether its answer is read is a matter of luck.
    let _ = ask_control(data.path(), long.as_bytes());
    assert_eq!(
        counter(data.path(), "appended")?.map(|n| n >= 1),
        Some(true)
    );
    bot.finish()?.expect(0)?;
    Ok(())
}

#[test]
fn the_seventeenth_connection_is_told_to_try_again() -> anyhow::Result<()> {
    let data = data_dir()?;
    let bot = told(data.path(), "hello\n")?;
    let socket = data.path().join("control.sock");
    let held = (0..16)
        .map(|_| UnixStream::connect(&socket))
        .collect::<Result<Vec<_>, _>>()?;
    eventually("the held connections are accepted", || {
        let refused = run(data.path(), &["stats"])?;
        Ok((refused.code == Some(1) && refused.stderr.contains("try again")).then_some(()))
    })?;
    drop(held);
    serving(data.path())?;
    bot.finish()?.expect(0)?;
    Ok(())
}

#[test]
fn a_data_directory_with_a_long_path_is_served_too() -> anyhow::Result<()> {
    if !Path::new("/proc/self/fd").exists() {
        // Elsewhere a long path has no control socket, and the log says so.
        return Ok(());
    }
    let outer = data_dir()?;
    let data = outer.path().join("d".repeat(120)).join("e".repeat(60));
    let mut bot = Run::start(scrollback(&data, ["console"])?)?;
    bot.write(b"my cat is called Mog\n")?;
    eventually("the socket is there", || {
        Ok(data.join("control.sock").exists().then_some(()))
    })?;
    let rows = eventually("the line is exported", || {
        let rows = run(&data, &["export", "--all"])?.expect(0)?.stdout;
        Ok(rows.contains("Mog").then_some(rows))
    })?;
    assert!(read_export(&rows)?.len() <= 2);
    bot.finish()?.expect(0)?;
    Ok(())
}
