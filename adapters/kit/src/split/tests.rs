//! What splitting promises, on chosen and on random texts.

use proptest::prelude::*;

use super::*;

fn units() -> impl Strategy<Value = Unit> {
    prop_oneof![Just(Unit::Bytes), Just(Unit::Chars), Just(Unit::Utf16)]
}

fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z]{1,12}",
        3 => Just(" ".to_owned()),
        2 => Just("\n".to_owned()),
        1 => Just("\n\n".to_owned()),
        1 => Just("\n```rust\n".to_owned()),
        1 => Just("\n```\n".to_owned()),
        1 => Just("```".to_owned()),
        1 => Just(". ".to_owned()),
        1 => Just("👩‍👩‍👧‍👦e\u{301}🇳🇴\r\n".to_owned()),
        1 => Just("&amp;<@123456789>".to_owned()),
        1 => any::<String>(),
    ];
    proptest::collection::vec(piece, 0..120).prop_map(|p| p.concat())
}

fn check(text: &str, limit: Limit) {
    let found = pieces(text, limit);
    let joined: String = found.iter().map(|p| p.body).collect();
    assert_eq!(joined, text);
    let touched = found
        .iter()
        .any(|p| !p.prefix.is_empty() || !p.suffix.is_empty());
    let parts: Vec<String> = found.into_iter().map(Piece::render).collect();
    assert!(parts.iter().all(|p| limit.fits(p) && !p.is_empty()));
    if !touched {
        assert_eq!(parts.concat(), text);
    }
}

/// How many random texts each property sees; `SCROLLBACK_TEXTS=100000` for the full number.
fn texts() -> ProptestConfig {
    let set = std::env::var("SCROLLBACK_TEXTS").ok();
    ProptestConfig::with_cases(set.and_then(|n| n.parse().ok()).unwrap_or(2000))
}

proptest! {
    #![proptest_config(texts())]

    #[test]
    fn parts_fit_and_join_to_the_input(text in any_text(), max in 0..200usize, unit in units()) {
        check(&text, Limit::new(max, unit));
    }

    #[test]
    fn a_grapheme_cluster_that_fits_is_never_cut(text in any_text(), max in 60..200usize) {
        let limit = Limit::new(max, Unit::Bytes);
        let ends: std::collections::HashSet<usize> =
            text.grapheme_indices(true).map(|(at, g)| at + g.len()).collect();
        let small = text.graphemes(true).all(|g| g.len() * 4 <= max);
        let mut at = 0;
        for piece in pieces(&text, limit) {
            at += piece.body.len();
            prop_assert!(ends.contains(&at) || !small, "cut at {at}");
        }
    }

    #[test]
    fn a_fence_is_open_only_inside_a_part(text in any_text(), max in 200..400usize) {
        for part in split(&text, Limit::new(max, Unit::Chars)) {
            let last = split(&text, Limit::new(max, Unit::Chars)).last() == Some(&part);
            prop_assert!(last || Fences::of(&part).open_at(part.len()).is_none(), "{part:?}");
        }
    }
}

#[test]
fn the_two_platform_limits_hold_at_their_edges() {
    for (limit, unit) in [(2000, Unit::Chars), (4096, Unit::Utf16)] {
        let limit = Limit::new(limit, unit);
        for c in ["x", "é", "🦀"] {
            let full = limit.max() / limit.measure(c);
            for (n, parts) in [(full - 1, 1), (full, 1), (full + 1, 2), (full * 10, 10)] {
                let text = c.repeat(n);
                assert_eq!(split(&text, limit).len(), parts, "{c} x {n}");
                check(&text, limit);
            }
        }
    }
}

#[test]
fn a_mark_that_stands_before_a_mention_goes_with_it() {
    let text = "aaaaaaaa\u{d4e}<@123456789> bbbb";
    let parts = split(text, Limit::new(14, Unit::Chars));
    assert_eq!(parts[..2], ["aaaaaaaa", "\u{d4e}<@123456789> "]);
}

#[test]
fn paragraphs_come_before_lines_before_sentences_before_words() {
    let limit = Limit::new(20, Unit::Chars);
    for (text, first) in [
        ("aaaa bbbb.\n\ncccc\nd. eeee ffff", "aaaa bbbb.\n\n"),
        ("aaaa bbbb\ncccc. d eeee ffff", "aaaa bbbb\n"),
        ("Aaaa bbbb ccc. Dd eeee ffff", "Aaaa bbbb ccc. "),
        ("aaaa bbbb cccc dd eeee ffff", "aaaa bbbb cccc dd "),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaa"),
    ] {
        assert_eq!(split(text, limit)[0], first);
    }
}

#[test]
fn a_cut_code_fence_is_closed_and_opened_again_with_its_language() {
    let text = format!("Look:\n```rust\n{}```\nDone.", "let x = 1;\n".repeat(10));
    let parts = split(&text, Limit::new(60, Unit::Chars));
    assert!(parts.len() > 2);
    assert!(parts[0].starts_with("Look:\n```rust\n") && parts[0].ends_with("\n```"));
    assert!(parts[1].starts_with("```rust\nlet") && parts[1].ends_with("\n```"));
    let lines: String = parts
        .concat()
        .lines()
        .filter(|l| l.starts_with("let"))
        .collect();
    assert_eq!(lines, "let x = 1;".repeat(10).as_str().replace("```", ""));
    check(&text, Limit::new(60, Unit::Chars));
}

#[test]
fn a_fence_that_would_start_at_the_end_of_a_part_moves_to_the_next() {
    let text = format!("{}\n```c\nint x;\n```\n", "word ".repeat(9));
    let parts = split(&text, Limit::new(52, Unit::Chars));
    assert!(parts[1].starts_with("```c\nint"), "{parts:?}");
}

#[test]
fn a_mention_or_entity_is_not_cut() {
    let limit = Limit::new(20, Unit::Chars);
    assert_eq!(
        split("xxxxxxxxxxxxxxx<@123456789>", limit)[1],
        "<@123456789>"
    );
    assert_eq!(split("xxxxxxxxxxxxxxxxxx&quot;y", limit)[1], "&quot;y");
}

#[test]
fn a_grapheme_cluster_over_the_limit_is_cut_at_a_code_point() {
    let text = format!("e{}", "\u{301}".repeat(500));
    for unit in [Unit::Bytes, Unit::Chars, Unit::Utf16] {
        check(&text, Limit::new(50, unit));
    }
}

#[test]
fn an_empty_text_has_no_parts() {
    assert!(split("", Limit::new(10, Unit::Chars)).is_empty());
}

#[test]
fn a_sentence_that_ends_inside_a_mention_is_no_place_to_cut() {
    let limit = Limit::new(30, Unit::Chars);
    for mention in ["<@!12345678901>", "<@&1234567890>;"] {
        let text = format!("Hello world to all {mention} more words");
        assert_eq!(split(&text, limit)[0], "Hello world to all ");
    }
    let wide = format!("{}<@!12345>", "x".repeat(25));
    assert_eq!(split(&wide, limit), [&"x".repeat(25), "<@!12345>"]);
}
