//! The Redis tier on a real server: the contract suite, then what only Redis can do wrong (P4, P5).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use super::*;
use crate::hot_contract;
use crate::testing::hot_suite::is_hot;
use crate::testing::{HotFixture, RedisServer};

mod exactly;
mod outages;
mod trickle;

/// A server of its own for each test: some restart it, some freeze it, and one starts in 30 ms.
struct Fixture {
    server: RedisServer,
    tier: Arc<RedisTier>,
    remembered: Mutex<Option<Vec<u8>>>,
}

fn fixture() -> Fixture {
    let server = RedisServer::start();
    let tier = Arc::new(RedisTier::new(config(&server)).unwrap());
    Fixture {
        server,
        tier,
        remembered: Mutex::default(),
    }
}

/// A deadline that a loaded test machine keeps; tests of deadlines set their own.
fn config(server: &RedisServer) -> RedisConfig {
    RedisConfig::new(server.url())
        .deadline(Duration::from_secs(2))
        .prefix("test")
}

impl Fixture {
    /// Waits until calls succeed again.
    async fn recovered(&self) {
        let until = Instant::now() + Duration::from_secs(10);
        while self.tier.check().await.is_err() {
            assert!(Instant::now() < until, "the tier did not recover");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

#[async_trait]
impl HotFixture for Fixture {
    fn tier(&self) -> Arc<dyn HotTier> {
        Arc::clone(&self.tier) as Arc<dyn HotTier>
    }

    async fn pass(&self, time: Duration) {
        sleep(time).await;
    }

    async fn lose_everything(&self) {
        self.server.put_dump(None);
        self.server.restart();
        self.recovered().await;
    }

    async fn remember(&self) {
        *self.remembered.lock() = Some(self.server.take_dump());
    }

    async fn go_back(&self) {
        let dump = self.remembered.lock().take();
        self.server.stop();
        self.server.put_dump(dump.as_deref());
        self.server.restart();
        self.recovered().await;
    }
}

hot_contract!(fixture());

#[test]
fn a_configuration_lists_every_fault_and_hides_its_secrets() {
    let config = RedisConfig::new("http://me:hunter2@host/")
        .prefix("a {b}")
        .queue(0);
    let Err(Error::Config(faults)) = config.validate() else {
        panic!("accepted")
    };
    assert_eq!(faults.len(), 3, "{faults:?}");
    let good = RedisConfig::new("redis://me:hunter2@host:7000/3");
    good.validate().unwrap();
    for text in [format!("{config:?} {faults:?}"), format!("{good:?}")] {
        assert!(!text.contains("hunter2") && !text.contains("me:"), "{text}");
    }
    for prefix in ["", "ü", "a b", "{a", "a}", "a\n"] {
        assert!(
            RedisConfig::new("redis://h/")
                .prefix(prefix)
                .validate()
                .is_err(),
            "{prefix:?}"
        );
    }
}

#[tokio::test]
async fn tls_urls_do_not_panic() {
    let server = RedisServer::start();
    let url = server.url().replace("redis://", "rediss://");
    let tier = RedisTier::new(RedisConfig::new(url)).unwrap();
    assert!(tier.check().await.unwrap_err().is_outage());
}
