//! Builds the binary under test, once per test process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, anyhow, ensure};

/// The `scrollback` binary of this workspace, built in the profile in which the tests run.
///
/// # Errors
/// It does not build.
pub fn scrollback_bin() -> anyhow::Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow!(error.clone()))
}

fn build() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("cannot tell where this program is")?;
    // target/PROFILE/deps/integration-HASH, or target/PROFILE/faults
    let deps = test.parent().is_some_and(|dir| dir.ends_with("deps"));
    let profile = test
        .ancestors()
        .nth(if deps { 2 } else { 1 })
        .context("this program is not in a target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command
        .current_dir(crate::root())
        // Of the whole workspace, so that the libraries are those that the tests were built with.
        .args(["build", "--quiet", "--workspace", "--all-features"])
        .args(["--bin", "scrollback"])
        .arg("--target-dir")
        .arg(
            profile
                .parent()
                .context("this program is not in a target directory")?,
        );
    if profile.file_name().is_some_and(|name| name == "release") {
        command.arg("--release");
    }
    let built = command.output().context("cannot run cargo")?;
    ensure!(
        built.status.success(),
        "scrollback does not build:\n{}",
        String::from_utf8_lossy(&built.stderr)
    );
    Ok(profile.join("scrollback"))
}
