//! The world's objects as the real API's JSON, with all the fields that it sends.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::world::{Channel, Guild, Member, Message, Role, User, World, kind, time_of};

/// Who gets a message: REST leaves out what only events carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Rest,
    Event,
}

/// An ISO 8601 time with microseconds and a zone, as the real API writes it.
pub(crate) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

pub(crate) fn id(id: u64) -> Value {
    Value::String(id.to_string())
}

pub(crate) fn ids(of: &[u64]) -> Vec<Value> {
    of.iter().copied().map(id).collect()
}

pub(crate) fn user(user: &User) -> Value {
    let mut out = json!({
        "id": id(user.id), "username": user.name, "avatar": null,
        "discriminator": if user.bot { "4821" } else { "0" },
        "public_flags": 0, "flags": 0, "banner": null, "accent_color": null,
        "global_name": user.global_name, "avatar_decoration_data": null, "collectibles": null,
        "display_name_styles": null, "banner_color": null, "clan": null, "primary_guild": null,
    });
    if user.bot {
        out["bot"] = true.into();
    }
    out
}

/// The bot about itself.
pub(crate) fn current_user(world: &World) -> Value {
    let mut out = world.users.get(&world.bot).map(user).unwrap_or_default();
    for (key, value) in [
        ("verified", json!(true)),
        ("mfa_enabled", json!(true)),
        ("email", json!(null)),
        ("locale", json!("en-US")),
        ("premium_type", json!(0)),
        ("bio", json!("")),
    ] {
        out[key] = value;
    }
    out
}

/// A member without its user.
pub(crate) fn partial_member(member: &Member) -> Value {
    json!({
        "nick": member.nick, "avatar": null, "banner": null, "roles": ids(&member.roles),
        "joined_at": stamp(member.joined), "premium_since": null, "deaf": false, "mute": false,
        "pending": false, "flags": 0, "communication_disabled_until": null,
        "unusual_dm_activity_until": null,
    })
}

pub(crate) fn member(world: &World, guild: &Guild, of: u64) -> Option<Value> {
    let mut out = partial_member(guild.members.get(&of)?);
    out["user"] = user(world.users.get(&of)?);
    Some(out)
}

pub(crate) fn role(role: &Role, position: usize, of_bot: Option<u64>) -> Value {
    let mut out = json!({
        "id": id(role.id), "name": role.name, "description": null,
        "permissions": role.permissions.to_string(), "position": position, "color": 0,
        "colors": {"primary_color": 0, "secondary_color": null, "tertiary_color": null},
        "hoist": false, "managed": of_bot.is_some(), "mentionable": role.mentionable,
        "icon": null, "unicode_emoji": null, "flags": 0,
    });
    if let Some(bot) = of_bot {
        out["tags"] = json!({"bot_id": id(bot)});
    }
    out
}

pub(crate) fn channel(world: &World, channel: &Channel) -> Value {
    let last = channel.messages.keys().next_back().copied().map(id);
    if channel.is_private() {
        let with = channel.recipient.and_then(|id| world.users.get(&id));
        return json!({
            "id": id(channel.id), "type": channel.kind, "last_message_id": last, "flags": 0,
            "recipients": with.map(user).into_iter().collect::<Vec<_>>(),
        });
    }
    let mut out = json!({
        "id": id(channel.id), "type": channel.kind, "last_message_id": last, "flags": 0,
        "guild_id": channel.guild.map(id), "name": channel.name,
        "parent_id": channel.parent.map(id), "rate_limit_per_user": 0,
    });
    if channel.is_thread() {
        thread_fields(&mut out, channel);
        return out;
    }
    out["topic"] = Value::Null;
    out["position"] = 0.into();
    out["nsfw"] = false.into();
    out["icon_emoji"] = Value::Null;
    out["theme_color"] = Value::Null;
    out["last_pin_timestamp"] = Value::Null;
    out["permission_overwrites"] = overwrites(world, channel);
    if channel.kind == kind::FORUM {
        out["available_tags"] = json!([]);
        out["default_reaction_emoji"] = Value::Null;
        out["default_sort_order"] = Value::Null;
        out["default_forum_layout"] = 0.into();
        out["template"] = "".into();
    }
    out
}

fn thread_fields(out: &mut Value, channel: &Channel) {
    let made = stamp(time_of(channel.id));
    out["owner_id"] = channel.owner.map(id).into();
    out["total_message_sent"] = channel.messages.len().into();
    out["message_count"] = channel.messages.len().into();
    out["member_count"] = 1.into();
    out["member_ids_preview"] = json!([channel.owner.map(id)]);
    out["thread_metadata"] = json!({
        "archived": channel.archived, "locked": channel.locked, "auto_archive_duration": 1440,
        "archive_timestamp": made, "create_timestamp": made,
    });
}

fn overwrites(world: &World, channel: &Channel) -> Value {
    if channel.allow == 0 && channel.deny == 0 {
        return json!([]);
    }
    json!([{
        "id": id(world.bot), "type": 1,
        "allow": channel.allow.to_string(), "deny": channel.deny.to_string(),
    }])
}

/// A guild as REST gives it.
pub(crate) fn guild(world: &World, guild: &Guild) -> Value {
    let roles = guild.roles.values().enumerate();
    let of_bot = |role: &Role| (role.name == "Scrollback").then_some(world.bot);
    let mut out = json!({
        "id": id(guild.id), "name": guild.name, "icon": null, "icon_hash": null, "splash": null,
        "discovery_splash": null, "home_header": null, "banner": null, "description": null,
        "owner_id": id(guild.owner), "application_id": null, "region": "deprecated",
        "afk_channel_id": null, "afk_timeout": 300, "system_channel_id": null,
        "system_channel_flags": 0, "widget_enabled": false, "widget_channel_id": null,
    });
    let rest = json!({
        "verification_level": 1, "default_message_notifications": 1, "mfa_level": 0,
        "explicit_content_filter": 2, "nsfw_level": 0, "nsfw": false, "features": ["COMMUNITY"],
        "roles": roles.map(|(at, one)| role(one, at, of_bot(one))).collect::<Vec<_>>(),
        "emojis": [], "stickers": [], "rules_channel_id": null, "public_updates_channel_id": null,
        "safety_alerts_channel_id": null, "max_presences": null, "max_members": 500_000,
        "max_video_channel_users": 25, "max_stage_video_channel_users": 50,
        "vanity_url_code": null, "premium_tier": 0, "premium_subscription_count": 0,
        "premium_progress_bar_enabled": false, "premium_progress_bar_enabled_user_updated_at": null,
        "preferred_locale": "en-US", "hub_type": null, "latest_onboarding_question_id": null,
        "incidents_data": null, "inventory_settings": null, "embed_enabled": false,
        "embed_channel_id": null, "owner_configured_content_level": 0,
    });
    for (key, value) in rest.as_object().into_iter().flatten() {
        out[key] = value.clone();
    }
    out
}

/// A guild as GUILD_CREATE gives it.
pub(crate) fn guild_create(world: &World, of: &Guild) -> Value {
    let mut out = guild(world, of);
    let inside = || {
        let channels = world.channels.values();
        channels.filter(|channel| channel.guild == Some(of.id))
    };
    let rendered = |threads: bool| {
        inside()
            .filter(|channel| channel.is_thread() == threads && !(threads && channel.archived))
            .map(|one| channel(world, one))
            .collect::<Vec<_>>()
    };
    let bot = of.members.get(&world.bot);
    for (key, value) in [
        ("joined_at", json!(bot.map(|bot| stamp(bot.joined)))),
        ("large", json!(false)),
        ("lazy", json!(true)),
        ("unavailable", json!(false)),
        ("geo_restricted", json!(false)),
        ("member_count", json!(of.members.len())),
        ("voice_states", json!([])),
        (
            "members",
            json!(Vec::from_iter(member(world, of, world.bot))),
        ),
        ("channels", json!(rendered(false))),
        ("threads", json!(rendered(true))),
        ("presences", json!([])),
        ("stage_instances", json!([])),
        ("guild_scheduled_events", json!([])),
        ("soundboard_sounds", json!([])),
        ("embedded_activities", json!([])),
        ("activity_instances", json!([])),
        ("application_command_counts", json!({})),
        ("version", json!(1_700_000_000_000_u64)),
    ] {
        out[key] = value;
    }
    out
}

pub(crate) fn message(world: &World, of: &Message, view: View) -> Value {
    let guild = world.channels.get(&of.channel).and_then(|c| c.guild);
    let guild = guild.and_then(|id| world.guilds.get(&id));
    let mut out = json!({
        "id": id(of.id), "type": of.kind, "channel_id": id(of.channel), "author": author(world, of),
        "content": of.content, "timestamp": stamp(time_of(of.id)),
        "edited_timestamp": of.edited.map(stamp), "tts": of.tts,
        "mention_everyone": of.mention_everyone, "mentions": mentions(world, of, guild, view),
        "mention_roles": ids(&of.mention_roles), "attachments": of.attachments,
        "embeds": of.embeds, "components": of.components, "pinned": false, "flags": of.flags,
    });
    if let Some((webhook, _)) = &of.webhook {
        out["webhook_id"] = id(*webhook);
    }
    if let Some(reference) = &of.reference {
        out["message_reference"] = reference.clone();
    }
    if let Some((channel, to)) = of.referenced {
        let to = world.message(channel, to);
        out["referenced_message"] = to.map_or(Value::Null, |to| referenced(world, to));
    }
    interaction_fields(world, of, &mut out);
    if let Some(thread) = of.thread.and_then(|id| world.channels.get(&id)) {
        out["thread"] = channel(world, thread);
    }
    if view == View::Event {
        event_fields(world, of, guild, &mut out);
    }
    out
}

/// The answered message; it does not carry its own reference's message.
fn referenced(world: &World, to: &Message) -> Value {
    let alone = Message {
        referenced: None,
        ..to.clone()
    };
    message(world, &alone, View::Rest)
}

fn author(world: &World, of: &Message) -> Value {
    match &of.webhook {
        Some((webhook, name)) if *webhook != world.app => {
            let mut out = user(&User {
                id: *webhook,
                name: name.clone(),
                bot: true,
                ..User::default()
            });
            out["discriminator"] = "0000".into();
            out
        }
        _ => world.users.get(&of.author).map(user).unwrap_or_default(),
    }
}

fn mentions(world: &World, of: &Message, guild: Option<&Guild>, view: View) -> Vec<Value> {
    let known = of.mentions.iter().filter_map(|id| world.users.get(id));
    known
        .map(|one| {
            let mut out = user(one);
            let member = guild.and_then(|guild| guild.members.get(&one.id));
            if let (View::Event, Some(member)) = (view, member) {
                out["member"] = partial_member(member);
            }
            out
        })
        .collect()
}

fn interaction_fields(world: &World, of: &Message, out: &mut Value) {
    let Some(from) = of.interaction.and_then(|id| world.interactions.get(&id)) else {
        return;
    };
    let user = world.users.get(&from.user).map(user);
    out["application_id"] = id(world.app);
    out["interaction"] = json!({"id": id(from.id), "type": 2, "name": from.command, "user": user});
    let guild = world.channels.get(&from.channel).and_then(|c| c.guild);
    out["interaction_metadata"] = json!({
        "id": id(from.id), "type": 2, "user": user, "name": from.command, "command_type": 1,
        "authorizing_integration_owners": {"0": guild.unwrap_or_default().to_string()},
    });
}

fn event_fields(world: &World, of: &Message, guild: Option<&Guild>, out: &mut Value) {
    if let Some(nonce) = &of.nonce {
        out["nonce"] = nonce.clone();
    }
    out["channel_type"] = world.channels.get(&of.channel).map(|c| c.kind).into();
    // Ephemeral messages come straight from the server, as if they were private.
    let Some(guild) = guild.filter(|_| of.flags & super::world::flag::EPHEMERAL == 0) else {
        return;
    };
    out["guild_id"] = id(guild.id);
    let by_user = of
        .webhook
        .as_ref()
        .is_none_or(|(hook, _)| *hook == world.app);
    if let Some(member) = guild.members.get(&of.author).filter(|_| by_user) {
        out["member"] = partial_member(member);
    }
}
