//! From Discord's message to the kit's: whose it is, where it stands, whom it is for. Pure.

use scrollback::{Attachment, Author, Message, Origin, Role, SessionKey};
use scrollback_kit::Incoming;
use serenity::all::{
    Message as Said, MessageReferenceKind, MessageType, MessageUpdateEvent, StickerItem, Timestamp,
    User,
};

use crate::directory::{At, Directory};
use crate::snowflake::made_at_ms;
use crate::text::{Me, name_of, readable};

/// The platform's name in keys.
pub(crate) const PLATFORM: &str = "discord";

/// What a message is to the bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Part of the conversation.
    Talk,
    /// The bot's own words.
    Own,
    /// A notice of Discord's, what a command showed, or a message in which there is nothing for the bot: without
    /// the Message Content Intent those that are not for it come empty.
    Notice,
}

/// What a message is.
pub(crate) fn kind(said: &Said, me: &Me) -> Kind {
    match said.kind {
        MessageType::Regular | MessageType::InlineReply if said.author.id == me.id => Kind::Own,
        MessageType::Regular | MessageType::InlineReply if !is_empty(said) => Kind::Talk,
        _ => Kind::Notice,
    }
}

fn is_empty(said: &Said) -> bool {
    said.content.is_empty() && said.attachments.is_empty() && said.sticker_items.is_empty()
}

/// Where something came from; `user` is empty where Discord does not tell.
pub(crate) fn origin(at: At, me: &Me, user: Option<u64>) -> Origin {
    Origin {
        platform: PLATFORM.into(),
        bot: me.id.to_string(),
        space: at.guild.map(|id| id.to_string()),
        channel: at.channel.to_string(),
        thread: at.thread.map(|id| id.to_string()),
        user: user.map(|id| id.to_string()).unwrap_or_default(),
    }
}

/// The id by which a session knows a message of a place: where it spans channels, with its channel.
pub(crate) fn known_as(key: &SessionKey, at: At, id: &str) -> String {
    if key.channel_id().is_none() {
        format!("{}:{id}", at.channel)
    } else {
        id.to_owned()
    }
}

/// A person as an author.
pub(crate) fn author(user: &User, nick: Option<&str>) -> Author {
    Author::new(PLATFORM, user.id).named(name_of(user, nick))
}

/// What somebody said, for the kit.
pub(crate) fn incoming(said: &Said, at: At, me: &Me, directory: &Directory) -> Incoming {
    let nick = said
        .member
        .as_ref()
        .and_then(|member| member.nick.as_deref());
    let mut message = spoken(said, at, me, directory);
    message.author = Some(author(&said.author, nick));
    message.role = Role::User;
    let person = !said.author.bot && said.webhook_id.is_none();
    Incoming {
        addressed: person && is_addressed(said, at, me, directory),
        private: at.guild.is_none(),
        bot_name: Some(me.name.clone()),
        ..Incoming::new(origin(at, me, Some(said.author.id.get())), message)
    }
}

/// What the bot itself said, as the answer path keeps it.
pub(crate) fn own(said: &Said, at: At, me: &Me, directory: &Directory) -> Message {
    let mut message = spoken(said, at, me, directory);
    message.text.clone_from(&said.content);
    message
}

fn spoken(said: &Said, at: At, me: &Me, directory: &Directory) -> Message {
    let text = readable(&said.content, &said.mentions, at.guild, me, directory);
    let mut message = Message::assistant(with_stickers(text, &said.sticker_items))
        .id(said.id)
        .at_ms(made_at_ms(said.id.get()));
    message.reply_to = reply_to(said).map(|id| id.to_string());
    for file in &said.attachments {
        message = message.attach(Attachment {
            reference: file.url.clone(),
            media_type: file.content_type.clone(),
            name: Some(file.filename.clone()),
            size: Some(file.size.into()),
        });
    }
    message
}

/// The message to which one replies; a forwarded one is no reply.
pub(crate) fn reply_to(said: &Said) -> Option<u64> {
    let reference = said.message_reference.as_ref()?;
    let replies =
        said.kind == MessageType::InlineReply || reference.kind == MessageReferenceKind::Default;
    reference.message_id.filter(|_| replies).map(u64::from)
}

fn with_stickers(mut text: String, stickers: &[StickerItem]) -> String {
    for sticker in stickers {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("[sticker: {}]", sticker.name));
    }
    text
}

/// True in private, when mentioned by name or by the bot's own role, and for a reply to the bot.
fn is_addressed(said: &Said, at: At, me: &Me, directory: &Directory) -> bool {
    let replied = || {
        said.referenced_message
            .as_ref()
            .is_some_and(|to| to.author.id == me.id)
    };
    let by_role = || {
        let roles = said.mention_roles.iter();
        let own = |role: u64| {
            at.guild
                .is_some_and(|guild| directory.is_role_of(guild, role, me.id))
        };
        roles.map(|role| role.get()).any(own)
    };
    at.guild.is_none()
        || said.mentions.iter().any(|user| user.id == me.id)
        || by_role()
        || replied()
}

/// An edit, for the kit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Who wrote the message, if Discord tells.
    pub(crate) user: Option<u64>,
    /// The message.
    pub(crate) id: u64,
    /// What it says now.
    pub(crate) text: String,
    /// When it was changed.
    pub(crate) at_ms: u64,
}

/// The edit that an update tells of; `None` when only embeds or flags changed, or when it is the bot's own.
pub(crate) fn edit(
    update: &MessageUpdateEvent,
    at: At,
    me: &Me,
    directory: &Directory,
) -> Option<Edit> {
    let talk = matches!(
        update.kind,
        None | Some(MessageType::Regular | MessageType::InlineReply)
    );
    let user = update.author.as_ref().map(|author| author.id.get());
    let edited = update.edited_timestamp?;
    if !talk || user == Some(me.id) {
        return None;
    }
    let mentions = update.mentions.as_deref().unwrap_or_default();
    let text = readable(
        update.content.as_deref()?,
        mentions,
        at.guild,
        me,
        directory,
    );
    Some(Edit {
        user,
        id: update.id.get(),
        text: with_stickers(text, update.sticker_items.as_deref().unwrap_or_default()),
        at_ms: unix_ms(edited),
    })
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms(time: Timestamp) -> u64 {
    let millis = time.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(millis).unwrap_or_default()
}

#[cfg(test)]
mod tests;
