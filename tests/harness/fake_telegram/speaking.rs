//! The handle's people speak, edit and delete; the bot gets what it may see.

use serde_json::{Value, json};

use super::FakeTelegram;
use super::args::Upload;
use super::documents::document;
use super::entities::covered;
use super::state::{State, now};
use super::world::{ANONYMOUS_ADMIN, Kind, Role, message_id, private_chat, put, quoted};

/// A file that a person sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum File {
    /// A photograph, in the sizes that Telegram makes of it.
    Photo,
    /// A document with this name and this many bytes.
    Document {
        /// Its name.
        name: String,
        /// Its size.
        bytes: usize,
    },
    /// A sticker; it has no caption.
    Sticker,
    /// A voice message.
    Voice,
}

/// A message before it is sent. The text is the caption where there is a file.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// The text.
    pub text: String,
    /// The message that it answers.
    pub reply_to: Option<i64>,
    /// The forum topic.
    pub thread: Option<i64>,
    /// The file.
    pub file: Option<File>,
    /// It is sent in the group's name, by an anonymous administrator.
    pub as_group: bool,
    /// The bot through which it came, by identifier.
    pub via_bot: Option<i64>,
    /// The person whose message it forwards.
    pub forwarded_from: Option<i64>,
    /// The album that it belongs to.
    pub media_group: Option<String>,
}

impl Draft {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }
}

impl FakeTelegram {
    /// A person says something; the message's identifier.
    pub fn say(&self, chat: i64, user: i64, text: &str) -> i64 {
        self.post(chat, user, &Draft::text(text))
    }

    /// A person says something in a topic.
    pub fn say_in_topic(&self, chat: i64, thread: i64, user: i64, text: &str) -> i64 {
        let draft = Draft {
            thread: Some(thread),
            ..Draft::text(text)
        };
        self.post(chat, user, &draft)
    }

    /// A person answers a message, in its topic if it has one.
    pub fn reply_to(&self, chat: i64, user: i64, to: i64, text: &str) -> i64 {
        let draft = Draft {
            reply_to: Some(to),
            ..Draft::text(text)
        };
        self.post(chat, user, &draft)
    }

    /// A person sends a photograph.
    pub fn photo(&self, chat: i64, user: i64, caption: &str) -> i64 {
        let draft = Draft {
            file: Some(File::Photo),
            ..Draft::text(caption)
        };
        self.post(chat, user, &draft)
    }

    /// A person sends a document.
    pub fn document(&self, chat: i64, user: i64, name: &str, caption: &str) -> i64 {
        let file = File::Document {
            name: name.into(),
            bytes: 20_480,
        };
        let draft = Draft {
            file: Some(file),
            ..Draft::text(caption)
        };
        self.post(chat, user, &draft)
    }

    /// A person sends a message of any kind; its identifier. A person who writes in private has
    /// started the bot.
    pub fn post(&self, chat: i64, user: i64, draft: &Draft) -> i64 {
        if chat == user {
            let _ = self.private(user);
        }
        self.shared.with(|state| {
            let message = state.message(chat, user, draft);
            let id = state.keep(chat, &message);
            if state.sees(chat, &message) {
                state.push_update("message", message);
            }
            id
        })
    }

    /// The author edits a message's text or caption. Whether there was such a message.
    pub fn edit(&self, chat: i64, message_id: i64, text: &str) -> bool {
        self.shared.with(|state| {
            let kept = state.chats.get(&chat).map(|chat| &chat.messages);
            let Some(mut message) = kept.and_then(|kept| kept.get(&message_id)).cloned() else {
                return false;
            };
            state.rewrite(&mut message, text);
            state.keep(chat, &message);
            if state.sees(chat, &message) {
                state.push_update("edited_message", message);
            }
            true
        })
    }

    /// Somebody deletes a message, which bots are not told of outside of business accounts.
    pub fn delete(&self, chat: i64, message_id: i64) {
        self.shared.with(|state| {
            if let Some(chat) = state.chats.get_mut(&chat) {
                chat.messages.remove(&message_id);
            }
        });
    }

    /// A customer writes to a business account; the message's identifier. The chat's is `user`.
    pub fn business_message(&self, connection: &str, user: i64, text: &str) -> i64 {
        self.business(connection, user, user, text)
    }

    /// The owner of a business account writes to a customer themselves.
    pub fn business_owner_says(&self, connection: &str, customer: i64, text: &str) -> i64 {
        let owner = self.shared.look(|state| {
            let found = state.connections.get(connection);
            found.map_or(customer, |connection| connection.user)
        });
        self.business(connection, customer, owner, text)
    }

    fn business(&self, connection: &str, chat: i64, from: i64, text: &str) -> i64 {
        self.shared.with(|state| {
            let mut message = Value::Object(state.head(chat, from));
            put(&mut message, "chat", Some(private_chat(chat, &state.users)));
            put(&mut message, "business_connection_id", Some(connection));
            state.set_text(&mut message, "text", text);
            state.keep_business(connection, chat, &message);
            let id = message_id(&message);
            state.push_update("business_message", message);
            id
        })
    }

    /// Somebody edits a message of a business account's chat. Whether there was such a message.
    pub fn edit_business(&self, connection: &str, chat: i64, id: i64, text: &str) -> bool {
        self.shared.with(|state| {
            let found = state.connections.get(connection);
            let kept = found.and_then(|found| found.chats.get(&chat)?.get(&id));
            let Some(mut message) = kept.cloned() else {
                return false;
            };
            state.rewrite(&mut message, text);
            state.keep_business(connection, chat, &message);
            state.push_update("edited_business_message", message);
            true
        })
    }

    /// Messages of a business account's chat are deleted; the bot is told.
    pub fn delete_business_messages(&self, connection: &str, chat: i64, ids: &[i64]) {
        self.shared.with(|state| {
            let found = state.connections.get_mut(connection);
            if let Some(kept) = found.and_then(|found| found.chats.get_mut(&chat)) {
                kept.retain(|id, _| !ids.contains(id));
            }
            let deleted = json!({
                "business_connection_id": connection, "message_ids": ids,
                "chat": private_chat(chat, &state.users),
            });
            state.push_update("deleted_business_messages", deleted);
        });
    }

    /// Queues an update of any form, as it stands, under the next identifier, which is returned.
    pub fn send_raw_update(&self, update: Value) -> Option<i64> {
        self.shared.with(|state| state.push_body(update))
    }

    /// A message as the bot would see it.
    #[must_use]
    pub fn message(&self, chat: i64, id: i64) -> Option<Value> {
        self.shared
            .look(|state| state.chats.get(&chat)?.messages.get(&id).cloned())
    }
}

impl State {
    fn message(&mut self, chat: i64, user: i64, draft: &Draft) -> Value {
        let mut message = Value::Object(self.head(chat, user));
        if draft.as_group {
            let anonymous = json!({
                "id": ANONYMOUS_ADMIN, "is_bot": true, "first_name": "Group",
                "username": "GroupAnonymousBot",
            });
            put(&mut message, "from", Some(anonymous));
            put(&mut message, "sender_chat", Some(self.chat_json(chat)));
        }
        if let Some(to) = draft.reply_to {
            self.set_reply(chat, &mut message, to);
        }
        if let Some(thread) = draft.thread {
            self.set_topic(chat, &mut message, thread);
        }
        if let Some(bot) = draft.via_bot {
            put(&mut message, "via_bot", Some(self.user_json(bot)));
        }
        if let Some(author) = draft.forwarded_from {
            let sender = self.user_json(author);
            let origin = json!({ "type": "user", "sender_user": sender, "date": now() });
            put(&mut message, "forward_origin", Some(origin));
            put(&mut message, "forward_from", Some(sender));
            put(&mut message, "forward_date", Some(now()));
        }
        put(&mut message, "media_group_id", draft.media_group.clone());
        match &draft.file {
            None => self.set_text(&mut message, "text", &draft.text),
            Some(file) => {
                self.attach(&mut message, file);
                if !draft.text.is_empty() {
                    self.set_text(&mut message, "caption", &draft.text);
                }
            }
        }
        message
    }

    fn attach(&mut self, message: &mut Value, file: &File) {
        let number = self.new_id();
        let id = format!("AgACAgIAAxkBAAI{number:06}ZkT6mF3p");
        let sized = |size: &str, side: u64, bytes: u64| {
            json!({
                "file_id": format!("{id}{size}"), "file_unique_id": format!("AQAD{number:06}{size}"),
                "file_size": bytes, "width": side, "height": side * 3 / 4,
            })
        };
        match file {
            File::Photo => {
                let sizes = [("s", 90, 1_287), ("m", 320, 17_923), ("x", 800, 71_044)];
                let sizes = sizes.map(|(size, side, bytes)| sized(size, side, bytes));
                put(message, "photo", Some(Value::Array(sizes.into())));
            }
            File::Document { name, bytes } => {
                let upload = Upload {
                    file_name: name.clone(),
                    mime_type: "application/octet-stream".into(),
                    bytes: vec![0; *bytes].into(),
                };
                let (document, _) = document(self, &upload);
                put(message, "document", Some(document));
            }
            File::Sticker => {
                let mut sticker = sized("w", 512, 31_000);
                put(&mut sticker, "type", Some("regular"));
                put(&mut sticker, "emoji", Some("👍"));
                put(&mut sticker, "set_name", Some("Animals"));
                put(&mut sticker, "is_animated", Some(false));
                put(&mut sticker, "is_video", Some(false));
                put(message, "sticker", Some(sticker));
            }
            File::Voice => {
                let voice = json!({
                    "file_id": id, "file_unique_id": format!("AgAD{number:06}"), "duration": 4,
                    "mime_type": "audio/ogg", "file_size": 9_312,
                });
                put(message, "voice", Some(voice));
            }
        }
    }

    /// Gives a message its new text, or caption.
    fn rewrite(&self, message: &mut Value, text: &str) {
        let field = if message.get("text").is_some() {
            "text"
        } else {
            "caption"
        };
        put(message, "edit_date", Some(now()));
        self.set_text(message, field, text);
    }

    fn keep_business(&mut self, connection: &str, chat: i64, message: &Value) {
        if let Some(found) = self.connections.get_mut(connection) {
            let kept = found.chats.entry(chat).or_default();
            kept.insert(message_id(message), quoted(message));
        }
    }

    /// Whether the bot gets a message. In privacy mode: commands to it, answers to it, mentions of
    /// it, and what came through it.
    fn sees(&self, chat: i64, message: &Value) -> bool {
        let Some(chat) = self.chats.get(&chat) else {
            return false;
        };
        let inside = match chat.bot {
            Role::Left | Role::Kicked => return false,
            Role::Administrator | Role::Creator => true,
            Role::Member | Role::Restricted => chat.kind == Kind::Private || self.bot.reads_all,
        };
        let id_in = |name: &str| message.get(name)?.get("id")?.as_i64();
        let answered = message
            .get("reply_to_message")
            .and_then(|original| original.get("from")?.get("id")?.as_i64());
        inside
            || answered == Some(self.bot.id)
            || id_in("via_bot") == Some(self.bot.id)
            || ["text", "caption"]
                .iter()
                .any(|field| self.is_called(message, field))
    }

    /// Whether a text has a command for the bot or names it.
    fn is_called(&self, message: &Value, field: &str) -> bool {
        let entities = match field {
            "text" => message.get("entities"),
            _ => message.get("caption_entities"),
        };
        let text = message
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default();
        let own = |name: &str| name.eq_ignore_ascii_case(&self.bot.username);
        entities
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .any(|entity| {
                let part = covered(text, entity);
                match entity.get("type").and_then(Value::as_str) {
                    Some("mention") => part.strip_prefix('@').is_some_and(own),
                    Some("bot_command") => part.split_once('@').is_none_or(|(_, bot)| own(bot)),
                    _ => false,
                }
            })
    }
}
