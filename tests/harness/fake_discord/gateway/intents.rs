//! Intents: which there are, which event needs which, and what is left of a message without them.

use serde_json::{Value, json};

/// Intent bits, as the API numbers them.
pub mod intent {
    /// Guilds, channels, threads.
    pub const GUILDS: u64 = 1;
    /// Members; privileged.
    pub const GUILD_MEMBERS: u64 = 1 << 1;
    /// Presences; privileged.
    pub const GUILD_PRESENCES: u64 = 1 << 8;
    /// Messages in guilds.
    pub const GUILD_MESSAGES: u64 = 1 << 9;
    /// Who is typing in guilds.
    pub const GUILD_MESSAGE_TYPING: u64 = 1 << 11;
    /// Private messages, and ephemeral ones.
    pub const DIRECT_MESSAGES: u64 = 1 << 12;
    /// Who is typing in private.
    pub const DIRECT_MESSAGE_TYPING: u64 = 1 << 14;
    /// What is in messages; privileged.
    pub const MESSAGE_CONTENT: u64 = 1 << 15;
    /// Those that must be switched on for an application.
    pub const PRIVILEGED: u64 = GUILD_MEMBERS | GUILD_PRESENCES | MESSAGE_CONTENT;
    /// All that exist.
    pub const ALL: u64 = 0x0001_FFFF | 1 << 20 | 1 << 21 | 1 << 24 | 1 << 25;
}

/// The event's data as a session with these intents sees it.
pub(crate) fn visible(data: &Value, intents: u64, bot: u64) -> Value {
    let mut seen = data.clone();
    if intents & intent::MESSAGE_CONTENT == 0 && data.get("guild_id").is_some() {
        hide(&mut seen, bot);
    }
    seen
}

/// Empties a guild's message for an application that may not read it, and the one it answers.
pub(crate) fn hide(message: &mut Value, bot: u64) {
    if message.get("content").is_none() {
        return;
    }
    let bot_id = Value::String(bot.to_string());
    let named = |one: &Value| one.get("id") == Some(&bot_id);
    let mentions = message["mentions"].as_array();
    if !named(&message["author"]) && !mentions.is_some_and(|all| all.iter().any(named)) {
        message["content"] = "".into();
        for list in ["attachments", "embeds", "components"] {
            message[list] = json!([]);
        }
    }
    if let Some(answered) = message.get_mut("referenced_message") {
        hide(answered, bot);
    }
}
