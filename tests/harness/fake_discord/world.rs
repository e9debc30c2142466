//! What there is on the fake: users, guilds, channels, messages, interactions. Knows no connection.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;

/// Milliseconds from the Unix epoch to the first snowflake: the start of 2015.
const EPOCH_MS: u64 = 1_420_070_400_000;

/// Permission bits, as the API numbers them.
pub mod permission {
    /// Everything, everywhere.
    pub const ADMINISTRATOR: u64 = 1 << 3;
    /// Change the guild.
    pub const MANAGE_GUILD: u64 = 1 << 5;
    /// See a channel.
    pub const VIEW_CHANNEL: u64 = 1 << 10;
    /// Write in a channel.
    pub const SEND_MESSAGES: u64 = 1 << 11;
    /// Delete others' messages.
    pub const MANAGE_MESSAGES: u64 = 1 << 13;
    /// Send embeds.
    pub const EMBED_LINKS: u64 = 1 << 14;
    /// Send files.
    pub const ATTACH_FILES: u64 = 1 << 15;
    /// Read what was written before.
    pub const READ_MESSAGE_HISTORY: u64 = 1 << 16;
    /// Ping everyone, and every role.
    pub const MENTION_EVERYONE: u64 = 1 << 17;
    /// Use slash commands.
    pub const USE_APPLICATION_COMMANDS: u64 = 1 << 31;
    /// Write in locked threads.
    pub const MANAGE_THREADS: u64 = 1 << 34;
    /// Write in threads.
    pub const SEND_MESSAGES_IN_THREADS: u64 = 1 << 38;
    /// What an ordinary member has.
    pub const MEMBER: u64 = VIEW_CHANNEL
        | SEND_MESSAGES
        | EMBED_LINKS
        | ATTACH_FILES
        | READ_MESSAGE_HISTORY
        | USE_APPLICATION_COMMANDS
        | SEND_MESSAGES_IN_THREADS;
    /// What the bot starts with: a member's, and it may ping everyone, which is the worst case.
    pub const BOT: u64 = MEMBER | MENTION_EVERYONE;
}

/// Channel types, as the API numbers them.
pub(crate) mod kind {
    pub(crate) const TEXT: u8 = 0;
    pub(crate) const PRIVATE: u8 = 1;
    pub(crate) const ANNOUNCEMENT: u8 = 5;
    pub(crate) const ANNOUNCEMENT_THREAD: u8 = 10;
    pub(crate) const THREAD: u8 = 11;
    pub(crate) const FORUM: u8 = 15;
}

/// Message flags, as the API numbers them.
pub(crate) mod flag {
    pub(crate) const SUPPRESS_EMBEDS: u64 = 1 << 2;
    pub(crate) const HAS_THREAD: u64 = 1 << 5;
    pub(crate) const EPHEMERAL: u64 = 1 << 6;
    pub(crate) const LOADING: u64 = 1 << 7;
    pub(crate) const SUPPRESS_NOTIFICATIONS: u64 = 1 << 12;
}

#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) app: u64,
    pub(crate) bot: u64,
    pub(crate) users: BTreeMap<u64, User>,
    pub(crate) guilds: BTreeMap<u64, Guild>,
    pub(crate) channels: BTreeMap<u64, Channel>,
    pub(crate) interactions: BTreeMap<u64, Interaction>,
    pub(crate) commands: Vec<Value>,
    last_id: u64,
    guilds_made: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) global_name: Option<String>,
    pub(crate) bot: bool,
    /// Takes no private messages from the bot.
    pub(crate) blocks: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) nick: Option<String>,
    pub(crate) roles: Vec<u64>,
    pub(crate) permissions: u64,
    pub(crate) joined: Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) permissions: u64,
    pub(crate) mentionable: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Guild {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) owner: u64,
    pub(crate) members: BTreeMap<u64, Member>,
    pub(crate) roles: BTreeMap<u64, Role>,
    /// The bot is still in it.
    pub(crate) present: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Channel {
    pub(crate) id: u64,
    pub(crate) kind: u8,
    pub(crate) guild: Option<u64>,
    pub(crate) parent: Option<u64>,
    pub(crate) name: String,
    pub(crate) owner: Option<u64>,
    pub(crate) recipient: Option<u64>,
    pub(crate) allow: u64,
    pub(crate) deny: u64,
    pub(crate) archived: bool,
    pub(crate) locked: bool,
    pub(crate) messages: BTreeMap<u64, Message>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) channel: u64,
    pub(crate) author: u64,
    pub(crate) kind: u8,
    pub(crate) content: String,
    pub(crate) edited: Option<Timestamp>,
    pub(crate) mention_everyone: bool,
    pub(crate) mentions: Vec<u64>,
    pub(crate) mention_roles: Vec<u64>,
    pub(crate) attachments: Vec<Value>,
    pub(crate) embeds: Vec<Value>,
    pub(crate) components: Vec<Value>,
    pub(crate) flags: u64,
    pub(crate) tts: bool,
    pub(crate) nonce: Option<Value>,
    pub(crate) reference: Option<Value>,
    /// The message it answers or starts from, in which channel.
    pub(crate) referenced: Option<(u64, u64)>,
    pub(crate) webhook: Option<(u64, String)>,
    pub(crate) interaction: Option<u64>,
    pub(crate) thread: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Interaction {
    pub(crate) id: u64,
    pub(crate) token: String,
    pub(crate) channel: u64,
    pub(crate) user: u64,
    pub(crate) command: String,
    pub(crate) at: Instant,
    pub(crate) acknowledged: bool,
    pub(crate) original: Option<u64>,
}

impl Channel {
    pub(crate) fn is_thread(&self) -> bool {
        (kind::ANNOUNCEMENT_THREAD..=12).contains(&self.kind)
    }

    pub(crate) fn is_private(&self) -> bool {
        self.kind == kind::PRIVATE
    }
}

impl World {
    /// A snowflake of this moment, above every other.
    pub(crate) fn next_id(&mut self) -> u64 {
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(EPOCH_MS);
        self.last_id = snowflake(now).max(self.last_id + 1);
        self.last_id
    }

    /// A guild's id; one after another they fall on one shard after another.
    pub(crate) fn next_guild_id(&mut self) -> u64 {
        self.guilds_made += 1;
        snowflake(1_700_000_000_000 + self.guilds_made)
    }

    /// What the bot may do in a channel; a thread has its parent's permissions.
    pub(crate) fn permissions(&self, channel: &Channel) -> u64 {
        self.permissions_of(self.bot, channel)
    }

    /// What a user may do in a channel. Only the bot has overwrites.
    pub(crate) fn permissions_of(&self, user: u64, channel: &Channel) -> u64 {
        let Some(guild) = channel.guild.and_then(|id| self.guilds.get(&id)) else {
            return permission::MEMBER;
        };
        let own = channel.parent.filter(|_| channel.is_thread());
        let holder = own.and_then(|id| self.channels.get(&id)).unwrap_or(channel);
        let base = self.base_permissions(guild, user);
        if base & permission::ADMINISTRATOR != 0 || guild.owner == user {
            return u64::MAX >> 14;
        }
        if user == self.bot {
            (base & !holder.deny) | holder.allow
        } else {
            base
        }
    }

    fn base_permissions(&self, guild: &Guild, user: u64) -> u64 {
        let Some(member) = guild.members.get(&user) else {
            return 0;
        };
        let roles = member.roles.iter().filter_map(|id| guild.roles.get(id));
        roles.fold(member.permissions, |all, role| all | role.permissions)
    }

    pub(crate) fn message(&self, channel: u64, message: u64) -> Option<&Message> {
        self.channels.get(&channel)?.messages.get(&message)
    }

    pub(crate) fn put(&mut self, message: Message) {
        if let Some(channel) = self.channels.get_mut(&message.channel) {
            channel.messages.insert(message.id, message);
        }
    }

    /// Makes a user a member, unless they are one.
    pub(crate) fn join(&mut self, guild: u64, user: u64) {
        if let Some(guild) = self.guilds.get_mut(&guild) {
            guild.members.entry(user).or_insert_with(|| Member {
                nick: None,
                roles: Vec::new(),
                permissions: permission::MEMBER,
                joined: Timestamp::now(),
            });
        }
    }

    /// The private channel with a user, made when there is none.
    pub(crate) fn private_channel(&mut self, user: u64) -> u64 {
        let with = |channel: &&Channel| channel.recipient == Some(user);
        if let Some(channel) = self.channels.values().find(with) {
            return channel.id;
        }
        let id = self.next_id();
        let channel = Channel {
            id,
            kind: kind::PRIVATE,
            recipient: Some(user),
            ..Channel::default()
        };
        self.channels.insert(id, channel);
        id
    }
}

fn snowflake(unix_ms: u64) -> u64 {
    unix_ms.saturating_sub(EPOCH_MS) << 22
}

/// The moment a snowflake was made.
pub(crate) fn time_of(id: u64) -> Timestamp {
    let ms = i64::try_from((id >> 22) + EPOCH_MS).unwrap_or_default();
    Timestamp::from_millisecond(ms).unwrap_or_default()
}
