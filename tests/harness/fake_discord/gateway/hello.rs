//! What a client may send: heartbeats, IDENTIFY, RESUME; anything wrong closes the connection.

use std::time::{Duration, Instant};

use axum::extract::ws::Message;
use serde_json::{Value, json};

use super::{Event, Session, intent};
use crate::fake_discord::record::Asked;
use crate::fake_discord::render;
use crate::fake_discord::state::State;

/// At most this many payloads from a client in a minute.
const SENDS: usize = 120;
/// A client's payload may be this long.
const LONGEST: usize = 4096;

impl State {
    /// Takes one frame from a connection.
    pub(super) fn receive(&mut self, link: u64, frame: &Message) {
        let text = match frame {
            Message::Text(text) => text.as_str(),
            Message::Binary(_) => "",
            _ => return,
        };
        if let Err(code) = self.payload(link, text) {
            self.gateway.close(link, code);
        }
    }

    fn payload(&mut self, link: u64, text: &str) -> Result<(), u16> {
        self.count_send(link)?;
        let payload: Value = serde_json::from_str(text).map_err(|_| 4002_u16)?;
        let op = payload.get("op").and_then(Value::as_u64).ok_or(4001_u16)?;
        if text.len() > LONGEST || payload.get("d").is_none() {
            return Err(4002);
        }
        let data = &payload["d"];
        match op {
            1 => self.heartbeat(link, data),
            2 => self.identify(link, data),
            6 => self.resume(link, data),
            3 | 4 | 8 | 31 if self.session_of(link).is_some() => Ok(()),
            3 | 4 | 8 | 31 => Err(4003),
            _ => Err(4001),
        }
    }

    fn count_send(&mut self, link: u64) -> Result<(), u16> {
        let Some(link) = self.gateway.links.get_mut(&link) else {
            return Ok(());
        };
        let fresh = |at: &Instant| at.elapsed() < Duration::from_mins(1);
        link.sends.retain(fresh);
        link.sends.push_back(Instant::now());
        if link.sends.len() > SENDS {
            return Err(4008);
        }
        Ok(())
    }

    fn session_of(&self, link: u64) -> Option<&String> {
        self.gateway.links.get(&link)?.session.as_ref()
    }

    fn heartbeat(&mut self, id: u64, data: &Value) -> Result<(), u16> {
        if !data.is_null() && !data.is_u64() {
            return Err(4002);
        }
        let seq = data.as_u64();
        self.record.asked(id, Asked::Heartbeat { seq });
        let acknowledge = self.gateway.settings.acknowledge;
        if let Some(link) = self.gateway.links.get_mut(&id) {
            link.last_beat = Instant::now();
            if acknowledge {
                link.tell(11, &Value::Null);
            }
        }
        Ok(())
    }

    fn identify(&mut self, link: u64, data: &Value) -> Result<(), u16> {
        if self.session_of(link).is_some() {
            return Err(4005);
        }
        let token = data["token"].as_str().ok_or(4002_u16)?;
        if !self.is_token(token) {
            return Err(4004);
        }
        if !data["properties"].is_object() {
            return Err(4002);
        }
        let shard = self.shard(&data["shard"])?;
        let intents = self.intents(&data["intents"])?;
        let compress = data["compress"].as_bool().unwrap_or(false);
        let asked = Asked::Identify {
            shard,
            intents,
            compress,
        };
        self.record.asked(link, asked);
        self.gateway.starts_left = self.gateway.starts_left.saturating_sub(1);
        self.begin(link, shard, intents, compress);
        Ok(())
    }

    fn shard(&self, asked: &Value) -> Result<(u64, u64), u16> {
        if asked.is_null() {
            let needed = self.gateway.settings.sharding_required;
            return if needed { Err(4011) } else { Ok((0, 1)) };
        }
        let pair = asked.as_array().ok_or(4010_u16)?;
        let numbers: Vec<u64> = pair.iter().filter_map(Value::as_u64).collect();
        match numbers.as_slice() {
            [0, 1] if self.gateway.settings.sharding_required => Err(4011),
            &[shard, of] if shard < of => Ok((shard, of)),
            _ => Err(4010),
        }
    }

    fn intents(&self, asked: &Value) -> Result<u64, u16> {
        let intents = asked.as_u64().ok_or(4013_u16)?;
        if intents & !intent::ALL != 0 {
            return Err(4013);
        }
        if intents & intent::PRIVILEGED & !self.gateway.settings.intents != 0 {
            return Err(4014);
        }
        Ok(intents)
    }

    /// Starts a session: READY, then one GUILD_CREATE for each guild of its shard.
    fn begin(&mut self, link: u64, shard: (u64, u64), intents: u64, compress: bool) {
        self.gateway.sessions_made += 1;
        let number = self.gateway.sessions_made;
        let id = format!("{:032x}", 0x5eed_0000_0000_0000_u64 | number);
        let mut session = Session {
            shard,
            intents,
            compress,
            seq: 0,
            sent: 0,
            lost: 0,
            buffer: std::collections::VecDeque::new(),
            link: Some(link),
        };
        let now = Instant::now();
        session.push("READY", &self.ready(&id, shard), now, usize::MAX);
        if intents & intent::GUILDS != 0 {
            for guild in self.world.guilds.values() {
                if guild.present && (guild.id >> 22) % shard.1 == shard.0 {
                    let data = render::guild_create(&self.world, guild);
                    session.push("GUILD_CREATE", &data, now, usize::MAX);
                }
            }
        }
        self.gateway.sessions.insert(id.clone(), session);
        self.attach(link, id);
    }

    fn ready(&self, session: &str, (shard, of): (u64, u64)) -> Value {
        let own = |id: &u64| (id >> 22) % of == shard;
        let present = self.world.guilds.values().filter(|guild| guild.present);
        let guilds = present.map(|guild| guild.id).filter(own);
        let unavailable = guilds.map(|id| json!({"id": id.to_string(), "unavailable": true}));
        let url = self.url.replacen("http://", "ws://", 1) + "/gw";
        json!({
            "v": 10, "user_settings": {}, "user": render::current_user(&self.world),
            "session_type": "normal", "session_id": session, "resume_gateway_url": url,
            "relationships": [], "private_channels": [], "presences": [],
            "guilds": unavailable.collect::<Vec<_>>(), "guild_join_requests": [],
            "geo_ordered_rtc_regions": ["us-east", "us-central"], "game_relationships": [],
            "auth": {}, "shard": [shard, of],
            "application": {"id": render::id(self.world.app), "flags": self.app_flags()},
            "_trace": ["[\"gateway-prd-us-east1-c-4k8x\",{\"micros\":51234}]"],
        })
    }

    /// The application's flags: which privileged intents are switched on.
    pub(crate) fn app_flags(&self) -> u64 {
        let on = |bit: u64, flag: u64| {
            let set = self.gateway.settings.intents & bit != 0;
            if set { 1 << flag } else { 0 }
        };
        on(intent::GUILD_PRESENCES, 13)
            | on(intent::GUILD_MEMBERS, 15)
            | on(intent::MESSAGE_CONTENT, 19)
            | 1 << 23
    }

    fn attach(&mut self, link: u64, session: String) {
        if let Some(link) = self.gateway.links.get_mut(&link) {
            link.session = Some(session);
            link.notify.notify_one();
        }
    }

    fn resume(&mut self, link: u64, data: &Value) -> Result<(), u16> {
        if self.session_of(link).is_some() {
            return Err(4005);
        }
        let token = data["token"].as_str().ok_or(4002_u16)?;
        let id = data["session_id"].as_str().ok_or(4002_u16)?.to_owned();
        let seq = data["seq"].as_u64().ok_or(4002_u16)?;
        if !self.is_token(token) {
            return Err(4004);
        }
        let replayed = self.rewind(link, &id, seq)?;
        let asked = Asked::Resume {
            session: id.clone(),
            seq,
            replayed,
        };
        self.record.asked(link, asked);
        if replayed.is_some() {
            self.attach(link, id);
        } else if let Some(link) = self.gateway.links.get_mut(&link) {
            link.tell(9, &false.into());
        }
        Ok(())
    }

    /// Sets a session back to what the client has seen; `None` when that cannot be replayed.
    fn rewind(&mut self, link: u64, id: &str, seq: u64) -> Result<Option<usize>, u16> {
        let overlap = self.gateway.settings.overlap;
        let Some(session) = self.gateway.sessions.get_mut(id) else {
            return Ok(None);
        };
        if seq > session.seq {
            self.gateway.sessions.remove(id);
            return Err(4007);
        }
        if seq < session.lost {
            self.gateway.sessions.remove(id);
            return Ok(None);
        }
        session.sent = seq
            .saturating_sub(overlap)
            .max(session.lost)
            .max(1.min(seq));
        let sent = session.sent;
        let missed = session.buffer.iter().filter(|one| one.seq > sent).count();
        let trace = json!({"_trace": ["[\"gateway-prd-us-east1-c-4k8x\",{\"micros\":812}]"]});
        session.push("RESUMED", &trace, Instant::now(), usize::MAX);
        if let Some(old) = session.link.replace(link) {
            self.gateway.links.remove(&old).inspect(|old| old.cut.cut());
        }
        Ok(Some(missed))
    }

    /// Dispatches an event that happens in a channel.
    pub(crate) fn dispatch_in(&mut self, channel: u64, name: &str, data: Value, private: bool) {
        let guild = self.world.channels.get(&channel).and_then(|c| c.guild);
        let guild = guild.filter(|_| !private);
        let visible = self.world.channels.get(&channel).is_none_or(|channel| {
            let view = crate::fake_discord::world::permission::VIEW_CHANNEL;
            self.world.permissions(channel) & view != 0
        });
        let present = guild.is_none_or(|id| self.world.guilds.get(&id).is_some_and(|g| g.present));
        if visible && present {
            let bit = if guild.is_some() {
                intent::GUILD_MESSAGES
            } else {
                intent::DIRECT_MESSAGES
            };
            self.dispatch(&Event {
                name: name.to_owned(),
                data,
                guild,
                intents: bit,
            });
        }
    }
}
