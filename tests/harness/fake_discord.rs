//! A fake Discord: its REST API (version 10) and its gateway, over real HTTP and WebSocket.
//!
//! Written from the public API documentation. It sends full payloads, refuses what the real one
//! refuses, fails on demand, and records what a bot did. It knows nothing of the bot.
//!
//! The handle's methods are plain functions; those that change the world also tell the gateway. A
//! test that names something which does not exist ends loudly.

#![expect(
    clippy::indexing_slicing,
    reason = "of JSON values: what is missing reads as null, and only objects are written to"
)]

mod asking;
mod building;
mod error;
mod faults;
mod gateway;
mod limits;
mod net;
mod record;
mod render;
mod rest;
mod state;
mod talking;
mod using;
mod world;

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use faults::Failure;
pub use gateway::intent;
pub use record::{Asked, Call, Edit, GatewayCall, Pings, SentFile, SentMessage, Typing};
pub use talking::{Attached, Post};
pub use world::permission;

use gateway::Gateway;
use net::{Gate, Wired};
use state::{Options, Shared, State};
use world::{User, World};

/// A running fake; it ends with the value.
#[derive(Debug)]
pub struct FakeDiscord {
    shared: Arc<Shared>,
    url: String,
    token: String,
    app: u64,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeDiscord {
    /// Starts a fake with a thread of its own on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port, or no thread.
    pub fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut world = World::default();
        let app = world.next_id();
        world.app = app;
        world.bot = app;
        let bot = User {
            id: app,
            name: "Scrollback".to_owned(),
            bot: true,
            ..User::default()
        };
        world.users.insert(app, bot);
        let token = token_for(app);
        let shared = Arc::new(Shared::new(State {
            url: url.clone(),
            token: token.clone(),
            revoked: false,
            offline: false,
            wires: Vec::new(),
            world,
            gateway: Gateway::default(),
            plan: faults::Plan::default(),
            limits: limits::Limits::default(),
            record: record::Record::default(),
            options: Options::default(),
        }));
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("fake-discord".to_owned())
            .spawn(move || runtime.block_on(serve(listener, served, stopped)))
            .context("no thread for the fake Discord")?;
        Ok(Self {
            shared,
            url,
            token,
            app,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens: `http://127.0.0.1:PORT`; REST is below `/api/v10`, the gateway at `/gw`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The gateway's address.
    #[must_use]
    pub fn gateway_url(&self) -> String {
        self.url.replacen("http://", "ws://", 1) + "/gw"
    }

    /// The bot's token, without the word before it.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The bot's user id, which is the application's too.
    #[must_use]
    pub fn bot_id(&self) -> u64 {
        self.app
    }
}

impl Drop for FakeDiscord {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends by itself; a panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

/// Serves until the handle lets go of the other end; what is open then is cut with the runtime.
async fn serve(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    let gate = Gate::new(listener, Arc::clone(&shared));
    let service = rest::router(shared).into_make_service_with_connect_info::<Wired>();
    tokio::select! {
        _ = axum::serve(gate, service) => {}
        _ = stopped => {}
    }
}

/// A token as the real ones look: the id in base64, a time, and a signature.
fn token_for(id: u64) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = id.to_string();
    let mut head = String::new();
    for part in text.as_bytes().chunks(3) {
        let bits = part
            .iter()
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        let bits = bits << (8 * (3 - part.len()));
        for at in 0..=part.len() {
            let digit = DIGITS
                .get(bits >> (18 - 6 * at) & 63)
                .copied()
                .unwrap_or(b'A');
            head.push(char::from(digit));
        }
    }
    format!("{head}.GfAkE0.x3Vn8tqLr0-2bWcYkZ_7mPdHs9uJeT1aQvXo4i")
}
