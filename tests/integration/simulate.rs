//! `simulate`: its figures on a real log, what it refuses, and the same from a log as from the store.

use std::path::Path;

use harness::{Finished, Run, data_dir, fixture, scrollback};
use serde_json::Value;

fn simulate(data: &Path, args: &[&str], input: &[u8]) -> anyhow::Result<Finished> {
    Run::to_end(scrollback(data, ["simulate"].iter().chain(args))?, input)
}

fn path() -> String {
    fixture().to_string_lossy().into_owned()
}

fn rows(run: &Finished) -> anyhow::Result<Vec<Value>> {
    let whole: Value = serde_json::from_str(&run.stdout)?;
    Ok(whole["rows"].as_array().cloned().unwrap_or_default())
}

/// Misses, residency and byte-seconds of a row.
fn row(rows: &[Value], policy: &str, seconds: u64) -> Option<(u64, f64, f64)> {
    let time = if policy == "fixed" { "ttl_s" } else { "c_s" };
    let row = rows
        .iter()
        .find(|r| r["policy"] == policy && r[time] == seconds)?;
    let number = |name: &str| row[name].as_f64();
    Some((
        row["misses"].as_u64()?,
        number("residency_s")?,
        number("byte_seconds")?,
    ))
}

/// What a change of a policy must not change by mistake.
#[test]
fn the_figures_on_a_small_real_log_are_these() -> anyhow::Result<()> {
    let data = data_dir()?;
    let args = [&path(), "--key", "channel,author", "--json"];
    let rows = rows(&simulate(data.path(), &args, b"")?.expect(0)?)?;
    let pinned = [
        ("fixed", 1800, 102, 414_295.0, 2_155_143_100.0),
        ("fixed", 86_400, 68, 6_712_977.0, 32_390_848_547.0),
        ("economic", 1800, 229, 240_372.0, 1_191_662_228.0),
        ("economic", 86_400, 75, 2_285_513.0, 9_457_762_343.0),
        ("learned", 1800, 155, 327_187.0, 1_764_986_579.0),
        ("learned", 86_400, 90, 921_978.0, 5_215_047_468.0),
        ("ewma", 1800, 110, 11_771_196.0, 38_204_358_861.0),
        ("oracle", 1800, 102, 230_695.0, 1_232_414_500.0),
        ("oracle", 86_400, 68, 837_777.0, 5_474_483_746.0),
    ];
    for (policy, seconds, misses, residency, bytes) in pinned {
        let found = row(&rows, policy, seconds).unwrap_or_default();
        assert_eq!(found.0, misses, "{policy} {seconds}: {found:?}");
        assert!(
            (found.1 - residency).abs() < 2.0,
            "{policy} {seconds}: {found:?}"
        );
        assert!(
            (found.2 / bytes - 1.0).abs() < 1e-6,
            "{policy} {seconds}: {found:?}"
        );
    }
    for one in &rows {
        let cost = one["c_s"].as_f64().unwrap_or(6000.0);
        let misses = one["misses"].as_f64().unwrap_or_default();
        let sum = one["residency_s"].as_f64().unwrap_or_default() + misses * cost;
        assert!(
            (one["cost"].as_f64().unwrap_or_default() - sum).abs() < 1.0,
            "{one}"
        );
        assert_eq!(
            (&one["touches"], &one["sessions"]),
            (&1500.into(), &26.into())
        );
    }
    Ok(())
}

/// The times that every run has.
#[test]
fn each_policy_is_tried_with_the_usual_times_and_with_the_one_asked_for() -> anyhow::Result<()> {
    let data = data_dir()?;
    let run = simulate(data.path(), &[&path(), "--json", "--c", "1234.5"], b"")?.expect(0)?;
    let rows = rows(&run)?;
    let usual = [60, 300, 1800, 3600, 21_600, 86_400, 259_200, 604_800];
    for policy in ["fixed", "economic", "learned", "ewma", "oracle"] {
        for seconds in usual {
            assert!(row(&rows, policy, seconds).is_some(), "{policy} {seconds}");
        }
    }
    let asked = rows.iter().filter(|r| r["c_s"] == 1234.5).count();
    assert_eq!(asked, 4);
    // The others reach from more misses than any fixed time to live to fewer.
    let misses = |policy: &str| {
        let of = rows.iter().filter(|r| r["policy"] == policy);
        let all: Vec<u64> = of.filter_map(|r| r["misses"].as_u64()).collect();
        (all.iter().min().copied(), all.iter().max().copied())
    };
    let (least, most) = misses("fixed");
    for policy in ["economic", "learned"] {
        let (fewest, worst) = misses(policy);
        assert!(fewest <= least && worst >= most, "{policy}");
    }
    Ok(())
}

#[test]
fn what_was_replayed_gives_the_same_from_the_store_as_from_the_log() -> anyhow::Result<()> {
    let data = data_dir()?;
    let log = path();
    for key in ["channel", "channel,author"] {
        let data = data.path().join(key);
        let args = ["replay", &log, "--key", key];
        Run::to_end(scrollback(&data, args)?, b"")?.expect(0)?;
        let stored = simulate(&data, &["--from-store", "--json"], b"")?.expect(0)?;
        let read = simulate(&data, &[&log, "--key", key, "--json"], b"")?.expect(0)?;
        assert_eq!(stored.stdout, read.stdout, "{key}");
    }
    Ok(())
}

#[test]
fn the_table_and_the_plot_are_for_people() -> anyhow::Result<()> {
    let data = data_dir()?;
    let svg = data.path().join("p.svg");
    let args = [&path(), "--plot", &*svg.to_string_lossy()];
    let run = simulate(data.path(), &args, b"")?.expect(0)?;
    for part in [
        "1500 touches",
        "economic",
        "best fixed TTL in hindsight",
        "misses",
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let drawn = std::fs::read_to_string(svg)?;
    for part in [
        "<svg",
        "misses, % of touches",
        "sessions hot at a time",
        "oracle (bound)",
    ] {
        assert!(drawn.contains(part), "{part}");
    }
    Ok(())
}

#[test]
fn bad_input_is_refused_with_what_to_do() -> anyhow::Result<()> {
    let data = data_dir()?;
    let log = path();
    let line = |ts: &str| format!(r#"{{{ts}"space":"s","channel":"c","author":"u","text":"x"}}"#);
    let (five, four) = (line(r#""ts":5,"#), line(r#""ts":4,"#));
    let unsorted = format!("{five}\n{four}\n");
    let bad: [(&[&str], &str, &str); 12] = [
        (&[&log, "--c", "-5"], "", "-5 is not a break-even time"),
        (&[&log, "--c", "0"], "", "1 second to 10 years"),
        (&[&log, "--c", "1e300"], "", "1 second to 10 years"),
        (&[&log, "--c", "NaN"], "", "1 second to 10 years"),
        (
            &[&log, "--key", "user"],
            "",
            "is not space, channel, stream or author",
        ),
        (&[&log, "--plot", "p.png"], "", "ends in .svg"),
        (
            &[&log, "--ttl-floor", "5m", "--ttl-cap", "1m"],
            "",
            "is above their cap",
        ),
        (&["-"], &unsorted, "line 2: its time is 1.000 s before"),
        (&["-"], &line(""), "line 1: not a message: `ts` is missing"),
        (&["-"], "", "there is no message to simulate"),
        (&["no-such-file"], "", "no-such-file"),
        (&[], "", "required"),
    ];
    for (args, input, why) in bad {
        let run = simulate(data.path(), args, input.as_bytes())?.expect(2)?;
        assert!(run.stderr.contains(why), "{args:?}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{args:?}: {}", run.stdout);
    }
    let empty = simulate(&data.path().join("none"), &["--from-store"], b"")?.expect(2)?;
    assert!(
        empty.stderr.contains("no data directory"),
        "{}",
        empty.stderr
    );
    Ok(())
}
