//! Cuts a long text into messages of a platform's size.
//!
//! Invariants: every part is within the limit; the bodies of the parts join to the input exactly (the
//! only thing ever added is the closing and reopening of a code fence that a cut went through); no
//! code point is cut, no grapheme cluster that fits a message, and no mention or HTML entity.

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

mod fences;

use fences::Fences;

/// In what a platform counts the length of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// UTF-8 bytes.
    Bytes,
    /// Unicode code points.
    Chars,
    /// UTF-16 code units.
    Utf16,
}

/// The longest text of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    max: usize,
    unit: Unit,
}

impl Limit {
    /// At most `max` units; at least 4, so that any code point fits.
    #[must_use]
    pub const fn new(max: usize, unit: Unit) -> Self {
        Self {
            max: if max < 4 { 4 } else { max },
            unit,
        }
    }

    /// The bound, in units.
    #[must_use]
    pub const fn max(self) -> usize {
        self.max
    }

    /// What is counted.
    #[must_use]
    pub const fn unit(self) -> Unit {
        self.unit
    }

    /// The length of a text in this limit's unit.
    #[must_use]
    pub fn measure(self, text: &str) -> usize {
        match self.unit {
            Unit::Bytes => text.len(),
            Unit::Chars => text.chars().count(),
            Unit::Utf16 => text.chars().map(char::len_utf16).sum(),
        }
    }

    /// True when the text fits one message.
    #[must_use]
    pub fn fits(self, text: &str) -> bool {
        self.measure(text) <= self.max
    }
}

/// Cuts a text into parts within the limit, preferring paragraphs, lines, sentences, words, in this
/// order. An empty text has no parts. A part may be only white space; platforms refuse such.
#[must_use]
pub fn split(text: &str, limit: Limit) -> Vec<String> {
    pieces(text, limit).into_iter().map(Piece::render).collect()
}

/// The parts with their seams: what is added in front, what stands in the input, what is added behind.
#[cfg(feature = "testing")]
#[must_use]
pub fn seams(text: &str, limit: Limit) -> Vec<[String; 3]> {
    let pieces = pieces(text, limit).into_iter();
    pieces
        .map(|piece| [piece.prefix, piece.body.to_owned(), piece.suffix])
        .collect()
}

/// A part of the input and what is added around it.
#[derive(Debug)]
struct Piece<'a> {
    prefix: String,
    body: &'a str,
    suffix: String,
}

impl Piece<'_> {
    fn render(self) -> String {
        [&self.prefix, self.body, &self.suffix].concat()
    }
}

fn pieces(text: &str, limit: Limit) -> Vec<Piece<'_>> {
    let fences = Fences::of(text);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|r| !r.is_empty()) {
        let piece = next_piece(rest, at, limit, &fences);
        at += piece.body.len();
        found.push(piece);
    }
    found
}

/// The first piece of `rest`, which starts at byte `at` of the input.
fn next_piece<'a>(rest: &'a str, at: usize, limit: Limit, fences: &Fences<'_>) -> Piece<'a> {
    let plain = |body| Piece {
        prefix: String::new(),
        body,
        suffix: String::new(),
    };
    let prefix = fences
        .open_at(at)
        .map(fences::Fence::reopen)
        .unwrap_or_default();
    let added = limit.measure(&prefix);
    // A fence that would take more than half of each message is not worth keeping.
    if added <= limit.max / 2 {
        if let Some(all) = fitting(rest, limit.max - added, limit).filter(|n| *n == rest.len()) {
            let body = rest.get(..all).unwrap_or(rest);
            return Piece {
                prefix,
                ..plain(body)
            };
        }
        let mut budget = limit.max - added;
        while budget >= limit.max / 4 && budget > 0 {
            let cut = fences.respect(at, cut(rest, budget, limit), |n| {
                rest.get(..n).is_some_and(|b| limit.measure(b) <= budget)
            });
            let body = rest.get(..cut).unwrap_or(rest);
            // As the part reads by itself: a cut can make a fence of a line that was none.
            let alone = [&prefix, body].concat();
            let suffix = match Fences::of(&alone).open_at(alone.len()) {
                Some(fence) => fence.close(body),
                None => String::new(),
            };
            let total = added + limit.measure(body) + limit.measure(&suffix);
            if total <= limit.max && cut > 0 {
                return Piece {
                    prefix,
                    body,
                    suffix,
                };
            }
            budget = budget.saturating_sub((total - limit.max.min(total)).max(1));
        }
    }
    let cut = cut(rest, limit.max, limit);
    plain(rest.get(..cut).unwrap_or(rest))
}

/// How many bytes of the start of `text` fit into `budget` units without cutting a grapheme cluster.
fn fitting(text: &str, budget: usize, limit: Limit) -> Option<usize> {
    let (mut used, mut end) = (0, 0);
    for (start, grapheme) in text.grapheme_indices(true) {
        used += limit.measure(grapheme);
        if used > budget {
            break;
        }
        end = start + grapheme.len();
    }
    (end > 0).then_some(end)
}

/// Where to cut `text`, at most `budget` units from its start; never 0 for a text that is not empty.
fn cut(text: &str, budget: usize, limit: Limit) -> usize {
    let Some(hard) = fitting(text, budget, limit) else {
        return first_code_points(text, budget, limit);
    };
    let Some(head) = text.get(..hard).filter(|_| hard < text.len()) else {
        return hard;
    };
    // A boundary in the first half would make many short messages.
    let far = |at: &usize| *at * 2 >= hard;
    let after = |pattern: &str| head.rfind(pattern).map(|at| at + pattern.len());
    after("\n\n")
        .filter(far)
        .or_else(|| after("\n").filter(far))
        // A sentence can end inside a mention: `<@!1>`.
        .or_else(|| Some(before_entity(text, sentence_end(head)?)).filter(far))
        .or_else(|| word_end(head))
        .unwrap_or_else(|| before_entity(text, hard))
}

/// For a grapheme cluster that no message holds.
fn first_code_points(text: &str, budget: usize, limit: Limit) -> usize {
    let (mut used, mut end) = (0, 0);
    for c in text.chars() {
        used += limit.measure(c.encode_utf8(&mut [0; 4]));
        if used > budget.max(4) {
            break;
        }
        end += c.len_utf8();
    }
    end
}

/// The end of the last whole sentence in `head`.
fn sentence_end(head: &str) -> Option<usize> {
    let (at, _) = head.split_sentence_bound_indices().last()?;
    // What follows its stop can form one grapheme cluster with it: a skin tone does.
    let whole = GraphemeCursor::new(at, head.len(), true).is_boundary(head, 0);
    (at > 0 && whole == Ok(true)).then_some(at)
}

/// The end of the last run of white space in `head`.
fn word_end(head: &str) -> Option<usize> {
    let (at, space) = head.char_indices().rev().find(|(_, c)| c.is_whitespace())?;
    let end = at + space.len_utf8();
    // White space can carry a combining mark; then the cut would go through a grapheme cluster.
    let whole = head.get(end..)?.chars().next().is_none_or(|c| !joins(c));
    whole.then_some(end)
}

/// True for what forms one grapheme cluster with a space before it.
fn joins(c: char) -> bool {
    let pair = [' ', c].iter().collect::<String>();
    pair.graphemes(true).count() == 1
}

/// Steps back from `at` when it stands inside `&name;` or `<@mention>`.
fn before_entity(text: &str, mut at: usize) -> usize {
    for (open, close, longest) in [('&', ';', 12), ('<', '>', 64)] {
        let Some(start) = text.get(..at).and_then(|head| head.rfind(open)) else {
            continue;
        };
        let entity = text
            .get(start..)
            .and_then(|tail| tail.find(close))
            .filter(|len| *len <= longest && start + *len >= at)
            .and_then(|len| text.get(start + 1..start + len));
        if entity.is_some_and(|e| !e.contains(char::is_whitespace)) {
            at = boundary_before(text, start).unwrap_or(at);
        }
    }
    at
}

/// The last end of a grapheme cluster at or before `at`, but at the start: a mark can stand before what it belongs to.
fn boundary_before(text: &str, at: usize) -> Option<usize> {
    let mut cursor = GraphemeCursor::new(at, text.len(), true);
    let end = match cursor.is_boundary(text, 0) {
        Ok(true) => at,
        _ => cursor.prev_boundary(text, 0).ok()??,
    };
    (end > 0).then_some(end)
}

#[cfg(test)]
mod tests;
