//! The commands that Discord itself lists: how they are announced, and what using one means.
//!
//! Invariant: a use is acknowledged within Discord's three seconds, before it waits in any queue; what it says
//! is the same text that a person would type, so that the kit runs it.

use std::fmt;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared as SharedFuture};
use scrollback::{Message, Role};
use scrollback_kit::commands::{Argument, COMMANDS, Described};
use scrollback_kit::{Audience, Incoming, Secret};
use serde_json::{Value, json};
use serenity::all::{CommandInteraction, CommandType, Permissions};
use tokio::sync::oneshot;
use tokio::time::{Duration, sleep, timeout};

use crate::directory::At;
use crate::gateway::Backoff;
use crate::map::{self, origin};
use crate::rest::Rest;
use crate::shared::Shared;
use crate::snowflake::made_at_ms;
use crate::text::Me;

/// The name under which a message's own menu shows `/delete`.
pub(crate) const REMOVE: &str = "Remove from my memory";
/// The names of options.
const COUNT: &str = "count";
const CONFIRM: &str = "confirm";
/// How long Discord waits for the acknowledgement.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often setting the commands is tried: after it they are those of the last start.
const TRIES: u32 = 8;

/// Whether the command was acknowledged.
pub(crate) type Acknowledged = SharedFuture<BoxFuture<'static, bool>>;

/// The use of a command.
pub(crate) struct Call {
    pub(crate) interaction: u64,
    pub(crate) token: Secret,
    /// Only the asker sees the answer.
    pub(crate) ephemeral: bool,
    text: String,
    /// The message it is about.
    target: Option<u64>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("interaction", &self.interaction)
            .finish_non_exhaustive()
    }
}

/// The commands as Discord wants them.
fn listed() -> Value {
    COMMANDS.iter().map(one).collect()
}

fn one(command: &Described) -> Value {
    // In guilds and in private chats with the bot, for bots that are installed to a guild.
    let mut out = json!({"contexts": [0, 1], "integration_types": [0]});
    let mut set = |key: &str, value: Value| {
        if let Some(out) = out.as_object_mut() {
            out.insert(key.into(), value);
        }
    };
    if command.argument == Some(Argument::Reply) {
        // A message cannot be replied to with a command; it has a menu instead.
        set("type", 3.into());
        set("name", REMOVE.into());
        return out;
    }
    set("type", 1.into());
    set("name", command.name.into());
    set(
        "description",
        command
            .description
            .chars()
            .take(100)
            .collect::<String>()
            .into(),
    );
    match command.argument {
        Some(Argument::Count(most)) => set(
            "options",
            json!([{
                "type": 4, "name": COUNT, "description": "how many messages", "required": false,
                "min_value": 1, "max_value": most,
            }]),
        ),
        Some(Argument::Yes) => set(
            "options",
            json!([{
                "type": 5, "name": CONFIRM, "required": false,
                "description": "really do it; without this it is only explained",
            }]),
        ),
        Some(Argument::Reply) | None => {}
    }
    out
}

/// Tells Discord which commands there are.
pub(crate) async fn announce(rest: &Rest, application: u64) {
    let mut backoff = Backoff::default();
    for _ in 0..TRIES {
        let failure = match rest.set_commands(application, &listed()).await {
            Ok(()) => return,
            Err(failure) => failure,
        };
        if !failure.passes() {
            tracing::warn!(%failure, "Discord does not take the list of commands; typed commands work all the same");
            return;
        }
        let pause = backoff.pause();
        sleep(failure.after().unwrap_or(pause)).await;
    }
    tracing::warn!("Discord's list of commands is that of an earlier start: it could not be set");
}

impl Call {
    /// What a use means; `None` for a command that is none of ours.
    pub(crate) fn of(used: &CommandInteraction) -> Option<Self> {
        let data = &used.data;
        let by_menu = data.kind == CommandType::Message;
        let command = COMMANDS.iter().find(|command| {
            let menu = command.argument == Some(Argument::Reply);
            menu == by_menu && data.name == if menu { REMOVE } else { command.name }
        })?;
        let option = |name: &str| data.options.iter().find(|option| option.name == name);
        let argument = match command.argument {
            Some(Argument::Count(_)) => option(COUNT)
                .and_then(|option| option.value.as_i64())
                .map(|count| format!(" {count}")),
            Some(Argument::Yes) => option(CONFIRM)
                .and_then(|option| option.value.as_bool())
                .filter(|confirmed| *confirmed)
                .map(|_| " yes".into()),
            Some(Argument::Reply) | None => None,
        };
        Some(Self {
            interaction: used.id.get(),
            token: Secret::new(&used.token),
            ephemeral: command.audience == Audience::Asker,
            text: format!("/{}{}", command.name, argument.unwrap_or_default()),
            target: data.target_id.filter(|_| by_menu).map(|id| id.get()),
        })
    }

    /// The use as a message, for the kit. Its id is the interaction's: a snowflake as a message's is.
    pub(crate) fn incoming(&self, used: &CommandInteraction, at: At, me: &Me) -> Incoming {
        let member = used.member.as_ref();
        let nick = member.and_then(|member| member.nick.as_deref());
        let mut message = Message::new(Role::User, self.text.clone())
            .author(map::author(&used.user, nick))
            .id(self.interaction)
            .at_ms(made_at_ms(self.interaction));
        message.reply_to = self.target.map(|id| id.to_string());
        let may = member.and_then(|member| member.permissions);
        let moderates = Permissions::MANAGE_MESSAGES | Permissions::ADMINISTRATOR;
        Incoming {
            addressed: true,
            private: used.guild_id.is_none(),
            moderator: may.is_some_and(|may| may.intersects(moderates)),
            bot_name: Some(me.name.clone()),
            ..Incoming::new(origin(at, me, Some(used.user.id.get())), message)
        }
    }
}

/// Acknowledges a use at once, in a task of the run's.
pub(crate) fn acknowledge(shared: &Shared, call: &Call) -> Acknowledged {
    let (tell, told) = oneshot::channel();
    let rest = std::sync::Arc::clone(&shared.rest);
    let (interaction, token) = (call.interaction, call.token.clone());
    let flags = if call.ephemeral { 64 } else { 0 };
    let body = json!({"type": 5, "data": {"flags": flags}});
    shared.spawn(async move {
        let tries = async {
            loop {
                match rest.acknowledge(interaction, token.expose(), &body).await {
                    Ok(()) => return true,
                    Err(failure) if failure.passes() => {
                        sleep(failure.after().unwrap_or(Duration::from_millis(100))).await;
                    }
                    Err(failure) => {
                        tracing::warn!(%failure, "a command cannot be acknowledged");
                        return false;
                    }
                }
            }
        };
        let done = timeout(PATIENCE, tries).await.unwrap_or_else(|_| {
            tracing::warn!("a command was not acknowledged in time");
            false
        });
        let _ = tell.send(done);
    });
    told.map(|told| told.unwrap_or(false)).boxed().shared()
}

#[cfg(test)]
mod tests;
