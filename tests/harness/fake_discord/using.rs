//! Using slash commands.

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::FakeDiscord;
use super::gateway::Event;
use super::render;
use super::state::State;
use super::world::{Channel, Interaction};

impl FakeDiscord {
    /// A user uses a command that the bot has registered; `options` is an object of names and
    /// values, with an object for a subcommand. Returns the interaction's id.
    pub fn interact(&self, channel: u64, user: u64, command: &str, options: &Value) -> u64 {
        self.shared.with(|state| {
            let guild = state.world.channels.get(&channel).and_then(|c| c.guild);
            if let Some(guild) = guild {
                state.world.join(guild, user);
            }
            let mut known = state.world.commands.iter();
            let found = known.find(|one| one["name"] == command).cloned();
            assert!(found.is_some(), "the bot has not registered /{command}");
            let data = command_data(&found.unwrap_or_default(), options);
            let id = state.world.next_id();
            let interaction = Interaction {
                id,
                token: format!("aW50ZXJhY3Rpb246{id}:kJ8xQw2vN5rT7yLpZ0cB4mHd"),
                channel,
                user,
                command: command.to_owned(),
                at: Instant::now(),
                acknowledged: false,
                original: None,
            };
            let payload = state.interaction(&interaction, &data);
            state.world.interactions.insert(id, interaction);
            state.dispatch(&Event {
                name: "INTERACTION_CREATE".to_owned(),
                data: payload,
                guild,
                intents: 0,
            });
            id
        })
    }

    /// The token of an interaction, as its event carries it.
    pub fn interaction_token(&self, interaction: u64) -> Option<String> {
        self.shared.read(|state| {
            let known = state.world.interactions.get(&interaction);
            known.map(|one| one.token.clone())
        })
    }

    /// True when the bot has answered an interaction, or said that it is thinking.
    pub fn acknowledged(&self, interaction: u64) -> bool {
        self.shared.read(|state| {
            let known = state.world.interactions.get(&interaction);
            known.is_some_and(|one| one.acknowledged)
        })
    }
}

impl State {
    fn interaction(&self, of: &Interaction, data: &Value) -> Value {
        let world = &self.world;
        let Some(channel) = world.channels.get(&of.channel) else {
            return Value::Null;
        };
        let user = world.users.get(&of.user).map(render::user);
        let mut out = json!({
            "id": render::id(of.id), "application_id": render::id(world.app), "type": 2,
            "version": 1, "token": of.token, "data": data, "channel_id": render::id(of.channel),
            "channel": self.interaction_channel(channel), "locale": "en-US", "entitlements": [],
            "entitlement_sku_ids": [], "attachment_size_limit": 10_485_760,
            "app_permissions": world.permissions(channel).to_string(),
            "authorizing_integration_owners":
                {"0": channel.guild.unwrap_or_default().to_string()},
            "context": u8::from(channel.guild.is_none()),
        });
        let guild = channel.guild.and_then(|id| world.guilds.get(&id));
        let Some(guild) = guild else {
            out["user"] = user.into();
            return out;
        };
        out["guild_id"] = render::id(guild.id);
        out["guild_locale"] = "en-US".into();
        out["guild"] = json!({
            "id": render::id(guild.id), "locale": "en-US", "features": ["COMMUNITY"],
        });
        let mut member = render::member(world, guild, of.user).unwrap_or_default();
        member["permissions"] = world.permissions_of(of.user, channel).to_string().into();
        out["member"] = member;
        out
    }

    fn interaction_channel(&self, channel: &Channel) -> Value {
        let mut out = render::channel(&self.world, channel);
        out["permissions"] = self.world.permissions(channel).to_string().into();
        if let Some(fields) = out.as_object_mut() {
            fields.remove("permission_overwrites");
        }
        out
    }
}

/// The data of a use: values under the types that the command declares.
fn command_data(command: &Value, options: &Value) -> Value {
    let mut data = json!({"id": command["id"], "name": command["name"], "type": command["type"]});
    if let Some(guild) = command.get("guild_id") {
        data["guild_id"] = guild.clone();
    }
    let given = options.as_object().cloned().unwrap_or_default();
    let given = option_data(&command["options"], &given);
    if !given.is_empty() {
        data["options"] = given.into();
    }
    data
}

fn option_data(declared: &Value, given: &Map<String, Value>) -> Vec<Value> {
    let declared = declared.as_array().cloned().unwrap_or_default();
    for option in &declared {
        let name = option["name"].as_str().unwrap_or_default();
        let required = option["required"] == true;
        assert!(
            !required || given.contains_key(name),
            "option {name} is required"
        );
    }
    let uses = given.iter().map(|(name, value)| {
        let option = declared
            .iter()
            .find(|option| option["name"] == name.as_str());
        assert!(option.is_some(), "the command has no option {name}");
        let option = option.cloned().unwrap_or_default();
        match value.as_object() {
            Some(inner) => json!({
                "name": name, "type": option["type"],
                "options": option_data(&option["options"], inner),
            }),
            None => json!({"name": name, "type": option["type"], "value": value}),
        }
    });
    uses.collect()
}
