//! MarkdownV2, and the older Markdown, with the refusals of what they do not allow.

use serde_json::Value;

use super::entities::span;
use super::formatting::{Growing, link};

/// Characters that mean something and must be escaped to stand for themselves.
const RESERVED: &str = "_*[]()~`>#+-=|{}.!";

/// An entity that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bold,
    Italic,
    Underline,
    Strikethrough,
    Spoiler,
    Code,
    Pre,
    TextUrl,
    CustomEmoji,
    BlockQuote,
}

impl Kind {
    const fn mark(self) -> &'static str {
        match self {
            Self::Bold => "*",
            Self::Italic => "_",
            Self::Underline => "__",
            Self::Strikethrough => "~",
            Self::Spoiler => "||",
            Self::Code => "`",
            Self::Pre => "```",
            Self::TextUrl | Self::CustomEmoji => "]",
            Self::BlockQuote => "\n",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Bold => "bold",
            Self::Italic => "italic",
            Self::Underline => "underline",
            Self::Strikethrough => "strikethrough",
            Self::Spoiler => "spoiler",
            Self::Code => "code",
            Self::Pre => "pre",
            Self::TextUrl => "text_link",
            Self::CustomEmoji => "custom_emoji",
            Self::BlockQuote => "blockquote",
        }
    }
}

struct Open {
    kind: Kind,
    byte: usize,
    from: usize,
    language: Option<String>,
}

struct Parser<'a> {
    raw: &'a str,
    at: usize,
    grown: Growing,
    open: Vec<Open>,
}

/// The text and entities of a MarkdownV2 text.
pub(crate) fn parse(raw: &str) -> Result<(String, Vec<Value>), String> {
    let mut parser = Parser {
        raw,
        at: 0,
        grown: Growing::default(),
        open: Vec::new(),
    };
    while let Some(c) = parser.rest().chars().next() {
        parser.step(c)?;
    }
    if parser.last() == Some(Kind::BlockQuote) {
        parser.close("")?;
    }
    if let Some(open) = parser.open.last() {
        return Err(format!(
            "Can't find end of {:?} entity at byte offset {}",
            open.kind, open.byte
        ));
    }
    parser.grown.entities.sort_by_key(span);
    Ok((parser.grown.text, parser.grown.entities))
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.raw.get(self.at..).unwrap_or_default()
    }

    fn last(&self) -> Option<Kind> {
        self.open.last().map(|open| open.kind)
    }

    fn take(&mut self, c: char) {
        self.grown.push(c);
        self.at += c.len_utf8();
    }

    fn step(&mut self, c: char) -> Result<(), String> {
        let rest = self.rest();
        let escaped = rest.strip_prefix('\\').and_then(|tail| tail.chars().next());
        if let Some(next) = escaped.filter(char::is_ascii) {
            self.at += 1;
            self.take(next);
            return Ok(());
        }
        if let Some(kind @ (Kind::Code | Kind::Pre)) = self.last() {
            if rest.starts_with(kind.mark()) {
                return self.close(kind.mark());
            }
            self.take(c);
            return Ok(());
        }
        if c == '\n' && self.last() == Some(Kind::BlockQuote) {
            // The quotation goes on while the next line begins with `>` too.
            if rest.starts_with("\n>") {
                self.take(c);
                self.at += 1;
                return Ok(());
            }
            self.close("")?;
        }
        if !RESERVED.contains(c) {
            self.take(c);
            return Ok(());
        }
        if let Some(kind) = self.last() {
            let mark = kind.mark();
            let longer = kind == Kind::Italic && rest.starts_with("__") && !rest.starts_with("___");
            let ends = rest.starts_with(mark) && !longer;
            if ends && kind != Kind::BlockQuote {
                return self.close(mark);
            }
        }
        self.begin(c)
    }

    fn begin(&mut self, c: char) -> Result<(), String> {
        let rest = self.rest();
        let line_start = self.grown.text.is_empty() || self.grown.text.ends_with('\n');
        let kind = match c {
            '_' if rest.starts_with("__") => Kind::Underline,
            '_' => Kind::Italic,
            '*' => Kind::Bold,
            '~' => Kind::Strikethrough,
            '|' if rest.starts_with("||") => Kind::Spoiler,
            '[' => Kind::TextUrl,
            '!' if rest.starts_with("![") => Kind::CustomEmoji,
            '`' if rest.starts_with("```") => Kind::Pre,
            '`' => Kind::Code,
            '>' if line_start => Kind::BlockQuote,
            _ => {
                return Err(format!(
                    "Character '{c}' is reserved and must be escaped with the preceding '\\'"
                ));
            }
        };
        let (byte, from) = (self.at, self.grown.units);
        self.at += match kind {
            Kind::TextUrl | Kind::BlockQuote => 1,
            Kind::CustomEmoji => 2,
            other => other.mark().len(),
        };
        let language = if kind == Kind::Pre {
            self.language()
        } else {
            None
        };
        self.open.push(Open {
            kind,
            byte,
            from,
            language,
        });
        Ok(())
    }

    /// The word right behind three backquotes, when a line break follows it.
    fn language(&mut self) -> Option<String> {
        let rest = self.rest();
        let end = rest.find(|c: char| c.is_whitespace() || c == '`')?;
        let (word, tail) = rest.split_at_checked(end)?;
        if !tail.starts_with('\n') {
            return None;
        }
        self.at += end + 1;
        Some(word.to_owned()).filter(|word| !word.is_empty())
    }

    fn close(&mut self, mark: &str) -> Result<(), String> {
        self.at += mark.len();
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        match open.kind {
            Kind::TextUrl | Kind::CustomEmoji => return self.close_link(&open),
            Kind::Pre => {
                let language = open.language.map(|word| ("language", word.into()));
                self.grown.close("pre", open.from, language);
            }
            other => self.grown.close(other.name(), open.from, None),
        }
        Ok(())
    }

    /// The address in parentheses after `]`; a custom emoji must have one.
    fn close_link(&mut self, open: &Open) -> Result<(), String> {
        let mut url = None;
        if let Some(tail) = self.rest().strip_prefix('(') {
            let begin = self.at;
            self.at += 1;
            let mut address = String::new();
            let mut chars = tail.chars();
            loop {
                match chars.next() {
                    Some(')') => break,
                    Some('\\') => {
                        self.at += 1;
                        let next = chars.next().unwrap_or('\\');
                        self.at += next.len_utf8();
                        address.push(next);
                    }
                    Some(c) => {
                        self.at += c.len_utf8();
                        address.push(c);
                    }
                    None => {
                        return Err(format!("Can't find end of a URL at byte offset {begin}"));
                    }
                }
            }
            self.at += 1;
            url = Some(address);
        }
        if open.kind == Kind::CustomEmoji {
            let id = url
                .as_deref()
                .and_then(|url| url.strip_prefix("tg://emoji?id="));
            let Some(id) = id else {
                return Err("Custom emoji entity must contain a tg://emoji URL".into());
            };
            let id = ("custom_emoji_id", id.into());
            self.grown.close("custom_emoji", open.from, Some(id));
            return Ok(());
        }
        // Without an address the brackets go and the text stays.
        if let Some((kind, extra)) = url.as_deref().and_then(link) {
            self.grown.close(kind, open.from, Some(extra));
        }
        Ok(())
    }
}

/// The text and entities of a text in the older Markdown, in which nothing nests.
pub(crate) fn parse_legacy(raw: &str) -> Result<(String, Vec<Value>), String> {
    let mut grown = Growing::default();
    let mut at = 0;
    while let Some((rest, c)) = raw
        .get(at..)
        .and_then(|rest| Some((rest, rest.chars().next()?)))
    {
        let (mark, kind) = match c {
            '*' => ("*", "bold"),
            '_' => ("_", "italic"),
            '`' if rest.starts_with("```") => ("```", "pre"),
            '`' => ("`", "code"),
            '[' => ("]", "text_link"),
            '\\' if rest.get(1..2).is_some_and(|next| "_*`[".contains(next)) => {
                grown.push(rest.chars().nth(1).unwrap_or_default());
                at += 2;
                continue;
            }
            other => {
                grown.push(other);
                at += other.len_utf8();
                continue;
            }
        };
        let opening = if c == '[' { 1 } else { mark.len() };
        let tail = rest.get(opening..).unwrap_or_default();
        let Some((inner, after)) = tail.split_once(mark) else {
            return Err(format!(
                "Can't find end of the entity starting at byte offset {at}"
            ));
        };
        let from = grown.units;
        inner.chars().for_each(|c| grown.push(c));
        at += opening + inner.len() + mark.len();
        let url = after
            .strip_prefix('(')
            .filter(|_| c == '[')
            .and_then(|tail| tail.split_once(')'));
        match url {
            Some((url, _)) => {
                at += url.len() + 2;
                if let Some((kind, extra)) = link(url) {
                    grown.close(kind, from, Some(extra));
                }
            }
            None if c == '[' => {}
            None => grown.close(kind, from, None),
        }
    }
    Ok((grown.text, grown.entities))
}
