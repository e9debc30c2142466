//! For tests that feed the configuration with anything.

use crate::config::Config;

/// Reads a configuration file's text; the configuration as `Debug` shows it, with its faults.
///
/// # Errors
/// What is said of a text that is no configuration.
pub fn config(text: &str) -> Result<String, String> {
    let (config, faults) = Config::of(text)?;
    let platforms = (config.chat.discord(), config.chat.telegram());
    Ok(format!("{config:?} {platforms:?} {faults:?}"))
}
