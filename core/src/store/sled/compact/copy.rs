//! What a compaction keeps of a session.
//!
//! Dropped from the log: entries up to `durable_to`, but the last, that hold nothing any more: emptied ones,
//! deletions, edits whose text is in its message. Their ids stay known, so that none comes back by a journal, a hot
//! log or a late flush; their numbers stay taken (`dropped_to`). Entry ids up to `durable_to`, and platform ids
//! that are gone, become blocks ([`packed`]), and so do the entries of sessions that are asleep ([`log`]). All else is
//! copied as it is, and compared with its row's sum on the way.
//!
//! Invariant: what a session hands out is the same before and after, but for entries that say nothing. Knows
//! no lock and no file.

use std::collections::HashMap;
use std::time::Duration;

use ::sled::{Batch, Db, Tree};
use bytes::Bytes;

use super::super::disk::FORMAT;
use super::super::fault::{Fault, Outcome};
use super::super::log::{self, Gathered};
use super::super::opening::Writer;
use super::super::session::{Mention, Row};
use super::super::table::{self, chunk_key};
use super::super::{SledConfig, keys, packed};
use crate::clock::{self, millis};
use crate::codec::{self, Codec, Kind};
use crate::fault_point::fault;
use crate::key::Address;
use crate::message::Body;

/// Values of one batch. sled is flushed after each, so that it uses its own dead segments again: larger
/// batches make larger files.
const BATCH: usize = 1000;

/// How long nobody has touched a session that is asleep: longer than an average one is kept hot, so that whoever comes
/// back to it waits for a load anyway.
const ASLEEP: Duration = Duration::from_secs(60 * 60);

/// A fresh sled, and what was written to it.
#[derive(Debug)]
pub(super) struct Copied {
    into: Db,
    codec: Codec,
    /// Sessions touched after this time, in milliseconds since the Unix epoch, are awake.
    asleep: u64,
    /// Packs all that is asleep, also what hardly gets smaller.
    pack_all: bool,
    batch: Batch,
    waiting: usize,
    /// The sum of the prints of all that sessions share.
    sum: u64,
    /// Bytes of keys and values.
    pub(super) live: u64,
    /// Keys.
    pub(super) rows: u64,
    /// Sessions copied, with how many of their entries were not.
    sessions: HashMap<u64, u64>,
}

/// What stands of a session from an earlier pass and was not written again yet.
type Standing = HashMap<Vec<u8>, Bytes>;

/// The numbers of all sessions.
pub(super) fn sessions(from: &Tree) -> Outcome<Vec<u64>> {
    table::under(from, &[keys::NAME])
        .map(|item| keys::number_at(&item?.0, 1).ok_or_else(|| Fault::damage("a key is cut short")))
        .collect()
}

impl Copied {
    pub(super) fn new(into: Db, codec: Codec, config: &SledConfig) -> Self {
        let now = clock::system().wall_ms();
        Self {
            into,
            codec,
            asleep: now.saturating_sub(millis(ASLEEP)),
            pack_all: config.pack_all,
            batch: Batch::default(),
            waiting: 0,
            sum: 0,
            live: 0,
            rows: 0,
            sessions: HashMap::new(),
        }
    }

    /// How many entries were not copied.
    pub(super) fn dropped(&self) -> u64 {
        self.sessions.values().sum()
    }

    /// Copies a session, also a second time after it changed.
    pub(super) fn session(&mut self, from: &Tree, sid: u64) -> Outcome<()> {
        let name = keys::name(sid);
        let text =
            table::read(from, &name)?.ok_or_else(|| Fault::damage("a session has no name"))?;
        let key = std::str::from_utf8(&text).map_err(|_| Fault::damage("a name is not UTF-8"))?;
        let record = table::read(from, &keys::row(key))?
            .ok_or_else(|| Fault::damage("a session has no row"))?;
        let row = Row::read(Some(key), &record)?;
        let mut standing = self.standing(sid, key)?;
        self.put(&mut standing, &name, &text)?;
        let mut part = Part::new(row, Address::from_text(key), self.codec.clone());
        self.log(from, &mut part, &mut standing)?;
        let is_log = |kind: &u8| matches!(*kind, keys::LOG | keys::PACKED);
        for kind in keys::OWN.into_iter().filter(|kind| !is_log(kind)) {
            for item in table::under(from, &keys::of_session(kind, sid)) {
                let (key, value) = item?;
                part.read = part.read.wrapping_add(table::print(&key, &value));
                if let Some((key, value)) = part.kept(kind, key, value)? {
                    if let Some(hash) = keys::wide_at(&key, 9).filter(|_| kind == keys::SPOKE) {
                        self.put(&mut standing, &keys::author(hash, sid), &Bytes::new())?;
                    }
                    part.sum = part.sum.wrapping_add(table::print(&key, &value));
                    self.put(&mut standing, &key, &value)?;
                }
            }
        }
        if part.read != part.row.sum {
            return Err(Fault::damage("a session has lost some of what it held"));
        }
        let blocks = part.blocks();
        self.put_own(&mut part, &mut standing, blocks)?;
        part.row.sum = part.sum;
        part.row.packed_to = part.packed_to;
        let record = codec::encode(Kind::Row, 0, &part.row).map_err(Fault::Caller)?;
        self.put(&mut standing, &keys::row(key), &record)?;
        for (key, value) in standing {
            self.take(&key, &value, 0);
        }
        self.sessions.insert(sid, part.dropped);
        Ok(())
    }

    /// Copies the log of a session: what is asleep in blocks, also what has slept on while others were added behind it.
    fn log(&mut self, from: &Tree, part: &mut Part, standing: &mut Standing) -> Outcome<()> {
        // Of what is sealed only the frame would get smaller.
        let packs = self.codec.keyring().is_none();
        let asleep = packs && part.touched(from)? <= self.asleep;
        let mut gathered = Gathered::new(part.row.sid, self.pack_all);
        for item in log::stored(from, part.row.sid) {
            let (key, value) = item?;
            part.read = part.read.wrapping_add(table::print(&key, &value));
            let slept = packs && key.first() == Some(&keys::PACKED);
            for (number, record) in log::opened(&key, &value)? {
                let Some(record) = part.kept_entry(number, record)? else {
                    continue;
                };
                let done = if slept || asleep && number <= part.row.durable_to {
                    gathered.add(number, record)
                } else {
                    let mut done = gathered.close();
                    done.push((keys::log(part.row.sid, number), record));
                    done
                };
                self.put_own(part, standing, done)?;
            }
        }
        let done = gathered.close();
        part.packed_to = gathered.packed_to;
        self.put_own(part, standing, done)
    }

    /// Writes something of the log or an index.
    fn put_own(
        &mut self,
        part: &mut Part,
        standing: &mut Standing,
        all: Vec<(Vec<u8>, Bytes)>,
    ) -> Outcome<()> {
        for (key, value) in all {
            part.sum = part.sum.wrapping_add(table::print(&key, &value));
            self.put(standing, &key, &value)?;
        }
        Ok(())
    }

    /// What an earlier pass left of a session.
    fn standing(&mut self, sid: u64, key: &str) -> Outcome<Standing> {
        // A pass that broke off has left something, too.
        if self.sessions.insert(sid, 0).is_none() {
            return Ok(Standing::new());
        }
        self.write_out()?;
        let mut standing = Standing::new();
        for kind in keys::OWN {
            for item in table::under(&self.into, &keys::of_session(kind, sid)) {
                let (key, value) = item?;
                if let Some(hash) = keys::wide_at(&key, 9).filter(|_| kind == keys::SPOKE) {
                    standing.insert(keys::author(hash, sid), Bytes::new());
                }
                standing.insert(key, value);
            }
        }
        for common in [keys::name(sid), keys::row(key)] {
            if let Some(value) = table::read(&self.into, &common)? {
                standing.insert(common, value);
            }
        }
        Ok(standing)
    }

    fn put(&mut self, standing: &mut Standing, key: &[u8], value: &Bytes) -> Outcome<()> {
        let was = standing.remove(key);
        if was.as_ref() == Some(value) {
            return Ok(());
        }
        let chunks = table::write_chunks(&mut self.batch, key, value);
        if let Some(was) = was {
            self.take(key, &was, chunks);
        }
        if keys::is_common(key) {
            self.sum = self.sum.wrapping_add(table::print(key, value));
        }
        self.live += table::size(key, value);
        self.rows += 1;
        self.waiting += 1;
        if self.waiting >= BATCH {
            self.write_out()?;
        }
        Ok(())
    }

    /// Takes away what stood under a key, from chunk `kept` on.
    fn take(&mut self, key: &[u8], was: &Bytes, kept: u16) {
        for stale in kept..table::chunks(was) {
            self.batch.remove(chunk_key(key, stale));
        }
        if keys::is_common(key) {
            self.sum = self.sum.wrapping_sub(table::print(key, was));
        }
        self.live = self.live.saturating_sub(table::size(key, was));
        self.rows = self.rows.saturating_sub(1);
        self.waiting += 1;
    }

    /// Gives what is gathered to sled.
    pub(super) fn write_out(&mut self) -> Outcome<()> {
        if self.waiting > 0 {
            self.waiting = 0;
            fault("compact.write")?;
            self.into.apply_batch(std::mem::take(&mut self.batch))?;
            self.into.flush()?;
        }
        Ok(())
    }

    /// The end: what the store knows of itself, with the writer's counters as they are in the copy.
    pub(super) fn counters(&mut self, from: &Tree, writer: Writer) -> Outcome<Writer> {
        let (step, format) = (keys::meta(keys::STEP), keys::meta("format"));
        let mut none = Standing::new();
        for item in table::under(from, &[keys::META]) {
            let (key, value) = item?;
            if key != step && key != format {
                self.put(&mut none, &key, &value)?;
            }
        }
        // An older program would not see what is in blocks.
        let version = Bytes::copy_from_slice(&[FORMAT, codec::VERSION]);
        self.put(&mut none, &format, &version)?;
        let counters = Writer {
            sum: self.sum,
            live: Some(self.live + table::size(&step, &[0; 24])),
            ..writer
        };
        self.put(&mut none, &step, &counters.record())?;
        self.write_out()?;
        Ok(counters)
    }
}

/// A session while it is copied.
#[derive(Debug)]
struct Part {
    row: Row,
    address: Address,
    codec: Codec,
    /// The sum of what was read, and of what was written.
    read: u64,
    sum: u64,
    dropped: u64,
    /// The last entry that was written into a block.
    packed_to: u64,
    gone: Vec<u128>,
    known: Vec<(u128, u64)>,
}

impl Part {
    fn new(row: Row, address: Address, codec: Codec) -> Self {
        Self {
            row,
            address,
            codec,
            read: 0,
            sum: 0,
            dropped: 0,
            packed_to: 0,
            gone: Vec::new(),
            known: Vec::new(),
        }
    }

    /// When the session was last touched, or something was last said in it, in milliseconds since the Unix epoch.
    fn touched(&self, from: &Tree) -> Outcome<u64> {
        let touched = self.row.estimate.map_or(0, |estimate| estimate.last_ms);
        let Some(newest) = log::newest_first(from, &self.row, u64::MAX).next() else {
            return Ok(touched);
        };
        let entry = self.codec.read_entry(&self.address, &newest?.1);
        let entry = entry.map_err(Fault::Damage)?;
        Ok(touched.max(entry.at_ms))
    }

    /// What is kept of an entry; `None` when it is dropped.
    fn kept_entry(&mut self, number: u64, record: Bytes) -> Outcome<Option<Bytes>> {
        if self.is_dead(number, &record)? {
            self.row.dropped_to = self.row.dropped_to.max(number);
            self.dropped += 1;
            return Ok(None);
        }
        // What was written before there were keys.
        Ok(Some(self.sealed(&record)?.unwrap_or(record)))
    }

    /// What is kept as it is; all else is dropped, or gathered for the blocks.
    fn kept(&mut self, kind: u8, key: Vec<u8>, value: Bytes) -> Outcome<Option<(Vec<u8>, Bytes)>> {
        let cut = || Fault::damage("a key or value is cut short");
        match kind {
            keys::ID => {
                let number = keys::number_at(&value, 0).ok_or_else(cut)?;
                if number <= self.row.durable_to {
                    self.known
                        .push((keys::wide_at(&key, 9).ok_or_else(cut)?, number));
                    return Ok(None);
                }
            }
            keys::PLATFORM if Mention::read(&value)? == Mention::Gone => {
                self.gone.push(keys::wide_at(&key, 9).ok_or_else(cut)?);
                return Ok(None);
            }
            keys::GONE => {
                self.gone.extend(packed::read_gone(&value)?);
                return Ok(None);
            }
            keys::KNOWN => {
                self.known.extend(packed::read_known(&key, &value)?);
                return Ok(None);
            }
            _ => {}
        }
        Ok(Some((key, value)))
    }

    /// A record that is to be sealed and is not, sealed.
    fn sealed(&self, record: &Bytes) -> Outcome<Option<Bytes>> {
        if !self.codec.is_unsealed(record) {
            return Ok(None);
        }
        let entry = self.codec.read_entry(&self.address, record);
        let entry = entry.map_err(Fault::Damage)?;
        let sealed = self.codec.entry(&self.address, &entry);
        sealed.map(Some).map_err(Fault::Caller)
    }

    fn is_dead(&self, number: u64, record: &Bytes) -> Outcome<bool> {
        if number > self.row.durable_to || number == self.row.last {
            return Ok(false);
        }
        let entry = self.codec.read_entry(&self.address, record);
        let entry = entry.map_err(Fault::Damage)?;
        Ok(matches!(
            entry.body,
            Body::Void | Body::Delete { .. } | Body::Edit { text: None, .. }
        ))
    }

    fn blocks(&mut self) -> Vec<(Vec<u8>, Bytes)> {
        self.gone.sort_unstable();
        self.known.sort_unstable();
        let sid = self.row.sid;
        let mut blocks = packed::gone(sid, &self.gone);
        blocks.extend(packed::known(sid, &self.known));
        self.row.packed = !blocks.is_empty();
        blocks
    }
}
