//! What every adapter of [Scrollback](scrollback) shares, whatever its platform.
//!
//! An adapter turns a platform's events into [`Incoming`] messages and implements [`Outbox`] for the
//! way back. The kit does what lies between: it makes each message safe in the cache, runs commands,
//! asks the responder in each session's order, and says the answer in parts of the platform's size.
//!
//! ```
//! # use async_trait::async_trait;
//! # use scrollback_kit::{Audience, Limit, Part, SendError, Unit};
//! # #[derive(Default)]
//! # struct Lines(parking_lot::Mutex<Vec<String>>);
//! # #[async_trait]
//! # impl Outbox for Lines {
//! #     fn limit(&self) -> Limit { Limit::new(2000, Unit::Chars) }
//! #     async fn send(&self, part: Part<'_>) -> Result<Option<String>, SendError> {
//! #         self.0.lock().push(part.text.into());
//! #         Ok(None)
//! #     }
//! #     async fn edit(&self, _: &str, _: &str) -> Result<(), SendError> { Ok(()) }
//! #     async fn send_file(&self, _: &str, _: Vec<u8>, _: Audience) -> Result<Option<String>, SendError> {
//! #         Ok(None)
//! #     }
//! # }
//! use std::{sync::Arc, time::Duration};
//! use scrollback::{Author, Cache, Message, Origin, SledConfig};
//! use scrollback_kit::{Bot, BotConfig, Incoming, Outbox, Recall};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let outbox = Arc::new(Lines::default());
//! let dir = tempfile::tempdir()?;
//! let cache = Cache::builder().store(SledConfig::new(dir.path())).build().await?;
//! let bot = Bot::new(cache, Arc::new(Recall::default()), BotConfig::default());
//!
//! let origin = Origin {
//!     platform: "console".into(), bot: "demo".into(), space: None,
//!     channel: "terminal".into(), thread: None, user: "ann".into(),
//! };
//! for text in ["my cat is called Mog", "what is my cat called?"] {
//!     let message = Message::user(Author::new("console", "ann"), text);
//!     let incoming = Incoming { addressed: true, private: true, ..Incoming::new(origin.clone(), message) };
//!     let accepted = bot.accept(incoming).await?; // safe: the platform may be told so
//!     bot.submit(accepted, outbox.clone())?;      // answered in the session's order
//! }
//! let closed = bot.close(Duration::from_secs(10)).await?;
//! assert_eq!(closed.unanswered, 0);
//! # assert!(outbox.0.lock()[1].ends_with("my cat is called Mog"));
//! # Ok(()) }
//! ```
//!
//! In reading order:
//! - [`bot`]: the flow from [`Incoming`] to the kept answer
//! - [`responder`]: what answers; [`recall`]: the built-in one, which needs no model
//! - [`commands`]: `/help`, `/history`, `/reset`, `/forget`, `/delete`, `/export`, `/stats`; [`export`]: the lines
//!   of an export
//! - [`place`]: sessions, ids and access by where a message comes from
//! - [`dispatch`]: order within a session, no waiting between sessions
//! - [`mod@insist`]: for what must succeed before an update is confirmed; [`secret`]: tokens that nothing prints
//! - [`outbox`]: the way back; [`deliver`], [`pace`], [`mod@split`] and [`mentions`]: how texts go there

pub mod bot;
pub mod commands;
pub mod deliver;
pub mod dispatch;
pub mod export;
#[cfg(test)]
mod fake;
pub mod insist;
pub mod mentions;
pub mod outbox;
pub mod pace;
pub mod place;
mod rate;
pub mod recall;
pub mod responder;
pub mod secret;
pub mod split;

pub use bot::{Accepted, Bot, BotClosed, BotConfig, Incoming};
pub use dispatch::{DispatchLimits, Dispatcher, Drained, Refused};
pub use export::ExportLine;
pub use insist::insist;
pub use mentions::Pings;
pub use outbox::{Audience, Outbox, Part, SendError};
pub use place::{Access, Rule, Scopes};
pub use rate::Rate;
pub use recall::Recall;
pub use responder::{Pieces, Reply, Request, RespondError, Responder};
pub use secret::Secret;
pub use split::{Limit, Unit, split};
