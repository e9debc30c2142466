//! Configuration files: any text is a configuration or a message, and neither shows a secret.

use scrollback_bots::testing;

const SECRET: &str = "canary7f3a";

/// Reads `data` as a configuration file, alone and with a password in it.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = testing::config(&text);
    if text.contains("canary") {
        return;
    }
    for line in [
        format!("redis = \"redis://u:{SECRET}@h\""),
        format!("redis = \"{SECRET}\""),
        format!("discord_token = \"{SECRET}\""),
        format!("telegram_webhook_secret = '{SECRET}"),
    ] {
        for whole in [format!("{line}\n{text}"), format!("{text}\n{line}")] {
            let (Ok(said) | Err(said)) = testing::config(&whole);
            assert!(!said.contains(SECRET), "{said}");
        }
    }
}
