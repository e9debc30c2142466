//! Endpoints of channels, guilds, users and the application itself.

use serde_json::{Value, json};

use super::draft::Draft;
use super::{Asked, snowflake};
use crate::fake_discord::error::{Answer, ApiError, Reply};
use crate::fake_discord::record::Typing;
use crate::fake_discord::render;
use crate::fake_discord::state::State;
use crate::fake_discord::world::{Channel, Guild, permission};

impl State {
    pub(super) fn route_channels(&mut self, asked: Asked<'_>) -> Answer {
        let id = snowflake(asked.parts.get(1).unwrap_or(&""), "channel_id")?;
        let rest = asked.parts.get(2..).unwrap_or_default();
        match (asked.method, rest) {
            ("GET", []) => {
                let channel = self.seen(id)?;
                Ok(Reply::ok(render::channel(&self.world, channel)))
            }
            ("GET", ["messages"]) => self.list_messages(id, &asked.query),
            ("GET", ["messages", message]) => {
                self.get_message(id, snowflake(message, "message_id")?)
            }
            ("POST", ["messages"]) => self.post_message(id, Draft::read(asked.payload, "")?),
            ("PATCH", ["messages", message]) => {
                let message = snowflake(message, "message_id")?;
                self.patch_message(id, message, &Draft::read(asked.payload, "")?)
            }
            ("DELETE", ["messages", message]) => {
                self.delete_message(id, snowflake(message, "message_id")?)
            }
            ("POST", ["typing"]) => self.type_in(id),
            (_, [] | ["typing"] | ["messages", ..]) => Err(ApiError::wrong_method()),
            _ => Err(ApiError::not_found()),
        }
    }

    pub(super) fn route_rest(&mut self, asked: &Asked<'_>) -> Answer {
        match (asked.method, asked.parts.as_slice()) {
            ("GET", ["gateway"]) => Ok(Reply::ok(json!({"url": self.gateway_url()}))),
            ("GET", ["gateway", "bot"]) => Ok(Reply::ok(json!({
                "url": self.gateway_url(), "shards": 1,
                "session_start_limit": {
                    "total": 1000, "remaining": self.gateway.starts_left,
                    "reset_after": 86_400_000, "max_concurrency": 1,
                },
            }))),
            ("GET", ["users", "@me"]) => Ok(Reply::ok(render::current_user(&self.world))),
            ("GET", ["users", id]) => {
                let id = snowflake(id, "user_id")?;
                let user = self
                    .world
                    .users
                    .get(&id)
                    .ok_or_else(ApiError::unknown_user)?;
                Ok(Reply::ok(render::user(user)))
            }
            ("POST", ["users", "@me", "channels"]) => self.open_private(&asked.payload.json),
            ("GET", ["applications", "@me"] | ["oauth2", "applications", "@me"]) => {
                Ok(Reply::ok(self.application()))
            }
            ("GET", ["guilds", id, rest @ ..]) => {
                self.route_guild(snowflake(id, "guild_id")?, rest)
            }
            _ => Err(ApiError::not_found()),
        }
    }

    fn route_guild(&self, id: u64, rest: &[&str]) -> Answer {
        let world = &self.world;
        let guild = world.guilds.get(&id).ok_or_else(ApiError::unknown_guild)?;
        if !guild.present {
            return Err(ApiError::missing_access());
        }
        let inside = |threads: bool| {
            let all = world.channels.values();
            all.filter(move |one| one.guild == Some(id) && one.is_thread() == threads)
        };
        let body = match rest {
            [] => render::guild(world, guild),
            ["channels"] => inside(false)
                .map(|one| render::channel(world, one))
                .collect(),
            ["roles"] => render::guild(world, guild)["roles"].take(),
            ["threads", "active"] => {
                let active = inside(true).filter(|one| !one.archived && self.may_see(one));
                let threads: Value = active.map(|one| render::channel(world, one)).collect();
                json!({"threads": threads, "members": []})
            }
            ["members", user] => self.get_member(guild, snowflake(user, "user_id")?)?,
            _ => return Err(ApiError::not_found()),
        };
        Ok(Reply::ok(body))
    }

    fn get_member(&self, guild: &Guild, user: u64) -> Result<Value, ApiError> {
        if !self.world.users.contains_key(&user) {
            return Err(ApiError::unknown_user());
        }
        render::member(&self.world, guild, user).ok_or_else(ApiError::unknown_member)
    }

    fn gateway_url(&self) -> String {
        self.url.replacen("http://", "ws://", 1) + "/gw"
    }

    fn application(&self) -> Value {
        let bot = render::current_user(&self.world);
        let owner = self.world.users.values().find(|user| !user.bot);
        json!({
            "id": render::id(self.world.app), "name": "Scrollback", "icon": null,
            "description": "", "summary": "", "type": null, "is_monetized": false,
            "bot": bot, "bot_public": true, "bot_require_code_grant": false,
            "integration_types_config": {"0": {}, "1": {}}, "hook": true,
            "verify_key": "3b7c0a1be6f2d84f9c55e0d7c1a2b3948576c0ffee1234567890abcdef123456",
            "flags": self.app_flags(), "owner": owner.map(render::user), "team": null,
            "redirect_uris": [], "interactions_endpoint_url": null, "tags": [],
            "role_connections_verification_url": null, "approximate_guild_count": 1,
            "approximate_user_install_count": 0, "rpc_origins": [],
        })
    }

    fn open_private(&mut self, body: &Value) -> Answer {
        let given = &body["recipient_id"];
        let text = given
            .as_str()
            .map_or_else(|| given.to_string(), str::to_owned);
        let user = snowflake(&text, "recipient_id")?;
        let known = self
            .world
            .users
            .get(&user)
            .ok_or_else(ApiError::unknown_user)?;
        if known.bot {
            return Err(ApiError::blocked());
        }
        let id = self.world.private_channel(user);
        let channel = self.seen(id)?;
        Ok(Reply::ok(render::channel(&self.world, channel)))
    }

    fn type_in(&mut self, id: u64) -> Answer {
        let channel = self.seen(id)?;
        self.check_write(channel)?;
        self.record.typing.push(Typing {
            channel: id,
            at: jiff::Timestamp::now(),
        });
        Ok(Reply::empty())
    }

    pub(crate) fn may_see(&self, channel: &Channel) -> bool {
        self.world.permissions(channel) & permission::VIEW_CHANNEL != 0
    }

    /// A channel that exists and that the bot may see.
    pub(super) fn seen(&self, id: u64) -> Result<&Channel, ApiError> {
        let channel = self.world.channels.get(&id);
        let channel = channel.ok_or_else(ApiError::unknown_channel)?;
        let guild = channel.guild.and_then(|id| self.world.guilds.get(&id));
        if guild.is_some_and(|guild| !guild.present) || !self.may_see(channel) {
            return Err(ApiError::missing_access());
        }
        Ok(channel)
    }

    /// Refuses where the bot may not write.
    pub(super) fn check_write(&self, channel: &Channel) -> Result<(), ApiError> {
        let user = channel.recipient.and_then(|id| self.world.users.get(&id));
        if user.is_some_and(|user| user.blocks) {
            return Err(ApiError::blocked());
        }
        let needed = if channel.is_thread() {
            permission::SEND_MESSAGES_IN_THREADS
        } else {
            permission::SEND_MESSAGES
        };
        let may = self.world.permissions(channel);
        if may & needed == 0 {
            return Err(ApiError::missing_permissions());
        }
        if channel.locked && channel.archived && may & permission::MANAGE_THREADS == 0 {
            return Err(ApiError::archived());
        }
        Ok(())
    }
}
