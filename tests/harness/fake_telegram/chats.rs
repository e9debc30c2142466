//! What a bot can ask about chats and members, leaving a chat, and the end of a bot's session.

use serde_json::{Value, json};

use super::answer::{Done, Refusal, Reply};
use super::args::Args;
use super::sending::chat_id;
use super::state::State;
use super::world::{Chat, Kind, Role, gifts, put};

/// How long after its start a bot may not be closed, in seconds.
const CLOSED_FOR: u64 = 600;

pub(crate) fn get_chat(state: &mut State, args: &Args) -> Reply {
    let chat = reachable(state, args)?;
    let mut full = chat.json(&state.users);
    put(&mut full, "accent_color_id", Some(2));
    put(&mut full, "max_reaction_count", Some(11));
    put(&mut full, "accepted_gift_types", Some(gifts(true)));
    if let Some(username) = &chat.username {
        put(&mut full, "active_usernames", Some(json!([username])));
    }
    if chat.kind != Kind::Private {
        let permissions = json!({
            "can_send_messages": true, "can_send_media_messages": true,
            "can_send_audios": true, "can_send_documents": true, "can_send_photos": true,
            "can_send_videos": true, "can_send_video_notes": true, "can_send_voice_notes": true,
            "can_send_polls": true, "can_send_other_messages": true,
            "can_add_web_page_previews": true, "can_change_info": false,
            "can_invite_users": true, "can_pin_messages": false, "can_manage_topics": false,
        });
        put(&mut full, "permissions", Some(permissions));
        put(&mut full, "join_to_send_messages", Some(true));
    }
    Ok(full.into())
}

pub(crate) fn get_chat_member(state: &mut State, args: &Args) -> Reply {
    let user = args
        .number("user_id")
        .filter(|id| *id > 0)
        .ok_or_else(|| Refusal::bad("invalid user_id specified"))?;
    let chat = reachable(state, args)?;
    if user == state.bot.id {
        return Ok(member(state, user, chat.bot).into());
    }
    if chat.is_private() {
        return match chat.id == user {
            true => Ok(member(state, user, Role::Member).into()),
            false => Err(Refusal::bad("PARTICIPANT_ID_INVALID")),
        };
    }
    match chat.members.get(&user) {
        Some(role) => Ok(member(state, user, *role).into()),
        None if state.users.contains_key(&user) => Ok(member(state, user, Role::Left).into()),
        None => Err(Refusal::bad("PARTICIPANT_ID_INVALID")),
    }
}

pub(crate) fn get_chat_administrators(state: &mut State, args: &Args) -> Reply {
    let chat = reachable(state, args)?;
    if chat.is_private() {
        return Err(Refusal::bad(
            "there are no administrators in the private chat",
        ));
    }
    let own = (state.bot.id, chat.bot);
    let roles = chat.members.iter().map(|(user, role)| (*user, *role));
    let list: Vec<Value> = roles
        .chain([own])
        .filter(|(_, role)| matches!(role, Role::Creator | Role::Administrator))
        .map(|(user, role)| member(state, user, role))
        .collect();
    Ok(Value::Array(list).into())
}

pub(crate) fn leave_chat(state: &mut State, args: &Args) -> Reply {
    let chat = reachable(state, args)?;
    if chat.is_private() {
        return Err(Refusal::bad(
            "chat member status can't be changed in private chats",
        ));
    }
    let id = chat.id;
    let by = state.bot.id;
    state.change_bot(id, by, Role::Left);
    Ok(Done::yes())
}

pub(crate) fn get_business_connection(state: &mut State, args: &Args) -> Reply {
    let id = args.text("business_connection_id").unwrap_or_default();
    match state.connections.get(&id) {
        Some(connection) => Ok(connection.json(&state.users).into()),
        None => Err(Refusal::bad("business connection not found")),
    }
}

/// Refused while the bot is young, as the documentation says; nothing here grows older than that.
pub(crate) fn close(state: &mut State, _: &Args) -> Reply {
    let age = state.started.elapsed().as_secs();
    Err(Refusal::too_many(CLOSED_FOR.saturating_sub(age).max(1)))
}

pub(crate) fn log_out(state: &mut State, _: &Args) -> Reply {
    state.logged_out = true;
    Ok(Done::yes())
}

/// The chat, when the bot still sees it.
fn reachable<'a>(state: &'a State, args: &Args) -> Result<&'a Chat, Refusal> {
    let id = chat_id(state, args)?;
    let chat = state
        .chats
        .get(&id)
        .ok_or_else(|| Refusal::bad("chat not found"))?;
    if let Some(to) = chat.migrated_to {
        return Err(Refusal::migrated(to));
    }
    let noun = chat.noun();
    match (chat.bot, chat.is_private()) {
        (Role::Left, false) => Err(Refusal::forbidden(format!(
            "bot is not a member of the {noun} chat"
        ))),
        (Role::Kicked, false) => Err(Refusal::forbidden(format!(
            "bot was kicked from the {noun} chat"
        ))),
        _ => Ok(chat),
    }
}

/// What an administrator may do.
const ADMINISTRATOR_MAY: [&str; 11] = [
    "can_manage_chat",
    "can_change_info",
    "can_delete_messages",
    "can_invite_users",
    "can_restrict_members",
    "can_pin_messages",
    "can_manage_topics",
    "can_manage_video_chats",
    "can_post_stories",
    "can_edit_stories",
    "can_delete_stories",
];

/// What a restricted member may not do.
const RESTRICTED_MAY_NOT: [&str; 15] = [
    "can_send_messages",
    "can_send_media_messages",
    "can_send_audios",
    "can_send_documents",
    "can_send_photos",
    "can_send_videos",
    "can_send_video_notes",
    "can_send_voice_notes",
    "can_send_polls",
    "can_send_other_messages",
    "can_add_web_page_previews",
    "can_change_info",
    "can_invite_users",
    "can_pin_messages",
    "can_manage_topics",
];

/// A ChatMember object.
pub(crate) fn member(state: &State, user: i64, role: Role) -> Value {
    let mut member = json!({ "user": state.user_json(user) });
    let mut flags = |names: &[&str], value: bool| {
        for name in names {
            put(&mut member, name, Some(value));
        }
    };
    let status = match role {
        Role::Creator => {
            flags(&["is_anonymous"], false);
            "creator"
        }
        Role::Administrator => {
            let not = ["can_be_edited", "is_anonymous", "can_promote_members"];
            flags(&not, false);
            flags(&ADMINISTRATOR_MAY, true);
            "administrator"
        }
        Role::Member => "member",
        Role::Restricted => {
            flags(&["is_member"], true);
            flags(&RESTRICTED_MAY_NOT, false);
            "restricted"
        }
        Role::Left => "left",
        Role::Kicked => "kicked",
    };
    if matches!(role, Role::Restricted | Role::Kicked) {
        put(&mut member, "until_date", Some(0));
    }
    put(&mut member, "status", Some(status));
    member
}
