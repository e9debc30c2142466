//! One figure with what is asked of it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// A figure and what is asked of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What it is.
    pub what: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What is asked: at most this, or, where more is better, at least; none where it is only told.
    pub asked: Option<Asked>,
}

/// What is asked of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Figure {
    pub(super) fn told(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            value: (value * 1e3).round() / 1e3,
            unit,
            asked: None,
        }
    }

    pub(super) fn at_most(self, most: f64) -> Self {
        let asked = Some(Asked::AtMost(most));
        Self { asked, ..self }
    }

    pub(super) fn at_least(self, least: f64) -> Self {
        let asked = Some(Asked::AtLeast(least));
        Self { asked, ..self }
    }

    /// Whether it is as asked; true where nothing is.
    #[must_use]
    pub fn holds(&self) -> bool {
        match self.asked {
            None => true,
            Some(Asked::AtMost(most)) => self.value <= most,
            Some(Asked::AtLeast(least)) => self.value >= least,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:70} {:>12.3} {:10}", self.what, self.value, self.unit)?;
        let word = if self.holds() { "holds" } else { "NOT REACHED" };
        match self.asked {
            None => Ok(()),
            Some(Asked::AtMost(most)) => write!(f, " ≤ {most}: {word}"),
            Some(Asked::AtLeast(least)) => write!(f, " ≥ {least}: {word}"),
        }
    }
}

/// A count as a number to divide.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) const fn count(n: u64) -> f64 {
    n as f64
}

/// So many of something in a time.
pub(super) fn each_us(time: Duration, n: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count(n as u64)
}
