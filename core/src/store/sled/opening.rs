//! Opens a store so that what comes out is either sound or in quarantine.
//!
//! Invariant: a panic of sled never leaves this module, and a store of a newer format is not touched.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::sled::Tree;
use bytes::Bytes;

use super::disk::{self, Engine, FORMAT, Failed};
use super::fault::{Fault, Outcome};
use super::table::{self, Txn, Verified};
use super::{Quarantined, SledConfig, check, compact, encryption, keys};
use crate::codec::{self, Codec};
use crate::error::{Error, Result};
use crate::keyring::Keyring;

/// What only writers look at: counters, under one lock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Writer {
    pub(super) next_sid: u64,
    pub(super) next_epoch: u64,
    /// Epochs from here on are not yet durably reserved.
    pub(super) ceiling: u64,
    /// The last step applied.
    pub(super) step: u64,
    /// The sum of the prints of all that [`keys::is_common`].
    pub(super) sum: u64,
    /// Every key that something stored is sealed with has a smaller number; 0 when nothing is sealed.
    pub(super) keys: u64,
    /// How often keys were destroyed, as far as the store knows.
    pub(super) forgets: u64,
    /// The bytes of all keys and values; unknown in a store begun before they were counted.
    pub(super) live: Option<u64>,
}

impl Writer {
    /// Counts one step more, in memory and in `txn`, which must be complete but for this.
    pub(super) fn step(&mut self, txn: &mut Txn<'_>) -> Outcome<()> {
        // sled may make a step durable at any time from when it is applied: its keys must be so before.
        if txn.dirty().any(|(key, _)| key.first() == Some(&keys::LOG)) {
            txn.codec.sync().map_err(no_keys)?;
        }
        let keys = txn.codec.keyring().map_or(0, Keyring::durable);
        if keys > self.keys {
            put_number(txn, "keys", keys)?;
            self.keys = keys;
        }
        let sum = self.sum.wrapping_add(txn.change(keys::is_common));
        let live = self.live.map(|live| txn.resized(live));
        (self.step, self.sum, self.live) = (self.step + 1, sum, live);
        txn.put(keys::meta(keys::STEP), self.record())
    }

    /// What is stored of them under [`keys::STEP`].
    pub(super) fn record(&self) -> Bytes {
        let mut value = self.step.to_be_bytes().to_vec();
        value.extend_from_slice(&self.sum.to_be_bytes());
        value.extend(self.live.iter().flat_map(|live| live.to_be_bytes()));
        value.into()
    }
}

/// Opens the store under the (locked) directory; one that cannot be used is moved aside.
pub(super) fn open(
    config: &SledConfig,
    codec: &Codec,
) -> Result<(Engine, Writer, Option<Quarantined>)> {
    let dir = &config.dir;
    compact::settle(dir)?;
    let suspect = disk::is_suspect(dir);
    if suspect {
        disk::rewrite(dir)?;
    }
    match attempt(config, codec, suspect, 1) {
        Ok((engine, writer)) => {
            disk::trusted(dir)?;
            Ok((engine, writer, None))
        }
        Err(Failed::Refused(e)) => Err(e),
        Err(Failed::Damaged(why)) => {
            // A full disk makes sled fail in many ways; none of them is damage.
            disk::check_room(dir)?;
            let quarantined = disk::quarantine(dir, why)?;
            disk::trusted(dir)?;
            // Hot tiers may still hold epochs that the lost store allotted. They rise by one at a time, so
            // the clock's milliseconds are above them all.
            let first_epoch = crate::clock::system().wall_ms().max(1);
            match attempt(config, codec, false, first_epoch) {
                Ok((engine, writer)) => Ok((engine, writer, Some(quarantined))),
                Err(Failed::Refused(e)) => Err(e),
                Err(Failed::Damaged(why)) => Err(Error::decode("a new store", why)),
            }
        }
    }
}

/// Opens and verifies; `full` reads everything, else only what sessions share.
pub(super) fn attempt(
    config: &SledConfig,
    codec: &Codec,
    full: bool,
    first_epoch: u64,
) -> Result<(Engine, Writer), Failed> {
    let mark = disk::read_mark(&config.dir)?;
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let engine = Engine::open(config)?;
        let mut writer = verify(config, codec, &engine, mark, full, first_epoch)?;
        encryption::agree(config, &engine, codec, &mut writer)?;
        Ok((engine, writer))
    }));
    opened.unwrap_or_else(|panic| Err(Failed::Damaged(words(&*panic))))
}

/// What a panic said.
pub(super) fn words(panic: &(dyn Any + Send)) -> String {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("sled panicked: {}", said.unwrap_or("without a word"))
}

fn verify(
    config: &SledConfig,
    codec: &Codec,
    engine: &Engine,
    mark: u64,
    full: bool,
    first_epoch: u64,
) -> Result<Writer, Failed> {
    let bad = |fault: Fault| match fault {
        Fault::Caller(e) => Failed::Refused(e),
        f if f.is_full() => Failed::Refused(disk::no_room(&config.dir)),
        Fault::Engine(e) => disk::classify(&config.dir, e),
        Fault::Sync(e) => {
            disk::suspect(&config.dir);
            Failed::Refused(disk::failing(&config.dir, e))
        }
        f => Failed::Damaged(f.words()),
    };
    let format = table::read(&engine.db, &keys::meta("format")).map_err(bad)?;
    match format.as_ref().and_then(|f| f.first()) {
        Some(f) if *f > FORMAT => return Err(Failed::Refused(disk::newer(&config.dir, *f))),
        Some(_) => {}
        None if mark == 0 && engine.db.is_empty() => {
            return initialise(engine, codec, first_epoch).map_err(bad);
        }
        None => return Err(Failed::Damaged("it has lost all it held".to_owned())),
    }
    let writer = read_writer(&engine.db).map_err(bad)?;
    if writer.step < mark {
        let lost = mark - writer.step;
        return Err(Failed::Damaged(format!(
            "it has lost its newest {lost} steps"
        )));
    }
    if common_sum(&engine.db).map_err(bad)? != writer.sum {
        return Err(Failed::Damaged(
            "it has lost some of its rows or indexes".to_owned(),
        ));
    }
    if full {
        let checked = check::run(&engine.db, codec).map_err(bad)?;
        if let Some(first) = checked.violations.first() {
            return Err(Failed::Damaged(first.clone()));
        }
    }
    Ok(writer)
}

fn initialise(engine: &Engine, codec: &Codec, first_epoch: u64) -> Outcome<Writer> {
    let mut writer = Writer {
        next_sid: 1,
        next_epoch: first_epoch,
        ceiling: first_epoch,
        live: Some(0),
        ..Writer::default()
    };
    let verified = Verified::default();
    let mut txn = Txn::new(&engine.db, &verified, codec);
    let format = Bytes::copy_from_slice(&[FORMAT, codec::VERSION]);
    txn.put(keys::meta("format"), format)?;
    put_number(&mut txn, "sid", writer.next_sid)?;
    put_number(&mut txn, "epoch", writer.ceiling)?;
    writer.step(&mut txn)?;
    if let Some(batch) = txn.into_batch() {
        engine.db.apply_batch(batch)?;
    }
    engine.sync(writer.step)?;
    Ok(writer)
}

/// Nothing was applied, so the store itself is as it was.
fn no_keys(e: io::Error) -> Fault {
    let what = "cannot make new keys durable; check the disk and its free space";
    Fault::Caller(Error::unavailable("keys", what.to_owned(), e))
}

/// Reads what all sessions share; the sessions' own logs and indexes are compared when first used.
fn common_sum(tree: &Tree) -> Outcome<u64> {
    let step = keys::meta(keys::STEP);
    let own = table::read(tree, &step)?.map_or(0, |value| table::print(&step, &value));
    let all = table::sum_under(tree, &keys::COMMON.map(|kind| vec![kind]))?;
    Ok(all.wrapping_sub(own))
}

fn read_writer(tree: &Tree) -> Outcome<Writer> {
    let number = |name, at| {
        table::read(tree, &keys::meta(name))?
            .and_then(|v| keys::number_at(&v, at))
            .ok_or_else(|| Fault::damage("a counter is missing"))
    };
    let ceiling = number("epoch", 0)?;
    let step = table::read(tree, &keys::meta(keys::STEP))?;
    Ok(Writer {
        live: step.and_then(|value| keys::number_at(&value, 16)),
        next_sid: number("sid", 0)?,
        next_epoch: ceiling,
        ceiling,
        step: number(keys::STEP, 0)?,
        sum: number(keys::STEP, 8)?,
        keys: number("keys", 0).unwrap_or_default(),
        forgets: number(encryption::FORGETS, 0).unwrap_or_default(),
    })
}

pub(super) fn put_number(txn: &mut Txn<'_>, name: &str, value: u64) -> Outcome<()> {
    txn.put(
        keys::meta(name),
        Bytes::copy_from_slice(&value.to_be_bytes()),
    )
}
