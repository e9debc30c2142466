//! The binary over a real Redis: the same results, few commands, nothing left without a TTL (P1, P2, P4, P9).

use std::path::Path;

use harness::{
    Finished, Run, counter, data_dir, eventually, fixture, read_export, read_log, scrollback,
    serving,
};
use scrollback::testing::RedisServer;

/// Messages in the fixture.
const LINES: u64 = 1500;

fn run(data: &Path, redis: &RedisServer, args: &[&str], input: &str) -> anyhow::Result<Finished> {
    let mut command = scrollback(data, args)?;
    command.args(["--redis", &redis.url()]);
    Run::to_end(command, input.as_bytes())
}

fn exports_the_fixture(data: &Path, redis: &RedisServer) -> anyhow::Result<()> {
    let rows = read_export(
        &run(data, redis, &["export", "--all"], "")?
            .expect(0)?
            .stdout,
    )?;
    let kept: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let log = read_log(&fixture())?;
    let said: Vec<&str> = log.iter().filter_map(|line| line.text.as_deref()).collect();
    assert_eq!(kept, said);
    Ok(())
}

/// How often a command was called, by `INFO commandstats`.
fn calls(stats: &str) -> Vec<(String, u64)> {
    stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="))
        .filter_map(|(name, rest)| Some((name.to_owned(), rest.split(',').next()?.parse().ok()?)))
        .collect()
}

#[test]
fn a_replay_takes_one_xadd_an_append_and_few_other_commands() -> anyhow::Result<()> {
    let (data, redis) = (data_dir()?, RedisServer::start());
    let file = fixture();
    let file = file.to_str().unwrap_or_default();
    run(data.path(), &redis, &["replay", file], "")?.expect(0)?;
    let stats = calls(&redis.cli(&["INFO", "commandstats"]));
    let of = |wanted: fn(&str) -> bool| -> u64 {
        stats
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(_, calls)| calls)
            .sum()
    };
    let (added, scripts) = (
        of(|name| name == "xadd"),
        of(|name| name.starts_with("eval")),
    );
    let others =
        of(|name| name != "xadd" && !name.starts_with("info") && !name.starts_with("config"));
    assert!(added <= LINES + LINES / 50, "{stats:?}");
    assert!(others <= LINES / 2, "{stats:?}");
    // One session: a few for publishing its log and for settling it after each flush.
    assert!(scripts <= LINES / 20, "{stats:?}");
    exports_the_fixture(data.path(), &redis)
}

#[test]
fn every_key_has_a_ttl_once_all_is_durable() -> anyhow::Result<()> {
    let (data, redis) = (data_dir()?, RedisServer::start());
    let file = fixture();
    run(
        data.path(),
        &redis,
        &["replay", file.to_str().unwrap_or_default()],
        "",
    )?
    .expect(0)?;
    let keys = redis.cli(&["KEYS", "*"]);
    for key in keys.lines().filter(|key| !key.is_empty()) {
        let left: i64 = redis.cli(&["PTTL", key]).trim().parse()?;
        assert!(left > 0 || left == -2, "{key} has no time to live: {left}");
    }
    Ok(())
}

#[test]
fn killed_over_redis_it_ends_with_each_message_once() -> anyhow::Result<()> {
    let (data, redis) = (data_dir()?, RedisServer::start());
    let mut text = Vec::new();
    for line in read_log(&fixture())? {
        serde_json::to_writer(&mut text, &line)?;
        text.push(b'\n');
    }
    for least in [200, 600, 1000] {
        let mut command = scrollback(data.path(), ["replay", "-"])?;
        command.args(["--redis", &redis.url()]);
        let mut replay = Run::start(command)?;
        replay.write(&text)?;
        eventually("enough is replayed", || {
            let counts = counter(data.path(), "appended")?.zip(counter(data.path(), "duplicates")?);
            Ok(counts.map(|(a, d)| a + d).filter(|done| *done >= least))
        })?;
        replay.kill_9()?;
    }
    let file = fixture();
    run(
        data.path(),
        &redis,
        &["replay", file.to_str().unwrap_or_default()],
        "",
    )?
    .expect(0)?;
    exports_the_fixture(data.path(), &redis)?;
    run(data.path(), &redis, &["verify"], "")?.expect(0)?;
    Ok(())
}

#[test]
fn a_console_remembers_though_redis_dies_under_it() -> anyhow::Result<()> {
    let (data, redis) = (data_dir()?, RedisServer::start());
    let mut command = scrollback(data.path(), ["console"])?;
    command.args(["--redis", &redis.url()]);
    let mut bot = Run::start(command)?;
    serving(data.path())?;
    bot.write(b"my cat is called Mog\n")?;
    eventually("the line is appended", || {
        Ok(counter(data.path(), "appended")?.filter(|appended| *appended >= 1))
    })?;
    redis.stop();
    bot.write(b"what is my cat called?\n")?;
    let ended = bot.finish()?.expect(0)?;
    assert!(ended.stdout.contains("Mog"), "{ended:?}");
    let later = run(
        data.path(),
        &redis,
        &["console"],
        "what is my cat called?\n",
    )?
    .expect(0)?;
    assert!(later.stdout.contains("Mog"), "{later:?}");
    Ok(())
}
