//! The learned hazard curve: how likely a session comes back after a silence, by the length of the silence and by how
//! often the session was touched before.
//!
//! Invariant: counts only rise; the curve is derived from them. Knows no session and no cost.

use serde::{Deserialize, Serialize};

/// Ranges of silence: bin b is (edge b, edge b + 1], the last one everything beyond.
pub(super) const BINS: usize = 40;

/// Classes of sessions by how often they were touched before.
pub(super) const CLASSES: usize = 6;

/// The first bin of a silence that is no pause within a conversation: from 724 s on.
pub(super) const IDLE: usize = 14;

/// The first bin of the second band: from 11,585 s on.
pub(super) const LONG: usize = 22;

/// So many average touches stand for what was not seen yet of a class.
const PRIOR: f64 = 50.0;

/// A return is never taken for more likely than this.
const MOST_LIKELY: f64 = 0.9;

/// Edge 0 is 0, edge 1 is 8 s, each further one √2 times the last: up to 2^22 s.
pub(super) const EDGES_MS: [u64; BINS] = edges();

#[expect(
    clippy::indexing_slicing,
    reason = "worked out by the compiler, which refuses what is out of bounds"
)]
const fn edges() -> [u64; BINS] {
    let mut edges = [0; BINS];
    // In nanoseconds: 8 s and 8·√2 s, doubled in turn.
    let (mut even, mut odd) = (8_000_000_000_u64, 11_313_708_499_u64);
    let mut b = 1;
    while b < BINS {
        edges[b] = (even + 500_000) / 1_000_000;
        even *= 2;
        (even, odd) = (odd, even);
        b += 1;
    }
    edges
}

/// The bin of a silence.
pub(super) fn bin(gap_ms: u64) -> usize {
    let edges = EDGES_MS.get(1..).unwrap_or_default();
    edges.partition_point(|edge| *edge < gap_ms)
}

/// The class of a session that was touched so often before.
pub(super) const fn class(earlier: u64) -> usize {
    match earlier {
        0 => 0,
        1 => 1,
        2..=3 => 2,
        4..=9 => 3,
        10..=29 => 4,
        _ => 5,
    }
}

/// A row for each class, a column for each bin.
type Grid<T> = [[T; BINS]; CLASSES];

/// What was counted of all sessions of a kind (about 1 KB), and the curve that follows from it.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    /// Touches by class.
    touches: [u32; CLASSES],
    /// Returns by class at the touch before, and bin of the silence.
    returns: Grid<u32>,
    /// All returns by class.
    came: [u32; CLASSES],
    /// How many touches there were in all, and how many since the hazards were worked out.
    total: u32,
    fresh: u32,
    /// The chance of a return in a bin, of those that were silent up to it.
    chance: Grid<f64>,
    /// The same as a rate: −ln(1 − chance).
    rate: Grid<f64>,
}

/// The counts as they are kept in a store.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    #[serde(rename = "n")]
    touches: Vec<u32>,
    #[serde(rename = "r")]
    pub(super) returns: Vec<Vec<u32>>,
}

impl Default for Curve {
    fn default() -> Self {
        let mut curve = Self {
            touches: [0; CLASSES],
            returns: [[0; BINS]; CLASSES],
            came: [0; CLASSES],
            total: 0,
            fresh: 0,
            chance: [[0.0; BINS]; CLASSES],
            rate: [[0.0; BINS]; CLASSES],
        };
        curve.refresh();
        curve
    }
}

impl Curve {
    /// Counts a touch of a session of this class.
    pub(super) fn touched(&mut self, class: usize) {
        if let Some(n) = self.touches.get_mut(class) {
            *n = n.saturating_add(1);
        }
        self.total = self.total.saturating_add(1);
        self.fresh = self.fresh.saturating_add(1);
    }

    /// Works the curve out anew when enough has come since. Whoever is about to read it calls this: a burst does not.
    pub(super) fn freshen(&mut self) {
        if self.fresh > 0 && self.fresh >= REFRESH.min(self.total / 20) {
            self.refresh();
        }
    }

    /// Counts a return, after a silence in `bin`, of a session that was of this class before it. None beyond the touches: a
    /// session's estimate may be older than this curve, from under another policy or before a crash.
    pub(super) fn returned(&mut self, class: usize, bin: usize) {
        let counted = self.came.get_mut(class).zip(self.touches.get(class));
        let cell = self.returns.get_mut(class).and_then(|row| row.get_mut(bin));
        if let Some(((came, touches), cell)) = counted.zip(cell)
            && *came < *touches
        {
            *came += 1;
            *cell += 1;
        }
    }

    /// How many returns an average session of the class has in a bin, of those that were silent up to it.
    pub(super) fn rate(&self, class: usize, bin: usize) -> f64 {
        let rate = self.rate.get(class).and_then(|row| row.get(bin));
        rate.copied().unwrap_or_default()
    }

    /// By bin, the chance of a return and the rate that it stands for.
    pub(super) fn of(&self, class: usize) -> impl Iterator<Item = (f64, f64)> {
        let chance = self.chance.get(class).into_iter().flatten();
        let rate = self.rate.get(class).into_iter().flatten();
        chance.copied().zip(rate.copied())
    }

    fn refresh(&mut self) {
        self.fresh = 0;
        let mut pooled = [0.0; BINS];
        let mut left = self.touches.map(f64::from);
        for (bin, pooled) in pooled.iter_mut().enumerate() {
            let returns = self
                .returns
                .map(|row| row.get(bin).copied().map_or(0.0, f64::from));
            let at_risk: f64 = left.iter().sum();
            *pooled = (returns.iter().sum::<f64>() + 0.02) / at_risk.max(1.0);
            left.iter_mut()
                .zip(returns)
                .for_each(|(left, r)| *left -= r);
        }
        let rows = self.chance.iter_mut().zip(&mut self.rate);
        for ((chances, rates), (touches, returns)) in
            rows.zip(self.touches.iter().zip(&self.returns))
        {
            let mut left = f64::from(*touches);
            let cells = chances
                .iter_mut()
                .zip(rates)
                .zip(returns.iter().zip(&pooled));
            for ((chance, rate), (returned, pooled)) in cells {
                let returned = f64::from(*returned);
                let seen = (returned + PRIOR * pooled) / (left.max(0.0) + PRIOR);
                *chance = seen.min(MOST_LIKELY);
                *rate = -(-*chance).ln_1p();
                left -= returned;
            }
        }
    }

    /// The counts, to be kept.
    pub(super) fn kept(&self) -> Kept {
        Kept {
            touches: self.touches.to_vec(),
            returns: self.returns.map(|row| row.to_vec()).to_vec(),
        }
    }

    /// Goes on from what was kept; `None` when it is of another shape, or says that more came back than there were.
    pub(super) fn from_kept(kept: Kept) -> Option<Self> {
        let rows: Vec<[u32; BINS]> = kept
            .returns
            .into_iter()
            .map(|row| row.try_into().ok())
            .collect::<Option<_>>()?;
        let mut curve = Self {
            touches: kept.touches.try_into().ok()?,
            returns: rows.try_into().ok()?,
            ..Self::default()
        };
        let sum = |row: &[u32]| row.iter().map(|n| u64::from(*n)).sum::<u64>();
        for ((came, touches), row) in curve
            .came
            .iter_mut()
            .zip(&curve.touches)
            .zip(&curve.returns)
        {
            *came = u32::try_from(sum(row))
                .ok()
                .filter(|came| came <= touches)?;
        }
        curve.total = u32::try_from(sum(&curve.touches)).unwrap_or(u32::MAX);
        curve.refresh();
        Some(curve)
    }
}

/// The curve is worked out anew after so many touches, sooner while there are few.
const REFRESH: u32 = 2_000;
