#![doc = include_str!("../README.md")]
//! # Reading order
//! [`config`] and [`error`] are what a bot's author meets, `run` joins the rest. `gateway` takes frames from
//! Discord and hands events on in their order, `news` reads them, `intake` sorts them into one lane per
//! channel, `work` works a lane off: `map` turns a message into what the kit takes, `catch_up` fetches what
//! was missed since the channel's `cursors`. `rest` speaks HTTP; `outbox` answers; `slash` holds the commands
//! that Discord itself shows; `directory` knows guilds, channels and roles.

mod catch_up;
pub mod config;
mod cursors;
mod directory;
pub mod error;
mod gateway;
mod intake;
mod map;
mod news;
mod outbox;
mod rest;
mod run;
mod shared;
mod slash;
mod snowflake;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod work;

pub use config::DiscordConfig;
pub use error::Error;
pub use run::Discord;
