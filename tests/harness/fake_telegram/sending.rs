//! sendMessage and sendChatAction: where the bot may write, and what it may write there.

use jiff::Timestamp;
use serde_json::Value;

use super::answer::{Done, Refusal, Reply};
use super::args::Args;
use super::entities::units;
use super::formatting::{Formatted, formatted};
use super::record::{Action, SentMessage};
use super::state::State;
use super::world::{Chat, Kind, Role, message_id, put, quoted};

/// The longest text of a message, in UTF-16 units after parsing.
const LONGEST_TEXT: usize = 4096;

/// The actions that sendChatAction knows.
const ACTIONS: [&str; 11] = [
    "typing",
    "upload_photo",
    "record_video",
    "upload_video",
    "record_voice",
    "upload_voice",
    "upload_document",
    "choose_sticker",
    "find_location",
    "record_video_note",
    "upload_video_note",
];

/// Where a message goes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) chat: i64,
    pub(crate) thread: Option<i64>,
    pub(crate) connection: Option<String>,
}

pub(crate) fn send_message(state: &mut State, args: &Args) -> Reply {
    let text = formatted(args, "text", "entities")?;
    if text.raw.is_empty() {
        return Err(Refusal::bad("message text is empty"));
    }
    let place = place(state, args)?;
    if text.text.is_empty() {
        return Err(Refusal::bad("text must be non-empty"));
    }
    if units(&text.text) > LONGEST_TEXT {
        return Err(Refusal::bad("message is too long"));
    }
    send(state, args, &place, text, None)
}

pub(crate) fn send_chat_action(state: &mut State, args: &Args) -> Reply {
    let action = args.text("action").unwrap_or_default();
    if !ACTIONS.contains(&action.as_str()) {
        return Err(Refusal::bad("wrong parameter action in request"));
    }
    let place = place(state, args)?;
    state.record.actions.push(Action {
        chat: place.chat,
        thread: place.thread,
        action,
        at: Timestamp::now(),
    });
    Ok(Done::yes())
}

/// Sends a text, or a document with its caption; limits are counted last.
pub(crate) fn send(
    state: &mut State,
    args: &Args,
    place: &Place,
    text: Formatted,
    document: Option<&Value>,
) -> Reply {
    let reply_to = reply_to(state, args, place)?;
    let markup = args.json("reply_markup", "reply keyboard markup")?;
    let preview = args.json("link_preview_options", "link preview options")?;
    let group = place.chat < 0;
    state.faults.count_sending(place.chat, group)?;

    let mut message = Value::Object(state.head(place.chat, state.bot.id));
    set_place(state, &mut message, place, reply_to);
    let (field, entities_field) = match document {
        Some(_) => ("caption", "caption_entities"),
        None => ("text", "entities"),
    };
    put(&mut message, "document", document.cloned());
    put(
        &mut message,
        field,
        Some(text.text.clone()).filter(|text| !text.is_empty()),
    );
    let entities = Some(text.entities.clone()).filter(|entities| !entities.is_empty());
    put(&mut message, entities_field, entities.map(Value::Array));
    put(&mut message, "link_preview_options", preview.clone());
    // Other keyboards are shown to the user and are no part of the message.
    let inline = markup.filter(|markup| markup.get("inline_keyboard").is_some());
    put(&mut message, "reply_markup", inline);

    keep_sent(state, place, &message);
    let file_id = |document: &Value| Some(document.get("file_id")?.as_str()?.to_owned());
    state.record.sent.push(SentMessage {
        chat: place.chat,
        thread: place.thread,
        business_connection: place.connection.clone(),
        message_id: message_id(&message),
        mentions: SentMessage::mentions_in(&text.entities),
        text: text.text,
        raw_text: text.raw,
        parse_mode: text.parse_mode,
        entities: text.entities,
        reply_to,
        edits: Vec::new(),
        disable_notification: args.flag("disable_notification"),
        link_preview: preview,
        document: document.and_then(file_id),
        deleted: false,
        at: Timestamp::now(),
    });
    Ok(message.into())
}

/// Sets what the place means for the message: reply, topic, business account.
fn set_place(state: &State, message: &mut Value, place: &Place, reply_to: Option<i64>) {
    if let Some(connection) = place
        .connection
        .as_ref()
        .and_then(|id| state.connections.get(id))
    {
        // The account speaks; the bot only stands behind it.
        put(message, "from", Some(state.user_json(connection.user)));
        put(message, "sender_business_bot", Some(state.bot.json()));
        put(
            message,
            "business_connection_id",
            Some(connection.id.clone()),
        );
        let chat = connection.chats.get(&place.chat);
        let original = reply_to.and_then(|to| chat?.get(&to)).map(quoted);
        put(message, "reply_to_message", original);
        return;
    }
    if let Some(to) = reply_to {
        state.set_reply(place.chat, message, to);
    }
    if let Some(thread) = place.thread {
        state.set_topic(place.chat, message, thread);
    }
}

fn keep_sent(state: &mut State, place: &Place, message: &Value) {
    let chat = place
        .connection
        .as_ref()
        .and_then(|id| state.connections.get_mut(id))
        .map(|connection| connection.chats.entry(place.chat).or_default());
    match chat {
        Some(chat) => {
            chat.insert(message_id(message), message.clone());
        }
        None => {
            state.keep(place.chat, message);
        }
    }
}

/// `chat_id` as an identifier: a number, its text, or `@username` of a public chat.
pub(crate) fn chat_id(state: &State, args: &Args) -> Result<i64, Refusal> {
    let text = args.text("chat_id").unwrap_or_default();
    if text.is_empty() {
        return Err(Refusal::bad("chat_id is empty"));
    }
    let named = text.strip_prefix('@').and_then(|name| {
        let is_it = |chat: &&Chat| chat.username.as_deref() == Some(name);
        state.chats.values().find(is_it).map(|chat| chat.id)
    });
    named
        .or_else(|| text.trim().parse().ok())
        .ok_or_else(|| Refusal::bad("chat not found"))
}

/// Where this call may write.
pub(crate) fn place(state: &State, args: &Args) -> Result<Place, Refusal> {
    let chat_id = chat_id(state, args)?;
    let thread = args.number("message_thread_id").filter(|id| *id != 0);
    if let Some(id) = args
        .text("business_connection_id")
        .filter(|id| !id.is_empty())
    {
        return business_place(state, chat_id, id);
    }
    let Some(chat) = state.chats.get(&chat_id) else {
        return Err(match state.users.get(&chat_id) {
            Some(user) if user.deactivated => Refusal::forbidden("user is deactivated"),
            Some(user) if user.person.is_bot => {
                Refusal::forbidden("bots can't send messages to bots")
            }
            Some(_) => Refusal::forbidden("bot can't initiate conversation with a user"),
            None => Refusal::bad("chat not found"),
        });
    };
    may_write(state, chat)?;
    if let Some(thread) = thread {
        match chat
            .topics
            .get(&thread)
            .filter(|_| chat.kind == Kind::Forum)
        {
            Some(topic) if topic.closed && chat.bot != Role::Administrator => {
                return Err(Refusal::bad("TOPIC_CLOSED"));
            }
            Some(_) => {}
            None => return Err(Refusal::bad("message thread not found")),
        }
    }
    Ok(Place {
        chat: chat_id,
        thread,
        connection: None,
    })
}

fn business_place(state: &State, chat: i64, id: String) -> Result<Place, Refusal> {
    let connection = state
        .connections
        .get(&id)
        .filter(|connection| connection.enabled)
        .ok_or_else(|| Refusal::bad("business connection not found"))?;
    // The account must have been written to in this chat.
    if !connection.chats.contains_key(&chat) {
        return Err(Refusal::bad("BUSINESS_PEER_INVALID"));
    }
    Ok(Place {
        chat,
        thread: None,
        connection: Some(id),
    })
}

fn may_write(state: &State, chat: &Chat) -> Result<(), Refusal> {
    if let Some(to) = chat.migrated_to {
        return Err(Refusal::migrated(to));
    }
    if chat.is_private()
        && state
            .users
            .get(&chat.id)
            .is_some_and(|user| user.deactivated)
    {
        return Err(Refusal::forbidden("user is deactivated"));
    }
    match (chat.bot, chat.is_private()) {
        (Role::Left, true) => Err(Refusal::forbidden(
            "bot can't initiate conversation with a user",
        )),
        (Role::Kicked, true) => Err(Refusal::forbidden("bot was blocked by the user")),
        (Role::Left, false) => Err(Refusal::forbidden(format!(
            "bot is not a member of the {} chat",
            chat.noun()
        ))),
        (Role::Kicked, false) => Err(Refusal::forbidden(format!(
            "bot was kicked from the {} chat",
            chat.noun()
        ))),
        (Role::Restricted, _) => Err(Refusal::bad(
            "not enough rights to send text messages to the chat",
        )),
        (Role::Creator | Role::Administrator | Role::Member, _) => Ok(()),
    }
}

/// The message that is answered, when there is one and it is there.
fn reply_to(state: &State, args: &Args, place: &Place) -> Result<Option<i64>, Refusal> {
    let parameters = args.json("reply_parameters", "reply parameters")?;
    let (id, lenient) = match &parameters {
        Some(Value::Object(fields)) => (
            fields.get("message_id").and_then(Value::as_i64),
            fields.get("allow_sending_without_reply") == Some(&Value::Bool(true)),
        ),
        Some(_) => return Err(Refusal::bad("object expected as reply parameters")),
        // The older form of the same.
        None => (
            args.number("reply_to_message_id"),
            args.flag("allow_sending_without_reply"),
        ),
    };
    let Some(id) = id.filter(|id| *id != 0) else {
        return Ok(None);
    };
    let found = match &place.connection {
        Some(connection) => state
            .connections
            .get(connection)
            .and_then(|connection| connection.chats.get(&place.chat))
            .is_some_and(|chat| chat.contains_key(&id)),
        None => state
            .chats
            .get(&place.chat)
            .is_some_and(|chat| chat.messages.contains_key(&id)),
    };
    match (found, lenient) {
        (true, _) => Ok(Some(id)),
        (false, true) => Ok(None),
        (false, false) => Err(Refusal::bad("message to be replied not found")),
    }
}
