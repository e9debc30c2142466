//! setMyCommands, getMyCommands, deleteMyCommands: lists of commands by scope and language.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::{Done, Refusal, Reply};
use super::args::Args;
use super::state::State;

/// The lists that were set, by scope and language.
#[derive(Debug, Default)]
pub(crate) struct Commands(BTreeMap<(String, String), Value>);

impl Commands {
    /// The list of this scope's JSON and language.
    pub(crate) fn of(&self, scope: &str, language: &str) -> Option<&Value> {
        self.0.get(&(scope.to_owned(), language.to_owned()))
    }
}

pub(crate) fn set(state: &mut State, args: &Args) -> Reply {
    let key = (scope(state, args)?, language(args)?);
    let list = args
        .json("commands", "commands")?
        .unwrap_or_else(|| json!([]));
    let list = list
        .as_array()
        .ok_or_else(|| Refusal::bad("expected an Array of BotCommand"))?;
    if list.len() > 100 {
        return Err(Refusal::bad("BOT_COMMANDS_TOO_MUCH"));
    }
    let commands = list.iter().map(command).collect::<Result<Vec<_>, _>>()?;
    state.commands.0.insert(key, Value::Array(commands));
    Ok(Done::yes())
}

pub(crate) fn get(state: &mut State, args: &Args) -> Reply {
    let key = (scope(state, args)?, language(args)?);
    let list = state.commands.0.get(&key).cloned();
    Ok(list.unwrap_or_else(|| json!([])).into())
}

pub(crate) fn delete(state: &mut State, args: &Args) -> Reply {
    let key = (scope(state, args)?, language(args)?);
    state.commands.0.remove(&key);
    Ok(Done::yes())
}

fn command(command: &Value) -> Result<Value, Refusal> {
    let text = |name: &str| command.get(name).and_then(Value::as_str);
    let (Some(name), Some(description)) = (text("command"), text("description")) else {
        return Err(Refusal::bad("can't parse BotCommand: can't find field"));
    };
    let name = name.strip_prefix('/').unwrap_or(name);
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !(1..=32).contains(&name.chars().count()) || !name.chars().all(allowed) {
        return Err(Refusal::bad("BOT_COMMAND_INVALID"));
    }
    match description.chars().count() {
        0 => Err(Refusal::bad("command description must be non-empty")),
        1..=256 => Ok(json!({ "command": name, "description": description })),
        _ => Err(Refusal::bad("BOT_COMMAND_DESCRIPTION_INVALID")),
    }
}

/// The scope as the text of its JSON; the default one when it is absent.
fn scope(state: &State, args: &Args) -> Result<String, Refusal> {
    let scope = args
        .json("scope", "BotCommandScope")?
        .unwrap_or_else(|| json!({ "type": "default" }));
    let kind = scope.get("type").and_then(Value::as_str);
    let wants = match kind {
        Some("default" | "all_private_chats" | "all_group_chats" | "all_chat_administrators") => {
            (false, false)
        }
        Some("chat" | "chat_administrators") => (true, false),
        Some("chat_member") => (true, true),
        _ => {
            return Err(Refusal::bad(
                "can't parse BotCommandScope: unsupported type specified",
            ));
        }
    };
    let number = |name: &str| scope.get(name).and_then(Value::as_i64);
    if wants.0 && !number("chat_id").is_some_and(|chat| state.chats.contains_key(&chat)) {
        return Err(Refusal::bad("chat not found"));
    }
    if wants.1 && !number("user_id").is_some_and(|user| state.users.contains_key(&user)) {
        return Err(Refusal::bad("invalid user_id specified"));
    }
    Ok(scope.to_string())
}

fn language(args: &Args) -> Result<String, Refusal> {
    let language = args.text("language_code").unwrap_or_default();
    let two = language.chars().count() == 2 && language.chars().all(|c| c.is_ascii_lowercase());
    if language.is_empty() || two {
        Ok(language)
    } else {
        Err(Refusal::bad("invalid language code specified"))
    }
}
