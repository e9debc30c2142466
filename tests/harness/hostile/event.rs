//! Platforms' events: any payload means something or nothing, and what it means is fit for a session.

use scrollback::{Message, Origin, Scope, SessionKey};
use scrollback_discord::testing::Reader;

/// Reads `data` as payloads of Discord's gateway, a line each, and as updates of Telegram's.
pub fn event(data: &[u8]) {
    let discord = Reader::default();
    for line in data.split(|b| *b == b'\n').take(100) {
        if let Some(meaning) = discord.read(line) {
            check("discord", meaning.origin.as_ref(), meaning.said.as_ref());
        }
        let raw = String::from_utf8_lossy(line);
        if let Some(meaning) = scrollback_telegram::testing::read(&raw) {
            assert!(!meaning.unreadable || meaning.said.is_none());
            check("telegram", meaning.origin.as_ref(), meaning.said.as_ref());
        }
    }
}

fn check(platform: &str, origin: Option<&Origin>, said: Option<&Message>) {
    let Some(origin) = origin else {
        assert!(said.is_none(), "said nowhere");
        return;
    };
    assert_eq!(origin.platform, platform);
    for scope in [Scope::Channel, Scope::UserInChannel, Scope::User] {
        let key = scope.key(origin);
        assert_eq!(key.to_string().parse::<SessionKey>().ok(), Some(key));
    }
    if let Some(author) = said.and_then(|said| said.author.as_ref()) {
        assert_eq!(author.platform, platform);
    }
}
