//! The way back to Discord: to a channel, to a person in private, or as the answer to a command.
//!
//! Invariants: nobody is pinged unless the settings allow it, in every call; a message that may have been sent
//! is sent again only where Discord finds it out by its nonce; a place that cannot be written to is not
//! tried again for minutes.

use std::sync::Arc;

use async_trait::async_trait;
use scrollback_kit::{Audience, Limit, Outbox, Part, Pings, SendError, Unit};
use serde_json::{Value, json};

use crate::directory::At;
use crate::rest::{Failure, File, Posted, Rest};

mod answer;
mod nonce;

pub(crate) use answer::AnswerOutbox;
use nonce::{Way, nonce};

/// Discord counts code points: <https://github.com/discord/discord-api-docs/issues/1315>.
const LIMIT: Limit = Limit::new(2000, Unit::Chars);

/// Discord's refusal of a reply where the bot may not read what was said before; without a reference it is taken.
const NO_REPLY: u64 = 160_002;

/// Said in the channel when the answer was for the asker's eyes and cannot be sent to them.
const CLOSED: &str = "I cannot send you a private message: yours are closed to me. Type / and choose my \
    command from Discord's list instead; then only you see the answer.";

/// What a message may ping.
fn allowed(pings: Pings) -> Value {
    let kinds = [
        (pings.users, "users"),
        (pings.roles, "roles"),
        (pings.everyone, "everyone"),
    ];
    let parse: Vec<&str> = kinds
        .into_iter()
        .filter_map(|(may, kind)| may.then_some(kind))
        .collect();
    json!({"parse": parse, "replied_user": false})
}

/// Answers one message in its channel.
#[derive(Debug)]
pub(crate) struct ChannelOutbox {
    rest: Arc<Rest>,
    channel: u64,
    /// The message that is answered.
    message: u64,
    /// Who asked.
    user: u64,
    private: bool,
    pings: Pings,
}

impl ChannelOutbox {
    pub(crate) fn new(rest: Arc<Rest>, at: At, message: u64, user: u64, pings: Pings) -> Self {
        Self {
            rest,
            channel: at.itself(),
            message,
            user,
            private: at.guild.is_none(),
            pings,
        }
    }

    fn body(&self, text: &str, to: Way, nth: u32) -> Value {
        let mut body = json!({
            "content": text,
            "allowed_mentions": allowed(self.pings),
            "nonce": nonce(self.message, to, nth),
            "enforce_nonce": true,
        });
        if nth == 0
            && !matches!(to, Way::Private)
            && let Some(body) = body.as_object_mut()
        {
            let reference = json!({
                "message_id": self.message.to_string(),
                "channel_id": self.channel.to_string(),
                "fail_if_not_exists": false,
            });
            body.insert("message_reference".into(), reference);
        }
        body
    }

    /// Sends into a channel; a place that refuses is remembered.
    async fn post(
        &self,
        channel: u64,
        place: u64,
        body: &Value,
        file: Option<File<'_>>,
    ) -> Result<Posted, Failure> {
        self.rest.closed.check(place)?;
        let mut posted = self.rest.create_message(channel, body, file).await;
        if posted.as_ref().is_err_and(|f| f.code() == Some(NO_REPLY)) {
            let mut body = body.clone();
            body.as_object_mut().map(|b| b.remove("message_reference"));
            posted = self.rest.create_message(channel, &body, file).await;
        }
        posted.inspect_err(|failure| self.rest.closed.note(place, *failure))
    }

    async fn send_here(&self, text: &str, nth: u32) -> Result<Posted, Failure> {
        let body = self.body(text, Way::Channel, nth);
        let posted = self.post(self.channel, self.channel, &body, None).await?;
        if posted.content.trim() != text.trim() {
            // The nonce found an earlier try, whose text was shorter: a reply that was growing.
            self.change(posted.id, text).await?;
        }
        Ok(posted)
    }

    async fn change(&self, message: u64, text: &str) -> Result<(), Failure> {
        let body = json!({"content": text, "allowed_mentions": allowed(self.pings)});
        self.rest.edit_message(self.channel, message, &body).await
    }

    /// Sends to the asker in private; where that is not possible, says so in the channel.
    async fn send_to_asker(
        &self,
        body: &Value,
        file: Option<File<'_>>,
    ) -> Result<Posted, SendError> {
        let sent = async {
            self.rest.closed.check(self.user)?;
            let channel = self.rest.private_channel(self.user).await?;
            self.post(channel, self.user, body, file).await
        };
        let failure = match sent.await {
            Ok(posted) => return Ok(posted),
            Err(failure) => failure,
        };
        if !failure.passes() && !failure.is_size() {
            self.rest.closed.note(self.user, failure);
            let told = self.body(CLOSED, Way::Notice, 0);
            self.post(self.channel, self.channel, &told, None)
                .await
                .map_err(Failure::repeatable)?;
        }
        Err(failure.repeatable())
    }
}

#[async_trait]
impl Outbox for ChannelOutbox {
    fn limit(&self) -> Limit {
        LIMIT
    }

    async fn send(&self, part: Part<'_>) -> Result<Option<String>, SendError> {
        let posted = if part.audience == Audience::Asker && !self.private {
            let body = self.body(part.text, Way::Private, part.nth);
            self.send_to_asker(&body, None).await?
        } else {
            self.send_here(part.text, part.nth)
                .await
                .map_err(Failure::repeatable)?
        };
        Ok(Some(posted.id.to_string()))
    }

    async fn edit(&self, id: &str, text: &str) -> Result<(), SendError> {
        let id = id
            .parse()
            .map_err(|_| SendError::Refused("not a message's id".into()))?;
        self.change(id, text).await.map_err(Failure::repeatable)
    }

    async fn send_file(
        &self,
        name: &str,
        bytes: Vec<u8>,
        audience: Audience,
    ) -> Result<Option<String>, SendError> {
        let bytes = bytes.as_slice();
        let file = Some(File { name, bytes });
        let posted = if audience == Audience::Asker && !self.private {
            let body = self.body("", Way::PrivateFile, 1);
            self.send_to_asker(&body, file).await?
        } else {
            let body = self.body("", Way::File, 0);
            let posted = self.post(self.channel, self.channel, &body, file).await;
            posted.map_err(Failure::repeatable)?
        };
        Ok(Some(posted.id.to_string()))
    }

    async fn typing(&self) -> Result<(), SendError> {
        let open = self.rest.closed.check(self.channel);
        open.map_err(Failure::repeatable)?;
        self.rest
            .typing(self.channel)
            .await
            .map_err(Failure::repeatable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_pinged_unless_allowed() {
        assert_eq!(
            allowed(Pings::default()),
            json!({"parse": [], "replied_user": false})
        );
        let all = Pings {
            users: true,
            roles: true,
            everyone: true,
        };
        let parse = json!(["users", "roles", "everyone"]);
        assert_eq!(allowed(all), json!({"parse": parse, "replied_user": false}));
    }

    #[test]
    fn the_limit_is_in_code_points() {
        assert!(LIMIT.fits(&"\u{1f980}".repeat(2000)));
        assert!(!LIMIT.fits(&"a".repeat(2001)));
    }
}
