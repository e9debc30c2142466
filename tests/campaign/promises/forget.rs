//! P14: a forgetting leaves nothing readable through any interface and nothing revives it; its receipt is right; a person's
//! export is exactly that person's.
//!
//! A copy of yesterday that is put back is in `yesterday`.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use scrollback::testing::RedisServer;

use crate::child::cache::CacheSpec;
use crate::child::forgetter::{AUTHORS, ForgetterSpec, SESSIONS};
use crate::child::teller::{TellerSpec, Told};
use crate::forgets::Forgets;
use crate::process::{Process, pause};
use crate::trial::{Outcome, Round, Trial};

pub(super) const TRIALS: &[Trial] = &[Trial {
    promise: "P14",
    fault: "forget a session or person amid appends, edits, flush and replay; kill -9 around it (half over Redis)",
    ci: 10,
    full: 100,
    least: 1_000,
    alone: false,
    run: forget,
}];

fn forget(round: &Round) -> anyhow::Result<Outcome> {
    let mut rng = round.rng();
    // Uncompressed, so that what is looked for in its memory is found.
    let plain = || RedisServer::start_with(&["--rdbcompression", "no"]);
    let redis = (round.number / 2 % 2 == 1).then(plain);
    let mut cache = CacheSpec::new(round.data());
    cache.flush_every_ms = rng.u64(5..80);
    if let Some(redis) = &redis {
        cache = cache.redis(redis.url());
    }
    let what = if round.number.is_multiple_of(2) {
        format!("session:s{}", rng.u64(..SESSIONS))
    } else {
        format!("author:{}", rng.choice(AUTHORS).unwrap_or("ann"))
    };
    let mut spec = ForgetterSpec {
        cache: cache.clone(),
        ledger: round.dir().join("ledger"),
        seed: round.seed,
        life: 1,
        forget: Some(what),
        after_ms: rng.u64(20..150),
        end_after_us: Some(rng.u64(..40_000)),
    };
    // It ends itself around its forgetting; then the same is asked for once more, while the journal is replayed.
    Process::start("forgetter", &spec)?.aborted()?;
    spec.life = 2;
    spec.after_ms = rng.u64(..20);
    spec.end_after_us = None;
    let mut second = Process::start("forgetter", &spec)?;
    second.line::<String>()?;
    second.line::<String>()?;
    pause(Duration::from_millis(rng.u64(..100)));
    second.kill()?;
    spec.life = 3;
    spec.forget = None;
    let mut third = Process::start("forgetter", &spec)?;
    third.line::<String>()?;
    third.line::<String>()?;
    drop(third);
    judged(&cache, &Forgets::read(&spec.ledger)?, redis.as_ref())
}

/// Reads everything in a fresh process and compares it with the model; then looks for what is gone in Redis's memory and in
/// the journal.
fn judged(
    cache: &CacheSpec,
    known: &Forgets,
    redis: Option<&RedisServer>,
) -> anyhow::Result<Outcome> {
    let spec = TellerSpec {
        cache: cache.clone(),
        sessions: (0..SESSIONS).map(|n| format!("s{n}")).collect(),
        authors: AUTHORS.map(str::to_owned).to_vec(),
    };
    let told: Told = Process::start("teller", &spec)?.line()?;
    let gone = known.gone();
    let mut outcome = Outcome {
        acked: known.count(),
        violations: known.wrong.clone(),
        figures: vec![("texts gone", gone.len() as u64)],
        ..Outcome::default()
    };
    outcome.must(!gone.is_empty(), || "nothing was forgotten".to_owned());
    for (session, shown) in &told.exported {
        outcome.violations.extend(known.judge(session, shown));
    }
    let all = told
        .contexts
        .values()
        .chain(told.exported.values())
        .flatten();
    let all = all.chain(told.by_author.values().flatten().map(|(_, shown)| shown));
    let read = all.filter(|(_, text)| gone.contains(text));
    let read = read.map(|(_, text)| format!("{text} is gone and is read"));
    outcome.violations.extend(read);
    outcome.violations.extend(known.miscounted());
    outcome.violations.extend(told.violations);
    let standing = told.contexts.values().flatten().map(|(_, text)| text);
    if let Some(redis) = redis {
        let memory = redis.take_dump();
        outcome.must(
            standing.into_iter().any(|text| found(&memory, text)),
            || "Redis's memory cannot be looked through".to_owned(),
        );
        outcome.violations.extend(left("Redis", &memory, &gone));
    }
    for (name, bytes) in journal(&cache.data)? {
        outcome.violations.extend(left(&name, &bytes, &gone));
    }
    Ok(outcome)
}

fn found(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

fn left(place: &str, bytes: &[u8], gone: &std::collections::HashSet<String>) -> Vec<String> {
    // Every text that stands there, looked up, rather than every text looked for.
    const BEGIN: &[u8] = b"words.";
    let begins = bytes.windows(BEGIN.len()).enumerate();
    let begins = begins
        .filter(|(_, window)| *window == BEGIN)
        .map(|(at, _)| at);
    let texts = begins.filter_map(|at| {
        let rest =
            String::from_utf8_lossy(bytes.get(at..(at + 100).min(bytes.len()))?).into_owned();
        let (text, _) = rest.split_once(".end")?;
        Some(format!("{text}.end"))
    });
    let texts = texts.filter(|text| gone.contains(text));
    texts
        .map(|text| format!("{text} is gone and stands in {place}"))
        .collect()
}

/// The journal's files.
fn journal(data: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let dir = data.join("journal");
    let files = std::fs::read_dir(&dir).with_context(|| dir.display().to_string())?;
    files
        .map(|file| {
            let path = file?.path();
            Ok((path.display().to_string(), std::fs::read(&path)?))
        })
        .collect()
}
