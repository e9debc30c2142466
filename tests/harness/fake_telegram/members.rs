//! Who is in a chat: blocking, removing, promoting, joining and leaving, with the updates of each.

use serde_json::{Value, json};

use super::FakeTelegram;
use super::chats::member;
use super::state::{State, now};
use super::world::{Role, put};

impl FakeTelegram {
    /// The person blocks the bot.
    pub fn block(&self, user: i64) {
        self.shared
            .with(|state| state.change_bot(user, user, Role::Kicked));
    }

    /// The person lets the bot write again.
    pub fn unblock(&self, user: i64) {
        self.shared
            .with(|state| state.change_bot(user, user, Role::Member));
    }

    /// The person deletes their account.
    pub fn deactivate(&self, user: i64) {
        self.shared.with(|state| {
            if let Some(user) = state.users.get_mut(&user) {
                user.deactivated = true;
            }
        });
    }

    /// Someone removes the bot from a group.
    pub fn kick_bot(&self, chat: i64, by: i64) {
        self.shared
            .with(|state| state.change_bot(chat, by, Role::Kicked));
    }

    /// Someone adds the bot to a group; the group says so.
    pub fn add_bot(&self, chat: i64, by: i64) {
        self.shared.with(|state| {
            state.change_bot(chat, by, Role::Member);
            let bot = state.bot.json();
            state.service(chat, by, &joined(&bot));
        });
    }

    /// Someone makes the bot an administrator, who reads everything.
    pub fn promote_bot(&self, chat: i64, by: i64) {
        self.shared
            .with(|state| state.change_bot(chat, by, Role::Administrator));
    }

    /// Someone forbids the bot to write in a group.
    pub fn mute_bot(&self, chat: i64, by: i64) {
        self.shared
            .with(|state| state.change_bot(chat, by, Role::Restricted));
    }

    /// Changes a member's standing. Bots are told only if they administer and asked for it.
    pub fn set_role(&self, chat: i64, user: i64, role: Role) {
        self.shared
            .with(|state| state.change_member(chat, user, role));
    }

    /// A person joins a group; the group says so.
    pub fn join(&self, chat: i64, user: i64) {
        self.shared.with(|state| {
            state.change_member(chat, user, Role::Member);
            let who = state.user_json(user);
            state.service(chat, user, &joined(&who));
        });
    }

    /// A person leaves a group; the group says so.
    pub fn leave(&self, chat: i64, user: i64) {
        self.shared.with(|state| {
            state.change_member(chat, user, Role::Left);
            let who = state.user_json(user);
            let left = [
                ("left_chat_participant", who.clone()),
                ("left_chat_member", who),
            ];
            state.service(chat, user, &left);
        });
    }
}

/// The three fields that a real message about a new member has; two of them are no more documented.
fn joined(who: &Value) -> [(&'static str, Value); 3] {
    [
        ("new_chat_participant", who.clone()),
        ("new_chat_member", who.clone()),
        ("new_chat_members", json!([who])),
    ]
}

impl State {
    /// Changes the bot's standing and tells it.
    pub(crate) fn change_bot(&mut self, chat: i64, by: i64, role: Role) {
        let Some(found) = self.chats.get_mut(&chat) else {
            return;
        };
        let old = std::mem::replace(&mut found.bot, role);
        if old != role {
            let bot = self.bot.id;
            self.tell_change("my_chat_member", chat, by, bot, (old, role));
        }
    }

    fn change_member(&mut self, chat: i64, user: i64, role: Role) {
        let Some(found) = self.chats.get_mut(&chat) else {
            return;
        };
        let old = found.members.insert(user, role).unwrap_or(Role::Left);
        if old != role && found.bot == Role::Administrator {
            self.tell_change("chat_member", chat, user, user, (old, role));
        }
    }

    fn tell_change(&mut self, kind: &str, chat: i64, by: i64, who: i64, roles: (Role, Role)) {
        let change = json!({
            "chat": self.chat_json(chat), "from": self.user_json(by), "date": now(),
            "old_chat_member": member(self, who, roles.0),
            "new_chat_member": member(self, who, roles.1),
        });
        self.push_update(kind, change);
    }

    /// A message of the group itself.
    fn service(&mut self, chat: i64, from: i64, fields: &[(&str, Value)]) {
        let mut message = Value::Object(self.head(chat, from));
        for (name, value) in fields {
            put(&mut message, name, Some(value.clone()));
        }
        self.keep(chat, &message);
        self.push_update("message", message);
    }
}
