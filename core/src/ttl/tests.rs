//! Facts about the policies.

use super::*;

const DAY: u64 = 86_400;
/// A time at which a process may have started.
const START: u64 = 1_767_225_600;

fn at(secs: u64) -> Touch {
    Touch {
        now: Duration::from_secs(START + secs),
        bytes: 6_000,
        kind: Kind::People,
    }
}

const fn secs(secs: u64) -> Ttl {
    Ttl::After(Duration::from_secs(secs))
}

#[test]
fn a_fixed_ttl_runs_from_the_first_touch_and_a_sliding_one_from_the_last() {
    let (mut a, mut b) = (Estimate::default(), Estimate::default());
    let fixed = Fixed(Duration::from_secs(60));
    let sliding = Sliding(Duration::from_secs(60));
    assert_eq!(fixed.touch(&mut a, at(100)), secs(60));
    assert_eq!(fixed.touch(&mut a, at(140)), secs(20));
    assert_eq!(sliding.touch(&mut b, at(100)), secs(60));
    assert_eq!(sliding.touch(&mut b, at(140)), secs(60));
}

#[test]
fn an_estimate_takes_at_most_64_bytes() {
    assert!(size_of::<Estimate>() <= 64, "{}", size_of::<Estimate>());
}

#[test]
fn an_average_context_stays_for_three_tenths_of_what_a_load_is_worth_and_a_large_one_shorter() {
    let policy = Economic::new(Duration::from_secs(3600)).unwrap();
    let (mut small, mut large) = (Estimate::default(), Estimate::default());
    let touch = |estimate: &mut Estimate, bytes, n: u64| {
        policy
            .touch(
                estimate,
                Touch {
                    bytes,
                    ..at(n * 3600)
                },
            )
            .millis()
            .unwrap()
    };
    assert_eq!(touch(&mut small, 2_000, 0), 1_080_000);
    for n in 1..500 {
        touch(&mut small, 2_000, n);
        touch(&mut large, 50_000, n);
    }
    let (a, b) = (
        touch(&mut small, 2_000, 500),
        touch(&mut large, 50_000, 500),
    );
    let sizes = (50_000.0 + 4096.0) / (2_000.0 + 4096.0);
    let ratio = Duration::from_millis(a).as_secs_f64() / Duration::from_millis(b).as_secs_f64();
    assert!((ratio - sizes).abs() < 0.01, "{ratio} for sizes of {sizes}");
    assert!(a > 1_080_000 && b < 1_080_000);
}

#[test]
fn the_default_keeps_an_average_context_for_half_an_hour() {
    let ttl = Economic::default().touch(&mut Estimate::default(), at(0));
    assert_eq!(ttl, secs(1800));
}

#[test]
fn a_measured_cost_follows_loads_and_prices() {
    let policy = Economic::measured(Prices::default()).unwrap();
    policy.touch(&mut Estimate::default(), at(0));
    for _ in 0..100 {
        policy.loaded(Duration::from_millis(10), 6_000);
    }
    // A core for a second is worth 8 GB of memory for a second: 10 ms those of about 10 KB for 2 hours.
    let cost = policy.cost().as_secs();
    assert!((7_000..9_000).contains(&cost), "{cost}");
}

/// Sessions with gaps of 10 minutes in the day and a night between the days.
fn teach(policy: &Learned, sessions: usize, days: u64) -> Vec<Estimate> {
    let mut all = vec![Estimate::default(); sessions];
    for day in 0..days {
        for n in 0..20 {
            for estimate in &mut all {
                policy.touch(estimate, at(day * DAY + n * 600));
            }
        }
    }
    all
}

#[test]
fn a_learned_time_to_live_covers_the_gaps_there_are_and_never_exceeds_what_a_load_is_worth() {
    let policy = Learned::new(Duration::from_secs(7_200)).unwrap();
    let mut all = teach(&policy, 20, 10);
    let Ttl::After(ttl) = policy.touch(&mut all[0], at(9 * DAY + 12_000)) else {
        panic!("it is never pinned");
    };
    assert!(
        (Duration::from_secs(600)..=Duration::from_secs(7_200)).contains(&ttl),
        "{ttl:?}"
    );
    let long = Learned::new(Duration::from_secs(30 * DAY)).unwrap();
    let mut all = teach(&long, 20, 10);
    let Ttl::After(ttl) = long.touch(&mut all[0], at(9 * DAY + 12_000)) else {
        panic!("it is never pinned");
    };
    assert!(
        ttl > Duration::from_secs(DAY - 12_000),
        "nights are worth it: {ttl:?}"
    );
}

#[test]
fn what_was_learned_goes_on_after_a_restart() {
    let cost = Duration::from_secs(DAY);
    let first = Learned::new(cost).unwrap();
    let all = teach(&first, 10, 5);
    let second = Learned::new(cost).unwrap();
    for (name, kept) in first.learned() {
        assert!(kept.len() < 2_000, "{name}: {} bytes", kept.len());
        second.restore(name, &kept).unwrap();
    }
    // The curve is worked out anew at a restart, with what was counted last.
    for (name, kept) in first.learned() {
        first.restore(name, &kept).unwrap();
    }
    for estimate in &all {
        let (mut a, mut b) = (*estimate, *estimate);
        let touch = at(5 * DAY);
        assert_eq!(first.touch(&mut a, touch), second.touch(&mut b, touch));
        assert_eq!(a, b);
    }
    assert!(second.restore("people", b"nonsense").is_err());
}

#[test]
fn people_teach_nothing_about_agents() {
    let policy = Learned::new(Duration::from_secs(DAY)).unwrap();
    let kept = |p: &Learned| {
        p.learned()
            .into_iter()
            .find(|(n, _)| *n == "agents")
            .unwrap()
    };
    let before = kept(&policy);
    teach(&policy, 5, 2);
    assert_eq!(kept(&policy), before);
}

#[test]
fn a_clock_that_jumped_a_year_between_two_starts_teaches_nothing_and_is_made_good() {
    let policy = Learned::new(Duration::from_secs(DAY)).unwrap();
    let mut all = teach(&policy, 10, 5);
    let returns = || {
        let kept = policy.people.lock().kept();
        kept.returns
            .into_iter()
            .flatten()
            .map(u64::from)
            .sum::<u64>()
    };
    let (before, taught) = (all.clone(), returns());
    // A start with a clock a year ahead, then one with the right clock again.
    for now in [370 * DAY, 5 * DAY] {
        for estimate in &mut all {
            let ttl = policy.touch(estimate, at(now));
            assert!(ttl.millis() >= Some(1000), "{ttl:?}");
        }
    }
    assert_eq!(returns(), taught);
    for (now, before) in all.iter_mut().zip(&before) {
        assert_eq!(now.returns, before.returns);
        policy.touch(now, at(5 * DAY + 600));
    }
    assert_eq!(returns(), taught + 10);
}

#[test]
fn absurd_costs_prices_and_bounds_are_refused() {
    for cost in [0, 11 * 365 * DAY] {
        let cost = Duration::from_secs(cost);
        assert!(Economic::new(cost).is_err() && Learned::new(cost).is_err());
    }
    let prices = Prices {
        core_second: -1.0,
        byte_second: 1.0,
    };
    assert!(Economic::measured(prices).is_err());
    let bounds = |floor, cap| Bounds {
        floor: Duration::from_secs(floor),
        cap: Some(Duration::from_secs(cap)),
    };
    assert!(bounds(2, 1).fault().is_some() && bounds(0, 0).fault().is_some());
    assert!(bounds(1, 2).fault().is_none() && Bounds::default().fault().is_none());
    assert_eq!(bounds(10, 20).apply(secs(1)), secs(10));
    assert_eq!(bounds(10, 20).apply(Ttl::Pinned), secs(20));
    assert_eq!(Bounds::default().apply(Ttl::Pinned), Ttl::Pinned);
}

#[test]
fn a_session_from_under_another_policy_is_neither_cut_short_nor_makes_what_is_learned_unreadable() {
    let mut estimate = Estimate::default();
    let (before, learned) = (
        Economic::default(),
        Learned::new(Duration::from_secs(86_400)).unwrap(),
    );
    for n in 0..40 {
        before.touch(&mut estimate, at(n * 10));
    }
    for n in 40..45 {
        let ttl = learned.touch(&mut estimate, at(n * 10));
        assert!(
            matches!(ttl, Ttl::After(ttl) if ttl > Duration::from_secs(60)),
            "{ttl:?}"
        );
    }
    let again = Learned::new(Duration::from_secs(86_400)).unwrap();
    for (name, kept) in learned.learned() {
        again.restore(name, &kept).unwrap();
    }
}
