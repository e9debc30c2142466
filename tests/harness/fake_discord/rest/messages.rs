//! Endpoints of messages, and how a message of the bot comes to be.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::draft::Draft;
use super::{mentions, snowflake};
use crate::fake_discord::error::{Answer, ApiError, Reply};
use crate::fake_discord::gateway::hide;
use crate::fake_discord::gateway::intent;
use crate::fake_discord::record::{Edit, Pings, SentMessage};
use crate::fake_discord::render::{self, View};
use crate::fake_discord::state::State;
use crate::fake_discord::world::{Channel, Message, flag, kind, permission, time_of};

/// Message types that can be answered: ordinary, answer, command, context command.
const ANSWERABLE: [u8; 4] = [0, 19, 20, 23];

/// What a message of the bot answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Source {
    pub(super) interaction: Option<u64>,
    /// Its message type; 0 becomes 19 with a reference.
    pub(super) kind: u8,
    /// Flags besides those asked for.
    pub(super) flags: u64,
}

impl State {
    pub(super) fn list_messages(&self, id: u64, query: &BTreeMap<String, String>) -> Answer {
        let channel = self.seen(id)?;
        let limit = limit(query)?;
        let place = |name: &str| query.get(name).map(|at| snowflake(at, name)).transpose();
        let (before, after, around) = (place("before")?, place("after")?, place("around")?);
        if [before, after, around].iter().flatten().count() > 1 {
            let message = "before, after and around are mutually exclusive";
            return Err(ApiError::field("_", "BASE_TYPE_EXCLUSIVE", message));
        }
        if self.world.permissions(channel) & permission::READ_MESSAGE_HISTORY == 0 {
            return Ok(Reply::ok(json!([])));
        }
        let kept = |message: &&Message| message.flags & flag::EPHEMERAL == 0;
        let all: Vec<&Message> = channel.messages.values().filter(kept).collect();
        let older = |than: u64, n: usize| {
            let found = all.iter().rev().filter(move |one| one.id < than);
            found.take(n).copied().collect::<Vec<_>>()
        };
        let newer = |than: u64, n: usize| {
            let found = all.iter().filter(move |one| one.id > than);
            let mut found = found.take(n).copied().collect::<Vec<_>>();
            found.reverse();
            found
        };
        let page = match (after, around) {
            (Some(after), _) => newer(after, limit),
            (None, Some(around)) => {
                let mut page = newer(around, limit / 2);
                page.extend(older(around + 1, limit - page.len()));
                page
            }
            (None, None) => older(before.unwrap_or(u64::MAX), limit),
        };
        Ok(Reply::ok(
            page.into_iter().map(|one| self.shown(one)).collect(),
        ))
    }

    pub(super) fn get_message(&self, channel: u64, id: u64) -> Answer {
        let channel = self.seen(channel)?;
        if self.world.permissions(channel) & permission::READ_MESSAGE_HISTORY == 0 {
            return Err(ApiError::missing_access());
        }
        let message = channel
            .messages
            .get(&id)
            .ok_or_else(ApiError::unknown_message)?;
        Ok(Reply::ok(self.shown(message)))
    }

    /// A message as REST shows it: without content, unless the application may read it.
    fn shown(&self, message: &Message) -> Value {
        let mut out = render::message(&self.world, message, View::Rest);
        let guild = self
            .world
            .channels
            .get(&message.channel)
            .and_then(|c| c.guild);
        if guild.is_some() && self.gateway.settings.intents & intent::MESSAGE_CONTENT == 0 {
            hide(&mut out, self.world.bot);
        }
        out
    }

    pub(super) fn post_message(&mut self, id: u64, draft: Draft) -> Answer {
        let channel = self.seen(id)?;
        if channel.kind == kind::FORUM {
            return Err(ApiError::no_text_channel());
        }
        draft.check_filled()?;
        self.check_write(channel)?;
        let may = self.world.permissions(channel);
        if !draft.files.is_empty() && may & permission::ATTACH_FILES == 0 {
            return Err(ApiError::missing_permissions());
        }
        if let Some(known) = self.same_nonce(id, &draft) {
            return Ok(Reply::ok(self.created(id, known)));
        }
        let mut draft = self.check_reference(id, draft)?;
        draft.flags &= !flag::EPHEMERAL;
        self.unarchive(id);
        let message = self.create(id, draft, Source::default());
        Ok(Reply::ok(self.created(id, message)))
    }

    /// The answer to a creation: the message with its nonce.
    fn created(&self, channel: u64, id: u64) -> Value {
        let Some(message) = self.world.message(channel, id) else {
            return Value::Null;
        };
        let mut out = render::message(&self.world, message, View::Rest);
        if let Some(nonce) = &message.nonce {
            out["nonce"] = nonce.clone();
        }
        out
    }

    fn same_nonce(&self, channel: u64, draft: &Draft) -> Option<u64> {
        let nonce = draft.nonce.as_ref().filter(|_| draft.enforce_nonce)?;
        let channel = self.world.channels.get(&channel)?;
        let window = self.options.nonce_window;
        let fresh = |message: &&Message| {
            let age = Timestamp::now().duration_since(time_of(message.id));
            message.author == self.world.bot && age.unsigned_abs() <= window
        };
        let mut known = channel.messages.values().rev().filter(fresh);
        known
            .find(|message| message.nonce.as_ref() == Some(nonce))
            .map(|message| message.id)
    }

    /// Refuses an answer to what is not there, or takes the reference away where that is allowed.
    fn check_reference(&self, channel: u64, mut draft: Draft) -> Result<Draft, ApiError> {
        let Some(reference) = &draft.reference else {
            return Ok(draft);
        };
        let strict = reference["fail_if_not_exists"].as_bool().unwrap_or(true);
        let Some(to) = reference_of(reference).and_then(|id| self.world.message(channel, id))
        else {
            if strict {
                let code = self.options.unknown_reference;
                return Err(ApiError::field(
                    "message_reference",
                    code,
                    "Unknown message",
                ));
            }
            draft.reference = None;
            return Ok(draft);
        };
        if !ANSWERABLE.contains(&to.kind) {
            let code = "REPLIES_CANNOT_REPLY_TO_SYSTEM_MESSAGE";
            let message = "Cannot reply to a system message";
            return Err(ApiError::field("message_reference", code, message));
        }
        let seen = self.seen(channel)?;
        if self.world.permissions(seen) & permission::READ_MESSAGE_HISTORY == 0 {
            let message = "Cannot reply without permission to read message history";
            return Err(ApiError::new(400, 160_002, message));
        }
        Ok(draft)
    }

    /// A message wakes an archived thread.
    fn unarchive(&mut self, id: u64) {
        let Some(thread) = self.world.channels.get_mut(&id).filter(|one| one.archived) else {
            return;
        };
        thread.archived = false;
        self.channel_event("THREAD_UPDATE", id);
    }

    /// Makes a message of the bot, records whom it pings, and tells the gateway.
    pub(super) fn create(&mut self, channel: u64, draft: Draft, source: Source) -> u64 {
        let id = self.world.next_id();
        let Some(place) = self.world.channels.get(&channel) else {
            return id;
        };
        let to = draft.reference.as_ref().and_then(reference_of);
        let (pings, mentions) = self.pinged(place, &draft, to, source.interaction.is_some());
        let guild = place.guild;
        let answers = source.kind == 0 && to.is_some();
        let reference = to.map(|to| {
            let mut out = json!({
                "type": 0, "channel_id": render::id(channel), "message_id": render::id(to),
            });
            if let Some(guild) = guild {
                out["guild_id"] = render::id(guild);
            }
            out
        });
        let message = Message {
            id,
            channel,
            author: self.world.bot,
            kind: if answers { 19 } else { source.kind },
            content: draft.trimmed(),
            mention_everyone: pings.everyone || pings.here,
            mentions,
            mention_roles: pings.roles.clone(),
            attachments: self.attachments(channel, &draft),
            embeds: draft.embeds.clone().unwrap_or_default(),
            components: draft.components.clone().unwrap_or_default(),
            flags: draft.flags | source.flags,
            tts: draft.tts,
            nonce: draft.nonce.clone(),
            reference,
            referenced: to.map(|to| (channel, to)),
            webhook: source
                .interaction
                .map(|_| (self.world.app, "Scrollback".to_owned())),
            interaction: source.interaction,
            ..Message::default()
        };
        self.world.put(message);
        let sent = sent(id, channel, draft, source, pings, to);
        self.record.sent.push(sent);
        self.message_event("MESSAGE_CREATE", channel, id);
        id
    }

    fn pinged(
        &self,
        place: &Channel,
        draft: &Draft,
        to: Option<u64>,
        response: bool,
    ) -> (Pings, Vec<u64>) {
        let replied = to
            .and_then(|to| place.messages.get(&to))
            .map(|to| to.author);
        let allowed = draft.allowed.as_ref();
        let text = draft.trimmed();
        let pings = mentions::pings(&self.world, place, &text, allowed, replied, response);
        let mut mentions = pings.users.clone();
        mentions.extend(
            pings
                .replied_user
                .filter(|user| !pings.users.contains(user)),
        );
        (pings, mentions)
    }

    fn attachments(&mut self, channel: u64, draft: &Draft) -> Vec<Value> {
        let files = draft.files.iter();
        files
            .map(|file| {
                let id = self.world.next_id();
                let url = format!(
                    "attachments/{channel}/{id}/{}?ex=6743&is=6742&hm=0f",
                    file.name
                );
                let kind = file.content_type.clone();
                json!({
                    "id": render::id(id), "filename": file.name, "size": file.bytes.len(),
                    "url": format!("https://cdn.discordapp.com/{url}"),
                    "proxy_url": format!("https://media.discordapp.net/{url}"),
                    "content_type": kind, "content_scan_version": 0,
                })
            })
            .collect()
    }

    pub(super) fn patch_message(&mut self, channel: u64, id: u64, draft: &Draft) -> Answer {
        let place = self.seen(channel)?;
        let message = place
            .messages
            .get(&id)
            .ok_or_else(ApiError::unknown_message)?;
        if message.author != self.world.bot {
            return Err(ApiError::not_yours());
        }
        if place.archived {
            return Err(ApiError::archived());
        }
        self.edit_own(channel, id, draft)?;
        let shown = self.world.message(channel, id);
        Ok(Reply::ok(
            shown.map_or(Value::Null, |message| self.shown(message)),
        ))
    }

    /// Changes a message of the bot, with a record of it.
    pub(super) fn edit_own(
        &mut self,
        channel: u64,
        id: u64,
        draft: &Draft,
    ) -> Result<(), ApiError> {
        let message = self.world.channels.get_mut(&channel);
        let message = message.and_then(|channel| channel.messages.get_mut(&id));
        let message = message.ok_or_else(ApiError::unknown_message)?;
        let content = draft.content.as_ref().map(|text| text.trim().to_owned());
        let left = content.as_ref().unwrap_or(&message.content);
        let embeds = draft.embeds.as_ref().unwrap_or(&message.embeds);
        let files = message.attachments.len() + draft.files.len();
        if left.is_empty() && embeds.is_empty() && files == 0 {
            return Err(ApiError::empty_message());
        }
        message.content = left.clone();
        message.embeds = embeds.clone();
        if let Some(components) = &draft.components {
            message.components.clone_from(components);
        }
        message.flags &= !flag::LOADING;
        message.edited = Some(Timestamp::now());
        let added = self.attachments(channel, draft);
        if let Some(place) = self.world.channels.get_mut(&channel)
            && let Some(message) = place.messages.get_mut(&id)
        {
            message.attachments.extend(added);
        }
        if let Some(sent) = self.record.sent_mut(id) {
            sent.files.extend(draft.files.iter().cloned());
            if let Some(content) = &draft.content {
                sent.edits.push(Edit {
                    content: content.clone(),
                    at: Timestamp::now(),
                });
            }
        }
        self.message_event("MESSAGE_UPDATE", channel, id);
        Ok(())
    }

    pub(super) fn delete_message(&mut self, channel: u64, id: u64) -> Answer {
        let place = self.seen(channel)?;
        let message = place
            .messages
            .get(&id)
            .ok_or_else(ApiError::unknown_message)?;
        let may = self.world.permissions(place) & permission::MANAGE_MESSAGES != 0;
        if message.author != self.world.bot && !may {
            return Err(ApiError::missing_permissions());
        }
        self.remove(channel, id);
        Ok(Reply::empty())
    }
}

fn sent(
    id: u64,
    channel: u64,
    draft: Draft,
    source: Source,
    pings: Pings,
    to: Option<u64>,
) -> SentMessage {
    let flags = draft.flags | source.flags;
    SentMessage {
        id,
        channel,
        content: draft.content.unwrap_or_default(),
        nonce: draft.nonce.map(|nonce| match nonce {
            Value::String(text) => text,
            other => other.to_string(),
        }),
        enforce_nonce: draft.enforce_nonce,
        reference: to,
        allowed_mentions: draft.allowed,
        pings,
        edits: Vec::new(),
        files: draft.files,
        embeds: draft.embeds.unwrap_or_default(),
        components: draft.components.unwrap_or_default(),
        flags,
        ephemeral: flags & flag::EPHEMERAL != 0,
        interaction: source.interaction,
        deferred: flags & flag::LOADING != 0,
        at: Timestamp::now(),
        deleted: false,
    }
}

fn reference_of(reference: &Value) -> Option<u64> {
    let id = &reference["message_id"];
    id.as_u64().or_else(|| id.as_str()?.parse().ok())
}

fn limit(query: &BTreeMap<String, String>) -> Result<usize, ApiError> {
    let Some(asked) = query.get("limit") else {
        return Ok(50);
    };
    let number: i64 = asked.parse().map_err(|_| {
        let message = format!("Value \"{asked}\" is not int.");
        ApiError::field("limit", "NUMBER_TYPE_COERCE", &message)
    })?;
    if number < 1 {
        let message = "int value should be greater than or equal to 1.";
        return Err(ApiError::field("limit", "NUMBER_TYPE_MIN", message));
    }
    let most = usize::try_from(number).ok().filter(|number| *number <= 100);
    most.ok_or_else(|| {
        let message = "int value should be less than or equal to 100.";
        ApiError::field("limit", "NUMBER_TYPE_MAX", message)
    })
}
