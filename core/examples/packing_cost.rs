//! What packing idle contexts saves, and what it costs: contexts of 50 messages of real logs, as the codec encodes them,
//! through zstd at two levels and lz4; then a store of all of them, compacted while they are awake and while they are asleep.
//!
//! `cargo run --release -p scrollback --example packing_cost -- LOG.jsonl…`, with a JSON object a line, of which `space`,
//! `channel`, `author` and `text` are used.
#![expect(clippy::print_stdout, reason = "an example that shows figures")]

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use scrollback::codec::{self, Kind};
use scrollback::key::Address;
use scrollback::message::{Body, Entry, EntryId, Seq};
use scrollback::store::sled::SledStore;
use scrollback::store::{FlushEntry, SessionFlush, Store};
use scrollback::ttl::Estimate;
use scrollback::{Author, Message, Page, SessionKey, SledConfig};

/// Messages of a context.
const CONTEXT: usize = 50;

/// What has fewer bytes is not packed.
const LEAST: usize = 1024;

/// How often everything is done; the best counts.
const ROUNDS: u32 = 9;

/// One conversation of a log, as it would be stored.
struct Chat {
    session: Address,
    entries: Vec<FlushEntry>,
}

/// The conversations of a log, by channel.
fn read(path: &Path) -> anyhow::Result<Vec<Chat>> {
    let log = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut chats: HashMap<SessionKey, Chat> = HashMap::new();
    for (line, id) in log.lines().zip(1_u64..) {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let field = |name: &str| line.get(name).and_then(|v| v.as_str()).unwrap_or_default();
        let key = SessionKey::new("irc", "bot")
            .space(field("space"))
            .channel(field("channel"));
        let chat = chats.entry(key.clone()).or_insert_with(|| Chat {
            session: Address::from(&key),
            entries: Vec::new(),
        });
        let at_ms = 1_500_000_000_000 + id * 20_000;
        let said = Message::user(Author::new("irc", field("author")), field("text"));
        let entry = Entry {
            // As a process gives them: one origin, and a counter.
            id: EntryId((0x5eed_0bad_cafe_f00d_u128 << 64) | u128::from(id)),
            at_ms,
            body: Body::Messages(vec![Some(said.id(id).at_ms(at_ms).into())]),
        };
        chat.entries.push(FlushEntry {
            number: chat.entries.len() as u64 + 1,
            id: entry.id,
            record: codec::encode(Kind::Entry, chat.session.hash64(), &entry)?,
        });
    }
    Ok(chats.into_values().collect())
}

/// What is packed of each context, for each entry its length, its number, itself; not of those that are left as they are.
fn contexts(chats: &[Chat]) -> Vec<Vec<u8>> {
    let all = chats.iter().flat_map(|chat| chat.entries.chunks(CONTEXT));
    let raw = all.map(|context| {
        let mut raw = Vec::new();
        for entry in context {
            let length = u32::try_from(entry.record.len() + 8).unwrap_or_default();
            raw.extend_from_slice(&length.to_be_bytes());
            raw.extend_from_slice(&entry.number.to_be_bytes());
            raw.extend_from_slice(&entry.record);
        }
        raw
    });
    raw.filter(|raw| raw.len() >= LEAST).collect()
}

type Packs = fn(&[u8]) -> Option<Vec<u8>>;
type Unpacks = fn(&[u8], usize) -> Option<Vec<u8>>;

const WAYS: [(&str, Packs, Unpacks); 3] = [
    ("zstd-1", |raw| zstd::bulk::compress(raw, 1).ok(), unzstd),
    ("zstd-3", |raw| zstd::bulk::compress(raw, 3).ok(), unzstd),
    (
        "lz4",
        |raw| Some(lz4_flex::block::compress(raw)),
        |packed, most| lz4_flex::block::decompress(packed, most).ok(),
    ),
];

fn unzstd(packed: &[u8], most: usize) -> Option<Vec<u8>> {
    zstd::bulk::decompress(packed, most).ok()
}

/// The time of the best round: other rounds tell of the machine.
fn best(mut round: impl FnMut()) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        round();
        began.elapsed()
    });
    rounds.min().unwrap_or_default()
}

/// Prints ratio and times of one way to pack.
#[expect(clippy::cast_precision_loss, reason = "a ratio with one decimal")]
fn measure(name: &str, contexts: &[Vec<u8>], pack: Packs, unpack: Unpacks) -> anyhow::Result<()> {
    let all: Option<Vec<_>> = contexts.iter().map(|raw| pack(raw)).collect();
    let all = all.context("it cannot be packed")?;
    for (raw, packed) in contexts.iter().zip(&all) {
        anyhow::ensure!(
            unpack(packed, raw.len()).as_ref() == Some(raw),
            "it came back other"
        );
    }
    let each = u32::try_from(contexts.len())?;
    let packing = best(|| contexts.iter().for_each(|raw| drop(black_box(pack(raw))))) / each;
    let unpacking = best(|| {
        let both = contexts.iter().zip(&all);
        both.for_each(|(raw, packed)| drop(black_box(unpack(packed, raw.len()))));
    }) / each;
    let bytes = |all: &[Vec<u8>]| all.iter().map(Vec::len).sum::<usize>();
    let ratio = bytes(contexts) as f64 / bytes(&all) as f64;
    println!(
        "  {name:<7} {ratio:>5.2} times smaller, packed in {packing:>9.1?}, back in {unpacking:>9.1?}"
    );
    Ok(())
}

/// A store of all of it, compacted.
struct Stored {
    disk_bytes: u64,
    live_bytes: u64,
    /// How long the newest messages of a session take to read.
    page: Duration,
}

/// Stores all of it, last touched at this time, and compacts.
fn stored(chats: &[Chat], last_ms: u64) -> anyhow::Result<Stored> {
    let dir = tempfile::tempdir()?;
    let (store, _) = SledStore::open(&SledConfig::new(dir.path()).ballast_bytes(0))?;
    for chat in chats {
        let part = SessionFlush {
            session: chat.session.clone(),
            epoch: 1,
            cut: Seq::default(),
            cut_at: 0,
            settled_to: 0,
            entries: chat.entries.clone(),
            estimate: Some(Estimate {
                last_ms,
                ..Estimate::default()
            }),
        };
        store.flush(&[part])?;
    }
    let done = store.compact(&|_| {})?;
    let page = Page {
        before: None,
        limit: CONTEXT,
    };
    // A session's first read checks all of it.
    let read = || {
        let mut all = chats.iter();
        all.try_for_each(|chat| store.history(&chat.session, page).map(drop))
    };
    read()?;
    let page = best(|| drop(black_box(read())));
    Ok(Stored {
        disk_bytes: done.bytes_after,
        live_bytes: done.live_bytes,
        page: page / u32::try_from(chats.len())?,
    })
}

fn main() -> anyhow::Result<()> {
    for path in std::env::args().skip(1) {
        let chats = read(path.as_ref())?;
        let contexts = contexts(&chats);
        let bytes: usize = contexts.iter().map(Vec::len).sum();
        anyhow::ensure!(!contexts.is_empty(), "{path}: there is nothing to pack");
        println!(
            "{path}: {} contexts of up to {CONTEXT} messages, {} bytes on average",
            contexts.len(),
            bytes / contexts.len()
        );
        for (name, pack, unpack) in WAYS {
            measure(name, &contexts, pack, unpack)?;
        }
        let (awake, asleep) = (stored(&chats, u64::MAX)?, stored(&chats, 1)?);
        for (what, stored) in [("awake", awake), ("asleep", asleep)] {
            println!(
                "  compacted while {what}: {} bytes on the disk, {} live; the newest {CONTEXT} messages read in {:.1?}",
                stored.disk_bytes, stored.live_bytes, stored.page
            );
        }
    }
    Ok(())
}
