//! Bad input at the command line: a clear error that says what to do, and the documented exit code (P7, P10, P11).

use std::fs;
use std::path::Path;

use harness::{Finished, Run, data_dir, read_export, scrollback, serving};

fn run(data: &Path, args: &[&str], input: &str) -> anyhow::Result<Finished> {
    Run::to_end(scrollback(data, args)?, input.as_bytes())
}

#[test]
fn an_unknown_option_is_named() -> anyhow::Result<()> {
    let data = data_dir()?;
    let run = run(data.path(), &["console", "--windw", "3"], "")?.expect(2)?;
    assert!(
        run.stderr.contains("--windw") && run.stderr.contains("--window"),
        "{}",
        run.stderr
    );
    Ok(())
}

#[test]
fn a_bad_url_is_named_without_its_password() -> anyhow::Result<()> {
    let data = data_dir()?;
    for url in [
        "http://u:secret@localhost",
        "redis://",
        "localhost",
        "redis://u:secret@localhost:port",
    ] {
        let run = run(data.path(), &["console", "--redis", url], "")?.expect(2)?;
        assert!(run.stderr.contains("redis://"), "{url}: {}", run.stderr);
        assert!(!run.stderr.contains("secret"), "{url}: {}", run.stderr);
    }
    Ok(())
}

#[test]
fn a_bad_value_says_what_is_expected() -> anyhow::Result<()> {
    let data = data_dir()?;
    for (args, why) in [
        (["--ttl", "soon"], "not a duration"),
        (["--window", "0"], "1 to 2000"),
        (["--level", "best"], "journaled"),
        (["--log", "scrollback=loud"], "log"),
        (["--config", "/nowhere/c.toml"], "/nowhere/c.toml"),
    ] {
        let run = run(data.path(), &args, "")?.expect(2)?;
        assert!(run.stderr.contains(why), "{args:?}: {}", run.stderr);
    }
    Ok(())
}

#[test]
fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() -> anyhow::Result<()> {
    let data = data_dir()?;
    let file = data.path().join("c.toml");
    fs::write(&file, "window = 0\nmax_message_bytes = 10\n")?;
    let with = |window: Option<&str>, args: &[&str]| {
        let mut command = scrollback(data.path(), args)?;
        command.env("SCROLLBACK_CONFIG", &file);
        if let Some(window) = window {
            command.env("SCROLLBACK_WINDOW", window);
        }
        Run::to_end(command, b"longer than ten bytes\n")
    };
    with(None, &["console"])?.expect(2)?;
    let variable = with(Some("7"), &["console"])?.expect(1)?;
    assert!(variable.stderr.contains("limit 10"), "{}", variable.stderr);
    with(
        Some("0"),
        &["console", "--window", "7", "--max-message-bytes", "100"],
    )?
    .expect(0)?;
    Ok(())
}

#[test]
fn an_unknown_key_of_the_file_is_named() -> anyhow::Result<()> {
    let data = data_dir()?;
    let file = data.path().join("c.toml");
    fs::write(&file, "windw = 3\n")?;
    let mut command = scrollback(data.path(), ["console"])?;
    command.arg("--config").arg(&file);
    let run = Run::to_end(command, b"")?.expect(2)?;
    assert!(run.stderr.contains("windw"), "{}", run.stderr);
    Ok(())
}

#[test]
fn a_data_directory_that_is_none_is_named() -> anyhow::Result<()> {
    let data = data_dir()?;
    let file = data.path().join("file");
    fs::write(&file, "")?;
    let inner = file.join("data");
    let run = run(&inner, &["console"], "hello\n")?;
    assert!(run.code == Some(1) || run.code == Some(2), "{run:?}");
    assert!(run.stderr.contains("file/data"), "{}", run.stderr);
    Ok(())
}

#[test]
fn an_export_of_a_directory_that_is_not_there_makes_none() -> anyhow::Result<()> {
    let data = data_dir()?;
    let inner = data.path().join("misspelled");
    for args in [&["export", "--all"][..], &["verify"], &["stats"]] {
        let run = run(&inner, args, "")?.expect(2)?;
        assert!(run.stderr.contains("misspelled"), "{}", run.stderr);
    }
    assert!(!inner.exists());
    Ok(())
}

#[test]
fn a_bad_key_and_a_bad_author_are_refused() -> anyhow::Result<()> {
    let data = data_dir()?;
    for args in [
        &["export", "--session", "main"][..],
        &["history", "a/b/channel"],
        &["forget", "--author", "nobody"],
        &["export", "--author", "nobody"],
    ] {
        let run = run(data.path(), args, "")?.expect(2)?;
        assert!(
            run.stderr.starts_with("error: `"),
            "{args:?}: {}",
            run.stderr
        );
    }
    Ok(())
}

#[test]
fn a_second_process_is_told_who_waits_gets_in() -> anyhow::Result<()> {
    let data = data_dir()?;
    let first = Run::start(scrollback(data.path(), ["console"])?)?;
    serving(data.path())?;
    let second = run(data.path(), &["console"], "hello\n")?.expect(3)?;
    assert!(
        second.stderr.contains("in use") && second.stderr.contains("--wait-lock"),
        "{}",
        second.stderr
    );
    run(data.path(), &["console", "--wait-lock", "200ms"], "hello\n")?.expect(3)?;
    let waiting = Run::start(scrollback(data.path(), ["console", "--wait-lock", "60s"])?)?;
    first.finish()?.expect(0)?;
    waiting.finish()?.expect(0)?;
    Ok(())
}

#[test]
fn without_redis_it_says_so_and_serves() -> anyhow::Result<()> {
    let data = data_dir()?;
    // Port 1 is privileged and unassigned: nobody answers there.
    let args = ["console", "--redis", "redis://u:secret@127.0.0.1:1/"];
    let told = run(
        data.path(),
        &args,
        "my cat is called Mog\nwhat is my cat called?\n",
    )?
    .expect(0)?;
    assert!(told.stdout.contains("Mog"), "{told:?}");
    assert!(
        told.stderr.contains("redis") && told.stderr.contains("degraded"),
        "{}",
        told.stderr
    );
    assert!(!told.stderr.contains("secret"), "{}", told.stderr);
    Ok(())
}

#[test]
fn a_healthy_directory_verifies_and_a_damaged_record_does_not_pass() -> anyhow::Result<()> {
    let data = data_dir()?;
    run(data.path(), &["console"], "my cat is called Mog\n")?.expect(0)?;
    let healthy = run(data.path(), &["verify", "--json"], "")?.expect(0)?;
    let found: serde_json::Value = serde_json::from_str(&healthy.stdout)?;
    assert_eq!(found["violations"], serde_json::json!([]));
    assert!(found["messages"].as_u64() >= Some(1), "{found}");
    Ok(())
}

/// Overwrites every file of the store with what no store would write.
fn rot(store: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        if path.is_dir() {
            rot(&path)?;
        } else {
            let size = usize::try_from(fs::metadata(&path)?.len())?;
            fs::write(&path, vec![0xA5; size])?;
        }
    }
    Ok(())
}

#[test]
fn a_rotten_store_is_put_aside_named_and_the_bot_goes_on() -> anyhow::Result<()> {
    let data = data_dir()?;
    run(data.path(), &["console"], "my cat is called Mog\n")?.expect(0)?;
    rot(&data.path().join("store"))?;
    let after = run(
        data.path(),
        &["console"],
        "my dog is called Rex\nwhat is my dog called?\n",
    )?
    .expect(0)?;
    assert!(after.stdout.contains("Rex"), "{after:?}");
    assert!(after.stderr.contains("quarantine"), "{}", after.stderr);
    let aside = fs::read_dir(data.path())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .any(|name| name.contains("quarantine"));
    assert!(aside, "nothing was put aside");
    Ok(())
}

#[test]
fn forget_tells_what_it_erased_and_export_no_longer_has_it() -> anyhow::Result<()> {
    let data = data_dir()?;
    run(
        data.path(),
        &["console"],
        "my cat is called Mog\nI live in Bath\n",
    )?
    .expect(0)?;
    let before = read_export(
        &run(data.path(), &["export", "--author", "console:ann"], "")?
            .expect(0)?
            .stdout,
    )?;
    assert_eq!(before.len(), 2);
    let told = run(
        data.path(),
        &["forget", "--author", "console:ann", "--json"],
        "",
    )?
    .expect(0)?;
    let receipt: serde_json::Value = serde_json::from_str(&told.stdout)?;
    // What was said and what was answered to it.
    assert_eq!(
        (&receipt["sessions"], &receipt["messages"]),
        (&1.into(), &4.into())
    );
    for args in [
        ["export", "--author", "console:ann"],
        ["history", "console/local/channel=main/user=ann", "--json"],
    ] {
        let rows = read_export(&run(data.path(), &args, "")?.expect(0)?.stdout)?;
        assert!(
            rows.iter().all(|row| row.author.as_deref() != Some("ann")),
            "{rows:?}"
        );
    }
    Ok(())
}

#[test]
fn help_documents_every_exit_code() -> anyhow::Result<()> {
    let data = data_dir()?;
    let help = run(data.path(), &["--help"], "")?.expect(0)?.stdout;
    let readme = fs::read_to_string(harness::root().join("README.md"))?;
    for code in ["0", "1", "2", "3", "4", "5", "6", "130"] {
        assert!(
            help.contains(&format!("\n  {code}  ")),
            "{code} is not in --help"
        );
        assert!(
            readme.contains(&format!("| {code} |")),
            "{code} is not in the README"
        );
    }
    Ok(())
}
