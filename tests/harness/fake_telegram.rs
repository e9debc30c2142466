//! A Telegram Bot API server for tests: real HTTP on a free port, as strict as the real one.
//!
//! Written from the public documentation and with no client's types, so that it can contradict the
//! client. The handle's functions are plain ones: the server runs on a thread of its own. Tests
//! build a world (people, chats, topics), let people speak, and read back what the bot did.
//!
//! What it does not do: inline queries, callback queries, payments, stickers, channels, polls, and
//! https for webhooks. A method that is not there is answered as an unknown one is: 404.

mod answer;
mod args;
mod chats;
mod commands;
mod documents;
mod editing;
mod entities;
mod faults;
mod formatting;
mod html;
mod knobs;
mod markdown;
mod members;
mod people;
mod post;
mod record;
mod sending;
mod server;
mod speaking;
mod state;
#[cfg(test)]
mod tests;
mod updates;
mod webhook;
mod world;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::Context as _;
use tokio::sync::oneshot;

pub use faults::{Failure, RateLimits};
pub use record::{Action, Call, Edit, SentDocument, SentMessage};
pub use speaking::{Draft, File};
pub use updates::{Confirmation, ConfirmedBy};
pub use webhook::Delivery;
pub use world::{Person, Role};

use state::Shared;

/// The server; it ends, with its thread, when this is dropped.
pub struct FakeTelegram {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for FakeTelegram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeTelegram")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl FakeTelegram {
    /// Starts a server on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No thread or no port is to be had.
    pub fn start() -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::new());
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = mpsc::channel();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("fake-telegram".into())
            .spawn(move || server::run(&for_thread, stopped, &ready))?;
        let address = started.recv().context("the server's thread ended")??;
        Ok(Self {
            shared,
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The base address of the API, such as `http://127.0.0.1:40001`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The one valid token.
    #[must_use]
    pub fn token(&self) -> String {
        self.shared.look(|state| state.token.clone())
    }

    /// The bot's own identifier.
    #[must_use]
    pub fn bot_id(&self) -> i64 {
        self.shared.look(|state| state.bot.id)
    }

    /// The bot's user name, without `@`.
    #[must_use]
    pub fn bot_username(&self) -> String {
        self.shared.look(|state| state.bot.username.clone())
    }
}

impl Drop for FakeTelegram {
    fn drop(&mut self) {
        self.shared.cut();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
