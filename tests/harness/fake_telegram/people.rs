//! The handle's world: people, chats, topics, business accounts.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::FakeTelegram;
use super::state::State;
use super::world::{Chat, Connection, Kind, Person, Role, Topic, User, put, seconds};

impl FakeTelegram {
    /// A new person with a user name made of their first name. Writes to nobody yet.
    #[must_use]
    pub fn user(&self, first_name: &str) -> i64 {
        let plain = first_name.chars().filter(char::is_ascii_alphanumeric);
        let plain = plain.collect::<String>().to_ascii_lowercase();
        self.person(Person {
            first_name: first_name.into(),
            username: Some(format!("{plain}_user")),
            language_code: Some("en".into()),
            ..Person::default()
        })
    }

    /// A new person as described. Their identifier does not fit into 32 bits, as new ones do not.
    #[must_use]
    pub fn person(&self, person: Person) -> i64 {
        self.shared.with(|state| {
            let id = 7_100_000_000 + state.new_id();
            let user = User {
                id,
                person,
                deactivated: false,
            };
            state.users.insert(id, user);
            id
        })
    }

    /// A private chat: the person has started the bot. Its identifier is the person's.
    #[must_use]
    pub fn private(&self, user: i64) -> i64 {
        self.shared.with(|state| {
            let chat = Chat {
                id: user,
                kind: Kind::Private,
                title: String::new(),
                username: None,
                members: [(user, Role::Member)].into(),
                bot: Role::Member,
                topics: BTreeMap::new(),
                messages: BTreeMap::new(),
                last_message_id: 0,
                migrated_to: None,
            };
            state.chats.entry(user).or_insert(chat);
        });
        user
    }

    /// A basic group with the bot; the first of `members` created it. Nothing is announced.
    #[must_use]
    pub fn group(&self, title: &str, members: &[i64]) -> i64 {
        self.shared
            .with(|state| state.add_chat(Kind::Group, title, members))
    }

    /// A supergroup with the bot; the first of `members` created it. Nothing is announced.
    #[must_use]
    pub fn supergroup(&self, title: &str, members: &[i64]) -> i64 {
        self.shared
            .with(|state| state.add_chat(Kind::Supergroup, title, members))
    }

    /// A supergroup with topics; the first of `members` created it. Nothing is announced.
    #[must_use]
    pub fn forum(&self, title: &str, members: &[i64]) -> i64 {
        self.shared
            .with(|state| state.add_chat(Kind::Forum, title, members))
    }

    /// Gives a group a public user name, without `@`.
    pub fn publish(&self, chat: i64, username: &str) {
        self.shared.with(|state| {
            if let Some(chat) = state.chats.get_mut(&chat) {
                chat.username = Some(username.into());
            }
        });
    }

    /// A new topic of a forum, announced in it; its identifier is that of the announcement.
    #[must_use]
    pub fn topic(&self, forum: i64, name: &str) -> i64 {
        self.shared.with(|state| {
            let creator = state.creator(forum);
            let created = json!({ "name": name, "icon_color": 7_322_096 });
            let mut message = Value::Object(state.head(forum, creator));
            let thread = super::world::message_id(&message);
            put(&mut message, "message_thread_id", Some(thread));
            put(&mut message, "is_topic_message", Some(true));
            put(&mut message, "forum_topic_created", Some(created));
            if let Some(chat) = state.chats.get_mut(&forum) {
                let topic = Topic {
                    name: name.into(),
                    closed: false,
                };
                chat.topics.insert(thread, topic);
            }
            state.keep(forum, &message);
            state.push_update("message", message);
            thread
        })
    }

    /// Renames a topic; the change is announced in it.
    pub fn rename_topic(&self, forum: i64, thread: i64, name: &str) {
        self.topic_event(forum, thread, "forum_topic_edited", json!({ "name": name }));
        self.change_topic(forum, thread, |topic| topic.name = name.into());
    }

    /// Closes a topic: only administrators may write there. The change is announced in it.
    pub fn close_topic(&self, forum: i64, thread: i64) {
        self.topic_event(forum, thread, "forum_topic_closed", json!({}));
        self.change_topic(forum, thread, |topic| topic.closed = true);
    }

    /// Opens a closed topic again. The change is announced in it.
    pub fn reopen_topic(&self, forum: i64, thread: i64) {
        self.topic_event(forum, thread, "forum_topic_reopened", json!({}));
        self.change_topic(forum, thread, |topic| topic.closed = false);
    }

    /// Deletes a topic with its messages, which bots are not told of.
    pub fn delete_topic(&self, forum: i64, thread: i64) {
        self.shared.with(|state| {
            if let Some(chat) = state.chats.get_mut(&forum) {
                chat.topics.remove(&thread);
                let inside = |message: &Value| {
                    message.get("message_thread_id").and_then(Value::as_i64) == Some(thread)
                };
                chat.messages.retain(|_, message| !inside(message));
            }
        });
    }

    fn change_topic(&self, forum: i64, thread: i64, change: impl FnOnce(&mut Topic)) {
        self.shared.with(|state| {
            let chat = state.chats.get_mut(&forum);
            if let Some(topic) = chat.and_then(|chat| chat.topics.get_mut(&thread)) {
                change(topic);
            }
        });
    }

    fn topic_event(&self, forum: i64, thread: i64, name: &str, event: Value) {
        self.shared.with(|state| {
            let creator = state.creator(forum);
            let mut message = Value::Object(state.head(forum, creator));
            state.set_topic(forum, &mut message, thread);
            put(&mut message, name, Some(event));
            state.keep(forum, &message);
            state.push_update("message", message);
        });
    }

    /// Connects the bot to this person's business account; its identifier.
    #[must_use]
    pub fn business_connection(&self, user: i64) -> String {
        self.shared.with(|state| {
            let number = state.new_id();
            let id = format!("Bz{number:08}AwCSDWFbS7Xkq2Hr");
            let connection = Connection {
                id: id.clone(),
                user,
                date: seconds(),
                enabled: true,
                chats: BTreeMap::new(),
            };
            let shown = connection.json(&state.users);
            state.connections.insert(id.clone(), connection);
            state.push_update("business_connection", shown);
            id
        })
    }

    /// Ends a business connection.
    pub fn disconnect_business(&self, connection: &str) {
        self.shared.with(|state| {
            let Some(found) = state.connections.get_mut(connection) else {
                return;
            };
            found.enabled = false;
            let shown = found.json(&state.users);
            state.push_update("business_connection", shown);
        });
    }

    /// Makes a group a supergroup, as Telegram does: the group says where it went, the supergroup
    /// whence it came. The supergroup's identifier.
    #[must_use]
    pub fn migrate(&self, group: i64) -> i64 {
        self.shared.with(|state| {
            let old = state.chats.get(&group);
            let title = old.map(|chat| chat.title.clone()).unwrap_or_default();
            let members = old.map(|chat| chat.members.clone()).unwrap_or_default();
            let by = state.creator(group);
            let supergroup = state.add_chat(Kind::Supergroup, &title, &[]);
            let mut leaving = Value::Object(state.head(group, by));
            put(&mut leaving, "migrate_to_chat_id", Some(supergroup));
            if let Some(chat) = state.chats.get_mut(&group) {
                chat.migrated_to = Some(supergroup);
            }
            if let Some(chat) = state.chats.get_mut(&supergroup) {
                chat.members = members;
            }
            let mut arriving = Value::Object(state.head(supergroup, by));
            put(&mut arriving, "migrate_from_chat_id", Some(group));
            // Both come from the group's anonymous self, as far as bots see.
            put(
                &mut arriving,
                "sender_chat",
                Some(state.chat_json(supergroup)),
            );
            state.keep(group, &leaving);
            state.keep(supergroup, &arriving);
            state.push_update("message", leaving);
            state.push_update("message", arriving);
            supergroup
        })
    }
}

impl State {
    /// Who created a chat; the private chat's person.
    pub(crate) fn creator(&self, chat: i64) -> i64 {
        let members = self.chats.get(&chat).map(|chat| &chat.members);
        let mut members = members.into_iter().flatten();
        let creator = members.find(|(_, role)| **role == Role::Creator);
        creator.map_or(chat, |(user, _)| *user)
    }
}
