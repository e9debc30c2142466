//! Keys, packed commands and the reading of replies: the tier's wire format.
//!
//! Owns the layout. Of partition `N`: `prefix:{pN}:log:KEY` is a stream whose ids are `epoch-number`
//! and whose fields are `s` (snapshot), `e` (entry) and `c` (carry); `prefix:{pN}:fence:KEY` is an
//! epoch; `prefix:{pN}:dirty` is a sorted set of `KEY writer`, all of score 0. Invariant: the braces are the
//! only ones in a key, so all keys of a session lie in one Cluster slot. Knows no connection.

use bytes::Bytes;
use redis::Value;

use super::scripts::Source;
use crate::error::{Error, Result};
use crate::hot::{Append, LogEntry, Place, Publish, Record, Settle, WriterId};
use crate::key::{Address, PARTITIONS};

/// A reply, or the server's refusal in its own words.
pub(super) type Reply = Result<Value, String>;

/// A fence may vanish after a minute: no hydration lasts that long.
const FENCE_MS: &str = "60000";
/// What a read may bring down, for the bound of a batch: a usual window, or a few new entries.
const LOG_WEIGHT: usize = 32 * 1024;
const NEWS_WEIGHT: usize = 2 * 1024;

/// Commands in the form they are sent, and how many replies they bring.
#[derive(Debug, Default)]
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    pub(super) replies: usize,
    reply_weight: usize,
}

impl Packed {
    /// Adds one command.
    pub(super) fn command(&mut self, arguments: &[impl AsRef<[u8]>]) {
        self.head(arguments.len());
        for argument in arguments {
            self.argument(argument.as_ref());
        }
    }

    /// How much of a batch this takes.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + self.reply_weight
    }

    fn head(&mut self, arguments: usize) {
        self.replies += 1;
        self.line(b'*', arguments);
    }

    fn argument(&mut self, argument: &[u8]) {
        self.joined([argument]);
    }

    /// One argument of several parts.
    fn joined<const N: usize>(&mut self, parts: [&[u8]; N]) {
        self.line(b'$', parts.iter().map(|part| part.len()).sum());
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A stream's id.
    fn id(&mut self, epoch: u64, number: u64) {
        self.line(b'$', digits(epoch) + 1 + digits(number));
        decimal(&mut self.bytes, epoch);
        self.bytes.push(b'-');
        decimal(&mut self.bytes, number);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, kind: u8, number: usize) {
        self.bytes.push(kind);
        decimal(&mut self.bytes, number as u64);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// Writes a number without a detour through a string: there are several in each command.
fn decimal(out: &mut Vec<u8>, number: u64) {
    let from = out.len();
    let mut left = number;
    loop {
        out.push(b'0' + u8::try_from(left % 10).unwrap_or_default());
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(from..) {
        digits.reverse();
    }
}

/// How many digits a number has.
fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// How a script is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calling {
    /// By its digest.
    Digest,
    /// With its whole text, which also loads it: after `NOSCRIPT`.
    Text,
}

/// Names the keys and packs the operations.
#[derive(Debug)]
pub(super) struct Commands {
    /// What the keys of each partition begin with.
    heads: Vec<String>,
}

impl Commands {
    pub(super) fn new(prefix: &str) -> Self {
        let head = |partition| format!("{prefix}:{{p{partition}}}:");
        Self {
            heads: (0..PARTITIONS).map(head).collect(),
        }
    }

    fn head(&self, partition: u16) -> &str {
        let head = self.heads.get(usize::from(partition));
        head.map(String::as_str).unwrap_or_default()
    }

    fn key(&self, kind: &str, session: &Address) -> String {
        let head = self.head(session.partition());
        format!("{head}{kind}:{session}")
    }

    fn log(&self, session: &Address) -> String {
        self.key("log", session)
    }

    fn dirty(&self, partition: u16) -> String {
        format!("{}dirty", self.head(partition))
    }

    pub(super) fn append(&self, session: &Address, append: &Append) -> Packed {
        let mut packed = Packed::default();
        packed.bytes.reserve(append.entry.len() + 256);
        if let Some(writer) = &append.mark {
            let dirty = self.dirty(session.partition());
            packed.command(&["ZADD", &dirty, "0", &member(session, writer)]);
            packed.command(&["PERSIST", &self.log(session)]);
        }
        let (epoch, number) = (append.at.epoch, append.at.number);
        let trim = append.carry.as_ref().and(append.trim_below);
        // Never the entry itself: an emptied log could not tell where it ends.
        let oldest = trim.map(|below| below.min(number));
        let carry = append.carry.as_ref();
        packed.head(6 + if oldest.is_some() { 3 } else { 0 } + if carry.is_some() { 2 } else { 0 });
        packed.argument(b"XADD");
        let head = self.head(session.partition()).as_bytes();
        packed.joined([head, b"log:", session.as_str().as_bytes()]);
        packed.argument(b"NOMKSTREAM");
        if let Some(oldest) = oldest {
            packed.argument(b"MINID");
            packed.argument(b"~");
            packed.id(epoch, oldest);
        }
        packed.id(epoch, number);
        packed.argument(b"e");
        packed.argument(&append.entry);
        if let Some(carry) = carry {
            packed.argument(b"c");
            packed.argument(carry);
        }
        packed
    }

    pub(super) fn read(&self, session: &Address, after: Option<Place>) -> Packed {
        let log = self.log(session);
        let mut packed = Packed {
            reply_weight: if after.is_none() {
                LOG_WEIGHT
            } else {
                NEWS_WEIGHT
            },
            ..Packed::default()
        };
        match after {
            None => packed.command(&["XRANGE", &log, "-", "+"]),
            Some(place) => {
                // One step: between two, another process could publish, and nothing newer in the old log
                // would look like nothing newer in the new one.
                packed.command(&["MULTI"]);
                packed.command(&["XRANGE", &log, &format!("({}", id(place)), "+"]);
                packed.command(&["EXISTS", &log]);
                packed.command(&["EXEC"]);
            }
        }
        packed
    }

    pub(super) fn fence(&self, session: &Address, epoch: u64) -> Packed {
        let mut packed = Packed::default();
        let key = self.key("fence", session);
        packed.command(&["SET", &key, &epoch.to_string(), "PX", FENCE_MS]);
        packed
    }

    pub(super) fn publish(
        &self,
        script: &Source,
        calling: Calling,
        session: &Address,
        publish: &Publish,
    ) -> Packed {
        let older = publish
            .over
            .is_none_or(|over| over.epoch < publish.at.epoch);
        // A log that is not of an older epoch is never replaced: no id matches `-`.
        let over = publish
            .over
            .map_or_else(String::new, |o| if older { id(o) } else { "-".into() });
        let keys = [
            self.log(session),
            self.key("fence", session),
            self.dirty(session.partition()),
        ];
        let mark = publish
            .mark
            .as_ref()
            .map_or_else(String::new, |w| member(session, w));
        let mut packed = Packed::default();
        evaluate(
            &mut packed,
            script,
            calling,
            &keys,
            &[
                publish.at.epoch.to_string().as_bytes(),
                id(publish.at).as_bytes(),
                over.as_bytes(),
                &publish.snapshot,
                publish.ttl_ms.map_or_else(String::new, ttl).as_bytes(),
                session.as_str().as_bytes(),
                mark.as_bytes(),
            ],
        );
        packed
    }

    /// One script call per partition.
    pub(super) fn settle(
        &self,
        script: &Source,
        calling: Calling,
        writer: &WriterId,
        sessions: &[Settle],
    ) -> Packed {
        let mut order: Vec<&Settle> = sessions.iter().collect();
        order.sort_by_key(|s| s.session.partition());
        let mut packed = Packed::default();
        for group in order.chunk_by(|a, b| a.session.partition() == b.session.partition()) {
            let dirty = group.first().map(|s| self.dirty(s.session.partition()));
            let logs = group.iter().map(|s| self.log(&s.session));
            let keys: Vec<String> = dirty.into_iter().chain(logs).collect();
            let mut arguments = vec![writer.0.clone()];
            for settle in group {
                arguments.push(settle.session.as_str().to_owned());
                arguments.push(settle.ttl_ms.map_or_else(String::new, ttl));
            }
            let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
            evaluate(&mut packed, script, calling, &keys, &arguments);
        }
        packed
    }

    pub(super) fn touch(&self, session: &Address, ttl_ms: u64) -> Packed {
        let mut packed = Packed::default();
        // GT takes a key without expiry for endless, so a dirty one is never touched.
        packed.command(&["PEXPIRE", &self.log(session), &ttl(ttl_ms), "GT"]);
        packed
    }

    pub(super) fn release(&self, script: &Source, calling: Calling, session: &Address) -> Packed {
        let keys = [self.log(session), self.dirty(session.partition())];
        let mut packed = Packed::default();
        evaluate(
            &mut packed,
            script,
            calling,
            &keys,
            &[session.as_str().as_bytes()],
        );
        packed
    }

    pub(super) fn marks(&self) -> Packed {
        let mut packed = Packed {
            reply_weight: LOG_WEIGHT,
            ..Packed::default()
        };
        for partition in 0..PARTITIONS {
            packed.command(&["ZRANGE", &self.dirty(partition), "0", "-1"]);
        }
        packed
    }
}

fn evaluate(
    packed: &mut Packed,
    script: &Source,
    calling: Calling,
    keys: &[String],
    arguments: &[&[u8]],
) {
    packed.head(3 + keys.len() + arguments.len());
    match calling {
        Calling::Digest => {
            packed.argument(b"EVALSHA");
            packed.argument(script.sha().as_bytes());
        }
        Calling::Text => {
            packed.argument(b"EVAL");
            packed.argument(script.code.as_bytes());
        }
    }
    packed.argument(keys.len().to_string().as_bytes());
    for key in keys {
        packed.argument(key.as_bytes());
    }
    for argument in arguments {
        packed.argument(argument);
    }
}

fn id(place: Place) -> String {
    format!("{}-{}", place.epoch, place.number)
}

/// Redis refuses expiries of zero (they delete) and those that overflow its clock.
fn ttl(ttl_ms: u64) -> String {
    const CENTURY_MS: u64 = 100 * 365 * 24 * 3600 * 1000;
    ttl_ms.clamp(1, CENTURY_MS).to_string()
}

fn member(session: &Address, writer: &WriterId) -> String {
    format!("{session} {}", writer.0)
}

/// The sessions of a dirty set that `writer` has marked.
pub(super) fn marked_in(reply: Value, writer: &WriterId) -> Vec<Address> {
    let session_of = |value| match value {
        Value::BulkString(member) => {
            let member = String::from_utf8(member).ok()?;
            let (session, marker) = member.split_once(' ')?;
            (marker == writer.0).then(|| Address::from_text(session))
        }
        _ => None,
    };
    match reply {
        Value::Array(members) => members.into_iter().filter_map(session_of).collect(),
        _ => Vec::new(),
    }
}

/// Decodes the reply to an XRANGE.
pub(super) fn entries(reply: Value) -> Result<Vec<LogEntry>> {
    let Value::Array(items) = reply else {
        return Err(unreadable("not a list"));
    };
    items.into_iter().map(entry).collect()
}

fn entry(item: Value) -> Result<LogEntry> {
    let Value::Array(parts) = item else {
        return Err(unreadable("an entry is no pair"));
    };
    let mut parts = parts.into_iter();
    let (Some(Value::BulkString(id)), Some(Value::Array(fields))) = (parts.next(), parts.next())
    else {
        return Err(unreadable("an entry is no pair"));
    };
    let at = place(&id).ok_or_else(|| unreadable("an id is no place"))?;
    let (mut record, mut carry) = (None, None);
    let mut fields = fields.into_iter();
    while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) =
        (fields.next(), fields.next())
    {
        let value = Bytes::from(value);
        match name.as_slice() {
            b"e" => record = Some(Record::Entry(value)),
            b"s" => record = Some(Record::Snapshot(value)),
            b"c" => carry = Some(value),
            _ => {
                return Err(unreadable(
                    "an unknown field; was it written by a newer version?",
                ));
            }
        }
    }
    let record = record.ok_or_else(|| unreadable("an entry holds nothing"))?;
    Ok(LogEntry { at, record, carry })
}

fn place(id: &[u8]) -> Option<Place> {
    let (epoch, number) = std::str::from_utf8(id).ok()?.split_once('-')?;
    Some(Place::new(epoch.parse().ok()?, number.parse().ok()?))
}

fn unreadable(why: &str) -> Error {
    Error::decode("a log in redis", why)
}
