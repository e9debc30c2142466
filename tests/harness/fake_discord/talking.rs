//! What people do in channels: write, answer, edit, delete.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::FakeDiscord;
use super::render::{self, View};
use super::rest::named;
use super::state::State;
use super::world::{Message, flag, permission};

/// A message from somebody, when text is not all of it.
#[derive(Debug, Clone, Default)]
pub struct Post {
    text: String,
    reply_to: Option<u64>,
    kind: u8,
    webhook: bool,
    attachments: Vec<Attached>,
    embeds: Vec<Value>,
}

/// A file somebody attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Its name.
    pub name: String,
    /// What it is said to be.
    pub content_type: Option<String>,
    /// How long it is.
    pub size: u64,
}

impl Post {
    /// A text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..Self::default()
        }
    }

    /// As an answer to a message of the same channel.
    #[must_use]
    pub fn reply_to(self, message: u64) -> Self {
        Self {
            reply_to: Some(message),
            ..self
        }
    }

    /// As a system message of this type, such as 7 (a member joined) or 6 (a message was pinned).
    #[must_use]
    pub fn kind(self, kind: u8) -> Self {
        Self { kind, ..self }
    }

    /// By a webhook with the user's name.
    #[must_use]
    pub fn by_webhook(self) -> Self {
        Self {
            webhook: true,
            ..self
        }
    }

    /// With a file.
    #[must_use]
    pub fn attach(mut self, name: &str, content_type: &str, size: u64) -> Self {
        self.attachments.push(Attached {
            name: name.to_owned(),
            content_type: Some(content_type.to_owned()),
            size,
        });
        self
    }

    /// With an embed as the API writes it.
    #[must_use]
    pub fn embed(mut self, embed: Value) -> Self {
        self.embeds.push(embed);
        self
    }
}

impl FakeDiscord {
    /// A user writes a text; they become a member when they were none.
    pub fn say(&self, channel: u64, user: u64, text: &str) -> u64 {
        self.post(channel, user, &Post::new(text))
    }

    /// A user answers a message of the same channel.
    pub fn reply(&self, channel: u64, user: u64, to: u64, text: &str) -> u64 {
        self.post(channel, user, &Post::new(text).reply_to(to))
    }

    /// A user writes more than a text.
    pub fn post(&self, channel: u64, user: u64, post: &Post) -> u64 {
        self.shared
            .with(|state| state.post_as(channel, user, post, None))
    }

    /// The author changes a message.
    pub fn edit(&self, channel: u64, message: u64, text: &str) {
        self.shared.with(|state| {
            let (mentions, mention_roles) = (named(text, false), named(text, true));
            let users = &state.world.users;
            let mentions = mentions
                .into_iter()
                .filter(|id| users.contains_key(id))
                .collect();
            let known = state.world.channels.get_mut(&channel);
            let known = known.and_then(|channel| channel.messages.get_mut(&message));
            if let Some(known) = known {
                text.clone_into(&mut known.content);
                known.mentions = mentions;
                known.mention_roles = mention_roles;
                known.edited = Some(Timestamp::now());
            }
            state.message_event("MESSAGE_UPDATE", channel, message);
        });
    }

    /// An embed appears under a message for a link in it: an update that is no edit.
    pub fn unfurl(&self, channel: u64, message: u64, url: &str) {
        self.shared.with(|state| {
            let known = state.world.channels.get_mut(&channel);
            if let Some(known) = known.and_then(|channel| channel.messages.get_mut(&message)) {
                known
                    .embeds
                    .push(json!({"type": "link", "url": url, "title": url}));
            }
            state.message_event("MESSAGE_UPDATE", channel, message);
        });
    }

    /// A message is deleted.
    pub fn delete(&self, channel: u64, message: u64) {
        self.shared.with(|state| state.remove(channel, message));
    }

    /// Several messages are deleted at once.
    pub fn bulk_delete(&self, channel: u64, messages: &[u64]) {
        self.shared.with(|state| {
            let mut data = json!({
                "ids": render::ids(messages), "channel_id": render::id(channel),
            });
            let known = state.world.channels.get_mut(&channel);
            let guild = known.and_then(|known| {
                known.messages.retain(|id, _| !messages.contains(id));
                known.guild
            });
            if let Some(guild) = guild {
                data["guild_id"] = render::id(guild);
            }
            state.dispatch_in(channel, "MESSAGE_DELETE_BULK", data, false);
        });
    }
}

impl State {
    /// Makes a message of a user and tells of it.
    pub(super) fn post_as(&mut self, channel: u64, user: u64, post: &Post, id: Option<u64>) -> u64 {
        let id = id.unwrap_or_else(|| self.world.next_id());
        let guild = self
            .world
            .channels
            .get(&channel)
            .map(|channel| channel.guild);
        assert!(guild.is_some(), "no channel {channel}");
        let guild = guild.flatten();
        if let Some(guild) = guild.filter(|_| !post.webhook) {
            self.world.join(guild, user);
        }
        let mut message = Message {
            id,
            channel,
            author: user,
            kind: post.kind,
            content: post.text.clone(),
            mention_roles: named(&post.text, true),
            attachments: self.attached(channel, &post.attachments),
            embeds: post.embeds.clone(),
            ..Message::default()
        };
        self.name_people(&mut message, post.reply_to);
        if let Some(to) = post.reply_to {
            message.kind = 19;
            message.referenced = Some((channel, to));
            let mut reference = json!({
                "type": 0, "channel_id": render::id(channel), "message_id": render::id(to),
            });
            if let Some(guild) = guild {
                reference["guild_id"] = render::id(guild);
            }
            message.reference = Some(reference);
        }
        if post.webhook {
            let name = self.world.users.get(&user).map(|user| user.name.clone());
            message.webhook = Some((user, name.unwrap_or_default()));
        }
        self.world.put(message);
        self.message_event("MESSAGE_CREATE", channel, id);
        id
    }

    fn name_people(&self, message: &mut Message, reply_to: Option<u64>) {
        let users = &self.world.users;
        message.mentions = named(&message.content, false);
        message.mentions.retain(|id| users.contains_key(id));
        let to = reply_to.and_then(|to| self.world.message(message.channel, to));
        if let Some(to) = to.filter(|to| !message.mentions.contains(&to.author)) {
            message.mentions.push(to.author);
        }
        let channel = self.world.channels.get(&message.channel);
        let may = channel.is_some_and(|channel| {
            let bits = self.world.permissions_of(message.author, channel);
            channel.guild.is_some() && bits & permission::MENTION_EVERYONE != 0
        });
        let all = message.content.contains("@everyone") || message.content.contains("@here");
        message.mention_everyone = may && all;
    }

    fn attached(&mut self, channel: u64, files: &[Attached]) -> Vec<Value> {
        let files = files.iter();
        files
            .map(|file| {
                let id = self.world.next_id();
                let path = format!(
                    "attachments/{channel}/{id}/{}?ex=6743&is=6742&hm=0f",
                    file.name
                );
                let mut out = json!({
                    "id": render::id(id), "filename": file.name, "size": file.size,
                    "url": format!("https://cdn.discordapp.com/{path}"),
                    "proxy_url": format!("https://media.discordapp.net/{path}"),
                    "content_type": file.content_type, "content_scan_version": 0,
                });
                if file
                    .content_type
                    .as_ref()
                    .is_some_and(|kind| kind.starts_with("image/"))
                {
                    out["width"] = 640.into();
                    out["height"] = 480.into();
                    out["placeholder"] = "3QcGDYQ4Z3eAh4mPd3eHh2eKhwiHd4AI".into();
                    out["placeholder_version"] = 1.into();
                }
                out
            })
            .collect()
    }

    /// Tells of a message as it is now.
    pub(crate) fn message_event(&mut self, name: &str, channel: u64, id: u64) {
        let Some(message) = self.world.message(channel, id) else {
            return;
        };
        let data = render::message(&self.world, message, View::Event);
        let private = message.flags & flag::EPHEMERAL != 0;
        self.dispatch_in(channel, name, data, private);
    }

    /// Deletes a message and tells of it.
    pub(crate) fn remove(&mut self, channel: u64, id: u64) {
        let Some(known) = self.world.channels.get_mut(&channel) else {
            return;
        };
        let Some(gone) = known.messages.remove(&id) else {
            return;
        };
        let mut data = json!({"id": render::id(id), "channel_id": render::id(channel)});
        let private = gone.flags & flag::EPHEMERAL != 0;
        if let Some(guild) = known.guild.filter(|_| !private) {
            data["guild_id"] = render::id(guild);
        }
        if let Some(sent) = self.record.sent_mut(id) {
            sent.deleted = true;
        }
        self.dispatch_in(channel, "MESSAGE_DELETE", data, private);
    }
}
