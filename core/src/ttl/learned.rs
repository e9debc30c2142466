//! A time to live from how sessions of a kind have come back before, and how this one did.
//!
//! A hazard curve is learned from all sessions of a kind; a multiplier for each of two ranges of silence makes it a
//! session's own. The time to live is the edge of the curve at which being hot and loading together are expected to
//! cost least, never more than the break-even time, so that it costs at most twice what foresight would, whatever comes.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::curve::{BINS, Curve, EDGES_MS, IDLE, Kept, LONG, bin, class};
use super::{Estimate, Kind, Touch, Ttl, TtlPolicy, checked_cost};
use crate::clock::millis;
use crate::codec::{self, Kind as Record};
use crate::error::{Error, Result};

/// In a month what a session did counts half.
const HALF_LIFE_MS: f64 = 30.0 * 86_400_000.0;

/// So much of what was seen is left after each return from a silence.
const FADE: f64 = 0.97;

/// So many average returns stand for what was not seen yet of a session.
const PRIOR: f64 = 2.0;

/// A shorter silence lets nothing fade.
const PAUSE_MS: u64 = 60_000;

/// Learns from the returns of all sessions of a kind; for break-even times of an hour and more.
#[derive(Debug)]
pub struct Learned {
    cost_ms: u64,
    pub(super) people: Mutex<Curve>,
    agents: Mutex<Curve>,
}

impl Learned {
    /// With the break-even time: the seconds of being hot that one load is worth.
    ///
    /// # Errors
    /// [`Error::Config`] when it is not 1 s to 10 years.
    pub fn new(cost: Duration) -> Result<Self> {
        Ok(Self {
            cost_ms: millis(checked_cost(cost)?),
            people: Mutex::default(),
            agents: Mutex::default(),
        })
    }

    const fn curve(&self, kind: Kind) -> &Mutex<Curve> {
        match kind {
            Kind::People => &self.people,
            Kind::Agents => &self.agents,
        }
    }
}

impl TtlPolicy for Learned {
    fn touch(&self, estimate: &mut Estimate, touch: Touch) -> Ttl {
        let earlier = estimate.touches;
        let gap = estimate.note(touch.now);
        let now = class(earlier);
        let mut curve = self.curve(touch.kind).lock();
        let before = class(earlier.saturating_sub(1));
        let silence = gap.map(millis).map(|ms| (ms, bin(ms)));
        // An estimate from under another policy has chosen nothing yet.
        let chose = estimate.chosen > 0;
        let in_burst = chose && before == now && silence.is_some_and(|(_, bin)| bin < IDLE);
        if !in_burst {
            curve.freshen();
        }
        // Nothing is learned from a first touch, or from a time that cannot be.
        if let Some((ms, bin)) = silence {
            curve.returned(before, bin);
            fade(estimate, ms);
            if bin >= IDLE {
                take_in(estimate, &curve, before, bin);
            }
        }
        curve.touched(now);
        if !in_burst {
            let cost_s = seconds(self.cost_ms);
            estimate.chosen = cheapest(&curve, now, multipliers(estimate), cost_s);
        }
        let chosen = EDGES_MS.get(usize::from(estimate.chosen)).copied();
        let ttl_ms = chosen.unwrap_or_default().min(self.cost_ms);
        Ttl::After(Duration::from_millis(ttl_ms))
    }

    fn learned(&self) -> Vec<(&'static str, Bytes)> {
        let one = |kind: Kind| {
            let kept = self.curve(kind).lock().kept();
            Some((kind.name(), codec::encode(Record::Row, 0, &kept).ok()?))
        };
        Kind::ALL.into_iter().filter_map(one).collect()
    }

    fn restore(&self, name: &str, learned: &[u8]) -> Result<()> {
        let Some(kind) = Kind::ALL.into_iter().find(|k| k.name() == name) else {
            return Ok(());
        };
        let kept: Kept = codec::decode(Record::Row, 0, learned)?;
        let curve = Curve::from_kept(kept)
            .ok_or_else(|| Error::decode("a learned table", "its counts do not add up"))?;
        *self.curve(kind).lock() = curve;
        Ok(())
    }
}

/// Lets what a session did count less.
fn fade(estimate: &mut Estimate, gap_ms: u64) {
    if gap_ms <= PAUSE_MS {
        return;
    }
    let lives = seconds(gap_ms) * 1000.0 / HALF_LIFE_MS;
    // Within a burst two terms of the series are exact to a billionth, and spare a power.
    let x = lives * std::f64::consts::LN_2;
    let left = if x < 1e-3 {
        1.0 - x + x * x / 2.0
    } else {
        (-x).exp()
    };
    scale(estimate, left);
}

fn scale(estimate: &mut Estimate, by: f64) {
    let by = narrow(by);
    for r in &mut estimate.returns {
        r.seen *= by;
        r.expected *= by;
    }
}

/// Takes in a return from a silence in `bin`, of a session that was of `class` before it.
fn take_in(estimate: &mut Estimate, curve: &Curve, class: usize, bin: usize) {
    scale(estimate, FADE);
    let [short, long] = &mut estimate.returns;
    for x in IDLE..=bin {
        let expected = curve.rate(class, x) * if x == bin { 0.5 } else { 1.0 };
        let band = if x < LONG { &mut *short } else { &mut *long };
        band.expected += narrow(expected);
    }
    let band = if bin < LONG { short } else { long };
    band.seen += 1.0;
}

/// How much more often than an average session this one comes back, in each of the two bands.
fn multipliers(estimate: &Estimate) -> [f64; 2] {
    estimate
        .returns
        .map(|r| (f64::from(r.seen) + PRIOR) / (f64::from(r.expected) + PRIOR))
}

/// The edge at which being hot and loading together are expected to cost least.
fn cheapest(curve: &Curve, class: usize, [short, long]: [f64; 2], cost_s: f64) -> u8 {
    // At edge 0: nothing is ever hot, every return costs a load. Only differences matter.
    let (mut left, mut waited, mut spared) = (1.0, 0.0, 0.0);
    let (mut best, mut least) = (0, 0.0);
    for (bin, (chance, rate)) in curve.of(class).enumerate().take(BINS - 1) {
        let chance = match bin {
            _ if bin < IDLE => chance,
            _ if bin < LONG => -(-short * rate).exp_m1(),
            _ => -(-long * rate).exp_m1(),
        };
        let edge = |bin: usize| EDGES_MS.get(bin).copied().map_or(f64::INFINITY, seconds);
        let (from, to) = (edge(bin), edge(bin + 1));
        let returning = left * chance;
        left -= returning;
        waited += returning * f64::midpoint(from, to);
        spared += returning;
        let costs = waited + (1.0 - spared) * to - cost_s * spared;
        if costs < least {
            (best, least) = (bin + 1, costs);
        }
    }
    u8::try_from(best).unwrap_or_default()
}

/// Milliseconds as seconds; beyond 49 days it does not matter how long.
fn seconds(ms: u64) -> f64 {
    const WHOLE: u64 = 1000;
    let part = u32::try_from(ms % WHOLE).unwrap_or_default();
    let whole = u32::try_from(ms / WHOLE).unwrap_or(u32::MAX);
    f64::from(whole) + f64::from(part) / 1000.0
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "seven digits of a mean are enough"
)]
const fn narrow(value: f64) -> f32 {
    value as f32
}
