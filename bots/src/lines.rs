//! Lines of bytes from anywhere, in bounded memory.

use std::io::{self, BufRead, Read as _};

/// The longest line: a message of the largest size with every byte escaped (6 bytes for one), and room.
const LINE: u64 = 8 << 20;

/// The lines of an input.
pub(crate) struct Lines {
    text: Box<dyn BufRead>,
}

/// What was found at a line's place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A line, without its end.
    Line,
    /// A line longer than any message can be; its bytes were passed over.
    TooLong,
    /// No more lines.
    End,
}

impl Lines {
    /// The lines of a text.
    pub(crate) fn new(text: Box<dyn BufRead>) -> Self {
        Self { text }
    }

    /// Reads the next line into `line`.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Found> {
        line.clear();
        if (&mut self.text).take(LINE).read_until(b'\n', line)? == 0 {
            return Ok(Found::End);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(Found::Line);
        }
        let whole = u64::try_from(line.len()).is_ok_and(|size| size < LINE);
        if whole {
            return Ok(Found::Line);
        }
        line.clear();
        loop {
            let more = (&mut self.text).take(LINE).read_until(b'\n', line)?;
            let ended = line.last() == Some(&b'\n');
            line.clear();
            if more == 0 || ended {
                return Ok(Found::TooLong);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: Vec<u8>) -> Lines {
        Lines::new(Box::new(io::Cursor::new(text)))
    }

    #[test]
    fn a_last_line_without_an_end_is_a_line() {
        let mut lines = lines(b"a\r\n\nb".to_vec());
        let mut line = Vec::new();
        for expected in ["a", "", "b"] {
            assert_eq!(lines.next(&mut line).unwrap(), Found::Line);
            assert_eq!(line, expected.as_bytes());
        }
        assert_eq!(lines.next(&mut line).unwrap(), Found::End);
    }

    #[test]
    fn an_endless_line_is_passed_over_in_bounded_memory() {
        let size = usize::try_from(LINE).unwrap();
        let mut text = vec![b'x'; 2 * size + 5];
        text.extend_from_slice(b"\nnext\n");
        let (mut lines, mut line) = (lines(text), Vec::new());
        assert_eq!(lines.next(&mut line).unwrap(), Found::TooLong);
        assert!(line.capacity() <= 2 * size);
        assert_eq!(lines.next(&mut line).unwrap(), Found::Line);
        assert_eq!(line, b"next");
    }
}
