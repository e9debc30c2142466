//! The calls that are made, in the API's terms.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use serenity::all::CreateAttachment;
use serenity::http::{LightMethod, Multipart, MultipartUpload, Request, Route};

use super::{Bucket, Failure, Rest};
use crate::snowflake::{in_json, typed};

/// A message that Discord has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Posted {
    /// Its id.
    pub(crate) id: u64,
    /// What it says.
    pub(crate) content: String,
}

/// A file to send.
#[derive(Clone, Copy)]
pub(crate) struct File<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// What is in it.
    pub(crate) bytes: &'a [u8],
}

/// How to connect.
#[derive(Debug, Deserialize)]
pub(crate) struct GatewayBot {
    /// The gateway's URL.
    pub(crate) url: String,
    /// How many shards are recommended.
    pub(crate) shards: u32,
    /// How many sessions may be started.
    #[serde(default)]
    pub(crate) session_start_limit: StartLimit,
}

/// How many sessions may be started.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct StartLimit {
    /// From now on.
    pub(crate) remaining: u32,
    /// Until there are more, in milliseconds.
    pub(crate) reset_after: u64,
    /// At once.
    pub(crate) max_concurrency: u32,
}

impl Default for StartLimit {
    /// What Discord gives a small bot.
    fn default() -> Self {
        Self {
            remaining: 1000,
            reset_after: 24 * 60 * 60 * 1000,
            max_concurrency: 1,
        }
    }
}

impl StartLimit {
    /// When there are more.
    pub(crate) const fn more_in(&self) -> Duration {
        Duration::from_millis(self.reset_after)
    }
}

const fn bucket(kind: &'static str, major: u64) -> Bucket {
    Bucket { kind, major }
}

fn posted(json: &Value) -> Result<Posted, Failure> {
    let id = json.get("id").and_then(in_json).ok_or(Failure::Garbled)?;
    let content = json
        .get("content")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Ok(Posted {
        id,
        content: content.to_owned(),
    })
}

/// A request with a JSON body, and a file beside it if there is one.
fn with_body<'a>(
    route: Route<'a>,
    method: LightMethod,
    body: &Value,
    file: Option<File<'_>>,
) -> Request<'a> {
    let request = Request::new(route, method);
    let Some(file) = file else {
        return request.body(Some(body.to_string().into_bytes()));
    };
    request.multipart(Some(Multipart {
        upload: MultipartUpload::Attachments(vec![CreateAttachment::bytes(file.bytes, file.name)]),
        payload_json: Some(body.to_string()),
        fields: Vec::new(),
    }))
}

impl Rest {
    /// Where the gateway is, and how to connect.
    pub(crate) async fn gateway_bot(&self) -> Result<GatewayBot, Failure> {
        let request = Request::new(Route::GatewayBot, LightMethod::Get);
        let json = self.call(bucket("gateway", 0), request).await?;
        serde_json::from_value(json).map_err(|_| Failure::Garbled)
    }

    /// Sends a message.
    pub(crate) async fn create_message(
        &self,
        channel: u64,
        body: &Value,
        file: Option<File<'_>>,
    ) -> Result<Posted, Failure> {
        let route = Route::ChannelMessages {
            channel_id: typed(channel),
        };
        let request = with_body(route, LightMethod::Post, body, file);
        posted(&self.call(bucket("post", channel), request).await?)
    }

    /// Changes a message.
    pub(crate) async fn edit_message(
        &self,
        channel: u64,
        message: u64,
        body: &Value,
    ) -> Result<(), Failure> {
        let route = Route::ChannelMessage {
            channel_id: typed(channel),
            message_id: typed(message),
        };
        let request = with_body(route, LightMethod::Patch, body, None);
        self.call(bucket("edit", channel), request).await.map(drop)
    }

    /// Shows "… is typing".
    pub(crate) async fn typing(&self, channel: u64) -> Result<(), Failure> {
        let route = Route::ChannelTyping {
            channel_id: typed(channel),
        };
        let request = Request::new(route, LightMethod::Post);
        self.call(bucket("typing", channel), request)
            .await
            .map(drop)
    }

    /// The private channel with a person.
    pub(crate) async fn private_channel(&self, user: u64) -> Result<u64, Failure> {
        if let Some(known) = self.private.lock().get(&user) {
            return Ok(*known);
        }
        let body = json!({"recipient_id": user.to_string()});
        let request = with_body(Route::UserMeDmChannels, LightMethod::Post, &body, None);
        let json = self.call(bucket("private", 0), request).await?;
        let channel = json.get("id").and_then(in_json).ok_or(Failure::Garbled)?;
        self.private.lock().insert(user, channel);
        Ok(channel)
    }

    /// At most 100 messages, in the order of their ids: the oldest after one, or the newest.
    pub(crate) async fn messages(
        &self,
        channel: u64,
        after: Option<u64>,
    ) -> Result<Vec<Value>, Failure> {
        let mut params = vec![("limit", "100".to_owned())];
        params.extend(after.map(|id| ("after", id.to_string())));
        let route = Route::ChannelMessages {
            channel_id: typed(channel),
        };
        let request = Request::new(route, LightMethod::Get).params(Some(params));
        let Value::Array(mut page) = self.call(bucket("read", channel), request).await? else {
            return Err(Failure::Garbled);
        };
        page.retain(|message| id_of(message).is_some());
        page.sort_by_key(id_of);
        Ok(page)
    }

    /// A channel.
    pub(crate) async fn channel(&self, channel: u64) -> Result<Value, Failure> {
        let route = Route::Channel {
            channel_id: typed(channel),
        };
        let request = Request::new(route, LightMethod::Get);
        self.call(bucket("channel", channel), request).await
    }

    /// A member of a guild.
    pub(crate) async fn member(&self, guild: u64, user: u64) -> Result<Value, Failure> {
        let route = Route::GuildMember {
            guild_id: typed(guild),
            user_id: typed(user),
        };
        let request = Request::new(route, LightMethod::Get);
        self.call(bucket("member", guild), request).await
    }

    /// Sets the commands that Discord shows everywhere.
    pub(crate) async fn set_commands(
        &self,
        application: u64,
        commands: &Value,
    ) -> Result<(), Failure> {
        let route = Route::Commands {
            application_id: typed(application),
        };
        let request = with_body(route, LightMethod::Put, commands, None);
        self.call(bucket("commands", 0), request).await.map(drop)
    }

    /// Tells Discord that an interaction will be answered.
    pub(crate) async fn acknowledge(
        &self,
        interaction: u64,
        token: &str,
        body: &Value,
    ) -> Result<(), Failure> {
        let route = Route::InteractionResponse {
            interaction_id: typed(interaction),
            token,
        };
        let request = with_body(route, LightMethod::Post, body, None);
        let called = self
            .call(bucket(Bucket::ACKNOWLEDGE, interaction), request)
            .await;
        match called {
            // A repeated call whose first one arrived.
            Err(failure) if failure.code() == Some(40060) => Ok(()),
            // The answer to it is of no interest.
            Err(Failure::Garbled) => Ok(()),
            called => called.map(drop),
        }
    }

    /// Changes an answer to an interaction: the first one, or one that followed.
    pub(crate) async fn edit_answer(
        &self,
        of: (u64, u64, &str),
        message: Option<u64>,
        body: &Value,
        file: Option<File<'_>>,
    ) -> Result<Posted, Failure> {
        let (application, interaction, token) = of;
        let route = match message {
            None => Route::WebhookOriginalInteractionResponse {
                application_id: typed(application),
                token,
            },
            Some(message) => Route::WebhookFollowupMessage {
                application_id: typed(application),
                token,
                message_id: typed(message),
            },
        };
        let request = with_body(route, LightMethod::Patch, body, file);
        posted(&self.call(bucket("answer", interaction), request).await?)
    }

    /// Sends one more answer to an interaction.
    pub(crate) async fn follow_up(
        &self,
        of: (u64, u64, &str),
        body: &Value,
        file: Option<File<'_>>,
    ) -> Result<Posted, Failure> {
        let (application, interaction, token) = of;
        let route = Route::WebhookFollowupMessages {
            application_id: typed(application),
            token,
        };
        let request = with_body(route, LightMethod::Post, body, file);
        posted(&self.call(bucket("answer", interaction), request).await?)
    }
}

/// The id of a message as it came.
pub(crate) fn id_of(message: &Value) -> Option<u64> {
    message.get("id").and_then(in_json)
}
