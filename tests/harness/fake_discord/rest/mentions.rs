//! Whom a message pings: what its text names, and what `allowed_mentions` lets through.

use serde_json::Value;

use crate::fake_discord::error::ApiError;
use crate::fake_discord::record::Pings;
use crate::fake_discord::world::{Channel, World, permission};

/// Refuses `allowed_mentions` that contradict themselves.
pub(crate) fn check(allowed: &Value, path: &str) -> Result<(), ApiError> {
    if !allowed.is_object() {
        let message = "Only dictionaries may be used in a ModelType";
        return Err(ApiError::field(path, "MODEL_TYPE_CONVERT", message));
    }
    let parse = allowed["parse"].as_array().cloned().unwrap_or_default();
    for (at, kind) in parse.iter().enumerate() {
        if !matches!(kind.as_str(), Some("users" | "roles" | "everyone")) {
            let message = "Value must be one of {'users', 'roles', 'everyone'}.";
            let path = format!("{path}.parse.{at}");
            return Err(ApiError::field(&path, "BASE_TYPE_CHOICES", message));
        }
    }
    for kind in ["users", "roles"] {
        let listed = allowed[kind].as_array().cloned().unwrap_or_default();
        if !listed.is_empty() && parse.iter().any(|one| one == kind) {
            let message =
                format!("parse:[\"{kind}\"] and {kind}: [ids...] are mutually exclusive.");
            let code = "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE";
            return Err(ApiError::field(path, code, &message));
        }
        if listed.len() > 100 {
            return Err(ApiError::too_long(&format!("{path}.{kind}"), 100));
        }
        for (at, id) in listed.iter().enumerate() {
            let text = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
            super::snowflake(&text, &format!("{path}.{kind}.{at}"))?;
        }
    }
    Ok(())
}

/// Ids named in a text after `<@`, `<@!` or, for roles, `<@&`; each once.
pub(crate) fn named(text: &str, roles: bool) -> Vec<u64> {
    let mut found = Vec::new();
    for after in text.split("<@").skip(1) {
        let Some((name, _)) = after.split_once('>') else {
            continue;
        };
        let digits = match (name.strip_prefix('&'), roles) {
            (Some(role), true) => role,
            (None, false) => name.strip_prefix('!').unwrap_or(name),
            _ => continue,
        };
        if let Ok(id) = digits.parse::<u64>()
            && !found.contains(&id)
        {
            found.push(id);
        }
    }
    found
}

/// What `allowed_mentions` lets through; without them everything, or users only in responses.
struct Allowed<'a> {
    allowed: Option<&'a Value>,
    only_users: bool,
}

impl Allowed<'_> {
    fn kind(&self, kind: &str) -> bool {
        match self.allowed {
            None => !self.only_users || kind == "users",
            Some(allowed) => {
                let parse = allowed["parse"].as_array();
                parse.is_some_and(|all| all.iter().any(|one| one == kind))
            }
        }
    }

    fn one(&self, kind: &str, id: u64) -> bool {
        let text = id.to_string();
        let listed = self.allowed.and_then(|allowed| allowed[kind].as_array());
        let same = |one: &Value| one.as_str() == Some(&text) || one.as_u64() == Some(id);
        self.kind(kind) || listed.is_some_and(|all| all.iter().any(same))
    }

    fn replied_user(&self) -> bool {
        let named = self
            .allowed
            .map(|allowed| allowed["replied_user"].as_bool());
        named.is_none_or(|set| set.unwrap_or(false))
    }
}

/// Whom a bot's message pings.
pub(crate) fn pings(
    world: &World,
    channel: &Channel,
    text: &str,
    allowed: Option<&Value>,
    replied: Option<u64>,
    response: bool,
) -> Pings {
    let allowed = Allowed {
        allowed,
        only_users: response,
    };
    let guild = channel.guild.and_then(|id| world.guilds.get(&id));
    let may = world.permissions(channel) & permission::MENTION_EVERYONE != 0;
    let everyone = guild.is_some() && may && allowed.kind("everyone");
    let user = |id: &u64| world.users.contains_key(id) && allowed.one("users", *id);
    let role = |id: &u64| {
        let role = guild.and_then(|guild| guild.roles.get(id));
        role.is_some_and(|role| role.mentionable || may) && allowed.one("roles", *id)
    };
    Pings {
        everyone: everyone && text.contains("@everyone"),
        here: everyone && text.contains("@here"),
        users: named(text, false).into_iter().filter(user).collect(),
        roles: named(text, true).into_iter().filter(role).collect(),
        replied_user: replied.filter(|_| allowed.replied_user()),
    }
}
