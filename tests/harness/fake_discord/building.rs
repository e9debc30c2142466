//! Building the world: users, guilds, channels, threads, roles, permissions.

use serde_json::json;

use super::FakeDiscord;
use super::gateway::{Event, intent};
use super::render;
use super::state::State;
use super::talking::Post;
use super::world::{Channel, Guild, Message, Role, User, flag, kind, permission};

impl FakeDiscord {
    /// A user.
    pub fn user(&self, name: &str) -> u64 {
        self.add_user(name, false)
    }

    /// A bot, not the one under test.
    pub fn other_bot(&self, name: &str) -> u64 {
        self.add_user(name, true)
    }

    fn add_user(&self, name: &str, bot: bool) -> u64 {
        self.shared.with(|state| {
            let id = state.world.next_id();
            let user = User {
                id,
                name: name.to_lowercase(),
                global_name: Some(name.to_owned()).filter(|_| !bot),
                bot,
                blocks: false,
            };
            state.world.users.insert(id, user);
            id
        })
    }

    /// A guild with the bot in it, owned by a user of its own. The next one falls on the next shard.
    pub fn guild(&self, name: &str) -> u64 {
        let owner = self.user(&format!("Owner of {name}"));
        self.shared.with(|state| {
            let id = state.world.next_guild_id();
            let bot = state.world.bot;
            let role = |id, name: &str, permissions| Role {
                id,
                name: name.to_owned(),
                permissions,
                mentionable: false,
            };
            let own = state.world.next_id();
            let guild = Guild {
                id,
                name: name.to_owned(),
                owner,
                members: std::collections::BTreeMap::new(),
                roles: [
                    (id, role(id, "@everyone", permission::MEMBER)),
                    (own, role(own, "Scrollback", permission::BOT)),
                ]
                .into(),
                present: true,
            };
            state.world.guilds.insert(id, guild);
            state.world.join(id, owner);
            state.world.join(id, bot);
            let guild = state.world.guilds.get_mut(&id);
            if let Some(member) = guild.and_then(|guild| guild.members.get_mut(&bot)) {
                member.roles.push(own);
            }
            state.guild_create(id);
            id
        })
    }

    /// A text channel.
    pub fn text_channel(&self, guild: u64, name: &str) -> u64 {
        self.channel(guild, name, kind::TEXT)
    }

    /// An announcement channel.
    pub fn announcement_channel(&self, guild: u64, name: &str) -> u64 {
        self.channel(guild, name, kind::ANNOUNCEMENT)
    }

    /// A forum; only its posts take messages.
    pub fn forum(&self, guild: u64, name: &str) -> u64 {
        self.channel(guild, name, kind::FORUM)
    }

    fn channel(&self, guild: u64, name: &str, kind: u8) -> u64 {
        self.shared.with(|state| {
            assert!(state.world.guilds.contains_key(&guild), "no guild {guild}");
            let id = state.world.next_id();
            let channel = Channel {
                id,
                kind,
                guild: Some(guild),
                name: name.to_owned(),
                ..Channel::default()
            };
            state.world.channels.insert(id, channel);
            state.channel_event("CHANNEL_CREATE", id);
            id
        })
    }

    /// The private channel of the bot with a user.
    pub fn dm(&self, user: u64) -> u64 {
        self.shared.with(|state| {
            assert!(state.world.users.contains_key(&user), "no user {user}");
            state.world.private_channel(user)
        })
    }

    /// A post in a forum: a thread whose first message has the thread's id.
    pub fn forum_post(&self, forum: u64, user: u64, title: &str, text: &str) -> u64 {
        self.shared.with(|state| {
            let id = state.world.next_id();
            state.add_thread(id, forum, user, title);
            let post = Post::new(text);
            state.post_as(id, user, &post, Some(id));
            id
        })
    }

    /// A thread, from a message or from nothing. A message of type 18 appears in the parent; in a
    /// thread from a message one of type 21 begins it, and the thread has that message's id.
    pub fn thread(&self, parent: u64, user: u64, name: &str, from: Option<u64>) -> u64 {
        self.shared.with(|state| {
            let id = from.unwrap_or_else(|| state.world.next_id());
            let guild = state.world.channels.get(&parent).and_then(|c| c.guild);
            state.add_thread(id, parent, user, name);
            let system = |message_id: u64, channel: u64, kind: u8| Message {
                id: message_id,
                channel,
                author: user,
                kind,
                ..Message::default()
            };
            let started = from.map_or(id, |_| state.world.next_id());
            state.world.put(Message {
                content: name.to_owned(),
                reference: Some(json!({
                    "type": 0, "channel_id": render::id(id), "guild_id": guild.map(render::id),
                })),
                ..system(started, parent, 18)
            });
            state.message_event("MESSAGE_CREATE", parent, started);
            let Some(from) = from else { return id };
            let first = state.world.next_id();
            state.world.put(Message {
                reference: Some(json!({
                    "type": 0, "channel_id": render::id(parent), "message_id": render::id(from),
                    "guild_id": guild.map(render::id),
                })),
                referenced: Some((parent, from)),
                ..system(first, id, 21)
            });
            state.message_event("MESSAGE_CREATE", id, first);
            let starter = state.world.channels.get_mut(&parent);
            if let Some(starter) = starter.and_then(|parent| parent.messages.get_mut(&from)) {
                starter.thread = Some(id);
                starter.flags |= flag::HAS_THREAD;
            }
            state.message_event("MESSAGE_UPDATE", parent, from);
            id
        })
    }

    /// Archives a thread, or locks it too.
    pub fn archive(&self, thread: u64, locked: bool) {
        self.shared.with(|state| {
            if let Some(channel) = state.world.channels.get_mut(&thread) {
                channel.archived = true;
                channel.locked = locked;
            }
            state.channel_event("THREAD_UPDATE", thread);
        });
    }

    /// Renames a channel or thread.
    pub fn rename(&self, channel: u64, name: &str) {
        self.shared.with(|state| {
            let Some(known) = state.world.channels.get_mut(&channel) else {
                return;
            };
            name.clone_into(&mut known.name);
            let event = if known.is_thread() {
                "THREAD_UPDATE"
            } else {
                "CHANNEL_UPDATE"
            };
            state.channel_event(event, channel);
        });
    }

    /// A role.
    pub fn role(&self, guild: u64, name: &str, mentionable: bool) -> u64 {
        self.shared.with(|state| {
            let id = state.world.next_id();
            let role = Role {
                id,
                name: name.to_owned(),
                permissions: 0,
                mentionable,
            };
            if let Some(guild) = state.world.guilds.get_mut(&guild) {
                guild.roles.insert(id, role);
            }
            id
        })
    }

    /// Makes a user a member, with these permissions besides an ordinary member's.
    pub fn grant(&self, guild: u64, user: u64, permissions: u64) {
        self.shared.with(|state| {
            state.world.join(guild, user);
            let guild = state.world.guilds.get_mut(&guild);
            if let Some(member) = guild.and_then(|guild| guild.members.get_mut(&user)) {
                member.permissions |= permissions;
            }
        });
    }

    /// Gives a member a role.
    pub fn give_role(&self, guild: u64, user: u64, role: u64) {
        self.shared.with(|state| {
            state.world.join(guild, user);
            let guild = state.world.guilds.get_mut(&guild);
            if let Some(member) = guild.and_then(|guild| guild.members.get_mut(&user)) {
                member.roles.push(role);
            }
        });
    }

    /// Gives a member a name of their own in a guild.
    pub fn nickname(&self, guild: u64, user: u64, nick: &str) {
        self.shared.with(|state| {
            state.world.join(guild, user);
            let guild = state.world.guilds.get_mut(&guild);
            if let Some(member) = guild.and_then(|guild| guild.members.get_mut(&user)) {
                member.nick = Some(nick.to_owned());
            }
        });
    }

    /// Takes permissions from the bot in a channel and its threads.
    pub fn deny(&self, channel: u64, permissions: u64) {
        self.overwrite(channel, |known| {
            known.deny |= permissions;
            known.allow &= !permissions;
        });
    }

    /// Gives the bot permissions in a channel and its threads.
    pub fn allow(&self, channel: u64, permissions: u64) {
        self.overwrite(channel, |known| {
            known.allow |= permissions;
            known.deny &= !permissions;
        });
    }

    fn overwrite(&self, channel: u64, change: impl FnOnce(&mut Channel)) {
        self.shared.with(|state| {
            if let Some(known) = state.world.channels.get_mut(&channel) {
                change(known);
            }
            state.channel_event("CHANNEL_UPDATE", channel);
        });
    }

    /// A user takes private messages from the bot no longer, or again.
    pub fn block(&self, user: u64, blocks: bool) {
        self.shared.with(|state| {
            if let Some(user) = state.world.users.get_mut(&user) {
                user.blocks = blocks;
            }
        });
    }

    /// Deletes a channel or thread with its messages.
    pub fn delete_channel(&self, channel: u64) {
        self.shared.with(|state| {
            let thread = state.world.channels.get(&channel).map(Channel::is_thread);
            let event = match thread {
                Some(true) => "THREAD_DELETE",
                Some(false) => "CHANNEL_DELETE",
                None => return,
            };
            state.channel_event(event, channel);
            state.world.channels.remove(&channel);
            let parent = |one: &Channel| one.is_thread() && one.parent == Some(channel);
            state.world.channels.retain(|_, one| !parent(one));
        });
    }

    /// Puts the bot out of a guild.
    pub fn kick(&self, guild: u64) {
        self.shared.with(|state| {
            if let Some(guild) = state.world.guilds.get_mut(&guild) {
                guild.present = false;
            }
            state.guild_event("GUILD_DELETE", guild, json!({"id": render::id(guild)}));
        });
    }

    /// A guild is not there for a while: an outage, not a kick.
    pub fn guild_outage(&self, guild: u64) {
        let data = json!({"id": render::id(guild), "unavailable": true});
        self.shared
            .with(|state| state.guild_event("GUILD_DELETE", guild, data));
    }

    /// The bot is in a guild again, after a kick or an outage.
    pub fn guild_back(&self, guild: u64) {
        self.shared.with(|state| {
            if let Some(guild) = state.world.guilds.get_mut(&guild) {
                guild.present = true;
            }
            state.guild_create(guild);
        });
    }
}

impl State {
    fn guild_create(&mut self, id: u64) {
        let guild = self.world.guilds.get(&id);
        if let Some(data) = guild.map(|guild| render::guild_create(&self.world, guild)) {
            self.guild_event("GUILD_CREATE", id, data);
        }
    }

    fn guild_event(&mut self, name: &str, guild: u64, data: serde_json::Value) {
        self.dispatch(&Event {
            name: name.to_owned(),
            data,
            guild: Some(guild),
            intents: intent::GUILDS,
        });
    }

    fn add_thread(&mut self, id: u64, parent: u64, user: u64, name: &str) {
        let Some(above) = self.world.channels.get(&parent) else {
            return;
        };
        let guild = above.guild;
        let announced = above.kind == kind::ANNOUNCEMENT;
        let thread = Channel {
            id,
            kind: if announced {
                kind::ANNOUNCEMENT_THREAD
            } else {
                kind::THREAD
            },
            guild,
            parent: Some(parent),
            name: name.to_owned(),
            owner: Some(user),
            ..Channel::default()
        };
        self.world.channels.insert(id, thread);
        if let Some(guild) = guild {
            self.world.join(guild, user);
        }
        self.channel_event("THREAD_CREATE", id);
    }

    /// Tells of a channel or thread as it is now.
    pub(crate) fn channel_event(&mut self, name: &str, id: u64) {
        let Some(channel) = self.world.channels.get(&id) else {
            return;
        };
        let Some(guild) = channel.guild else { return };
        let mut data = render::channel(&self.world, channel);
        match name {
            "THREAD_CREATE" => data["newly_created"] = true.into(),
            "THREAD_DELETE" => {
                data = json!({
                    "id": data["id"], "guild_id": data["guild_id"],
                    "parent_id": data["parent_id"], "type": data["type"],
                });
            }
            _ => {}
        }
        self.guild_event(name, guild, data);
    }
}
