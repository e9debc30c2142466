//! FAULTS.md §4: secrets and texts reach no log and no error, and what other suites test with random texts, in full.
//!
//! The canaries: the password of Redis and everything that people write here, the tokens of both platforms and the secret
//! of the webhook in the binary's configuration; the paths of the platforms' APIs are in the adapters' own tests.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use anyhow::Context as _;
use harness::{Run, scrollback};
use scrollback::testing::RedisServer;

use crate::child::canary::{CANARY, CanarySpec, Sung};
use crate::process::Process;
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        promise: "S4",
        fault: "canary secrets through the core's error paths at TRACE",
        ci: 1,
        full: 2,
        least: 200,
        alone: false,
        run: core,
    },
    Trial {
        promise: "S4",
        fault: "canary secrets through the binary's configuration errors at TRACE",
        ci: 1,
        full: 2,
        least: 25,
        alone: false,
        run: configuration,
    },
    Trial {
        promise: "S4",
        fault: "random texts through the splitter",
        ci: 1,
        full: 10,
        least: 10_000,
        alone: false,
        run: splitter,
    },
];

/// What a user with all rights but one may not.
const COMMANDS: [&str; 17] = [
    "info",
    "script|load",
    "eval",
    "evalsha",
    "xadd",
    "xrange",
    "zadd",
    "zrem",
    "zrange",
    "persist",
    "pexpire",
    "set",
    "get",
    "exists",
    "multi",
    "exec",
    "select",
];

/// What something that is no Redis says to whoever connects.
const NONSENSE: [&[u8]; 6] = [
    b"",
    b"HTTP/1.1 400 Bad Request\r\n\r\n<html>",
    b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"*-7\r\n$999999999999\r\n",
    b"\0\xff\xfe\r\n\r\n",
];

fn core(round: &Round) -> anyhow::Result<Outcome> {
    let server = RedisServer::start();
    let port = server.port();
    let password = format!("{CANARY}REDIS");
    let rights = ["on", &format!(">{password}"), "~*", "&*", "+@all"];
    let user = |name: &str, more: &[&str]| {
        let all = [&["ACL", "SETUSER", name][..], &rights, more].concat();
        let told = server.cli(&all);
        anyhow::ensure!(told.trim() == "OK", "no user {name}: {told}");
        Ok(format!("redis://{name}:{password}@127.0.0.1:{port}/"))
    };
    let mut redis = vec![
        format!("redis://u:{password}@127.0.0.1:1/"),
        format!("redis://u:{password}@no-such-host.invalid/"),
        format!("redis://nobody:{password}@127.0.0.1:{port}/"),
        format!("redis://:{password}@127.0.0.1:{port}/"),
        format!("redis://u:{password}@127.0.0.1:{port}/notanumber"),
        format!("redis://u:{password}@127.0.0.1:99999/"),
        format!("rediss://u:{password}@127.0.0.1:{port}/"),
        format!("http://u:{password}@127.0.0.1:{port}/"),
        user("fine", &[])?,
    ];
    for (n, command) in COMMANDS.into_iter().enumerate() {
        redis.push(user(&format!("u{n}"), &[&format!("-{command}")])?);
    }
    for nonsense in NONSENSE {
        let port = talker(nonsense)?;
        redis.push(format!("redis://u:{password}@127.0.0.1:{port}/"));
    }
    let spec = CanarySpec {
        dir: round.dir().join("canary"),
        redis,
    };
    let mut child = Process::start("canary", &spec)?;
    let sung: Sung = child.line()?;
    let (code, _) = child.finish()?;
    let mut outcome = Outcome {
        acked: sung.paths,
        ..Outcome::default()
    };
    outcome.must(code == Some(0), || format!("ended with {code:?}"));
    outcome.must(sung.lines > 1_000, || {
        format!("only {} lines were logged", sung.lines)
    });
    outcome.violations.extend(sung.hits);
    outcome
        .figures
        .extend([("error paths", sung.paths), ("lines", sung.lines)]);
    Ok(outcome)
}

/// Listens, says something to each caller and hangs up when it does; ends with the process.
fn talker(says: &'static [u8]) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::Builder::new().spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut heard = [0; 512];
            // A caller that went away has heard enough.
            let _ = stream.read(&mut heard).and_then(|_| stream.write_all(says));
        }
    })?;
    Ok(port)
}

/// Settings with a value that cannot be right.
const BAD: [(&str, &str); 27] = [
    ("KEY", "c0ffeec0ffeec0ffee, and no more"),
    ("KEY_FILE", "/nowhere/beside/a/key"),
    ("REDIS", "redis://u:CANARYxREDIS@host:99999/"),
    ("REDIS", "redis://u:CANARYxREDIS@host/x"),
    ("REDIS", "http://u:CANARYxREDIS@host/"),
    ("REDIS", "redis://u:CANARYx/REDIS@host/"),
    ("REDIS", "CANARYxREDIS"),
    ("REDIS_PREFIX", "a{b"),
    ("WINDOW", "many"),
    ("TTL", "soon"),
    ("LEVEL", "best"),
    ("RETENTION", "-1s"),
    ("FLUSH_EVERY", "0s"),
    ("WAIT_LOCK", "x"),
    ("MAX_MESSAGE_BYTES", "0"),
    ("LOG", "=="),
    ("CONFIG", "/no/such/file"),
    ("SCOPE", "all"),
    ("SCOPE_IN", "here"),
    ("ALLOW", "everyone:"),
    ("DENY", ":"),
    ("RATE", "-1"),
    ("ANSWER_WITHIN", "later"),
    ("PINGS", "all"),
    ("DISCORD_API_URL", "nowhere"),
    ("TELEGRAM_API_URL", "nowhere"),
    ("TELEGRAM_WEBHOOK", "http://plain.example/"),
];

/// A master key is hexadecimal: what it is known by.
const KEY: &str = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";

/// The secrets of the binary.
const SECRETS: [(&str, &str); 5] = [
    ("SCROLLBACK_KEY", KEY),
    ("SCROLLBACK_DISCORD_TOKEN", "CANARYxDISCORD.token.x"),
    ("SCROLLBACK_TELEGRAM_TOKEN", "1:CANARYxTELEGRAM"),
    ("SCROLLBACK_TELEGRAM_WEBHOOK_SECRET", "CANARYxWEBHOOK!"),
    ("SCROLLBACK_REDIS", "redis://u:CANARYxREDIS@127.0.0.1:1/"),
];

fn configuration(round: &Round) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for (name, value) in BAD {
        let mut command = scrollback(&round.data(), ["run"])?;
        command.envs(SECRETS).env("SCROLLBACK_LOG", "trace");
        command.env(format!("SCROLLBACK_{name}"), value);
        let ended = Run::to_end(command, b"")?;
        outcome.must(ended.code == Some(2), || {
            format!("{name}={value}: {:?}", ended.code)
        });
        let shown = format!("{}{}", ended.stdout, ended.stderr);
        let is_secret =
            |line: &&str| line.contains("CANARYx") || line.to_lowercase().contains("c0ffeec0ffee");
        let hit = shown.lines().find(is_secret);
        outcome.must(hit.is_none(), || format!("{name}: a secret in {hit:?}"));
        outcome.acked += 1;
    }
    Ok(outcome)
}

/// Random texts of one round, for each property of the splitter's own tests.
const TEXTS: u64 = 10_000;

fn splitter(_: &Round) -> anyhow::Result<Outcome> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(harness::root())
        // As the workspace's tests are built, so that nothing is built again.
        .args([
            "test",
            "--quiet",
            "--workspace",
            "--all-features",
            "--lib",
            "split::tests",
        ])
        .env("SCROLLBACK_TEXTS", TEXTS.to_string());
    let ran = command.output().context("cannot run cargo")?;
    let told = String::from_utf8_lossy(&ran.stdout);
    let passed = |line: &str| {
        line.strip_prefix("test result: ok. ")?
            .split(' ')
            .next()?
            .parse::<u64>()
            .ok()
    };
    let tests: u64 = told.lines().filter_map(passed).sum();
    let mut outcome = Outcome::default();
    outcome.must(ran.status.success() && tests >= 3, || {
        format!(
            "{tests} tests passed:\n{told}\n{}",
            String::from_utf8_lossy(&ran.stderr)
        )
    });
    outcome.acked += TEXTS;
    Ok(outcome)
}
