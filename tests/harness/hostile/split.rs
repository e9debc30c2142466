//! The splitter: parts fit and join to the text; no code fence, mention or entity is cut.

use scrollback_kit::split::seams;
use scrollback_kit::{Limit, Unit};

/// From this limit on every fence line, mention and entity fits, and fences are kept.
const ROOMY: usize = 200;

/// Splits `data`: a byte for the unit, two for the limit, the text.
pub fn split(data: &[u8]) {
    let Some((&[unit, high, low], text)) = data.split_first_chunk::<3>() else {
        return;
    };
    let unit = match unit % 3 {
        0 => Unit::Bytes,
        1 => Unit::Chars,
        _ => Unit::Utf16,
    };
    let limit = Limit::new(usize::from(u16::from_be_bytes([high, low]) % 5000), unit);
    let text = String::from_utf8_lossy(text);
    let seams = seams(&text, limit);
    let parts: Vec<String> = seams.iter().map(|seam| seam.concat()).collect();
    assert_eq!(parts, scrollback_kit::split(&text, limit));
    let joined: String = seams.iter().map(|[_, body, _]| body.as_str()).collect();
    assert_eq!(joined, text);
    for part in &parts {
        assert!(limit.fits(part) && !part.is_empty(), "{part:?}");
    }
    if limit.max() >= ROOMY {
        for part in parts.iter().rev().skip(1) {
            assert!(!is_in_code(part), "a part ends inside code: {part:?}");
        }
        whole(&text, seams.iter().map(|[_, body, _]| body.len()));
    }
}

/// True when a code fence is open at the end, as far as the splitter knows fences: up to 80 bytes a line.
fn is_in_code(text: &str) -> bool {
    let mut open: Option<usize> = None;
    for line in text.split('\n') {
        let line = line.trim_end_matches('\r');
        let marked = line.trim_start_matches(' ');
        let info = marked.trim_start_matches('`');
        let ticks = marked.len() - info.len();
        if ticks < 3 || line.len() - marked.len() > 3 || line.len() > 80 {
            continue;
        }
        open = match open {
            Some(opened) if ticks >= opened && info.trim().is_empty() => None,
            Some(opened) => Some(opened),
            None if info.contains('`') => None,
            None => Some(ticks),
        };
    }
    open.is_some()
}

/// No cut goes through what a platform shows as a name or a character.
fn whole(text: &str, lengths: impl Iterator<Item = usize>) {
    let mut at = 0;
    for length in lengths {
        at += length;
        let Some((before, after)) = text.split_at_checked(at).filter(|(_, a)| !a.is_empty()) else {
            continue;
        };
        for (open, close) in [('<', '>'), ('&', ';')] {
            let head = before.rfind(open).and_then(|from| before.get(from + 1..));
            let tail = after.find(close).and_then(|to| after.get(..to));
            let (Some(head), Some(tail)) = (head, tail) else {
                continue;
            };
            let inner = [head, tail].concat();
            assert!(!is_one(open, &inner), "cut through {open}{inner}{close}");
        }
    }
}

/// True for the inside of `<@1>`, `<@!1>`, `<@&1>`, `<#1>`, `<:name:1>`, `<a:name:1>`, `&amp;`, `&#33;`.
fn is_one(open: char, inner: &str) -> bool {
    let digits = |s: &str| (1..=20).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    let word = |s: &str| {
        (1..=32).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if open == '&' {
        let name = inner.strip_prefix('#').unwrap_or(inner);
        return name.len() <= 8 && word(name) && !name.contains('_');
    }
    let signs = ["@!", "@&", "@", "#"];
    let id = signs.iter().find_map(|sign| inner.strip_prefix(sign));
    let emoji = inner.strip_prefix("a:").or(inner.strip_prefix(':'));
    let named = emoji.and_then(|e| e.split_once(':'));
    id.is_some_and(digits) || named.is_some_and(|(name, id)| word(name) && digits(id))
}
