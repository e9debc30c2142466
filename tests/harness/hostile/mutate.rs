//! Changes inputs a little, as a fuzzer does, for toolchains that have none.

use crate::random::Random;

/// What breaks readers: ends of ranges, and the marks of the formats that are read.
const TOKENS: [&[u8]; 32] = [
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xc1",
    b"SBJ1",
    b"\r\n",
    b"```",
    b"\n```\n",
    b"<@!1>",
    b"&amp;",
    b"\xf0\x9f\x91\xa9\xe2\x80\x8d",
    b"\xcc\x81",
    b"\xe2\x80\xae",
    b"null",
    b"true",
    b"0",
    b"-1",
    b"1e999",
    b"18446744073709551615",
    b"9223372036854775808",
    b"\"\"",
    b"\"0\"",
    b"[]",
    b"{}",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"\\ud800",
    b"%",
    b"/",
    b"=",
    b"\"",
];

/// The longest input.
const LONGEST: usize = 16 * 1024;

/// `input` after one to five changes; `other` lends parts.
#[must_use]
pub fn mutate(random: &mut Random, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=random.below(5) {
        change(random, &mut out, other);
    }
    out.truncate(LONGEST);
    out
}

fn change(random: &mut Random, out: &mut Vec<u8>, other: &[u8]) {
    let (from, to) = span(random, out.len());
    match random.below(8) {
        0 => out.truncate(from),
        1 => drop(out.drain(from..to)),
        2 => {
            let again: Vec<u8> = out.get(from..to).unwrap_or_default().to_vec();
            out.splice(from..from, again);
        }
        3 => {
            let (start, end) = span(random, other.len());
            let part = other.get(start..end).unwrap_or_default();
            out.splice(from..to, part.iter().copied());
        }
        4 => {
            let token = TOKENS.get(random.index(TOKENS.len())).copied();
            out.splice(from..from, token.unwrap_or_default().iter().copied());
        }
        5 => {
            let (from, to) = value(random, out).unwrap_or((from, to));
            let token = TOKENS.get(random.index(TOKENS.len())).copied();
            out.splice(from..to, token.unwrap_or_default().iter().copied());
        }
        6 => {
            let byte = u8::try_from(random.below(256)).unwrap_or_default();
            out.insert(from, byte);
        }
        _ => {
            if let Some(byte) = out.get_mut(from) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
}

/// A short span of something of this length.
fn span(random: &mut Random, len: usize) -> (usize, usize) {
    let from = random.index(len + 1);
    let most = if random.below(4) == 0 { 200 } else { 8 };
    (from, (from + random.index(most)).min(len))
}

/// One value of a text in JSON or TOML: what stands between two of its marks.
fn value(random: &mut Random, text: &[u8]) -> Option<(usize, usize)> {
    let is_mark = |b: u8| b":,=[]{}\n".contains(&b);
    let marks = text.iter().filter(|b| is_mark(**b)).count();
    let nth = random.index(marks.checked_sub(1)?.max(1));
    let from = text
        .iter()
        .enumerate()
        .filter(|(_, b)| is_mark(**b))
        .nth(nth)?
        .0
        + 1;
    let length = text.get(from..)?.iter().position(|b| is_mark(*b))?;
    Some((from, from + length))
}
