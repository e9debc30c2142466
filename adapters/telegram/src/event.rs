//! What an update means for the bot: said, edited, deleted, moved, come or gone.
//!
//! Invariant: pure; asks nobody. Who may be answered beyond what a message tells itself is `intake`'s.

use scrollback::{Author, Message, Origin};
use teloxide::types::{Message as Telegram, MessageKind, Update, UpdateKind, User};

use crate::PLATFORM;
use crate::business;
use crate::chats::Room;
use crate::content::{self, Content, Mark};
use crate::moved::Moved;

/// The topic "General" of a forum; its messages belong to no thread.
const GENERAL: i32 = 1;

/// The bot's own account.
#[derive(Debug, Clone)]
pub(crate) struct Me {
    pub(crate) id: u64,
    /// Without `@`.
    pub(crate) username: String,
    /// True when group privacy is off.
    pub(crate) reads_all: bool,
}

/// What an update means.
#[derive(Debug)]
pub(crate) enum Event {
    Said(Box<Said>),
    Edited(Box<Edited>),
    /// Messages of a business account were deleted.
    Deleted {
        place: Place,
        ids: Vec<i32>,
    },
    /// A business connection came, changed or went.
    Connected {
        id: String,
        may_reply: bool,
    },
    /// A group became a supergroup.
    Migrated {
        new: i64,
        old: i64,
    },
    /// The bot came into a chat (or was unblocked), or can no longer write there.
    Membership {
        room: Room,
        present: bool,
    },
    /// An update that cannot be read.
    Unreadable {
        kind: String,
    },
    Nothing,
}

impl Event {
    /// The chat in whose order this is to be handled; `None` when it concerns more than one.
    pub(crate) fn chat(&self) -> Option<i64> {
        match self {
            Self::Said(said) => Some(said.place.chat),
            Self::Edited(edited) => Some(edited.place.chat),
            Self::Deleted { place, .. } => Some(place.chat),
            Self::Membership { room, .. } => Some(room.chat),
            Self::Nothing | Self::Unreadable { .. } => Some(0),
            Self::Connected { .. } | Self::Migrated { .. } => None,
        }
    }
}

/// What kind of chat it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Private,
    Group,
    /// A person's chat with a business account, through this connection.
    Business(String),
}

/// Where and by whom something was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) chat: i64,
    pub(crate) kind: Kind,
    /// The forum topic.
    pub(crate) thread: Option<i32>,
    /// The person, as sessions tell persons apart.
    pub(crate) user: String,
}

impl Place {
    /// The chat as one sends to it.
    pub(crate) fn room(&self) -> Room {
        let business = match &self.kind {
            Kind::Business(connection) => Some(connection.clone()),
            Kind::Private | Kind::Group => None,
        };
        Room {
            chat: self.chat,
            business,
        }
    }

    /// The place as sessions know it: a moved chat by its first id, and a business account's chats apart
    /// from the bot's own in every scope, though their ids are the same.
    pub(crate) fn origin(&self, me: &Me, moved: &Moved) -> Origin {
        self.origin_in(moved.first(self.chat), me)
    }

    /// The place in a chat whose first id is this one.
    pub(crate) fn origin_in(&self, first: i64, me: &Me) -> Origin {
        let chat = first.to_string();
        let (bot, thread) = match &self.kind {
            Kind::Business(connection) => (
                format!("{}:business:{connection}", me.id),
                Some(format!("business:{connection}")),
            ),
            Kind::Private | Kind::Group => (me.id.to_string(), self.thread.map(|t| t.to_string())),
        };
        Origin {
            platform: PLATFORM.into(),
            bot,
            space: (self.kind == Kind::Group).then(|| chat.clone()),
            channel: chat,
            thread,
            user: self.user.clone(),
        }
    }
}

/// A message.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) place: Place,
    /// The message, with ids still those of its chat.
    pub(crate) id: i32,
    pub(crate) reply_to: Option<i32>,
    pub(crate) message: Message,
    /// True when the message itself asks for an answer.
    pub(crate) addressed: bool,
    /// True for a person whose commands are run.
    pub(crate) heeded: bool,
    /// The person's account, to which a private answer can go.
    pub(crate) asker: Option<u64>,
    /// Whose message it replies to.
    pub(crate) replied: Option<u64>,
    /// True for an administrator who writes as the group itself.
    pub(crate) as_group: bool,
}

/// A new version of a message.
#[derive(Debug)]
pub(crate) struct Edited {
    pub(crate) place: Place,
    pub(crate) id: i32,
    pub(crate) text: String,
    pub(crate) at_ms: u64,
}

/// Reads an update.
pub(crate) fn read(update: &Update, me: &Me) -> Event {
    match &update.kind {
        UpdateKind::Message(m) | UpdateKind::ChannelPost(m) | UpdateKind::BusinessMessage(m) => {
            said(m, me)
        }
        UpdateKind::EditedMessage(m)
        | UpdateKind::EditedChannelPost(m)
        | UpdateKind::EditedBusinessMessage(m) => edited(m, update.id.0, me),
        UpdateKind::BusinessConnection(connection) => Event::Connected {
            id: connection.id.0.clone(),
            may_reply: business::may_reply(connection),
        },
        _ => Event::Nothing,
    }
}

fn said(m: &Telegram, me: &Me) -> Event {
    let chat = m.chat.id.0;
    if let Some(new) = m.migrate_to_chat_id() {
        return Event::Migrated {
            new: new.0,
            old: chat,
        };
    }
    if let Some(old) = m.migrate_from_chat_id() {
        return Event::Migrated {
            new: chat,
            old: old.0,
        };
    }
    let Some(content) = content::read(m).filter(|_| !is_own(m, me)) else {
        return Event::Nothing;
    };
    let speaker = Speaker::of(m);
    let place = place(m, &speaker);
    let original = replied_to(m);
    let heeded = !speaker.is_bot && !is_owner(m, &place);
    let addressed = heeded && is_addressed(m, &place, &content, original, me);
    let message = Message {
        author: Some(speaker.author),
        attachments: content.files,
        ..Message::user(Author::new(PLATFORM, chat), content.text)
    };
    Event::Said(Box::new(Said {
        id: m.id.0,
        reply_to: original.map(|o| o.id.0),
        message: message.at_ms(millis(m.date.timestamp())),
        addressed,
        heeded,
        asker: speaker.account,
        replied: original.and_then(|o| o.from.as_ref()).map(|u| u.id.0),
        as_group: m.sender_chat.as_ref().is_some_and(|c| c.id == m.chat.id)
            && place.kind == Kind::Group,
        place,
    }))
}

fn edited(m: &Telegram, update: u32, me: &Me) -> Event {
    // A live location moves every few seconds and says nothing.
    let content = content::read(m).filter(|_| !is_own(m, me) && m.location().is_none());
    let Some(content) = content else {
        return Event::Nothing;
    };
    let at = m.edit_date().unwrap_or(&m.date).timestamp();
    Event::Edited(Box::new(Edited {
        place: place(m, &Speaker::of(m)),
        id: m.id.0,
        text: content.text,
        // Edits within one second keep their order, and a redelivery has the same time.
        at_ms: millis(at) + u64::from(update % 1000),
    }))
}

/// Who speaks.
struct Speaker {
    author: Author,
    /// The account, for a person who shows theirs.
    account: Option<u64>,
    is_bot: bool,
}

impl Speaker {
    fn of(m: &Telegram) -> Self {
        // Channels, and administrators who write as the group, stand in for an account.
        if let Some(chat) = &m.sender_chat {
            return Self {
                author: named(&chat.id.0, chat.title().or(chat.username())),
                account: None,
                is_bot: false,
            };
        }
        match &m.from {
            Some(user) => Self {
                author: named(&user.id.0, Some(&name(user))),
                account: (!user.is_bot).then_some(user.id.0),
                is_bot: user.is_bot || m.sender_business_bot.is_some(),
            },
            None => Self {
                author: named(&m.chat.id.0, m.chat.title()),
                account: None,
                is_bot: false,
            },
        }
    }
}

fn named(id: &dyn ToString, name: Option<&str>) -> Author {
    let author = Author::new(PLATFORM, id.to_string());
    match name.map(str::trim).filter(|name| !name.is_empty()) {
        Some(name) => author.named(name),
        None => author,
    }
}

fn name(user: &User) -> String {
    let full = user.full_name();
    match &user.username {
        Some(username) if full.trim().is_empty() => username.clone(),
        _ => full,
    }
}

/// True for what the bot said itself; the kit keeps that when it is sent.
fn is_own(m: &Telegram, me: &Me) -> bool {
    let by_me = |user: &Option<User>| user.as_ref().is_some_and(|user| user.id.0 == me.id);
    (m.sender_chat.is_none() && by_me(&m.from)) || by_me(&m.sender_business_bot)
}

fn place(m: &Telegram, speaker: &Speaker) -> Place {
    let chat = m.chat.id.0;
    let business = match &m.kind {
        MessageKind::Common(common) => common.business_connection_id.as_ref(),
        _ => None,
    };
    let kind = match business {
        Some(connection) => Kind::Business(connection.0.clone()),
        None if m.chat.is_private() => Kind::Private,
        None => Kind::Group,
    };
    let topic = m.thread_id.filter(|_| m.is_topic_message).map(|t| t.0.0);
    Place {
        chat,
        thread: topic.filter(|t| *t != GENERAL && !matches!(kind, Kind::Business(_))),
        // A chat of two is one person's, whichever of the two speaks.
        user: if kind == Kind::Group {
            speaker.author.id.clone()
        } else {
            chat.to_string()
        },
        kind,
    }
}

/// True for the owner of a business account in one of their chats.
fn is_owner(m: &Telegram, place: &Place) -> bool {
    let by_other = m.from.as_ref().is_none_or(|user| user.id != m.chat.id);
    matches!(place.kind, Kind::Business(_)) && by_other
}

/// The message that is replied to. In a topic every message that replies to nothing is shown as a reply
/// to the topic's first one.
fn replied_to(m: &Telegram) -> Option<&Telegram> {
    let original = m.reply_to_message()?;
    let is_root = m.is_topic_message && m.thread_id.is_some_and(|t| t.0 == original.id);
    (!is_root && original.forum_topic_created().is_none()).then_some(original)
}

fn is_addressed(
    m: &Telegram,
    place: &Place,
    content: &Content,
    original: Option<&Telegram>,
    me: &Me,
) -> bool {
    match place.kind {
        // Of an album the part with the caption is answered, not each picture.
        Kind::Private | Kind::Business(_) => {
            m.media_group_id().is_none() || !content.text.is_empty()
        }
        Kind::Group if m.is_automatic_forward() => false,
        Kind::Group => {
            let by_me = |o: &Telegram| o.from.as_ref().is_some_and(|user| user.id.0 == me.id);
            original.is_some_and(by_me) || content.marks.iter().any(|mark| calls(mark, me))
        }
    }
}

fn calls(mark: &Mark, me: &Me) -> bool {
    match mark {
        Mark::Mention(name) => name.eq_ignore_ascii_case(&me.username),
        Mark::Person(id) => *id == me.id,
        Mark::Command { bot: Some(bot), .. } => bot.eq_ignore_ascii_case(&me.username),
        // With group privacy on, Telegram hands a bot only commands that are meant for it.
        Mark::Command { first, bot: None } => *first && !me.reads_all,
    }
}

fn millis(seconds: i64) -> u64 {
    u64::try_from(seconds)
        .unwrap_or_default()
        .saturating_mul(1000)
}

#[cfg(test)]
mod tests;
