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

/// The same tier, with every log that can be packed at every call.
mod packed {
    use super::*;

    #[derive(Debug)]
    struct Drowsy(Arc<MemoryTier>);

    impl Drowsy {
        async fn asleep(&self) -> &MemoryTier {
            self.0.pack_unused(Duration::MAX, Packed::of_any).await;
            &self.0
        }
    }

    #[async_trait]
    impl HotTier for Drowsy {
        fn name(&self) -> &'static str {
            self.0.name()
        }

        fn trusted(&self) -> bool {
            self.0.trusted()
        }

        fn generation(&self) -> u64 {
            HotTier::generation(&*self.0)
        }

        async fn append(&self, session: &Address, append: Append) -> Result<Appended> {
            self.asleep().await.append(session, append).await
        }

        async fn read(&self, s: &Address, after: Option<Place>, generation: u64) -> Result<Read> {
            self.asleep().await.read(s, after, generation).await
        }

        async fn fence(&self, session: &Address, epoch: u64) -> Result<()> {
            self.asleep().await.fence(session, epoch).await
        }

        async fn publish(&self, session: &Address, publish: Publish) -> Result<Published> {
            self.asleep().await.publish(session, publish).await
        }

        async fn settle(&self, writer: &WriterId, sessions: Vec<Settle>) -> Result<()> {
            self.asleep().await.settle(writer, sessions).await
        }

        async fn touch(&self, session: &Address, ttl_ms: u64) -> Result<()> {
            self.asleep().await.touch(session, ttl_ms).await
        }

        async fn release(&self, session: &Address) -> Result<()> {
            self.asleep().await.release(session).await
        }

        async fn marked(&self, writer: &WriterId) -> Result<Vec<Address>> {
            self.asleep().await.marked(writer).await
        }

        async fn check(&self) -> Result<Vec<String>> {
            self.0.check().await
        }

        async fn close(&self) {
            self.0.close().await;
        }
    }

    struct Packs(Fixture);

    #[async_trait]
    impl HotFixture for Packs {
        fn tier(&self) -> Arc<dyn HotTier> {
            Arc::new(Drowsy(Arc::clone(&self.0.tier)))
        }

        async fn pass(&self, time: Duration) {
            self.0.pass(time).await;
        }

        async fn lose_everything(&self) {
            self.0.lose_everything().await;
        }

        async fn remember(&self) {
            self.0.remember().await;
        }

        async fn go_back(&self) {
            self.0.go_back().await;
        }
    }

    hot_contract!(Packs(fixture(1 << 28)));
}

/// Fills sessions with what takes some room, and settles them.
async fn fill(tier: &MemoryTier, names: &[Address], w: &WriterId) {
    for name in names {
        hot(tier, name).await;
        for n in 2..30 {
            let text = format!("{n}: something that somebody has said, as people do").into();
            let append = Append {
                entry: text,
                mark: Some(w.clone()),
                ..append(tier, 1, n)
            };
            done(tier, name, append).await;
        }
        settle(tier, w, name, Some(3_600_000)).await;
    }
}

#[tokio::test]
async fn what_nobody_uses_for_half_a_minute_is_packed_and_opens_when_it_is_read() {
    let (Fixture { tier, clock, .. }, w) = (fixture(1 << 28), writer("w"));
    let names: Vec<_> = (0..100).map(|i| session(&i.to_string())).collect();
    fill(&tier, &names, &w).await;
    let before: Vec<_> = read_all(&tier, &names).await;
    let bytes = tier.bytes();
    clock.advance(Duration::from_secs(20));
    tier.touch(&names[0], 3_600_000).await.unwrap();
    clock.advance(Duration::from_secs(20));
    tier.tidy().await;
    assert_eq!(tier.packed(), 99, "one was used");
    assert!(tier.bytes() * 2 < bytes, "{} of {bytes}", tier.bytes());
    assert_eq!(read_all(&tier, &names).await, before);
    assert_eq!((tier.packed(), tier.bytes()), (0, bytes));
}

async fn read_all(tier: &MemoryTier, names: &[Address]) -> Vec<Read> {
    let mut all = Vec::new();
    for name in names {
        let read = tier.read(name, None, HotTier::generation(tier)).await;
        all.push(read.unwrap());
    }
    all
}

#[tokio::test]
async fn what_is_packed_is_lengthened_evicted_and_expires_without_being_opened() {
    let (Fixture { tier, clock, .. }, w) = (fixture(1 << 28), writer("w"));
    let names: Vec<_> = (0..20).map(|i| session(&i.to_string())).collect();
    fill(&tier, &names, &w).await;
    clock.advance(Duration::from_secs(40));
    tier.tidy().await;
    for name in &names {
        tier.touch(name, 7_200_000).await.unwrap();
    }
    tier.evict(&names[0]);
    assert_eq!((tier.packed(), tier.sessions()), (19, 19));
    clock.advance(Duration::from_secs(7_201));
    for name in 0..400 {
        let other = session(&format!("other {name}"));
        tier.touch(&other, 1).await.unwrap();
    }
    assert_eq!((tier.bytes(), tier.sessions()), (0, 0));
}

#[tokio::test]
async fn what_is_dirty_is_never_packed_and_what_is_used_meanwhile_stays_as_it_is() {
    let (Fixture { tier, clock, .. }, w) = (fixture(1 << 28), writer("w"));
    let names = [session("a"), session("b")];
    fill(&tier, &names, &w).await;
    let marked = Append {
        mark: Some(w.clone()),
        ..append(&*tier, 1, 30)
    };
    done(&*tier, &names[0], marked).await;
    clock.advance(Duration::from_secs(40));
    let shard = tier.shard(&names[1]);
    let [one] = <[Asleep; 1]>::try_from(shard.lock().asleep(Duration::MAX, 9)).unwrap();
    let clean = Append {
        mark: None,
        ..append(&*tier, 1, 30)
    };
    done(&*tier, &names[1], clean).await;
    let packed = Packed::of(&one.log).unwrap();
    shard
        .lock()
        .pack(&one.address, one.used, packed, &tier.total);
    assert_eq!(tier.packed(), 0);
    for read in read_all(&tier, &names).await {
        assert!(
            matches!(&read, Read::Entries(log) if log.len() == 30),
            "{read:?}"
        );
    }
    tier.tidy().await;
    assert_eq!(tier.packed(), 0);
}

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
