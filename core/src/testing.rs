//! What tests of tiers need: contract suites, a hand-moved clock, an in-memory store, a real Redis of their own,
//! the written formats.
//!
//! Third-party tiers and stores stamp the same suites over their own implementation. Knows no
//! particular tier.

pub mod clock;
#[cfg(feature = "faults")]
pub mod faults;
pub mod formats;
pub mod hot_suite;
pub mod keys;
pub mod memory_store;
pub mod redis_server;
pub mod store_suite;

pub use clock::ManualClock;
pub use hot_suite::HotFixture;
pub use memory_store::MemoryStore;
pub use redis_server::RedisServer;
