//! editMessageText and deleteMessage: only what is the bot's own, and only what is there.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::{Done, Refusal, Reply};
use super::args::Args;
use super::entities::units;
use super::formatting::{Formatted, formatted};
use super::record::{Edit, SentMessage};
use super::sending::{Place, chat_id, place};
use super::state::{State, now};
use super::world::{Role, put};

/// The longest text of a message, in UTF-16 units after parsing.
const LONGEST_TEXT: usize = 4096;

pub(crate) fn edit_message_text(state: &mut State, args: &Args) -> Reply {
    let text = formatted(args, "text", "entities")?;
    if text.raw.is_empty() {
        return Err(Refusal::bad("message text is empty"));
    }
    if args.text("inline_message_id").is_some() {
        return Err(Refusal::bad("MESSAGE_ID_INVALID"));
    }
    let place = place(state, args)?;
    let id = message_argument(args)?;
    let mut message = editable(state, &place, id)?;
    if text.text.is_empty() {
        return Err(Refusal::bad("text must be non-empty"));
    }
    if units(&text.text) > LONGEST_TEXT {
        return Err(Refusal::bad("MESSAGE_TOO_LONG"));
    }
    let markup = args
        .json("reply_markup", "reply keyboard markup")?
        .filter(|markup| markup.get("inline_keyboard").is_some());
    let entities = Some(text.entities.clone()).filter(|entities| !entities.is_empty());
    let entities = entities.map(Value::Array);
    if message.get("text").and_then(Value::as_str) == Some(&text.text)
        && message.get("entities") == entities.as_ref()
        && message.get("reply_markup") == markup.as_ref()
    {
        return Err(Refusal::bad(
            "message is not modified: specified new message content and reply markup are exactly \
             the same as a current content and reply markup of the message",
        ));
    }
    state.faults.count_sending(place.chat, place.chat < 0)?;
    if let Some(fields) = message.as_object_mut() {
        fields.remove("entities");
        fields.remove("reply_markup");
    }
    put(&mut message, "text", Some(text.text.clone()));
    put(&mut message, "entities", entities);
    put(&mut message, "reply_markup", markup);
    put(&mut message, "edit_date", Some(now()));
    if let Some(kept) = stored_mut(state, place.chat, place.connection.as_deref(), id) {
        *kept = message.clone();
    }
    if let Some(sent) = state.record.sent_mut(place.chat, id) {
        note(sent, text);
    }
    Ok(message.into())
}

/// The text message that is to be edited, when it is the bot's own.
fn editable(state: &State, place: &Place, id: i64) -> Result<Value, Refusal> {
    let message = stored(state, place.chat, place.connection.as_deref(), id)
        .ok_or_else(|| Refusal::bad("message to edit not found"))?;
    let is_own = |sent: &SentMessage| sent.chat == place.chat && sent.message_id == id;
    if !state.record.sent.iter().any(is_own) {
        return Err(Refusal::bad("message can't be edited"));
    }
    if message.get("text").is_none() {
        return Err(Refusal::bad("there is no text in the message to edit"));
    }
    Ok(message.clone())
}

/// Notes an edit in the record.
fn note(sent: &mut SentMessage, text: Formatted) {
    sent.text.clone_from(&text.text);
    sent.raw_text.clone_from(&text.raw);
    sent.entities.clone_from(&text.entities);
    sent.parse_mode = text.parse_mode;
    sent.mentions = SentMessage::mentions_in(&text.entities);
    sent.edits.push(Edit {
        text: text.text,
        raw_text: text.raw,
        entities: text.entities,
        at: Timestamp::now(),
    });
}

/// Only what Telegram lets a bot delete: its own, and in groups what others wrote if it administers.
pub(crate) fn delete_message(state: &mut State, args: &Args) -> Reply {
    let chat_id = chat_id(state, args)?;
    let chat = state
        .chats
        .get_mut(&chat_id)
        .ok_or_else(|| Refusal::bad("chat not found"))?;
    let id = message_argument(args)?;
    let Some(message) = chat.messages.get(&id) else {
        return Err(Refusal::bad("message to delete not found"));
    };
    let from = message.get("from").and_then(|from| from.get("id"));
    let own = from == Some(&json!(state.bot.id));
    // In a private chat the bot may delete what the person wrote, too.
    if !own && !chat.is_private() && chat.bot != Role::Administrator {
        return Err(Refusal::bad("message can't be deleted"));
    }
    chat.messages.remove(&id);
    if let Some(sent) = state.record.sent_mut(chat_id, id) {
        sent.deleted = true;
    }
    Ok(Done::yes())
}

fn message_argument(args: &Args) -> Result<i64, Refusal> {
    args.number("message_id")
        .filter(|id| *id != 0)
        .ok_or_else(|| Refusal::bad("message identifier is not specified"))
}

fn stored<'a>(state: &'a State, chat: i64, connection: Option<&str>, id: i64) -> Option<&'a Value> {
    match connection {
        Some(connection) => state
            .connections
            .get(connection)?
            .chats
            .get(&chat)?
            .get(&id),
        None => state.chats.get(&chat)?.messages.get(&id),
    }
}

fn stored_mut<'a>(
    state: &'a mut State,
    chat: i64,
    connection: Option<&str>,
    id: i64,
) -> Option<&'a mut Value> {
    match connection {
        Some(connection) => state
            .connections
            .get_mut(connection)?
            .chats
            .get_mut(&chat)?
            .get_mut(&id),
        None => state.chats.get_mut(&chat)?.messages.get_mut(&id),
    }
}
