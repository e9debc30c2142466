#![doc = include_str!("../README.md")]
//! # Reading order
//! [`key`] and [`message`] are the words, [`summary`], [`fold`] and [`window`] what a log means, [`codec`] how it is
//! written; [`ttl`] decides how long a session stays hot, and [`simulate`] tries it on a log; [`hot`] and
//! [`store`] are the two contracts with their implementations; `journal` is what keeps an acknowledged append;
//! `session` is the data path, `flusher` the write-behind; [`cache`] owns it all.

pub mod builder;
pub mod cache;
pub mod clock;
pub mod codec;
pub mod error;
mod fault_point;
mod flusher;
pub mod fold;
pub mod hot;
mod journal;
pub mod key;
pub mod keyring;
pub mod message;
mod pack;
pub mod session;
pub mod simulate;
pub mod stats;
pub mod store;
pub mod summary;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod ttl;
mod verify;
pub mod window;

pub use builder::CacheBuilder;
pub use cache::Cache;
pub use clock::Clock;
pub use error::{Error, Result};
pub use hot::redis::RedisConfig;
pub use key::{Origin, Scope, SessionKey};
pub use keyring::MasterKey;
pub use message::{Attachment, Author, Message, Messages, Role, Seq, ToolCall};
pub use session::{Context, Forgotten, Level, Receipt, Session, Turn};
pub use stats::{Closed, Stats, Verified};
pub use store::sled::SledConfig;
pub use store::{Compacted, Page, Progress};
pub use ttl::{Bounds, Economic, Fixed, Learned, Pinned, Prices, Sliding};
pub use window::{ApproximateTokens, TokenCounter, Window};

/// The workspace's README, so that its example is run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
