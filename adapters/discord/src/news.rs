//! Reads events: what Discord sends, as what the bot does something about.
//!
//! Invariant: total; an event that is of interest and cannot be read is [`News::Unreadable`], with its
//! channel where that can be told. Messages are read by serenity's types; of guilds and channels only the few
//! fields that are needed, so that nothing else in them can make a guild unreadable. Keeps nothing.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serenity::all::{
    CommandInteraction, Interaction, Message, MessageDeleteBulkEvent, MessageDeleteEvent,
    MessageUpdateEvent,
};

use crate::snowflake::in_json;

/// An event that the bot does something about.
#[derive(Debug)]
pub(crate) enum News {
    /// Somebody said something.
    Said(Box<Message>),
    /// A message changed, or only its embeds did.
    Changed(Box<MessageUpdateEvent>),
    /// Messages are gone.
    Gone {
        /// The guild, if any.
        guild: Option<u64>,
        /// The channel or thread.
        channel: u64,
        /// Which.
        ids: Vec<u64>,
    },
    /// A command of Discord's own list was used.
    Used(Box<CommandInteraction>),
    /// A guild with its channels: at the start of a session, when joined, after an outage.
    Guild(Box<Guild>),
    /// The bot is no longer in a guild; or it is only away.
    GuildGone {
        /// Which.
        id: u64,
        /// It is only away.
        away: bool,
    },
    /// A channel or thread is new or changed.
    Channel {
        /// What it is now.
        channel: Channel,
        /// It was made just now: there is nothing to be missed in it.
        new: bool,
    },
    /// A channel or thread is gone.
    ChannelGone(u64),
    /// Threads that the bot can see now.
    Threads(Vec<Channel>),
    /// A role is new or changed.
    Role {
        /// Where.
        guild: u64,
        /// What it is now.
        role: Role,
    },
    /// A role is gone.
    RoleGone {
        /// Where.
        guild: u64,
        /// Which.
        id: u64,
    },
    /// A member changed; told without a privileged intent only of the bot itself.
    Member {
        /// Where.
        guild: u64,
    },
    /// Of interest, and cannot be read.
    Unreadable {
        /// The guild, if it can be told.
        guild: Option<u64>,
        /// The channel, if it can be told.
        channel: Option<u64>,
    },
}

/// A guild, as far as it is needed.
#[derive(Debug, Deserialize)]
pub(crate) struct Guild {
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub(crate) id: u64,
    /// Who may do everything there.
    #[serde(default, deserialize_with = "maybe_id")]
    pub(crate) owner_id: Option<u64>,
    /// Its roles.
    #[serde(default, deserialize_with = "each")]
    pub(crate) roles: Vec<Role>,
    /// Its channels.
    #[serde(default, deserialize_with = "each")]
    pub(crate) channels: Vec<Channel>,
    /// Its active threads.
    #[serde(default, deserialize_with = "each")]
    pub(crate) threads: Vec<Channel>,
}

/// A role, as far as it is needed.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Role {
    /// Its id; the one of everybody has the guild's.
    #[serde(deserialize_with = "id")]
    pub(crate) id: u64,
    /// Its name.
    #[serde(default)]
    pub(crate) name: String,
    /// What it allows.
    #[serde(default, deserialize_with = "bits")]
    pub(crate) permissions: u64,
    /// What it stands for.
    #[serde(default)]
    pub(crate) tags: Option<Tags>,
}

/// What a role stands for.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Tags {
    /// The bot whose own role it is.
    #[serde(default, deserialize_with = "maybe_id")]
    pub(crate) bot_id: Option<u64>,
}

/// A channel or thread, as far as it is needed.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Channel {
    /// Its id.
    #[serde(deserialize_with = "id")]
    pub(crate) id: u64,
    /// Its guild; not told inside a guild.
    #[serde(default, deserialize_with = "maybe_id")]
    pub(crate) guild_id: Option<u64>,
    /// What it is.
    #[serde(rename = "type", default)]
    pub(crate) kind: u8,
    /// A thread's channel; a channel's category.
    #[serde(default, deserialize_with = "maybe_id")]
    pub(crate) parent_id: Option<u64>,
    /// Its name.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Its newest message, which may be gone.
    #[serde(default, deserialize_with = "maybe_id")]
    pub(crate) last_message_id: Option<u64>,
    /// A thread was made, not only come into sight.
    #[serde(default)]
    newly_created: bool,
    /// What it allows and denies whom.
    #[serde(default, deserialize_with = "each")]
    pub(crate) permission_overwrites: Vec<Overwrite>,
}

/// What a channel allows and denies one role or member.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Overwrite {
    /// Of the role or member.
    #[serde(deserialize_with = "id")]
    pub(crate) id: u64,
    /// What it allows.
    #[serde(default, deserialize_with = "bits")]
    pub(crate) allow: u64,
    /// What it denies.
    #[serde(default, deserialize_with = "bits")]
    pub(crate) deny: u64,
}

impl Channel {
    /// True for threads, posts of forums included.
    pub(crate) const fn is_thread(&self) -> bool {
        matches!(self.kind, 10..=12)
    }

    /// True where messages are: text, voice, announcements, stages and threads.
    pub(crate) const fn holds_messages(&self) -> bool {
        matches!(self.kind, 0 | 2 | 5 | 13) || self.is_thread()
    }
}

/// Reads an event; `None` when it is of no interest.
pub(crate) fn read(kind: &str, data: Value) -> Option<News> {
    match kind {
        "MESSAGE_CREATE" => Some(message(&data)),
        "MESSAGE_UPDATE" => parsed(data, |update| Some(News::Changed(Box::new(update)))),
        "MESSAGE_DELETE" => parsed(data, |gone: MessageDeleteEvent| {
            Some(News::Gone {
                guild: gone.guild_id.map(u64::from),
                channel: gone.channel_id.get(),
                ids: vec![gone.message_id.get()],
            })
        }),
        "MESSAGE_DELETE_BULK" => parsed(data, |gone: MessageDeleteBulkEvent| {
            Some(News::Gone {
                guild: gone.guild_id.map(u64::from),
                channel: gone.channel_id.get(),
                ids: gone.ids.into_iter().map(u64::from).collect(),
            })
        }),
        "INTERACTION_CREATE" => parsed(data, |interaction| match interaction {
            Interaction::Command(command) => Some(News::Used(Box::new(command))),
            _ => None,
        }),
        // One that is away holds nothing: to begin with it would be to begin at the guild's first day.
        "GUILD_CREATE" if is_away(&data) => guild_gone(&data),
        "GUILD_CREATE" => parsed(data, |guild: Guild| Some(News::Guild(Box::new(guild)))),
        "GUILD_DELETE" => guild_gone(&data),
        "CHANNEL_CREATE" | "CHANNEL_UPDATE" | "THREAD_CREATE" | "THREAD_UPDATE" => {
            parsed(data, |channel: Channel| {
                let new = kind == "CHANNEL_CREATE" || channel.newly_created;
                Some(News::Channel { channel, new })
            })
        }
        "CHANNEL_DELETE" | "THREAD_DELETE" => field(&data, "id").map(News::ChannelGone),
        "THREAD_LIST_SYNC" => {
            let guild_id = field(&data, "guild_id");
            let threads = data.get("threads").cloned().unwrap_or_default();
            let threads: Vec<Channel> = each(threads).unwrap_or_default();
            let known = |channel| Channel {
                guild_id,
                ..channel
            };
            Some(News::Threads(threads.into_iter().map(known).collect()))
        }
        "GUILD_ROLE_CREATE" | "GUILD_ROLE_UPDATE" => role(&data),
        "GUILD_ROLE_DELETE" => Some(News::RoleGone {
            guild: field(&data, "guild_id")?,
            id: field(&data, "role_id")?,
        }),
        "GUILD_MEMBER_UPDATE" => field(&data, "guild_id").map(|guild| News::Member { guild }),
        _ => None,
    }
}

fn message(data: &Value) -> News {
    let (guild, channel) = (field(data, "guild_id"), field(data, "channel_id"));
    match whole_message(data) {
        Some(message) => News::Said(Box::new(message)),
        None => News::Unreadable { guild, channel },
    }
}

/// A message as the API sends it; one with a part that cannot be read without its embellishments.
pub(crate) fn whole_message(data: &Value) -> Option<Message> {
    Message::deserialize(data).ok().or_else(|| {
        let plain = serde_json::from_value(plain(data)).ok();
        if plain.is_some() {
            tracing::debug!("a message was read without its embellishments");
        }
        plain
    })
}

/// What makes a message one, and nothing that may be of a form not known yet.
fn plain(data: &Value) -> Value {
    let mut out = json!({
        "tts": false, "pinned": false, "mention_everyone": false, "mentions": [],
        "mention_roles": [], "attachments": [], "embeds": [], "type": 0,
    });
    let keep = [
        "id",
        "channel_id",
        "guild_id",
        "author",
        "content",
        "timestamp",
        "edited_timestamp",
        "type",
        "webhook_id",
        "mentions",
        "mention_roles",
        "message_reference",
    ];
    for key in keep {
        if let (Some(value), Some(out)) = (data.get(key), out.as_object_mut()) {
            out.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(author) = out.get_mut("author") {
        let known = ["id", "username", "global_name", "bot"];
        let kept = known
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), author.get(*key)?.clone())));
        *author = Value::Object(kept.collect());
    }
    out
}

fn guild_gone(data: &Value) -> Option<News> {
    Some(News::GuildGone {
        id: field(data, "id")?,
        away: is_away(data),
    })
}

fn is_away(guild: &Value) -> bool {
    guild.get("unavailable") == Some(&Value::Bool(true))
}

fn role(data: &Value) -> Option<News> {
    Some(News::Role {
        guild: field(data, "guild_id")?,
        role: serde_json::from_value(data.get("role")?.clone()).ok()?,
    })
}

fn parsed<T: DeserializeOwned>(data: Value, news: impl Fn(T) -> Option<News>) -> Option<News> {
    let (guild, channel) = (field(&data, "guild_id"), field(&data, "channel_id"));
    match serde_json::from_value(data) {
        Ok(event) => news(event),
        Err(_) => Some(News::Unreadable { guild, channel }),
    }
}

fn field(data: &Value, name: &str) -> Option<u64> {
    data.get(name).and_then(in_json)
}

fn id<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(from)?;
    in_json(&value).ok_or_else(|| serde::de::Error::custom("not an id"))
}

fn maybe_id<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Ok(in_json(&Value::deserialize(from)?))
}

/// Permission bits: a string of digits.
fn bits<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    Ok(in_json(&Value::deserialize(from)?).unwrap_or(0))
}

/// The elements that can be read.
fn each<'de, D: serde::Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    let Value::Array(values) = Value::deserialize(from)? else {
        return Ok(Vec::new());
    };
    Ok(values
        .into_iter()
        .filter_map(|value| serde_json::from_value(value).ok())
        .collect())
}

#[cfg(test)]
mod tests;
