//! What workspace tests share: the built binary, child processes, data directories, chat logs.
//!
//! Nothing skips. Children are ended with the value that stands for them.

mod binary;
mod child;
mod control;
pub mod fake_discord;
pub mod fake_telegram;
pub mod faulty;
pub mod hostile;
mod log;
pub mod random;
mod wait;
pub mod world;

pub use binary::scrollback_bin;
pub use child::{Finished, Run, scrollback};
pub use control::{ask_control, counter, serving};
pub use fake_discord::FakeDiscord;
pub use fake_telegram::FakeTelegram;
pub use log::{Exported, LogLine, fixture, read_export, read_log, write_log};
pub use wait::eventually;

/// A fresh data directory that goes with the value.
///
/// # Errors
/// None can be made.
pub fn data_dir() -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("scrollback-").tempdir()?)
}

/// The workspace's root directory.
#[must_use]
pub fn root() -> std::path::PathBuf {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}
