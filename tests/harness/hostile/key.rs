//! Session keys: what parses prints as it was, what prints parses, and different keys print differently.

use scrollback::SessionKey;
use scrollback::key::Address;

/// Reads `data` as a printed key, and as the parts of two keys.
pub fn key(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(key) = text.parse::<SessionKey>() {
        assert_eq!(key.to_string(), text, "two spellings of one key");
        check(&key);
    }
    let (one, two) = data.split_at(data.len() / 2);
    let (one, two) = (made(one), made(two));
    check(&one);
    check(&two);
    assert_eq!(one == two, one.to_string() == two.to_string());
}

fn check(key: &SessionKey) {
    let text = key.to_string();
    assert!(
        text.bytes()
            .all(|b| b.is_ascii_graphic() && !b"!{}".contains(&b)),
        "not printable: {text}"
    );
    assert_eq!(text.parse::<SessionKey>().ok().as_ref(), Some(key));
    let address = Address::from(key);
    assert_eq!(address.as_str(), text);
    assert_eq!(address.key().ok().as_ref(), Some(key));
}

/// A key of the parts that stand between zero bytes; the first byte says which of them there are.
fn made(data: &[u8]) -> SessionKey {
    let (&there, data) = data.split_first().unwrap_or((&0, &[]));
    let mut parts = data.split(|b| *b == 0).map(String::from_utf8_lossy);
    let mut part = || parts.next().unwrap_or_default();
    let mut key = SessionKey::new(part(), part());
    if there & 1 != 0 {
        key = key.space(part());
    }
    if there & 2 != 0 {
        key = key.channel(part());
    }
    if there & 4 != 0 {
        key = key.thread(part());
    }
    if there & 8 != 0 {
        key = key.user(part());
    }
    key
}
