//! How long sessions stay hot: which policy, with what.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use scrollback::{Bounds, CacheBuilder, Economic, Fixed, Learned, Pinned, Prices, Sliding};
use serde::Deserialize;

use super::Settings;
use crate::duration::{NoSpan, Span};

/// The policies by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PolicyName {
    /// 0.3 of what a load is worth, less for large contexts.
    Economic,
    /// As sessions have come back before; for --ttl-cost of an hour and more.
    Learned,
    /// --ttl after the last message.
    Sliding,
    /// --ttl after it became hot.
    Fixed,
    /// Until there is no room.
    Pinned,
}

/// What a load is worth: so long of being hot, or what is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Worth {
    Stated(Span),
    Measured,
}

impl FromStr for Worth {
    type Err = NoSpan;

    fn from_str(text: &str) -> Result<Self, NoSpan> {
        if text == "measured" {
            return Ok(Self::Measured);
        }
        text.parse().map(Self::Stated)
    }
}

impl TryFrom<String> for Worth {
    type Error = NoSpan;

    fn try_from(text: String) -> Result<Self, NoSpan> {
        text.parse()
    }
}

/// What is set, or follows from what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ttl {
    policy: PolicyName,
    /// Of sliding and fixed ones.
    ttl: Option<Duration>,
    /// Of economic and learned ones.
    worth: Option<Worth>,
    bounds: Bounds,
}

impl Ttl {
    /// Joins flags and variables with the file.
    pub(super) fn merge(over: &Settings, under: &Settings) -> Self {
        let span = |over: Option<Span>, under: Option<Span>| over.or(under).map(|span| span.0);
        let ttl = span(over.ttl, under.ttl);
        let implied = if ttl.is_some() {
            PolicyName::Sliding
        } else {
            PolicyName::Economic
        };
        Self {
            policy: over.ttl_policy.or(under.ttl_policy).unwrap_or(implied),
            ttl,
            worth: over.ttl_cost.or(under.ttl_cost),
            bounds: Bounds {
                floor: span(over.ttl_floor, under.ttl_floor).unwrap_or_default(),
                cap: span(over.ttl_cap, under.ttl_cap),
            },
        }
    }

    /// Floor and cap.
    pub(crate) const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Everything wrong with it.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.bounds.fault().into_iter().collect();
        let timed = matches!(self.policy, PolicyName::Sliding | PolicyName::Fixed);
        let priced = matches!(self.policy, PolicyName::Economic | PolicyName::Learned);
        match self.ttl {
            Some(ttl) if ttl.is_zero() => faults.push("ttl: must be longer than nothing".into()),
            None if timed => faults.push("ttl: the policies sliding and fixed need one".into()),
            Some(_) if !timed => {
                faults.push("ttl: is for the policies sliding and fixed, not for this one".into());
            }
            _ => {}
        }
        match self.worth {
            Some(_) if !priced => {
                faults.push("ttl_cost: is for the policies economic and learned".into());
            }
            Some(Worth::Measured) if self.policy == PolicyName::Learned => {
                faults.push("ttl_cost: the policy learned needs it stated".into());
            }
            Some(Worth::Stated(Span(cost))) => {
                if let Err(error) = Economic::new(cost) {
                    faults.push(format!("ttl_cost: {error}"));
                }
            }
            None if self.policy == PolicyName::Learned => {
                faults.push("ttl_cost: the policy learned needs one, of an hour or more".into());
            }
            _ => {}
        }
        faults
    }

    /// Gives the policy to a cache.
    ///
    /// # Errors
    /// As [`faults`](Self::faults).
    pub(crate) fn apply(&self, builder: CacheBuilder) -> scrollback::Result<CacheBuilder> {
        let ttl = self.ttl.unwrap_or_default();
        let builder = builder.ttl_bounds(self.bounds);
        Ok(match (self.policy, self.worth) {
            (PolicyName::Economic, None) => builder.ttl(Economic::default()),
            (PolicyName::Economic, Some(Worth::Stated(cost))) => {
                builder.ttl(Economic::new(cost.0)?)
            }
            (PolicyName::Economic, Some(Worth::Measured)) => {
                builder.ttl(Economic::measured(Prices::default())?)
            }
            (PolicyName::Learned, Some(Worth::Stated(cost))) => builder.ttl(Learned::new(cost.0)?),
            (PolicyName::Learned, _) => builder.ttl(Learned::new(Duration::ZERO)?),
            (PolicyName::Sliding, _) => builder.ttl(Sliding(ttl)),
            (PolicyName::Fixed, _) => builder.ttl(Fixed(ttl)),
            (PolicyName::Pinned, _) => builder.ttl(Pinned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &Settings) -> Ttl {
        Ttl::merge(settings, &Settings::default())
    }

    #[test]
    fn a_ttl_alone_slides_and_nothing_at_all_is_economic() {
        assert_eq!(of(&Settings::default()).policy, PolicyName::Economic);
        let ttl = Some(Span(Duration::from_secs(60)));
        let sliding = of(&Settings {
            ttl,
            ..Settings::default()
        });
        assert_eq!(
            (sliding.policy, sliding.faults()),
            (PolicyName::Sliding, Vec::new())
        );
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let span = |secs| Some(Span(Duration::from_secs(secs)));
        let named = |ttl_policy| Settings {
            ttl_policy: Some(ttl_policy),
            ..Settings::default()
        };
        let bad = [
            (
                Settings {
                    ttl: span(0),
                    ..Settings::default()
                },
                "ttl:",
            ),
            (named(PolicyName::Fixed), "need one"),
            (
                Settings {
                    ttl: span(5),
                    ..named(PolicyName::Pinned)
                },
                "not for this one",
            ),
            (named(PolicyName::Learned), "needs one"),
            (
                Settings {
                    ttl_cost: Some(Worth::Measured),
                    ..named(PolicyName::Learned)
                },
                "stated",
            ),
            (
                Settings {
                    ttl_cost: Some(Worth::Stated(Span(Duration::ZERO))),
                    ..Settings::default()
                },
                "1 s to 10 years",
            ),
            (
                Settings {
                    ttl_floor: span(9),
                    ttl_cap: span(8),
                    ..Settings::default()
                },
                "above their cap",
            ),
        ];
        for (settings, why) in bad {
            let faults = of(&settings).faults().join("; ");
            assert!(faults.contains(why), "{why}: {faults}");
        }
    }
}
