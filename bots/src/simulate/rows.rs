//! Which policies are tried with which parameters, and what came of each: a row.

use std::sync::Arc;
use std::time::Duration;

use scrollback::simulate::{Event, Ewma, Oracle, Simulation, Tally};
use scrollback::ttl::TtlPolicy;
use scrollback::{Bounds, Economic, Learned, Sliding};
use serde::{Serialize, Serializer};

use crate::exit::Failed;

/// The break-even times tried, in seconds. The longest are for those who want to see the least that a policy can miss.
const TIMES: [u64; 17] = [
    60,
    300,
    900,
    1800,
    3600,
    10_800,
    21_600,
    43_200,
    86_400,
    172_800,
    259_200,
    LONGEST_TTL,
    1_209_600,
    2_592_000,
    LONGEST_EWMA,
    31_536_000,
    315_360_000,
];

/// The longest time to live tried: 7 days.
const LONGEST_TTL: u64 = 604_800;

/// For k × EWMA, which is far off by then, 90 days.
const LONGEST_EWMA: u64 = 7_776_000;

/// k × EWMA at a break-even time of so many seconds has k = 1: then k spans the misses of the others.
const EWMA_UNIT: f64 = 300.0;

/// A policy's name in tables, JSON and plots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Name {
    /// The same time to live after each touch.
    Fixed,
    /// 0.3 of the break-even time, by size.
    Economic,
    /// From a learned curve.
    Learned,
    /// k times the mean gap.
    Ewma,
    /// Whoever looks ahead.
    Oracle,
}

impl Name {
    /// Every policy.
    pub(super) const ALL: [Self; 5] = [
        Self::Fixed,
        Self::Economic,
        Self::Learned,
        Self::Ewma,
        Self::Oracle,
    ];

    /// As in JSON.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Economic => "economic",
            Self::Learned => "learned",
            Self::Ewma => "ewma",
            Self::Oracle => "oracle",
        }
    }
}

/// A break-even time from the command line.
pub(super) fn cost(seconds: f64) -> anyhow::Result<Duration> {
    let cost = Duration::try_from_secs_f64(seconds).ok();
    cost.filter(|cost| Economic::new(*cost).is_ok())
        .ok_or_else(|| {
            Failed::usage(format!(
                "--c: {seconds} is not a break-even time: expected 1 second to 10 years ({} s)",
                10_u64 * 365 * 86_400
            ))
        })
}

/// What a policy is tried with, and what it did.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) policy: Name,
    /// The time to live, of fixed ones.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub(super) ttl_s: Option<Duration>,
    /// The break-even time, of the others.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub(super) c_s: Option<Duration>,
    pub(super) touches: u64,
    pub(super) sessions: usize,
    pub(super) misses: u64,
    pub(super) residency_s: f64,
    pub(super) byte_seconds: f64,
    /// In seconds of being hot: at the row's break-even time, or, of fixed ones, at the one asked for.
    pub(super) cost: f64,
}

impl Row {
    /// The time to live or the break-even time.
    pub(super) fn time(&self) -> Duration {
        self.ttl_s.or(self.c_s).unwrap_or_default()
    }

    /// What it did.
    pub(super) const fn tally(&self) -> Tally {
        Tally {
            misses: self.misses,
            residency_s: self.residency_s,
            byte_seconds: self.byte_seconds,
        }
    }
}

/// Whole seconds as a whole number, others with their fraction.
fn seconds<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) if time.subsec_nanos() == 0 => to.serialize_u64(time.as_secs()),
        Some(time) => to.serialize_f64(time.as_secs_f64()),
        None => to.serialize_none(),
    }
}

/// All rows.
#[derive(Debug, Serialize)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// The break-even time asked for.
    #[serde(skip)]
    pub(super) cost: Duration,
    #[serde(skip)]
    pub(super) touches: u64,
    /// From the first touch to the last.
    #[serde(skip)]
    pub(super) span: Duration,
}

impl Rows {
    /// The rows of a policy, by rising time.
    pub(super) fn of(&self, policy: Name) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.policy == policy)
    }

    /// What `measure` says of the fixed times to live that miss as often as `misses`: between rows, along a power law, since
    /// that is how returns are spread. `None` outside of the rows.
    pub(super) fn fixed_at(&self, misses: u64, measure: fn(&Row) -> f64) -> Option<f64> {
        let rows: Vec<&Row> = self.of(Name::Fixed).collect();
        rows.windows(2).find_map(|pair| {
            let [a, b] = pair else { return None };
            if !(b.misses..=a.misses).contains(&misses) {
                return None;
            }
            let (x, y) = (ln(a.misses), ln(b.misses));
            let part = if a.misses == b.misses {
                0.0
            } else {
                (ln(misses) - x) / (y - x)
            };
            let (from, to) = (measure(a).ln(), measure(b).ln());
            Some((from + (to - from) * part).exp())
        })
    }
}

fn ln(count: u64) -> f64 {
    float(count).max(1.0).ln()
}

/// A count as a float.
pub(super) fn float(count: u64) -> f64 {
    Duration::from_secs(count).as_secs_f64()
}

/// All policies on one input.
#[derive(Debug)]
pub(super) struct Trial {
    simulation: Simulation,
    tried: Vec<(Name, Duration)>,
    cost: Duration,
    first_ms: Option<u64>,
    last_ms: u64,
}

impl Trial {
    /// Every policy with every parameter, and with `cost`.
    ///
    /// # Errors
    /// A time that a policy refuses.
    pub(super) fn new(cost: Duration, bounds: Bounds) -> anyhow::Result<Self> {
        let mut trial = Self {
            simulation: Simulation::default(),
            tried: Vec::new(),
            cost,
            first_ms: None,
            last_ms: 0,
        };
        let times = TIMES.map(Duration::from_secs);
        for time in times.into_iter().filter(|t| t.as_secs() <= LONGEST_TTL) {
            trial.add(Name::Fixed, time, Arc::new(Sliding(time)), bounds);
        }
        let mut costs = times.to_vec();
        if let Err(at) = costs.binary_search(&cost) {
            costs.insert(at, cost);
        }
        for c in &costs {
            trial.add(Name::Economic, *c, Arc::new(Economic::new(*c)?), bounds);
        }
        for c in &costs {
            trial.add(Name::Learned, *c, Arc::new(Learned::new(*c)?), bounds);
        }
        for c in costs
            .iter()
            .filter(|c| c.as_secs() <= LONGEST_EWMA || **c == cost)
        {
            let k = c.as_secs_f64() / EWMA_UNIT;
            trial.add(Name::Ewma, *c, Arc::new(Ewma { k }), bounds);
        }
        for c in &costs {
            trial.simulation.oracle(Oracle::new(*c)?);
            trial.tried.push((Name::Oracle, *c));
        }
        Ok(trial)
    }

    fn add(&mut self, name: Name, time: Duration, policy: Arc<dyn TtlPolicy>, bounds: Bounds) {
        self.simulation.policy(policy, bounds);
        self.tried.push((name, time));
    }

    /// Takes in a touch.
    pub(super) fn event(&mut self, event: Event) {
        self.first_ms.get_or_insert(event.at_ms);
        self.last_ms = event.at_ms;
        self.simulation.event(event);
    }

    /// What came of it.
    pub(super) fn rows(self) -> Rows {
        let (touches, sessions) = self.simulation.touches();
        let tried = self.tried.iter().zip(self.simulation.tallies());
        let rows = tried.map(|((policy, time), tally)| {
            let fixed = *policy == Name::Fixed;
            let c = if fixed { self.cost } else { *time };
            Row {
                policy: *policy,
                ttl_s: fixed.then_some(*time),
                c_s: (!fixed).then_some(*time),
                touches,
                sessions,
                misses: tally.misses,
                residency_s: tally.residency_s,
                byte_seconds: tally.byte_seconds,
                cost: tally.cost(c),
            }
        });
        let span = self
            .last_ms
            .saturating_sub(self.first_ms.unwrap_or_default());
        Rows {
            rows: rows.collect(),
            cost: self.cost,
            touches,
            span: Duration::from_millis(span),
        }
    }
}
