//! Endpoints that answer interactions: the first response, its edits, and follow-ups.

use serde_json::{Value, json};

use super::draft::Draft;
use super::messages::Source;
use super::{Asked, snowflake};
use crate::fake_discord::error::{Answer, ApiError, Reply};
use crate::fake_discord::render::{self, View};
use crate::fake_discord::state::State;
use crate::fake_discord::world::{Interaction, flag};

impl State {
    pub(super) fn route_interactions(&mut self, asked: Asked<'_>) -> Answer {
        let ("POST", &[_, id, token, "callback"]) = (asked.method, asked.parts.as_slice()) else {
            return Err(ApiError::not_found());
        };
        let id = snowflake(id, "interaction_id")?;
        let interaction = self.world.interactions.get(&id);
        let interaction = interaction.filter(|one| one.token == token);
        let interaction = interaction
            .ok_or_else(ApiError::unknown_interaction)?
            .clone();
        if interaction.acknowledged {
            return Err(ApiError::acknowledged());
        }
        if interaction.at.elapsed() > self.options.interaction_deadline {
            return Err(ApiError::unknown_interaction());
        }
        let full = asked
            .query
            .get("with_response")
            .is_some_and(|set| set == "true");
        let message = self.respond(&interaction, asked)?;
        if let Some(known) = self.world.interactions.get_mut(&id) {
            known.acknowledged = true;
            known.original = Some(message);
        }
        if !full {
            return Ok(Reply::empty());
        }
        Ok(Reply::ok(json!({
            "interaction": {
                "id": render::id(id), "type": 2, "response_message_id": render::id(message),
            },
            "resource": {"type": 4, "message": self.rendered(interaction.channel, message)},
        })))
    }

    fn respond(&mut self, interaction: &Interaction, asked: Asked<'_>) -> Result<u64, ApiError> {
        let mut payload = asked.payload;
        let kind = payload.json["type"].as_u64();
        payload.json = payload.json["data"].take();
        let source = Source {
            interaction: Some(interaction.id),
            kind: 20,
            flags: 0,
        };
        match kind {
            Some(4) => {
                let draft = Draft::read(payload, "data.")?;
                draft.check_filled()?;
                Ok(self.create(interaction.channel, draft, source))
            }
            Some(5) => {
                let flags = payload.json["flags"].as_u64().unwrap_or_default() & flag::EPHEMERAL;
                let flags = flags | flag::LOADING;
                let source = Source { flags, ..source };
                Ok(self.create(interaction.channel, Draft::default(), source))
            }
            None => Err(ApiError::required("type")),
            Some(_) => {
                let message = "Value must be one of {1, 4, 5, 6, 7, 8, 9, 10, 12}.";
                Err(ApiError::field("type", "BASE_TYPE_CHOICES", message))
            }
        }
    }

    pub(super) fn route_webhooks(&mut self, asked: Asked<'_>) -> Answer {
        let &[_, app, token, ref rest @ ..] = asked.parts.as_slice() else {
            return Err(ApiError::not_found());
        };
        if snowflake(app, "webhook_id")? != self.world.app {
            return Err(ApiError::unknown_webhook());
        }
        let mut known = self.world.interactions.values();
        let interaction = known.find(|one| one.token == token).cloned();
        let interaction = interaction.ok_or_else(ApiError::invalid_webhook_token)?;
        if interaction.at.elapsed() > self.options.interaction_life {
            return Err(ApiError::invalid_webhook_token());
        }
        if !interaction.acknowledged {
            return Err(ApiError::unknown_webhook());
        }
        match (asked.method, rest) {
            ("POST", []) => self.follow_up(&interaction, Draft::read(asked.payload, "")?),
            (method, ["messages", which]) => {
                let id = match *which {
                    "@original" => interaction.original.ok_or_else(ApiError::unknown_message)?,
                    id => snowflake(id, "message_id")?,
                };
                let message = self.world.message(interaction.channel, id);
                let own = message.is_some_and(|one| one.interaction == Some(interaction.id));
                if !own {
                    return Err(ApiError::unknown_message());
                }
                self.on_response(method, interaction.channel, id, asked)
            }
            _ => Err(ApiError::not_found()),
        }
    }

    fn on_response(&mut self, method: &str, channel: u64, id: u64, asked: Asked<'_>) -> Answer {
        match method {
            "GET" => {}
            "PATCH" => {
                let draft = Draft::read(asked.payload, "")?;
                self.edit_own(channel, id, &draft)?;
            }
            "DELETE" => {
                self.remove(channel, id);
                return Ok(Reply::empty());
            }
            _ => return Err(ApiError::wrong_method()),
        }
        Ok(Reply::ok(self.rendered(channel, id)))
    }

    /// A follow-up; the first one after "is thinking …" takes its place.
    fn follow_up(&mut self, interaction: &Interaction, draft: Draft) -> Answer {
        draft.check_filled()?;
        let channel = interaction.channel;
        let original = interaction
            .original
            .and_then(|id| self.world.message(channel, id));
        let waiting = original.filter(|one| one.flags & flag::LOADING != 0);
        if let Some(id) = waiting.map(|one| one.id) {
            self.edit_own(channel, id, &draft)?;
            return Ok(Reply::ok(self.rendered(channel, id)));
        }
        let source = Source {
            interaction: Some(interaction.id),
            kind: 0,
            flags: 0,
        };
        let mut draft = draft;
        draft.reference = None;
        let id = self.create(channel, draft, source);
        Ok(Reply::ok(self.rendered(channel, id)))
    }

    fn rendered(&self, channel: u64, id: u64) -> Value {
        let message = self.world.message(channel, id);
        message.map_or(Value::Null, |message| {
            render::message(&self.world, message, View::Rest)
        })
    }
}
