//! The in-process tier under the contract suite, and its own bounds (P11) and clock (P8).

use super::*;
use crate::hot_contract;
use crate::testing::hot_suite::{
    append, copy, done, hot, hydrate, is_hot, session, settle, writer,
};
use crate::testing::{HotFixture, ManualClock};

struct Fixture {
    tier: Arc<MemoryTier>,
    clock: Arc<ManualClock>,
    remembered: Mutex<Option<MemorySnapshot>>,
}

fn fixture(limit_bytes: u64) -> Fixture {
    let clock = ManualClock::shared();
    let tier = Arc::new(MemoryTier::new(
        limit_bytes,
        Arc::clone(&clock) as Arc<dyn Clock>,
    ));
    Fixture {
        tier,
        clock,
        remembered: Mutex::default(),
    }
}

#[async_trait]
impl HotFixture for Fixture {
    fn tier(&self) -> Arc<dyn HotTier> {
        Arc::clone(&self.tier) as Arc<dyn HotTier>
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn lose_everything(&self) {
        self.tier.lose_everything();
    }

    async fn remember(&self) {
        *self.remembered.lock() = Some(self.tier.snapshot());
    }

    async fn go_back(&self) {
        self.tier.restore(&self.remembered.lock().take().unwrap());
    }
}

hot_contract!(fixture(1 << 28));

#[tokio::test]
async fn the_least_recently_used_clean_session_is_evicted_first() {
    let Fixture { tier, .. } = fixture(20_000);
    let names: Vec<_> = (0..100).map(|i| session(&i.to_string())).collect();
    for name in &names {
        hot(&*tier, name).await;
        assert!(is_hot(&*tier, &names[0]).await, "used again and again");
        assert!(tier.bytes() <= 20_000);
    }
    assert!(is_hot(&*tier, &names[99]).await && !is_hot(&*tier, &names[1]).await);
    assert!(tier.sessions() > 20);
}

#[tokio::test]
async fn dirty_sessions_are_never_evicted_even_over_the_bound() {
    let (Fixture { tier, .. }, w) = (fixture(5_000), writer("w"));
    let names: Vec<_> = (0..50).map(|i| session(&i.to_string())).collect();
    for name in &names {
        hydrate(
            &*tier,
            name,
            Publish {
                mark: Some(w.clone()),
                ..copy(&*tier, 1, 1, None)
            },
        )
        .await;
    }
    assert_eq!(tier.sessions(), 50);
    assert!(tier.bytes() > 5_000);
    for name in &names {
        settle(&*tier, &w, name, None).await;
    }
    assert!(tier.bytes() <= 5_000, "what is durable goes at once");
}

#[tokio::test]
async fn bytes_come_back_to_zero_when_everything_has_expired() {
    let (Fixture { tier, clock, .. }, w) = (fixture(1 << 20), writer("w"));
    for name in 0..200 {
        let s = session(&name.to_string());
        hydrate(
            &*tier,
            &s,
            Publish {
                ttl_ms: Some(1_000),
                ..copy(&*tier, 1, 1, None)
            },
        )
        .await;
        done(
            &*tier,
            &s,
            Append {
                mark: Some(w.clone()),
                ..append(&*tier, 1, 2)
            },
        )
        .await;
        settle(&*tier, &w, &s, Some(1_000)).await;
    }
    clock.advance(Duration::from_secs(61));
    // The sweep is amortised over operations, here on other sessions.
    for name in 0..400 {
        tier.touch(&session(&format!("other {name}")), 1)
            .await
            .unwrap();
    }
    assert_eq!((tier.bytes(), tier.sessions()), (0, 0));
}

#[tokio::test]
async fn a_jump_of_the_wall_clock_expires_nothing() {
    let (Fixture { tier, clock, .. }, s) = (fixture(1 << 20), session("a"));
    hydrate(
        &*tier,
        &s,
        Publish {
            ttl_ms: Some(1_000),
            ..copy(&*tier, 1, 1, None)
        },
    )
    .await;
    clock.set_wall_ms(u64::MAX / 2);
    assert!(is_hot(&*tier, &s).await);
    clock.set_wall_ms(0);
    assert!(is_hot(&*tier, &s).await);
}

#[tokio::test]
async fn an_evicted_session_is_missing_and_keeps_its_marks() {
    let (Fixture { tier, .. }, s, w) = (fixture(1 << 20), session("a"), writer("w"));
    hot(&*tier, &s).await;
    done(
        &*tier,
        &s,
        Append {
            mark: Some(w.clone()),
            ..append(&*tier, 1, 2)
        },
    )
    .await;
    tier.evict(&s);
    assert!(!is_hot(&*tier, &s).await);
    assert_eq!(tier.marked(&w).await.unwrap(), [s]);
}
