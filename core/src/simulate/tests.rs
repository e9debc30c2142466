//! A simulation against what one counts by hand, and against what must hold of any log.

use super::*;
use crate::ttl::{Economic, Learned, Pinned, Sliding};

fn touch(secs: u64, session: usize) -> Event {
    Event {
        at_ms: 1_767_225_600_000 + secs * 1000,
        session,
        bytes: 10,
    }
}

#[test]
fn misses_and_residency_are_those_that_one_counts_by_hand() {
    let mut simulation = Simulation::default();
    let cost = Duration::from_secs(60);
    simulation.policy(Arc::new(Sliding(cost)), Bounds::default());
    simulation.policy(Arc::new(Pinned), Bounds::default());
    simulation.oracle(Oracle::new(cost).unwrap());
    // A gap of just the time to live is a hit.
    for event in [touch(0, 0), touch(10, 1), touch(60, 0), touch(121, 0)] {
        simulation.event(event);
    }
    let [sliding, pinned, oracle] = simulation.tallies().try_into().unwrap();
    let tally = |misses, residency_s| Tally {
        misses,
        residency_s,
        byte_seconds: residency_s * 10.0,
    };
    assert_eq!(sliding, tally(3, 60.0 + 60.0 + 60.0 + 60.0));
    assert_eq!(pinned, tally(2, 121.0 + 111.0));
    assert_eq!(oracle, tally(3, 60.0));
    assert_eq!(simulation.touches(), (4, 2));
    assert!((sliding.cost(cost) - 420.0).abs() < 1e-9);
}

#[test]
fn no_policy_costs_less_than_the_oracle_and_learned_at_most_twice_as_much() {
    for seed in 0..20_u64 {
        let mut simulation = Simulation::default();
        let cost = Duration::from_secs(3_600);
        simulation.oracle(Oracle::new(cost).unwrap());
        simulation.policy(Arc::new(Learned::new(cost).unwrap()), Bounds::default());
        simulation.policy(Arc::new(Economic::new(cost).unwrap()), Bounds::default());
        let (mut state, mut now) = (seed * 2 + 1, 0);
        for _ in 0..3_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            now += 1 << (state >> 60);
            simulation.event(touch(now, usize::try_from(state >> 40).unwrap() % 30));
        }
        let costs: Vec<f64> = simulation.tallies().iter().map(|t| t.cost(cost)).collect();
        let first = 30.0 * cost.as_secs_f64();
        assert!(
            costs[1] >= costs[0] && costs[2] >= costs[0],
            "seed {seed}: {costs:?}"
        );
        assert!(costs[1] <= 2.0 * costs[0] + first, "seed {seed}: {costs:?}");
    }
}
