//! The promises' tests, a file for each kind of fault.

use anyhow::ensure;

use crate::trial::{Outcome, Trial};

mod changes;
mod clock;
mod forget;
mod full;
mod hostile;
mod hot_lost;
mod ids;
mod kill;
mod limits;
mod limits_disk;
mod limits_session;
mod limits_socket;
mod network;
mod platforms;
mod points;
mod power;
mod rot;
mod shutdown;
mod stalled;
mod yesterday;

/// What can be shown only when there are leases between processes: it is run where it is named.
const SEVERAL: &Trial = &Trial {
    promise: "P10",
    fault: "several processes over one Redis, stopped for longer than a lease",
    ci: 1,
    full: 1,
    least: 0,
    alone: false,
    run: |_| Ok(Outcome::not_run("it belongs to several processes")),
};

/// Every trial, in the order in which they run.
fn all() -> impl Iterator<Item = &'static Trial> {
    [
        kill::TRIALS,
        power::TRIALS,
        full::TRIALS,
        points::TRIALS,
        rot::TRIALS,
        clock::TRIALS,
        hot_lost::TRIALS,
        network::TRIALS,
        platforms::TRIALS,
        changes::TRIALS,
        forget::TRIALS,
        yesterday::TRIALS,
        limits::TRIALS,
        limits_session::TRIALS,
        limits_disk::TRIALS,
        limits_socket::TRIALS,
        stalled::TRIALS,
        shutdown::TRIALS,
        ids::TRIALS,
        hostile::TRIALS,
    ]
    .into_iter()
    .flatten()
    .chain([SEVERAL])
}

/// The trials of these promises (all when none is named) whose fault contains `only`.
///
/// # Errors
/// A name that is no promise's, or nothing is left.
pub(crate) fn chosen(names: &[String], only: Option<&str>) -> anyhow::Result<Vec<&'static Trial>> {
    let is = |trial: &Trial, name: &str| {
        trial
            .promise
            .split(' ')
            .any(|p| p.eq_ignore_ascii_case(name))
    };
    for name in names {
        ensure!(
            all().any(|trial| is(trial, name)),
            "{name}: no such promise here, or it has no fault to test"
        );
    }
    let wanted = |trial: &&'static Trial| {
        let named = names.iter().any(|name| is(trial, name));
        (named || (names.is_empty() && trial.promise != SEVERAL.promise))
            && only.is_none_or(|text| trial.fault.contains(text))
    };
    let chosen: Vec<_> = all().filter(wanted).collect();
    ensure!(!chosen.is_empty(), "no fault matches");
    Ok(chosen)
}
