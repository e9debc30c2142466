//! Durations as people write them: `250ms`, `30s`, `5m`, `1h30m`, `7d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// A duration read from a flag, a variable or the configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span(pub(crate) Duration);

/// Why a text is no duration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoSpan(String);

impl fmt::Display for NoSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        write!(
            f,
            "`{text}` is not a duration; write a number and a unit (ms, s, m, h, d), such as 30s or 1h30m"
        )
    }
}

impl std::error::Error for NoSpan {}

impl FromStr for Span {
    type Err = NoSpan;

    fn from_str(text: &str) -> Result<Self, NoSpan> {
        let bad = || NoSpan(text.to_owned());
        let mut rest = text.trim();
        let mut sum = Duration::ZERO;
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let (number, tail) = split(rest, |c| c.is_ascii_digit()).ok_or_else(bad)?;
            let (unit, tail) = split(tail, |c| c.is_ascii_alphabetic()).ok_or_else(bad)?;
            let number: u64 = number.parse().map_err(|_| bad())?;
            let unit_ms = unit_ms(unit).ok_or_else(bad)?;
            let part = number.checked_mul(unit_ms).ok_or_else(bad)?;
            sum = sum
                .checked_add(Duration::from_millis(part))
                .ok_or_else(bad)?;
            rest = tail.trim_start();
        }
        Ok(Self(sum))
    }
}

impl TryFrom<String> for Span {
    type Error = NoSpan;

    fn try_from(text: String) -> Result<Self, NoSpan> {
        text.parse()
    }
}

fn unit_ms(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    })
}

/// The longest head whose characters all pass, when there is one, and the rest.
fn split(text: &str, pass: fn(char) -> bool) -> Option<(&str, &str)> {
    let end = text.find(|c| !pass(c)).unwrap_or(text.len());
    text.split_at_checked(end)
        .filter(|(head, _)| !head.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, ms) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(ms))), "{text}");
        }
    }

    #[test]
    fn a_number_without_unit_and_nonsense_are_refused() {
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1x",
            "1.5h",
            "99999999999999999999s",
            "99999999999999d",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
