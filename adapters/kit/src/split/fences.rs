//! Where the code fences of a text are, and what keeps one whole across a cut.
//!
//! Only fences that start a line count, as in CommonMark; an unclosed one runs to the end.

/// A fence line longer than this is text: no info string is.
const LONGEST_LINE: usize = 80;

/// An open code fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fence<'a> {
    /// The back-ticks.
    marker: &'a str,
    /// The whole line, without its line break.
    line: &'a str,
}

impl Fence<'_> {
    /// What opens the fence again at the start of a part.
    pub(super) fn reopen(self) -> String {
        format!("{}\n", self.line)
    }

    /// What closes the fence at the end of a part with this body.
    pub(super) fn close(self, body: &str) -> String {
        let line_break = if body.ends_with('\n') { "" } else { "\n" };
        format!("{line_break}{}", self.marker)
    }
}

/// A fence line: where it starts and ends (with its line break), and what is open after it.
#[derive(Debug)]
struct Change<'a> {
    start: usize,
    end: usize,
    open: Option<Fence<'a>>,
}

/// The fence lines of a text, in order.
#[derive(Debug)]
pub(super) struct Fences<'a>(Vec<Change<'a>>);

impl<'a> Fences<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let (mut changes, mut open, mut start) = (Vec::new(), None, 0);
        for whole in text.split_inclusive('\n') {
            let end = start + whole.len();
            if let Some(next) = change(whole.trim_end_matches(['\n', '\r']), open) {
                open = next;
                changes.push(Change { start, end, open });
            }
            start = end;
        }
        Self(changes)
    }

    /// The fence that is open at a byte of the text.
    pub(super) fn open_at(&self, at: usize) -> Option<Fence<'a>> {
        let done = self.0.partition_point(|c| c.end <= at);
        self.0.get(done.checked_sub(1)?)?.open
    }

    /// Moves a cut `len` bytes after `at` out of a fence line, and to before an opening line that
    /// would stand last in its part.
    pub(super) fn respect(&self, at: usize, len: usize, fits: impl Fn(usize) -> bool) -> usize {
        let touched = self.0.partition_point(|c| c.end < at + len);
        let Some(line) = self.0.get(touched).filter(|c| c.start < at + len) else {
            return len;
        };
        let (inside, opens) = (line.end > at + len, line.open.is_some());
        if line.start > at && (inside || opens) {
            line.start - at
        } else if inside && line.start <= at && fits(line.end - at) {
            line.end - at
        } else {
            len
        }
    }
}

/// What is open after a line, when the line is a fence line.
fn change<'a>(line: &'a str, open: Option<Fence<'a>>) -> Option<Option<Fence<'a>>> {
    let marked = line.trim_start_matches(' ');
    let info = marked.trim_start_matches('`');
    let marker = marked.get(..marked.len() - info.len())?;
    let indent = line.len() - marked.len();
    if marker.len() < 3 || indent > 3 || line.len() > LONGEST_LINE {
        return None;
    }
    match open {
        Some(fence) => {
            (marker.len() >= fence.marker.len() && info.trim().is_empty()).then_some(None)
        }
        None => (!info.contains('`')).then_some(Some(Fence { marker, line })),
    }
}
