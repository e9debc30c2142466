#![doc = include_str!("../README.md")]
//! # Reading order
//! [`config`] and [`error`] are what a caller sees beside [`Telegram`]; `api` calls the Bot API, `decode`, `event`
//! and `content` say what an update means; `intake` makes it safe and hands it to the kit, on behalf of `poll` or
//! `webhook`; `outbox` is the way back, with `markdown` and `quiet` for its texts; `hub` is what all of them
//! share: `chats`, `moved` and `business` know what became of a chat. [`dialogue`] stands alone.

mod api;
mod backoff;
mod business;
mod chats;
pub mod config;
mod content;
mod decode;
pub mod dialogue;
pub mod error;
mod event;
mod hub;
mod intake;
mod markdown;
mod moved;
mod outbox;
mod poll;
mod quiet;
mod telegram;
#[cfg(feature = "testing")]
pub mod testing;
mod webhook;

pub use config::{TelegramConfig, Webhook};
pub use dialogue::{DialogueError, DialogueStorage};
pub use error::Error;
pub use telegram::Telegram;
/// The teloxide whose types and storages this crate speaks.
pub use teloxide;

/// The platform's name in origins, authors and session keys.
pub const PLATFORM: &str = "telegram";
