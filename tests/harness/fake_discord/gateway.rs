//! The gateway's sessions and connections, and which event goes to whom.
//!
//! An event is numbered and kept in each session that asked for it; a connection sends what its
//! session has not sent yet. So a resumed session replays exactly what was missed.

mod hello;
mod intents;
mod socket;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::net::Cut;
use super::state::State;
pub(crate) use intents::hide;
pub use intents::intent;
pub(crate) use socket::serve;

#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) settings: Settings,
    pub(crate) starts_left: u64,
    sessions: BTreeMap<String, Session>,
    links: BTreeMap<u64, Link>,
    links_made: u64,
    sessions_made: u64,
    random: u64,
}

/// How the gateway behaves.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) heartbeat: Duration,
    pub(crate) acknowledge: bool,
    /// Intents the application may ask for.
    pub(crate) intents: u64,
    /// How many events a session keeps for a replay.
    pub(crate) buffer: usize,
    pub(crate) sharding_required: bool,
    /// Payloads from this many bytes on are compressed for those who take it.
    pub(crate) compress_from: usize,
    pub(crate) paused: bool,
    pub(crate) delay: Duration,
    pub(crate) duplicate_percent: u64,
    /// The share of message events that overtake the one before them, if it is still unsent.
    pub(crate) reorder_percent: u64,
    /// How many events a replay sends that the client has seen already.
    pub(crate) overlap: u64,
}

#[derive(Debug)]
struct Session {
    shard: (u64, u64),
    intents: u64,
    compress: bool,
    seq: u64,
    sent: u64,
    /// The last event that is no longer kept.
    lost: u64,
    buffer: VecDeque<Stored>,
    link: Option<u64>,
}

#[derive(Debug)]
struct Stored {
    seq: u64,
    name: String,
    data: Value,
    due: Instant,
}

#[derive(Debug)]
struct Link {
    notify: Arc<Notify>,
    cut: Arc<Cut>,
    orders: VecDeque<Out>,
    session: Option<String>,
    sends: VecDeque<Instant>,
    last_beat: Instant,
}

/// What a connection has to do next.
#[derive(Debug)]
enum Out {
    Frame { text: String, zlib: bool },
    Close(u16, &'static str),
}

/// An event for all sessions of its shard that asked for one of its intents.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: Value,
    /// The guild it happens in; private events go to shard 0.
    pub(crate) guild: Option<u64>,
    /// Needed intents, any of them; 0 for none.
    pub(crate) intents: u64,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            settings: Settings {
                heartbeat: Duration::from_millis(41_250),
                acknowledge: true,
                intents: u64::MAX,
                buffer: 10_000,
                sharding_required: false,
                compress_from: 1024,
                paused: false,
                delay: Duration::ZERO,
                duplicate_percent: 0,
                reorder_percent: 0,
                overlap: 0,
            },
            starts_left: 1000,
            sessions: BTreeMap::new(),
            links: BTreeMap::new(),
            links_made: 0,
            sessions_made: 0,
            random: 1,
        }
    }
}

impl State {
    /// Puts an event into every session it is for.
    pub(crate) fn dispatch(&mut self, event: &Event) {
        let bot = self.world.bot;
        let message = event.name.starts_with("MESSAGE_");
        let twice = message && self.gateway.chance(self.gateway.settings.duplicate_percent);
        let overtakes = message && self.gateway.chance(self.gateway.settings.reorder_percent);
        let due = Instant::now() + self.gateway.settings.delay;
        let limit = self.gateway.settings.buffer;
        for session in self.gateway.sessions.values_mut() {
            let (shard, of) = session.shard;
            let home = event.guild.map_or(0, |guild| (guild >> 22) % of.max(1));
            if home != shard || (event.intents != 0 && event.intents & session.intents == 0) {
                continue;
            }
            let data = intents::visible(&event.data, session.intents, bot);
            for _ in 0..=usize::from(twice) {
                session.push(&event.name, &data, due, limit);
            }
            if overtakes {
                session.overtake();
            }
        }
        self.gateway.wake();
    }
}

impl Session {
    fn push(&mut self, name: &str, data: &Value, due: Instant, limit: usize) {
        self.seq += 1;
        self.buffer.push_back(Stored {
            seq: self.seq,
            name: name.to_owned(),
            data: data.clone(),
            due,
        });
        while self.buffer.len() > limit {
            let unsent = |front: &Stored| self.link.is_some() && front.seq > self.sent;
            if self.buffer.front().is_none_or(unsent) {
                break;
            }
            self.lost = self.buffer.pop_front().map_or(self.lost, |old| old.seq);
        }
    }
}

impl Session {
    /// Sends what is due; returns when the next event will be.
    fn flush(&mut self, out: &mut Vec<Out>, compress_from: usize) -> Option<Instant> {
        let now = Instant::now();
        let sent = self.sent;
        for stored in self.buffer.iter().filter(|stored| stored.seq > sent) {
            if stored.due > now {
                return Some(stored.due);
            }
            let text = stored.text();
            let zlib = self.compress && text.len() >= compress_from;
            out.push(Out::Frame { text, zlib });
            self.sent = stored.seq;
        }
        None
    }

    /// Exchanges the last two events, if they are messages' and neither is sent.
    fn overtake(&mut self) {
        let sent = self.sent;
        let movable = |one: &&mut Stored| one.seq > sent && one.name.starts_with("MESSAGE_");
        let mut last = self.buffer.iter_mut().rev().take(2).filter(movable);
        if let (Some(one), Some(other)) = (last.next(), last.next()) {
            std::mem::swap(&mut one.name, &mut other.name);
            std::mem::swap(&mut one.data, &mut other.data);
        }
    }
}

impl Stored {
    fn text(&self) -> String {
        json!({"t": self.name, "s": self.seq, "op": 0, "d": self.data}).to_string()
    }
}

impl Gateway {
    /// The seed of what happens by chance.
    pub(crate) fn seed(&mut self, seed: u64) {
        self.random = seed | 1;
    }

    fn chance(&mut self, percent: u64) -> bool {
        // xorshift64: enough to spread faults, and the same for the same seed.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 100 < percent
    }

    /// Lets all connections look for work.
    pub(crate) fn wake(&self) {
        for link in self.links.values() {
            link.notify.notify_one();
        }
    }

    /// Cuts all connections without a close frame.
    pub(crate) fn cut(&self) {
        for link in self.links.values() {
            link.cut.cut();
        }
    }

    /// Forgets all sessions.
    pub(crate) fn forget(&mut self) {
        self.sessions.clear();
        for link in self.links.values_mut() {
            link.session = None;
        }
    }

    /// Sends all connections a payload that is no event.
    pub(crate) fn tell_all(&mut self, op: u64, data: &Value) {
        for link in self.links.values_mut() {
            link.tell(op, data);
        }
    }

    /// Closes all connections with this code.
    pub(crate) fn close_all(&mut self, code: u16) {
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.close(id, code);
        }
    }

    /// Connections that have a session.
    pub(crate) fn attached(&self) -> usize {
        let links = self.links.values();
        links.filter(|link| link.session.is_some()).count()
    }

    /// Events that no connection has sent yet.
    pub(crate) fn unsent(&self) -> usize {
        let unsent = |session: &Session| {
            let buffer = session.buffer.iter();
            buffer.filter(|one| one.seq > session.sent).count()
        };
        self.sessions.values().map(unsent).sum()
    }

    fn close(&mut self, id: u64, code: u16) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.orders.push_back(Out::Close(code, reason(code)));
        link.notify.notify_one();
        let ends = matches!(code, 4004 | 4007 | 4009..=4014);
        if let Some(session) = link.session.take() {
            if ends {
                self.sessions.remove(&session);
            } else if let Some(session) = self.sessions.get_mut(&session) {
                session.link = None;
            }
        }
    }

    fn open(&mut self, cut: Arc<Cut>) -> (u64, Arc<Notify>) {
        self.links_made += 1;
        let notify = Arc::new(Notify::new());
        let mut link = Link {
            notify: Arc::clone(&notify),
            cut,
            orders: VecDeque::new(),
            session: None,
            sends: VecDeque::new(),
            last_beat: Instant::now(),
        };
        let beat = u64::try_from(self.settings.heartbeat.as_millis()).unwrap_or(u64::MAX);
        let trace = r#"["gateway-prd-us-east1-c-4k8x",{"micros":0.0}]"#;
        link.tell(10, &json!({"heartbeat_interval": beat, "_trace": [trace]}));
        self.links.insert(self.links_made, link);
        (self.links_made, notify)
    }

    /// The connection is gone. A client that closes with 1000 or 1001 gives its session up.
    fn gone(&mut self, id: u64, code: Option<u16>) {
        let session = self.links.remove(&id).and_then(|link| link.session);
        let Some(session) = session else { return };
        if matches!(code, Some(1000 | 1001)) {
            self.sessions.remove(&session);
        } else if let Some(session) = self.sessions.get_mut(&session) {
            session.link = None;
        }
    }

    /// What a connection has to do now, events before the rest, and when to look again.
    fn take(&mut self, id: u64) -> (Vec<Out>, Instant) {
        let Some(link) = self.links.get_mut(&id) else {
            return (vec![Out::Close(4000, reason(4000))], Instant::now());
        };
        let mut out = Vec::new();
        let mut wake = link.last_beat + self.settings.heartbeat * 2 + Duration::from_secs(5);
        let session = link.session.as_ref();
        let session = session.and_then(|session| self.sessions.get_mut(session));
        if let Some(session) = session.filter(|_| !self.settings.paused) {
            let due = session.flush(&mut out, self.settings.compress_from);
            wake = due.map_or(wake, |due| wake.min(due));
        }
        out.extend(link.orders.drain(..));
        (out, wake)
    }

    /// Closes a connection that has not given a sign of life for too long.
    fn check_beat(&mut self, id: u64) {
        let late = self.settings.heartbeat * 2 + Duration::from_secs(5);
        let link = self.links.get(&id);
        if link.is_some_and(|link| link.last_beat.elapsed() >= late) {
            self.close(id, 4009);
        }
    }
}

impl Link {
    fn tell(&mut self, op: u64, data: &Value) {
        self.orders.push_back(Out::Frame {
            text: json!({"t": null, "s": null, "op": op, "d": data}).to_string(),
            zlib: false,
        });
        self.notify.notify_one();
    }
}

/// The text that comes with a close code.
fn reason(code: u16) -> &'static str {
    match code {
        4001 => "Unknown opcode.",
        4002 => "Error while decoding payload.",
        4003 => "Not authenticated.",
        4004 => "Authentication failed.",
        4005 => "Already authenticated.",
        4007 => "Invalid seq.",
        4008 => "Rate limited.",
        4009 => "Session timed out.",
        4010 => "Invalid shard.",
        4011 => "Sharding required.",
        4012 => "Invalid API version.",
        4013 => "Invalid intent(s).",
        4014 => "Disallowed intent(s).",
        _ => "Unknown error.",
    }
}
