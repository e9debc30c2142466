//! Guilds, channels, threads and roles, as far as messages refer to them.
//!
//! Invariant: bounded; holds what Discord last said of each. Answers at once, and asks nobody.

use std::collections::HashMap;

use hashlink::LruCache;
use parking_lot::Mutex;

use crate::news::{Channel, Guild, Overwrite, Role};

mod permissions;

/// Channels and threads kept, the least used fall out: some 200 bytes each.
const CHANNELS: usize = 50_000;

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    /// The guild, if any.
    pub(crate) guild: Option<u64>,
    /// The channel; a thread's parent.
    pub(crate) channel: u64,
    /// The thread, if it is one.
    pub(crate) thread: Option<u64>,
}

impl At {
    /// A place of which nothing more is known.
    pub(crate) const fn plain(guild: Option<u64>, channel: u64) -> Self {
        Self {
            guild,
            channel,
            thread: None,
        }
    }

    /// The channel or thread itself, as the API names it.
    pub(crate) fn itself(self) -> u64 {
        self.thread.unwrap_or(self.channel)
    }
}

#[derive(Debug)]
struct Place {
    guild: Option<u64>,
    /// A thread's channel.
    parent: Option<u64>,
    name: Option<String>,
    overwrites: Vec<Overwrite>,
}

#[derive(Debug, Default)]
struct GuildRoles {
    owner: Option<u64>,
    roles: HashMap<u64, Role>,
}

/// What is known of guilds, channels and roles.
#[derive(Debug)]
pub(crate) struct Directory {
    places: Mutex<LruCache<u64, Place>>,
    guilds: Mutex<HashMap<u64, GuildRoles>>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            places: Mutex::new(LruCache::new(CHANNELS)),
            guilds: Mutex::default(),
        }
    }
}

impl Directory {
    pub(crate) fn learn_guild(&self, guild: &Guild) {
        let roles = guild.roles.iter().map(|role| (role.id, role.clone()));
        let known = GuildRoles {
            owner: guild.owner_id,
            roles: roles.collect(),
        };
        self.guilds.lock().insert(guild.id, known);
        for channel in guild.channels.iter().chain(&guild.threads) {
            self.learn(channel, Some(guild.id));
        }
    }

    pub(crate) fn learn(&self, channel: &Channel, guild: Option<u64>) {
        let place = Place {
            guild: channel.guild_id.or(guild),
            parent: channel.parent_id.filter(|_| channel.is_thread()),
            name: channel.name.clone(),
            overwrites: channel.permission_overwrites.clone(),
        };
        self.places.lock().insert(channel.id, place);
    }

    pub(crate) fn learn_role(&self, guild: u64, role: Role) {
        let mut guilds = self.guilds.lock();
        guilds.entry(guild).or_default().roles.insert(role.id, role);
    }

    pub(crate) fn forget_role(&self, guild: u64, role: u64) {
        if let Some(guild) = self.guilds.lock().get_mut(&guild) {
            guild.roles.remove(&role);
        }
    }

    pub(crate) fn forget_guild(&self, guild: u64) {
        self.guilds.lock().remove(&guild);
    }

    /// Where a channel or thread is, if known.
    pub(crate) fn at(&self, channel: u64) -> Option<At> {
        let mut places = self.places.lock();
        let place = places.get(&channel)?;
        Some(match place.parent {
            Some(parent) => At {
                guild: place.guild,
                channel: parent,
                thread: Some(channel),
            },
            None => At::plain(place.guild, channel),
        })
    }

    /// A channel's name, if known.
    pub(crate) fn channel_name(&self, channel: u64) -> Option<String> {
        self.places.lock().get(&channel)?.name.clone()
    }

    /// A role's name, if known.
    pub(crate) fn role_name(&self, guild: u64, role: u64) -> Option<String> {
        let guilds = self.guilds.lock();
        guilds
            .get(&guild)?
            .roles
            .get(&role)
            .map(|role| role.name.clone())
    }

    /// True when the role is a bot's own.
    pub(crate) fn is_role_of(&self, guild: u64, role: u64, bot: u64) -> bool {
        let guilds = self.guilds.lock();
        let tags = guilds
            .get(&guild)
            .and_then(|g| g.roles.get(&role)?.tags.as_ref()?.bot_id);
        tags == Some(bot)
    }

    /// True when a member may delete others' messages at a place; false when too little is known.
    pub(crate) fn may_moderate(&self, at: At, user: u64, roles: &[u64]) -> bool {
        let Some(guild) = at.guild else {
            return false;
        };
        let overwrites = {
            let mut places = self.places.lock();
            places
                .get(&at.channel)
                .map(|place| place.overwrites.clone())
                .unwrap_or_default()
        };
        let guilds = self.guilds.lock();
        guilds.get(&guild).is_some_and(|known| {
            known.owner == Some(user)
                || permissions::may_moderate(guild, &known.roles, user, roles, &overwrites)
        })
    }
}

#[cfg(test)]
mod tests;
