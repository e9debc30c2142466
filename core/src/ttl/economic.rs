//! A time to live from what a load costs against what being hot costs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Estimate, Touch, Ttl, TtlPolicy, checked_cost};
use crate::codec::{self, Kind as Record};
use crate::error::Result;

/// Which part of the break-even time a session stays hot: after u seconds of silence the chance of return per second is
/// about 0.4/u, so being hot pays until about 0.4·C; 0.3 cost least over real logs, at most 6 % above the best fixed time.
const SHARE: f64 = 0.3;

/// About what is hot of a session beside its messages: key, log, replica, indexes. It also keeps a session of one short
/// message from staying hot for days.
const BESIDE: u32 = 4096;

/// A context's size moves its time to live by this factor at most, so that neither an empty nor a huge one is absurd.
const LARGEST_FACTOR: f64 = 64.0;

/// A touch so soon after another tells nothing new of sizes.
const VISIT: Duration = Duration::from_secs(60);

/// So many visits, and loads, are remembered: sizes and machines change.
const VISITS: u32 = 100_000;
const LOADS: u32 = 1_000;

/// The name under which the mean size is kept: one for all kinds of session, since they share the memory.
const SIZES: &str = "sizes";

/// What being hot and loading cost, to work out the break-even time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// A core for a second.
    pub core_second: f64,
    /// A byte of memory for a second, in the same money.
    pub byte_second: f64,
}

impl Default for Prices {
    /// 0.032 a core and hour, 0.0043 a GiB and hour (dollars): about what the large clouds ask for general-purpose
    /// machines. Only their ratio matters: a core for a second is worth 8 GB for a second.
    fn default() -> Self {
        Self {
            core_second: 0.032 / 3600.0,
            byte_second: 0.0043 / 3600.0 / f64::from(1 << 30),
        }
    }
}

impl Prices {
    fn fault(self) -> Option<String> {
        let sound = |price: f64| price.is_finite() && price > 0.0;
        let both = sound(self.core_second) && sound(self.byte_second);
        (!both).then(|| "prices must be above zero".to_owned())
    }
}

/// The session stays hot for 0.3·C·(Bref/B): C is the break-even time, the seconds of being hot that one load is worth, B what
/// it takes with its context, Bref the geometric mean of that over all visits seen. The default policy.
#[derive(Debug)]
pub struct Economic {
    /// C in seconds, as the bits of a float: stated, or as measured so far.
    cost: AtomicU64,
    /// Bref in bytes, as the bits of a float; 0 while nothing was seen.
    reference: AtomicU64,
    sizes: Mutex<Mean>,
    /// With prices, C is measured.
    prices: Option<Prices>,
    load_seconds: Mutex<Mean>,
}

/// A moving mean.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Mean {
    #[serde(rename = "m")]
    mean: f64,
    #[serde(rename = "n")]
    count: u32,
}

impl Mean {
    fn add(&mut self, value: f64, memory: u32) -> f64 {
        self.count = self.count.saturating_add(1).min(memory);
        self.mean += (value - self.mean) / f64::from(self.count);
        self.mean
    }
}

impl Default for Economic {
    /// C is 100 minutes, which keeps an average context for 30: a load of 5 ms against 6 KB of a small chat's context, at the
    /// default [`Prices`].
    fn default() -> Self {
        Self::of(6_000.0, None)
    }
}

impl Economic {
    /// With the break-even time stated: how long one may keep an average session hot for what one load costs.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when it is not 1 s to 10 years.
    pub fn new(cost: Duration) -> Result<Self> {
        Ok(Self::of(checked_cost(cost)?.as_secs_f64(), None))
    }

    /// With the break-even time measured: the mean time of a load × the price of a core, for the mean size × the price of
    /// memory. Until the first load it is that of the default.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when a price is not above zero.
    pub fn measured(prices: Prices) -> Result<Self> {
        if let Some(fault) = prices.fault() {
            return Err(crate::Error::Config(vec![fault]));
        }
        let Self { cost, .. } = Self::default();
        let cost = f64::from_bits(cost.into_inner());
        Ok(Self::of(cost, Some(prices)))
    }

    fn of(cost: f64, prices: Option<Prices>) -> Self {
        Self {
            cost: AtomicU64::new(cost.to_bits()),
            reference: AtomicU64::new(0),
            sizes: Mutex::default(),
            prices,
            load_seconds: Mutex::default(),
        }
    }

    /// The break-even time in force.
    #[must_use]
    pub fn cost(&self) -> Duration {
        Duration::try_from_secs_f64(load(&self.cost)).unwrap_or_default()
    }
}

impl TtlPolicy for Economic {
    fn touch(&self, estimate: &mut Estimate, touch: Touch) -> Ttl {
        let gap = estimate.note(touch.now);
        let bytes = size(touch.bytes);
        if gap.is_none_or(|gap| gap > VISIT) {
            let mean = self.sizes.lock().add(bytes.ln(), VISITS);
            self.reference.store(mean.exp().to_bits(), Relaxed);
        }
        let reference = match load(&self.reference) {
            unseen if unseen < 1.0 => bytes,
            reference => reference,
        };
        let factor = (reference / bytes).clamp(1.0 / LARGEST_FACTOR, LARGEST_FACTOR);
        let seconds = SHARE * load(&self.cost) * factor;
        Ttl::After(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }

    fn loaded(&self, took: Duration, _bytes: usize) {
        let Some(prices) = self.prices else { return };
        let seconds = self.load_seconds.lock().add(took.as_secs_f64(), LOADS);
        let bytes = load(&self.reference).max(1.0);
        let cost = seconds * prices.core_second / (bytes * prices.byte_second);
        let bounds = (super::COSTS.start(), super::COSTS.end());
        let cost = cost.clamp(bounds.0.as_secs_f64(), bounds.1.as_secs_f64());
        self.cost.store(cost.to_bits(), Relaxed);
    }

    fn learned(&self) -> Vec<(&'static str, Bytes)> {
        let sizes = *self.sizes.lock();
        let record = codec::encode(Record::Row, 0, &sizes);
        record.map(|r| (SIZES, r)).into_iter().collect()
    }

    fn restore(&self, name: &str, learned: &[u8]) -> Result<()> {
        if name != SIZES {
            return Ok(());
        }
        let sizes: Mean = codec::decode(Record::Row, 0, learned)?;
        if sizes.count > 0 && sizes.mean.is_finite() {
            *self.sizes.lock() = sizes;
            self.reference.store(sizes.mean.exp().to_bits(), Relaxed);
        }
        Ok(())
    }
}

fn load(bits: &AtomicU64) -> f64 {
    f64::from_bits(bits.load(Relaxed))
}

/// What a session with a context of so many bytes takes.
fn size(bytes: usize) -> f64 {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    f64::from(bytes.saturating_add(BESIDE))
}
