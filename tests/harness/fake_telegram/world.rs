//! The bot, people, chats and messages, and how the Bot API shows them.
//!
//! A field that has no value is left out; the Bot API never sends a null.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::entities::detect;
use super::state::{State, now};

/// The sender that stands for anonymous administrators.
pub(crate) const ANONYMOUS_ADMIN: i64 = 1_087_968_824;

/// A person as a test describes them.
#[derive(Debug, Clone, Default)]
pub struct Person {
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: Option<String>,
    /// User name, without `@`.
    pub username: Option<String>,
    /// IETF language tag.
    pub language_code: Option<String>,
    /// Pays for Telegram Premium.
    pub is_premium: bool,
    /// Is a bot.
    pub is_bot: bool,
}

/// A person as the server keeps them.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) person: Person,
    pub(crate) deactivated: bool,
}

impl User {
    pub(crate) fn json(&self) -> Value {
        let person = &self.person;
        let mut user = json!({
            "id": self.id, "is_bot": person.is_bot, "first_name": person.first_name,
        });
        put(&mut user, "last_name", person.last_name.clone());
        put(&mut user, "username", person.username.clone());
        put(&mut user, "language_code", person.language_code.clone());
        put(&mut user, "is_premium", person.is_premium.then_some(true));
        user
    }
}

/// The bot's own account.
#[derive(Debug, Clone)]
pub(crate) struct Bot {
    pub(crate) id: i64,
    pub(crate) username: String,
    pub(crate) first_name: String,
    pub(crate) reads_all: bool,
}

impl Default for Bot {
    fn default() -> Self {
        Self {
            id: 7_305_512_840,
            username: "scrollback_test_bot".into(),
            first_name: "Scrollback".into(),
            reads_all: false,
        }
    }
}

impl Bot {
    /// As a sender.
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "is_bot": true, "first_name": self.first_name, "username": self.username,
        })
    }

    /// As getMe shows it.
    pub(crate) fn me(&self) -> Value {
        let mut me = self.json();
        put(&mut me, "can_join_groups", Some(true));
        put(&mut me, "can_read_all_group_messages", Some(self.reads_all));
        put(&mut me, "supports_inline_queries", Some(false));
        put(&mut me, "can_connect_to_business", Some(true));
        put(&mut me, "has_main_web_app", Some(false));
        put(&mut me, "has_topics_enabled", Some(false));
        put(&mut me, "allows_users_to_create_topics", Some(false));
        me
    }
}

/// What kind of chat it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Private,
    Group,
    Supergroup,
    Forum,
}

/// A member's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Created the chat.
    Creator,
    /// Administers it.
    Administrator,
    /// Belongs to it.
    Member,
    /// Belongs to it and may not write.
    Restricted,
    /// Is not in it (any more).
    Left,
    /// Was removed, or has blocked the bot.
    Kicked,
}

/// A forum topic.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) closed: bool,
}

/// A chat.
#[derive(Debug, Clone)]
pub(crate) struct Chat {
    pub(crate) id: i64,
    pub(crate) kind: Kind,
    pub(crate) title: String,
    pub(crate) username: Option<String>,
    pub(crate) members: BTreeMap<i64, Role>,
    /// The bot's own standing. `Left` in a private chat means that it was never started.
    pub(crate) bot: Role,
    pub(crate) topics: BTreeMap<i64, Topic>,
    /// Every message, as the bot would see it.
    pub(crate) messages: BTreeMap<i64, Value>,
    pub(crate) last_message_id: i64,
    pub(crate) migrated_to: Option<i64>,
}

impl Chat {
    pub(crate) const fn is_private(&self) -> bool {
        matches!(self.kind, Kind::Private)
    }

    /// `supergroup` or `group`, as the texts of refusals say it.
    pub(crate) const fn noun(&self) -> &'static str {
        match self.kind {
            Kind::Private => "private",
            Kind::Group => "group",
            Kind::Supergroup | Kind::Forum => "supergroup",
        }
    }

    /// As it stands in a message.
    pub(crate) fn json(&self, users: &BTreeMap<i64, User>) -> Value {
        if self.is_private() {
            return private_chat(self.id, users);
        }
        let mut chat = json!({ "id": self.id, "title": self.title, "type": self.noun() });
        put(&mut chat, "username", self.username.clone());
        put(
            &mut chat,
            "is_forum",
            (self.kind == Kind::Forum).then_some(true),
        );
        if self.kind == Kind::Group {
            put(&mut chat, "all_members_are_administrators", Some(true));
            put(&mut chat, "accepted_gift_types", Some(gifts(false)));
        }
        chat
    }
}

/// A private chat with this person.
pub(crate) fn private_chat(id: i64, users: &BTreeMap<i64, User>) -> Value {
    let mut chat = json!({ "id": id, "type": "private" });
    if let Some(user) = users.get(&id) {
        let person = &user.person;
        put(&mut chat, "first_name", Some(person.first_name.clone()));
        put(&mut chat, "last_name", person.last_name.clone());
        put(&mut chat, "username", person.username.clone());
    }
    chat
}

/// `accepted_gift_types`, all accepted or none.
pub(crate) fn gifts(accepted: bool) -> Value {
    json!({
        "unlimited_gifts": accepted, "limited_gifts": accepted, "unique_gifts": accepted,
        "premium_subscription": accepted, "gifts_from_channels": accepted,
    })
}

/// A business connection.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) id: String,
    pub(crate) user: i64,
    pub(crate) date: i64,
    pub(crate) enabled: bool,
    /// Messages by customer's chat.
    pub(crate) chats: BTreeMap<i64, BTreeMap<i64, Value>>,
}

impl Connection {
    pub(crate) fn json(&self, users: &BTreeMap<i64, User>) -> Value {
        let user = users.get(&self.user).map_or(Value::Null, User::json);
        let mut connection = json!({
            "id": self.id, "user": user, "user_chat_id": self.user, "date": self.date,
            "is_enabled": self.enabled,
        });
        if self.enabled {
            let rights = json!({
                "can_reply": true, "can_read_messages": true, "can_delete_sent_messages": true,
            });
            put(&mut connection, "rights", Some(rights));
        }
        connection
    }
}

/// Sets a field of an object, when there is a value for it.
pub(crate) fn put(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let (Some(fields), Some(value)) = (object.as_object_mut(), value) {
        fields.insert(name.into(), value.into());
    }
}

/// A message without its nested reply and with nothing but the reply: what a reply quotes.
pub(crate) fn quoted(message: &Value) -> Value {
    let mut message = message.clone();
    if let Some(fields) = message.as_object_mut() {
        fields.remove("reply_to_message");
    }
    message
}

impl State {
    /// The next message identifier of a chat.
    pub(crate) fn next_message_id(&mut self, chat: i64) -> i64 {
        match self.chats.get_mut(&chat) {
            Some(chat) if matches!(chat.kind, Kind::Supergroup | Kind::Forum) => {
                chat.last_message_id += 1;
                chat.last_message_id
            }
            _ => {
                self.last_message_id += 1;
                self.last_message_id
            }
        }
    }

    pub(crate) fn user_json(&self, id: i64) -> Value {
        if id == self.bot.id {
            return self.bot.json();
        }
        self.users.get(&id).map_or_else(
            || json!({ "id": id, "is_bot": false, "first_name": "Unknown" }),
            User::json,
        )
    }

    pub(crate) fn chat_json(&self, id: i64) -> Value {
        self.chats.get(&id).map_or_else(
            || private_chat(id, &self.users),
            |chat| chat.json(&self.users),
        )
    }

    /// The head that every message has.
    pub(crate) fn head(&mut self, chat: i64, from: i64) -> Map<String, Value> {
        let id = self.next_message_id(chat);
        let mut head = Map::new();
        head.insert("message_id".into(), id.into());
        head.insert("from".into(), self.user_json(from));
        head.insert("chat".into(), self.chat_json(chat));
        head.insert("date".into(), now());
        head
    }

    /// Keeps a message in its chat.
    pub(crate) fn keep(&mut self, chat: i64, message: &Value) -> i64 {
        let id = message_id(message);
        if let Some(chat) = self.chats.get_mut(&chat) {
            chat.messages.insert(id, message.clone());
        }
        id
    }

    /// Sets text or caption with the entities that Telegram finds in it, or takes the old ones off.
    pub(crate) fn set_text(&self, message: &mut Value, field: &str, text: &str) {
        let entities_field = if field == "text" {
            "entities"
        } else {
            "caption_entities"
        };
        let entities = detect(text, &[]);
        if let Some(fields) = message.as_object_mut() {
            fields.remove(entities_field);
        }
        put(message, field, Some(text));
        if !entities.is_empty() {
            put(message, entities_field, Some(Value::Array(entities)));
        }
    }

    /// Nests what a message answers, and puts it into the thread of that.
    pub(crate) fn set_reply(&self, chat: i64, message: &mut Value, to: i64) {
        let Some(chat) = self.chats.get(&chat) else {
            return;
        };
        let Some(original) = chat.messages.get(&to) else {
            return;
        };
        put(message, "reply_to_message", Some(quoted(original)));
        let thread = original.get("message_thread_id").cloned();
        match chat.kind {
            Kind::Forum => {
                if let Some(thread) = thread {
                    put(message, "message_thread_id", Some(thread));
                    put(message, "is_topic_message", Some(true));
                }
            }
            // Outside forums the replies under one message form a thread too.
            Kind::Supergroup => {
                let thread = thread.unwrap_or_else(|| to.into());
                put(message, "message_thread_id", Some(thread));
            }
            Kind::Private | Kind::Group => {}
        }
    }

    /// Puts a message into a topic. A message that answers nothing there answers the topic's first.
    pub(crate) fn set_topic(&self, chat: i64, message: &mut Value, thread: i64) {
        put(message, "message_thread_id", Some(thread));
        put(message, "is_topic_message", Some(true));
        let first = self
            .chats
            .get(&chat)
            .and_then(|chat| chat.messages.get(&thread));
        if message.get("reply_to_message").is_none() {
            put(message, "reply_to_message", first.map(quoted));
        }
    }

    /// A new chat identifier of this kind.
    pub(crate) fn new_chat_id(&mut self, kind: Kind) -> i64 {
        let number = self.new_id();
        match kind {
            Kind::Private => number,
            Kind::Group => -(4_812_000_000 + number),
            Kind::Supergroup | Kind::Forum => -(1_002_214_000_000 + number),
        }
    }

    /// Adds a chat in which the bot is a member.
    pub(crate) fn add_chat(&mut self, kind: Kind, title: &str, members: &[i64]) -> i64 {
        let id = self.new_chat_id(kind);
        let role = |at| {
            if at == 0 { Role::Creator } else { Role::Member }
        };
        let chat = Chat {
            id,
            kind,
            title: title.into(),
            username: None,
            members: members
                .iter()
                .enumerate()
                .map(|(at, user)| (*user, role(at)))
                .collect(),
            bot: Role::Member,
            topics: BTreeMap::new(),
            messages: BTreeMap::new(),
            last_message_id: 0,
            migrated_to: None,
        };
        self.chats.insert(id, chat);
        id
    }
}

/// `message_id` of a message.
pub(crate) fn message_id(message: &Value) -> i64 {
    message
        .get("message_id")
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

/// The present in seconds.
pub(crate) fn seconds() -> i64 {
    Timestamp::now().as_second()
}
