//! What the design forbids, checked in the source: imports that point up, foreign imports, long files,
//! `mod.rs`, prints outside the bots.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A source file: its path from the workspace's root, with `/`, and its text.
struct Source {
    path: String,
    text: String,
}

fn sources() -> anyhow::Result<Vec<Source>> {
    let root = harness::root();
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = ["core", "adapters", "bots", "tests"]
        .map(|dir| root.join(dir))
        .into();
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                // Where the fuzz targets are built.
                if !path.ends_with("tests/fuzz/target") {
                    left.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path)?;
                let path = path
                    .strip_prefix(&root)?
                    .to_string_lossy()
                    .replace('\\', "/");
                found.push(Source { path, text });
            }
        }
    }
    anyhow::ensure!(
        found.len() > 20,
        "sources not found under {}",
        root.display()
    );
    Ok(found)
}

/// True for a program of its own: an example or a measurement.
fn is_program(source: &Source) -> bool {
    source.path.starts_with("core/examples/") || source.path.starts_with("core/benches/")
}

/// The code lines before the file's own tests, without comments; none in a file of tests.
fn code(source: &Source) -> impl Iterator<Item = &str> {
    let tests = source.path.ends_with("/tests.rs")
        || source.path.contains("/src/") && source.path.contains("/tests/")
        || source.path.ends_with("/tidy.rs");
    let text = if tests { "" } else { source.text.as_str() };
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .map(|line| line.split("//").next().unwrap_or_default())
}

/// True when `line` names the crate or module `name` at the head of a path.
fn names(line: &str, name: &str) -> bool {
    let head = format!("{name}::");
    line.match_indices(&head).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    }) || line.trim() == format!("use {name};")
}

fn module_of(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("core/src/")?;
    inner.split(['/', '.']).next()
}

/// Core modules from the bottom up; equal levels may know each other's contracts but not import.
const LAYERS: [&[&str]; 9] = [
    &["error", "clock", "fault_point"],
    &["key", "message", "pack"],
    &["codec", "keyring", "summary", "window", "ttl"],
    &["fold", "simulate"],
    &["hot", "store", "journal"],
    &["session"],
    &["flusher", "stats", "verify"],
    &["cache"],
    &["builder"],
];

/// Core modules that stand beside the layers: the tour, and what is only compiled for tests.
const OUTSIDE: [&str; 2] = ["lib", "testing"];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

#[test]
fn imports_in_the_core_only_point_down() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for source in sources()? {
        let Some(module) = module_of(&source.path).filter(|m| !OUTSIDE.contains(m)) else {
            continue;
        };
        let Some(own) = layer(module) else {
            wrong.push(format!("{} ({module}) is in no layer", source.path));
            continue;
        };
        for line in code(&source) {
            for above in LAYERS.iter().skip(own + 1).copied().flatten() {
                if names(line, &format!("crate::{above}"))
                    || line.contains(&format!("use crate::{above}::"))
                {
                    wrong.push(format!(
                        "{} ({module}) names {above}: {}",
                        source.path,
                        line.trim()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn crates_only_import_those_below_them() -> anyhow::Result<()> {
    let forbidden: [(&str, &[&str]); 3] = [
        ("core/", &["scrollback_kit", "scrollback_bots", "anyhow"]),
        (
            "adapters/",
            &["scrollback_bots", "redis", "r2d2", "sled", "anyhow"],
        ),
        ("bots/", &["redis", "r2d2", "sled"]),
    ];
    let mut wrong = Vec::new();
    for source in sources()?.iter().filter(|s| !is_program(s)) {
        for (_, names_of) in forbidden
            .iter()
            .filter(|(dir, _)| source.path.starts_with(dir))
        {
            for line in code(source) {
                for name in names_of.iter().filter(|name| names(line, name)) {
                    wrong.push(format!("{} names {name}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn only_one_module_knows_redis_and_only_one_knows_sled() -> anyhow::Result<()> {
    let rules: [(&str, &[&str]); 3] = [
        (
            "redis",
            &[
                "core/src/hot/redis",
                "core/src/testing",
                "core/tests/",
                "tests/",
            ],
        ),
        ("r2d2", &["core/src/hot/redis"]),
        ("sled", &["core/src/store/sled"]),
    ];
    let mut wrong = Vec::new();
    for source in sources()?.iter().filter(|s| !is_program(s)) {
        for (name, homes) in rules {
            if homes.iter().any(|home| source.path.starts_with(home)) {
                continue;
            }
            // `crate::hot::redis::` is our own module; the crate stands at the head of a path.
            for line in code(source).filter(|line| names(line, name)) {
                wrong.push(format!("{} names {name}: {}", source.path, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn no_file_is_longer_than_500_lines_and_none_is_called_mod() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for source in sources()? {
        let lines = source.text.lines().count();
        if lines > 500 {
            wrong.push(format!("{}: {lines} lines", source.path));
        }
        if source.path.ends_with("/mod.rs") {
            wrong.push(format!(
                "{}: call it by its name, beside its folder",
                source.path
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_module_says_what_it_is() -> anyhow::Result<()> {
    let silent: Vec<String> = sources()?
        .into_iter()
        .filter(|source| !source.text.starts_with("//!") && !source.text.starts_with("#!["))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "no `//!` at the head of {silent:?}");
    Ok(())
}

#[test]
fn only_the_bots_write_to_stdout_and_stderr() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for source in sources()?
        .iter()
        .filter(|s| !s.path.starts_with("bots/") && !s.path.starts_with("tests/"))
        .filter(|s| !is_program(s))
    {
        for line in code(source) {
            let prints = ["println!", "print!(", "io::stdout", "io::stderr", "dbg!"];
            if prints.iter().any(|print| line.contains(print)) {
                wrong.push(format!("{}: {}", source.path, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert!(names("use sled::Db;", "sled"));
    assert!(names("fn f(db: &sled::Db)", "sled"));
    assert!(names("use redis;", "redis"));
    assert!(!names("use crate::store::sled::SledConfig;", "sled"));
    assert!(!names("use crate::hot::redis::RedisConfig;", "redis"));
    assert!(names("    use crate::cache::Cache;", "crate::cache"));
    let path = Path::new("core/src/store/sled/rows.rs");
    assert_eq!(path.to_str().and_then(module_of), Some("store"));
}
