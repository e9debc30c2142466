//! Hostile input (P7, P15, P16): every reader of what others wrote, on the committed seeds and on mutations of them.
//!
//! `SCROLLBACK_FUZZ` sets how many mutations each reader sees, `SCROLLBACK_FUZZ_SEED` from which seed on; a failure
//! prints its seed and input. `tests/fuzz` feeds the same checks with coverage. `SCROLLBACK_FUZZ_WRITE=1` writes the
//! seeds of the binary formats anew.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use harness::hostile::{TARGETS, Target, mutate, seeds::seeds};
use harness::random::Random;

fn corpus(target: &str) -> PathBuf {
    harness::root().join("tests/fuzz/corpus").join(target)
}

fn inputs(target: &Target) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let dir = corpus(target.name);
    let mut inputs = Vec::new();
    for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        inputs.push((path.display().to_string(), std::fs::read(&path)?));
    }
    inputs.sort();
    anyhow::ensure!(!inputs.is_empty(), "no seeds in {}", dir.display());
    Ok(inputs)
}

fn holds(target: &Target, input: &[u8], whence: &str) {
    let check = target.check;
    if catch_unwind(|| check(input)).is_err() {
        panic!(
            "{} does not hold, {whence}:\n{}",
            target.name,
            input.escape_ascii()
        );
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| v.parse().unwrap())
}

#[test]
fn every_reader_withstands_its_seeds_and_their_mutations() -> anyhow::Result<()> {
    let first = number("SCROLLBACK_FUZZ_SEED", 1);
    let seeds = first..first + number("SCROLLBACK_FUZZ", 2_000);
    for target in &TARGETS {
        let inputs = inputs(target)?;
        for (name, input) in &inputs {
            holds(target, input, name);
        }
        for seed in seeds.clone() {
            let mut random = Random::new(seed);
            let one = &inputs[random.index(inputs.len())].1;
            let other = &inputs[random.index(inputs.len())].1;
            let input = mutate(&mut random, one, other);
            holds(target, &input, &format!("seed {seed}"));
        }
    }
    Ok(())
}

/// What the first version wrote must be written so, and read, for ever; a new version adds seeds.
#[test]
fn the_seeds_of_the_binary_formats_are_what_is_written_today() -> anyhow::Result<()> {
    let write = number("SCROLLBACK_FUZZ_WRITE", 0) == 1;
    for (target, name, bytes) in seeds()? {
        let path = corpus(target).join(name);
        if write {
            std::fs::create_dir_all(corpus(target))?;
            std::fs::write(&path, &bytes)?;
        }
        let committed = std::fs::read(&path).with_context(|| shown(&path))?;
        anyhow::ensure!(committed == bytes, "{} is not written so", shown(&path));
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn a_journal_whose_name_is_rotten_opens_under_a_new_one() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let writer = dir.path().join("journal").join("writer");
    std::fs::create_dir_all(dir.path().join("journal"))?;
    for rotten in [&b"\xff\xfe"[..], b"", b"\0\0", b"not a name"] {
        std::fs::write(&writer, rotten)?;
        let cache = scrollback::Cache::builder()
            .store(scrollback::SledConfig::new(dir.path()))
            .build()
            .await?;
        cache.close(std::time::Duration::from_secs(5)).await?;
        let name = std::fs::read_to_string(&writer)?;
        anyhow::ensure!(name.len() == 32, "{rotten:?}: {name}");
    }
    Ok(())
}
