//! One shard: a session kept over as many connections as it takes.
//!
//! Invariant: a session is resumed unless Discord says that it is gone; a number in the sequence of
//! events that is missing, or a frame that cannot be read, is told as a gap.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use scrollback_kit::Secret;
use serde_json::{Value, json};
use serenity::all::GatewayIntents;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};

use super::close::{Verdict, verdict};
use super::heart::{Backoff, Heart, fraction};
use super::socket::{Arrived, Frame, Socket};
use super::{Gate, Heard, Listener, Plan, Ready};
use crate::error::Error;

/// How long the gateway may take to say hello.
const HELLO: Duration = Duration::from_secs(10);
/// The close code with which a session stays alive.
const KEEP: u16 = 4000;
/// The close code that ends a session.
const LEAVE: u16 = 1000;

pub(super) struct Shard {
    index: u32,
    plan: Plan,
    token: Secret,
    intents: GatewayIntents,
    gate: Arc<Gate>,
    listener: Arc<dyn Listener>,
    session: Option<Session>,
    /// The last event's number.
    seq: u64,
    backoff: Backoff,
}

#[derive(Debug, Clone)]
struct Session {
    id: String,
    url: Option<String>,
}

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// Lost; another one goes on with the session.
    Lost(&'static str),
    /// The session is gone.
    Anew,
    /// As told.
    Stopped,
    /// For good.
    Over(Error),
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl Shard {
    pub(super) fn new(
        index: u32,
        plan: Plan,
        token: Secret,
        intents: GatewayIntents,
        gate: Arc<Gate>,
        listener: Arc<dyn Listener>,
    ) -> Self {
        Self {
            index,
            plan,
            token,
            intents,
            gate,
            listener,
            session: None,
            seq: 0,
            backoff: Backoff::default(),
        }
    }

    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
        loop {
            let pause = match self.connection(&mut stop).await {
                End::Stopped => return Ok(()),
                End::Over(error) => return Err(error),
                End::Lost(why) => {
                    self.lost(why);
                    self.backoff.pause()
                }
                End::Anew => {
                    tracing::info!(
                        shard = self.index,
                        "Discord's session is gone; a new one is started"
                    );
                    self.session = None;
                    self.seq = 0;
                    // Discord asks for a random pause of one to five seconds.
                    Duration::from_secs(1) + Duration::from_secs(2).mul_f64(fraction())
                }
            };
            tokio::select! {
                () = stopped(&mut stop) => return Ok(()),
                () = sleep(pause) => {}
            }
        }
    }

    /// One line per outage.
    fn lost(&self, why: &'static str) {
        let shard = self.index;
        match self.backoff.failed() {
            0 => tracing::info!(
                shard,
                why,
                "the connection to Discord ended; connecting again"
            ),
            1 => tracing::warn!(shard, why, "Discord cannot be reached; trying until it can"),
            failed => tracing::debug!(shard, why, failed, "Discord still cannot be reached"),
        }
    }

    /// Opens a connection and stays on it.
    async fn connection(&mut self, stop: &mut watch::Receiver<bool>) -> End {
        let opening = async {
            if self.session.is_none() {
                self.gate.pass(self.index).await;
            }
            let mut socket = Socket::open(self.url())
                .await
                .map_err(|_| "it did not open")?;
            let heart = hello(&mut socket).await?;
            Ok((socket, heart))
        };
        let opened = tokio::select! {
            () = stopped(stop) => return End::Stopped,
            opened = opening => opened,
        };
        let (mut socket, mut heart) = match opened {
            Ok(opened) => opened,
            Err(why) => {
                if self.session.is_none() {
                    self.gate.give_back();
                }
                return End::Lost(why);
            }
        };
        let greeting = self.greeting();
        if !socket.send(&greeting).await {
            return End::Lost("it took no greeting");
        }
        let end = loop {
            let end = tokio::select! {
                biased;
                () = stopped(stop) => Some(End::Stopped),
                () = sleep_until(heart.due()) => self.beat(&mut socket, &mut heart).await,
                arrived = socket.next() => self.take(arrived, &mut socket, &mut heart).await,
            };
            if let Some(end) = end {
                break end;
            }
        };
        let code = if matches!(end, End::Stopped) {
            LEAVE
        } else {
            KEEP
        };
        socket.close(code).await;
        end
    }

    /// Where to connect: where the session said, unless that fails.
    fn url(&self) -> &str {
        let own = self.session.as_ref().and_then(|s| s.url.as_deref());
        own.filter(|_| self.plan.follow && self.backoff.failed() < 2)
            .unwrap_or(&self.plan.url)
    }

    /// The first frame of a connection.
    fn greeting(&self) -> Value {
        let token = self.token.expose();
        match &self.session {
            Some(session) => json!({"op": 6, "d": {
                "token": token, "session_id": session.id, "seq": self.seq,
            }}),
            None => json!({"op": 2, "d": {
                "token": token,
                "intents": self.intents.bits(),
                "shard": [self.index, self.plan.total],
                "compress": true,
                "large_threshold": 50,
                "properties": {"os": std::env::consts::OS, "browser": "scrollback", "device": "scrollback"},
            }}),
        }
    }

    async fn beat(&self, socket: &mut Socket, heart: &mut Heart) -> Option<End> {
        if !heart.beat() {
            return Some(End::Lost("it no longer answers heartbeats"));
        }
        let seq = (self.seq > 0).then_some(self.seq);
        let sent = socket.send(&json!({"op": 1, "d": seq})).await;
        (!sent).then_some(End::Lost("it takes no heartbeat"))
    }

    /// Takes what came in; the connection's end, when that is what it means.
    async fn take(
        &mut self,
        arrived: Arrived,
        socket: &mut Socket,
        heart: &mut Heart,
    ) -> Option<End> {
        let frame = match arrived {
            Arrived::Frame(frame) => frame,
            Arrived::Unreadable => {
                tracing::warn!(shard = self.index, "a frame from Discord cannot be read");
                self.tell(Heard::Gap);
                return None;
            }
            Arrived::Closed(code) => {
                return Some(match verdict(code) {
                    Verdict::Resume => End::Lost("it was closed"),
                    Verdict::Anew => End::Anew,
                    Verdict::Over(error) => End::Over(error),
                });
            }
            Arrived::Broken => return Some(End::Lost("it broke")),
        };
        match frame.op {
            0 => return self.dispatch(frame),
            1 => {
                // Asked for a sign of life; it counts as one of ours.
                heart.answered();
                return self.beat(socket, heart).await;
            }
            7 => return Some(End::Lost("Discord asked for another one")),
            9 if frame.d == Value::Bool(true) => {
                return Some(End::Lost("the session is to be resumed"));
            }
            9 => return Some(End::Anew),
            11 => heart.answered(),
            op => tracing::debug!(shard = self.index, op, "an unknown operation from Discord"),
        }
        None
    }

    fn dispatch(&mut self, frame: Frame) -> Option<End> {
        let (Some(seq), Some(kind)) = (frame.s, frame.t) else {
            self.tell(Heard::Gap);
            return None;
        };
        if self.session.is_some() && seq > self.seq + 1 {
            self.tell(Heard::Gap);
        }
        self.seq = self.seq.max(seq);
        match kind.as_str() {
            "READY" => return self.ready(frame.d, seq),
            "RESUMED" => {
                self.backoff.reset();
                tracing::info!(shard = self.index, "the session with Discord is resumed");
            }
            _ => self.tell(Heard::Event {
                kind,
                data: frame.d,
            }),
        }
        None
    }

    fn ready(&mut self, data: Value, seq: u64) -> Option<End> {
        let Ok(ready) = Ready::deserialize_from(data) else {
            return Some(End::Lost("its greeting cannot be read"));
        };
        self.session = Some(Session {
            id: ready.session_id.clone(),
            url: ready.resume_gateway_url.clone(),
        });
        self.seq = seq;
        self.backoff.reset();
        tracing::info!(
            shard = self.index,
            of = self.plan.total,
            "connected to Discord"
        );
        self.tell(Heard::Session(ready));
        None
    }

    fn tell(&self, heard: Heard) {
        self.listener.hear(self.index, heard);
    }
}

impl Ready {
    fn deserialize_from(data: Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(data)
    }
}

/// Waits for the gateway's hello.
async fn hello(socket: &mut Socket) -> Result<Heart, &'static str> {
    let hello = timeout(HELLO, socket.next())
        .await
        .map_err(|_| "it said no hello")?;
    let Arrived::Frame(Frame { op: 10, d, .. }) = hello else {
        return Err("it did not start with a hello");
    };
    let every = d
        .get("heartbeat_interval")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    if every == 0 {
        return Err("its hello has no heartbeat interval");
    }
    Ok(Heart::new(Duration::from_millis(every)))
}

/// Completes when told to stop, or when nobody is left to tell.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
