//! Endpoints of slash commands, and what a command may look like.

use serde_json::{Value, json};

use super::{Asked, snowflake};
use crate::fake_discord::error::{Answer, ApiError, Reply};
use crate::fake_discord::render;
use crate::fake_discord::state::State;

impl State {
    pub(super) fn route_commands(&mut self, asked: &Asked<'_>) -> Answer {
        let app = snowflake(asked.parts.get(1).unwrap_or(&""), "application_id")?;
        if app != self.world.app {
            let message = "You are not authorized to perform this action on this application";
            return Err(ApiError::new(403, 20012, message));
        }
        let (guild, rest) = match asked.parts.get(2..).unwrap_or_default() {
            ["guilds", guild, "commands", rest @ ..] => (snowflake(guild, "guild_id")?, rest),
            ["commands", rest @ ..] => (0, rest),
            _ => return Err(ApiError::not_found()),
        };
        if guild != 0
            && !self
                .world
                .guilds
                .get(&guild)
                .is_some_and(|guild| guild.present)
        {
            return Err(ApiError::missing_access());
        }
        let here = |command: &Value| same_guild(command, guild);
        match (asked.method, rest) {
            ("GET", []) => {
                let all = self.world.commands.iter().filter(|one| here(one));
                Ok(Reply::ok(all.cloned().collect()))
            }
            ("PUT", []) => self.replace_commands(guild, &asked.payload.json),
            ("POST", []) => {
                check_command(&asked.payload.json, "")?;
                let known = self.forget_command(guild, &asked.payload.json["name"]);
                let made = self.add_command(guild, &asked.payload.json);
                Ok(Reply {
                    status: if known { 200 } else { 201 },
                    body: Some(made),
                })
            }
            (method, [id]) => {
                let id = Value::String((*id).to_owned());
                let commands = &mut self.world.commands;
                let found = commands.iter().position(|one| here(one) && one["id"] == id);
                let found = found.ok_or_else(ApiError::unknown_command)?;
                match method {
                    "GET" => Ok(Reply::ok(commands.get(found).cloned().unwrap_or_default())),
                    "DELETE" => {
                        commands.remove(found);
                        Ok(Reply::empty())
                    }
                    _ => Err(ApiError::wrong_method()),
                }
            }
            _ => Err(ApiError::not_found()),
        }
    }

    fn replace_commands(&mut self, guild: u64, body: &Value) -> Answer {
        let Some(all) = body.as_array() else {
            let message = "Only iterables may be used in a ListType";
            return Err(ApiError::field("_", "LIST_TYPE_CONVERT", message));
        };
        if all.len() > 100 {
            let message = "Maximum number of application commands reached (100).";
            return Err(ApiError::new(400, 30032, message));
        }
        for (at, command) in all.iter().enumerate() {
            check_command(command, &format!("{at}."))?;
            let same = |other: &&Value| other["name"] == command["name"];
            if all.iter().take(at).any(|other| same(&other)) {
                let code = "APPLICATION_COMMANDS_DUPLICATE_NAME";
                let message = "Application command names must be unique";
                return Err(ApiError::field(&at.to_string(), code, message));
            }
        }
        self.world.commands.retain(|one| !same_guild(one, guild));
        let made = all.iter().map(|one| self.add_command(guild, one));
        Ok(Reply::ok(made.collect()))
    }

    fn forget_command(&mut self, guild: u64, name: &Value) -> bool {
        let before = self.world.commands.len();
        let other = |one: &Value| !same_guild(one, guild) || one["name"] != *name;
        self.world.commands.retain(other);
        self.world.commands.len() < before
    }

    fn add_command(&mut self, guild: u64, command: &Value) -> Value {
        let mut made = json!({
            "id": render::id(self.world.next_id()),
            "application_id": render::id(self.world.app),
            "version": render::id(self.world.next_id()),
            "default_member_permissions": null, "type": 1, "name_localizations": null,
            "description_localizations": null, "dm_permission": true, "contexts": null,
            "integration_types": [0], "nsfw": false, "options": [],
        });
        for (key, value) in command.as_object().into_iter().flatten() {
            made[key] = value.clone();
        }
        if guild != 0 {
            made["guild_id"] = render::id(guild);
        }
        self.world.commands.push(made.clone());
        made
    }
}

fn same_guild(command: &Value, guild: u64) -> bool {
    match command["guild_id"].as_str() {
        None => guild == 0,
        Some(id) => id == guild.to_string(),
    }
}

fn check_command(command: &Value, path: &str) -> Result<(), ApiError> {
    let typed = command["type"].as_u64().unwrap_or(1);
    if typed != 1 {
        return check_length(&command["name"], &format!("{path}name"), 32);
    }
    check_named(command, path)?;
    check_options(&command["options"], &format!("{path}options"))
}

fn check_named(of: &Value, path: &str) -> Result<(), ApiError> {
    let at = format!("{path}name");
    check_length(&of["name"], &at, 32)?;
    let name = of["name"].as_str().unwrap_or_default();
    let allowed = |c: char| matches!(c, '-' | '_' | '\'') || c.is_alphanumeric();
    if !name.chars().all(allowed) || name.to_lowercase() != name {
        let code = "APPLICATION_COMMAND_INVALID_NAME";
        return Err(ApiError::field(&at, code, "Command name is invalid"));
    }
    check_length(&of["description"], &format!("{path}description"), 100)
}

fn check_length(text: &Value, path: &str, most: usize) -> Result<(), ApiError> {
    let text = text.as_str().ok_or_else(|| ApiError::required(path))?;
    if (1..=most).contains(&text.chars().count()) {
        return Ok(());
    }
    let message = format!("Must be between 1 and {most} in length.");
    Err(ApiError::field(path, "BASE_TYPE_BAD_LENGTH", &message))
}

fn check_options(options: &Value, path: &str) -> Result<(), ApiError> {
    let options = options.as_array().cloned().unwrap_or_default();
    if options.len() > 25 {
        return Err(ApiError::too_long(path, 25));
    }
    let mut optional = false;
    for (at, option) in options.iter().enumerate() {
        let path = format!("{path}.{at}");
        let kind = option["type"].as_u64();
        if !kind.is_some_and(|kind| (1..=11).contains(&kind)) {
            return Err(ApiError::required(&format!("{path}.type")));
        }
        check_named(option, &format!("{path}."))?;
        let required = option["required"].as_bool().unwrap_or(false);
        if required && optional {
            let code = "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID";
            let message = "Required options must be placed before non-required options";
            return Err(ApiError::field(&path, code, message));
        }
        optional |= !required;
        if option["choices"]
            .as_array()
            .is_some_and(|all| all.len() > 25)
        {
            return Err(ApiError::too_long(&format!("{path}.choices"), 25));
        }
        check_options(&option["options"], &format!("{path}.options"))?;
    }
    Ok(())
}
