//! The little Markdown that language models write, as Telegram's HTML: code fences, inline code, bold.
//!
//! Invariants: the pieces of a text join to the text; every tag that is opened is closed, wherever the text
//! is cut off; everything that is no mark is shown as typed. Knows no network.

use teloxide::utils::html;

/// Formatted pieces in one message beyond which Telegram leaves the rest unformatted.
const MOST_FORMATTED: usize = 100;

/// How long inline code or bold may be: what looks for its end must not look through the whole text.
const LONGEST_INLINE: usize = 1024;

/// How a piece of a text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style<'a> {
    /// Not at all: it says how others are shown.
    Mark,
    Plain,
    Bold,
    Code,
    /// A code block.
    Block(Option<&'a str>),
}

/// A part of a text that is shown in one style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) style: Style<'a>,
    pub(crate) text: &'a str,
}

/// The text as HTML; `None` when it has nothing to format, or too much.
pub(crate) fn render(text: &str) -> Option<String> {
    let pieces = pieces(text);
    let formatted = |p: &&Piece<'_>| !matches!(p.style, Style::Plain | Style::Mark);
    let count = pieces.iter().filter(formatted).count();
    let shown = |p: &Piece<'_>| p.style != Style::Mark && !p.text.trim().is_empty();
    if count == 0 || count > MOST_FORMATTED || !pieces.iter().any(shown) {
        return None;
    }
    Some(pieces.iter().map(tagged).collect())
}

fn tagged(piece: &Piece<'_>) -> String {
    let text = html::escape(piece.text);
    match piece.style {
        Style::Mark => String::new(),
        Style::Plain => text,
        Style::Bold => format!("<b>{text}</b>"),
        Style::Code => format!("<code>{text}</code>"),
        Style::Block(None) => format!("<pre>{text}</pre>"),
        Style::Block(Some(language)) => {
            format!("<pre><code class=\"language-{language}\">{text}</code></pre>")
        }
    }
}

/// The pieces of a text, in order.
pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = first_line(rest);
        if let Some(fence) = Fence::opening(line) {
            push(&mut found, Style::Mark, line);
            let (body, end) = fence.body(after);
            push(&mut found, Style::Block(fence.language), body);
            let left = after.get(body.len()..).unwrap_or_default();
            let (mark, left) = left.split_at_checked(end).unwrap_or((left, ""));
            push(&mut found, Style::Mark, mark);
            rest = left;
        } else {
            inline(line, Style::Plain, &mut found);
            rest = after;
        }
    }
    found
}

fn push<'a>(found: &mut Vec<Piece<'a>>, style: Style<'a>, text: &'a str) {
    if !text.is_empty() {
        found.push(Piece { style, text });
    }
}

/// The first line with its line break, and the rest.
fn first_line(text: &str) -> (&str, &str) {
    let end = text.find('\n').map_or(text.len(), |at| at + 1);
    text.split_at_checked(end).unwrap_or((text, ""))
}

struct Fence<'a> {
    sign: char,
    length: usize,
    language: Option<&'a str>,
}

impl<'a> Fence<'a> {
    fn opening(line: &'a str) -> Option<Self> {
        let (sign, length, after) = signs(line)?;
        // A line such as ```code``` is inline code.
        if sign == '`' && after.contains('`') {
            return None;
        }
        let language = after
            .split_whitespace()
            .next()
            .filter(|word| is_language(word));
        Some(Self {
            sign,
            length,
            language,
        })
    }

    /// What stands in the fence, and the length of the mark that closes it.
    fn body(&self, after: &'a str) -> (&'a str, usize) {
        let mut rest = after;
        while !rest.is_empty() {
            let (line, next) = first_line(rest);
            let closes = signs(line).is_some_and(|(sign, length, tail)| {
                sign == self.sign && length >= self.length && tail.trim().is_empty()
            });
            if closes {
                let at = after.len() - rest.len();
                let body = after.get(..at).unwrap_or_default();
                let body = body.strip_suffix('\n').unwrap_or(body);
                let end = at + line.trim_end_matches(['\n', '\r']).len();
                return (body, end - body.len());
            }
            rest = next;
        }
        (after, 0)
    }
}

/// The fence signs that a line starts with, and what follows them.
fn signs(line: &str) -> Option<(char, usize, &str)> {
    let start = line.trim_start_matches(' ');
    let sign = start.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let after = start.trim_start_matches(sign);
    let length = start.len() - after.len();
    (line.len() - start.len() <= 3 && length >= 3).then_some((sign, length, after))
}

fn is_language(word: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"+#._-".contains(&b);
    word.len() <= 32 && word.bytes().all(fits)
}

/// Inline code and bold in a line.
fn inline<'a>(line: &'a str, style: Style<'a>, found: &mut Vec<Piece<'a>>) {
    let (mut plain, mut at) = (0, 0);
    while let Some(rest) = line.get(at..).filter(|rest| !rest.is_empty()) {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        let span = code(rest).or_else(|| {
            let bold = (style == Style::Plain).then(|| bold(rest, before));
            bold.flatten()
        });
        let Some(span) = span else {
            // A run of signs that opens nothing is taken as a whole: its tail opens nothing either.
            at += run(rest).max(rest.chars().next().map_or(1, char::len_utf8));
            continue;
        };
        push(found, style, line.get(plain..at).unwrap_or_default());
        let (open, body) = rest.split_at_checked(span.sign).unwrap_or_default();
        let (body, close) = body.split_at_checked(span.body).unwrap_or_default();
        push(found, Style::Mark, open);
        match span.style {
            Style::Bold => inline(body, Style::Bold, found),
            style => push(found, style, body),
        }
        push(
            found,
            Style::Mark,
            close.get(..span.sign).unwrap_or_default(),
        );
        at += span.sign * 2 + span.body;
        plain = at;
    }
    push(found, style, line.get(plain..).unwrap_or_default());
}

struct Span {
    style: Style<'static>,
    /// The length of the mark on either side.
    sign: usize,
    body: usize,
}

/// How many equal signs a text starts with.
fn run(text: &str) -> usize {
    let sign = text.chars().next().filter(|c| matches!(c, '`' | '*'));
    sign.map_or(0, |sign| text.len() - text.trim_start_matches(sign).len())
}

/// The start of a text, as far as inline formatting reaches.
fn head(text: &str) -> &str {
    let end = text.floor_char_boundary(LONGEST_INLINE.min(text.len()));
    text.get(..end).unwrap_or(text)
}

fn code(text: &str) -> Option<Span> {
    let sign = run(text);
    let text = head(text);
    let body = text.get(sign..).filter(|_| text.starts_with('`'))?;
    let mut at = 0;
    while let Some(next) = body.get(at..)?.find('`') {
        let close = run(body.get(at + next..)?);
        if close == sign {
            let body = at + next;
            let filled = text.get(sign..sign + body)?.trim() != "";
            return filled.then_some(Span {
                style: Style::Code,
                sign,
                body,
            });
        }
        at += next + close;
    }
    None
}

fn bold(text: &str, before: Option<char>) -> Option<Span> {
    let text = head(text);
    let body = text.strip_prefix("**").filter(|_| run(text) == 2)?;
    let opens = body.starts_with(|c: char| !c.is_whitespace());
    // `2**3**4` is no emphasis.
    if !opens || before.is_some_and(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let mut at = 0;
    while let Some(rest) = body.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(span) = code(rest) {
            at += span.sign * 2 + span.body;
            continue;
        }
        let inner = body.get(..at).unwrap_or_default();
        let after = rest.get(2..).and_then(|tail| tail.chars().next());
        let closes = run(rest) == 2
            && rest.starts_with('*')
            && !inner.ends_with(char::is_whitespace)
            && !after.is_some_and(|c| c.is_ascii_alphanumeric());
        if closes && !inner.is_empty() {
            return Some(Span {
                style: Style::Bold,
                sign: 2,
                body: at,
            });
        }
        at += run(rest).max(rest.chars().next().map_or(1, char::len_utf8));
    }
    None
}

#[cfg(test)]
mod tests;
