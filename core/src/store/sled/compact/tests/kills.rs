//! A compaction that fails, or whose process dies, at any of its steps loses nothing (P2, P6).
//!
//! Points are the process's own, so each case runs in a child: this binary again, told by variables what to do.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU64;

use super::model::same;
use super::*;
use crate::testing::memory_store::MemoryStore;

const CHANNELS: u64 = 6;

/// What the steps at which a store is made leave in each session.
const STEPS: u64 = 40;

/// Every point of a compaction, in order.
const POINTS: [&str; 10] = [
    "compact.create",
    "compact.write",
    "compact.flush",
    "compact.fsync_file",
    "compact.fsync_dir",
    "compact.rename_old",
    "compact.fsync_between",
    "compact.rename_new",
    "compact.fsync_parent",
    "compact.remove",
];

/// Every point of the start after one that died.
const SETTLING: [&str; 3] = [
    "compact.settle_rename",
    "compact.settle_fsync",
    "compact.settle_remove",
];

/// What step `k` of every session flushes: two messages, and a deletion or an edit of an older one.
fn bodies(k: u64) -> Vec<Body> {
    let older = 3 * (k / 2) + 1;
    let third = match k % 3 {
        0 => delete(older),
        _ => Body::Edit {
            id: (older + 1).to_string(),
            text: Some(format!("edited by {k}")),
            at_ms: k,
        },
    };
    let (one, two) = (3 * k + 1, 3 * k + 2);
    vec![
        said(one, &format!("{one} ").repeat(40)),
        said(two, "two"),
        third,
    ]
}

fn step(store: &dyn Store, channel: u64, k: u64) -> Result<()> {
    let entries = bodies(k).into_iter().zip(3 * k + 1..);
    let entries = entries.map(|(b, n)| entry(channel, n, b)).collect();
    let done = store.flush(&[part(channel, 1, entries)])?;
    assert_eq!(done[0].entries, [Flushed::Durable; 3]);
    Ok(())
}

/// A data directory in which every session has `STEPS` steps.
fn prepared() -> TempDir {
    let (store, dir) = fresh();
    for channel in 0..CHANNELS {
        (0..STEPS).for_each(|k| step(&store, channel, k).unwrap());
    }
    store.close().unwrap();
    dir
}

/// How many steps of each session were answered for, by what a child has written down.
fn acknowledged(log: &Path) -> Vec<u64> {
    let mut acked = vec![STEPS; usize::try_from(CHANNELS).unwrap()];
    for line in fs::read_to_string(log).unwrap_or_default().lines() {
        let channel: usize = line.parse().unwrap();
        acked[channel] += 1;
    }
    acked
}

/// Opens the store and compares it with a model; returns the steps it holds.
fn verify(dir: &Path, acked: &[u64], case: &str) -> u64 {
    let store = open(dir);
    for aside in ["store.old", "store.compacting"] {
        assert!(!dir.join(aside).exists(), "{case}: {aside} is left");
    }
    sound(&store);
    let model = MemoryStore::new();
    let mut all = 0;
    for (acked, channel) in acked.iter().zip(0..) {
        let last = store.window(&at(channel)).unwrap().unwrap().last;
        let steps = last / 3;
        assert!(
            last.is_multiple_of(3) && (*acked..=acked + 1).contains(&steps),
            "{case}: session {channel} has {steps} steps, {acked} were acknowledged"
        );
        (0..steps).for_each(|k| step(&model, channel, k).unwrap());
        same([&store, &model], channel, last);
        all += steps;
    }
    // It works, and can be compacted.
    put(&store, CHANNELS, 1, vec![said(1, "more")]);
    compact(&store);
    sound(&store);
    store.close().unwrap();
    all
}

fn child(what: &str, dir: &Path, log: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::sled::compact::tests::kills::a_child",
            "--nocapture",
        ])
        .args(["--test-threads", "1"])
        .env("SCROLLBACK_CHILD", what)
        .env("SCROLLBACK_CHILD_DIR", dir)
        .env("SCROLLBACK_CHILD_LOG", log)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the child does; nothing when this is not one.
#[test]
fn a_child() {
    let Ok(what) = std::env::var("SCROLLBACK_CHILD") else {
        return;
    };
    let dir = std::path::PathBuf::from(std::env::var("SCROLLBACK_CHILD_DIR").unwrap());
    let log = std::env::var("SCROLLBACK_CHILD_LOG").unwrap();
    let log = File::options().append(true).create(true).open(log).unwrap();
    let (point, action) = what.split_once(' ').unwrap();
    if point.starts_with("compact.settle") {
        return settles(point, action, &dir);
    }
    let store = open(&dir);
    let from: Vec<u64> = (0..CHANNELS)
        .map(|c| store.window(&at(c)).unwrap().unwrap().last / 3)
        .collect();
    let on = |channel: u64, k: u64| {
        step(&store, channel, k).unwrap();
        (&log).write_all(format!("{channel}\n").as_bytes()).unwrap();
    };
    if point == "endless" {
        println!("ready");
        std::thread::scope(|s| {
            for channels in [0..CHANNELS / 2, CHANNELS / 2..CHANNELS] {
                let (from, on) = (&from, &on);
                s.spawn(move || {
                    for more in 0.. {
                        channels
                            .clone()
                            .for_each(|c| on(c, from[usize::try_from(c).unwrap()] + more));
                        std::thread::park_timeout(Duration::from_millis(3));
                    }
                });
            }
            loop {
                compact(&store);
            }
        });
    }
    fail::cfg(point, action).unwrap();
    let told = AtomicU64::new(0);
    let failed = store.compact(&|_| {
        if told.fetch_add(1, Ordering::Relaxed) == 1 {
            // One session changes after it was copied.
            on(0, from[0]);
        }
    });
    fail::remove(point);
    if point == "compact.remove" {
        failed.unwrap();
    } else {
        println!("{}", failed.unwrap_err());
    }
    if point == "compact.fsync_parent" {
        // Which store a power cut would find is unknown: nothing more is taken on.
        assert!(store.window(&at(0)).is_err_and(|e| e.is_outage()));
    } else {
        on(1, from[1]);
        assert!(!dir.join("store.compacting").exists());
    }
}

/// A start that fails at a point, and the one after it.
fn settles(point: &str, action: &str, dir: &Path) {
    fail::cfg(point, action).unwrap();
    let config = SledConfig::new(dir).wait_lock(Duration::from_secs(10));
    assert!(SledStore::open(&config).is_err(), "{point} was not met");
    fail::remove(point);
    open(dir);
}

/// One case in a child, then a look at what it left.
fn case(what: &str, dies: bool) {
    let dir = prepared();
    let log = TempDir::new().unwrap();
    let log = log.path().join("log");
    let ended = child(what, dir.path(), &log).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.success(), !dies, "{what}: {said}");
    verify(dir.path(), &acknowledged(&log), what);
}

#[test]
fn a_compaction_that_fails_at_any_step_leaves_the_store_in_use() {
    for point in POINTS {
        case(&format!("{point} return"), false);
        case(&format!("{point} return(full)"), false);
    }
}

#[test]
fn a_process_that_dies_at_any_step_of_a_compaction_loses_nothing() {
    for point in POINTS {
        case(&format!("{point} return(abort)"), true);
    }
    for point in [
        "compact.write",
        "compact.flush",
        "compact.fsync_file",
        "compact.fsync_dir",
    ] {
        // The one under the locks.
        case(&format!("{point} 1*off->return(abort)"), true);
    }
}

#[test]
fn a_start_that_fails_or_dies_while_it_settles_is_made_good_by_the_next() {
    for point in SETTLING {
        for (action, dies) in [("return", false), ("return(abort)", true)] {
            let dir = prepared();
            let log = TempDir::new().unwrap();
            let log = log.path().join("log");
            let first = child("compact.fsync_between return(abort)", dir.path(), &log);
            assert!(!first.wait_with_output().unwrap().status.success());
            assert!(dir.path().join("store.old").exists() && !dir.path().join("store").exists());
            let what = format!("{point} {action}");
            let ended = child(&what, dir.path(), &log).wait_with_output().unwrap();
            assert_eq!(ended.status.success(), !dies, "{what}");
            verify(dir.path(), &acknowledged(&log), &what);
        }
    }
}

#[test]
fn kill_9_at_any_time_loses_nothing() {
    let rounds: u64 = std::env::var("SCROLLBACK_KILLS").map_or(6, |k| k.parse().unwrap());
    let seed = std::env::var("SEED").map_or(0xdead, |s| s.parse().unwrap());
    println!("SEED={seed}");
    let mut random = Seeded(seed);
    let (dir, log) = (prepared(), TempDir::new().unwrap());
    let log = log.path().join("log");
    let (mut copying, mut swapping, mut steps) = (0, 0, 0);
    for round in 1..=rounds {
        let mut running = child("endless 0", dir.path(), &log);
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("ready")));
        let after = Duration::from_micros(random.below(200_000));
        let until = std::time::Instant::now() + after;
        while let Some(left) = until.checked_duration_since(std::time::Instant::now()) {
            std::thread::park_timeout(left);
        }
        running.kill().unwrap();
        running.wait().unwrap();
        copying += u64::from(dir.path().join("store.compacting").exists());
        swapping += u64::from(dir.path().join("store.old").exists());
        let case = format!("round {round}, killed after {after:?}");
        let acked = acknowledged(&log);
        let holds = verify(dir.path(), &acked, &case);
        // What was stored and not acknowledged counts from here on.
        let more = holds - acked.iter().sum::<u64>();
        steps = holds;
        if more > 0 {
            note_unacknowledged(dir.path(), &log, &acked);
        }
    }
    println!(
        "{rounds} kills, {copying} while copying, {swapping} around the swap, {steps} steps stored"
    );
}

fn note_unacknowledged(dir: &Path, log: &Path, acked: &[u64]) {
    let store = open(dir);
    let mut log = File::options().append(true).open(log).unwrap();
    for (acked, channel) in acked.iter().zip(0..) {
        let steps = store.window(&at(channel)).unwrap().unwrap().last / 3;
        (*acked..steps).for_each(|_| writeln!(log, "{channel}").unwrap());
    }
}
