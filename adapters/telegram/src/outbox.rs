//! The way back to one message's place: texts, edits, files, "typing".
//!
//! Invariants: nothing is sent twice because an answer was lost (`sendMessage` cannot be repeated safely,
//! so a call whose effect is unknown is given up); what is for the asker alone reaches neither a group
//! nor a business account's chat, whose owner reads along.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::multipart::{Form, Part as FormPart};
use scrollback_kit::{Audience, Limit, Outbox, Part, SendError, Unit};
use serde::Deserialize;
use teloxide::payloads::{
    EditMessageText, EditMessageTextSetters, SendChatAction, SendChatActionSetters, SendMessage,
    SendMessageSetters,
};
use teloxide::types::{
    BusinessConnectionId, ChatAction, ChatId, MessageId, ParseMode, Recipient, ReplyParameters,
    ThreadId,
};

use crate::api::Done;
use crate::chats::Room;
use crate::event::{Kind, Said};
use crate::hub::{Call, CallFailed, Hub};
use crate::markdown;
use crate::moved::parse_id;
use crate::quiet::{quiet, quiet_part, quiet_plain};

/// Telegram's bound on a message.
const LIMIT: Limit = Limit::new(4096, Unit::Utf16);
/// One message a second in a chat of two, twenty a minute in a group.
const PRIVATE_PACE: Duration = Duration::from_secs(1);
const GROUP_PACE: Duration = Duration::from_secs(3);

/// Answers one message.
#[derive(Debug)]
pub(crate) struct Reply {
    hub: Arc<Hub>,
    /// Where the message was said.
    here: Target,
    /// The person, to whom a private answer goes.
    asker: Option<u64>,
    group: bool,
    /// True in the asker's own chat with the bot, which nobody else reads.
    private: bool,
}

/// Where a message goes.
#[derive(Debug, Clone)]
struct Target {
    room: Room,
    thread: Option<i32>,
    /// The message that is answered, where it is to be seen which.
    reply_to: Option<i32>,
}

/// What of a sent message matters.
#[derive(Deserialize)]
struct Sent {
    message_id: i32,
}

impl Reply {
    pub(crate) fn to(hub: &Arc<Hub>, said: &Said) -> Self {
        let group = said.place.kind == Kind::Group;
        Self {
            hub: Arc::clone(hub),
            here: Target {
                room: said.place.room(),
                thread: said.place.thread,
                reply_to: group.then_some(said.id),
            },
            asker: said.asker,
            group,
            private: said.place.kind == Kind::Private,
        }
    }

    /// The asker's own chat with the bot; `None` when the place is one already.
    fn aside(&self, audience: Audience) -> Option<Target> {
        (!self.private && audience == Audience::Asker).then(|| Target {
            room: Room {
                // Nobody has the chat 0: an account that hides behind a chat cannot be written to.
                chat: self
                    .asker
                    .and_then(|id| i64::try_from(id).ok())
                    .unwrap_or_default(),
                business: None,
            },
            thread: None,
            reply_to: None,
        })
    }

    async fn text(&self, target: &Target, text: &str) -> Result<Option<String>, CallFailed> {
        let text = quiet_part(text, self.hub.pings, LIMIT);
        if let Some(html) = markdown::render(&text) {
            match self.message(target, &html, Some(ParseMode::Html)).await {
                Err(error) if error.says("can't parse entities") => {}
                done => return done,
            }
        }
        self.message(target, &self.unformatted(&text), None).await
    }

    /// A text that is sent without formatting, so that its code is no code to Telegram.
    fn unformatted<'a>(&self, text: &'a str) -> Cow<'a, str> {
        quiet_plain(text, self.hub.pings, LIMIT)
    }

    async fn message(
        &self,
        target: &Target,
        text: &str,
        mode: Option<ParseMode>,
    ) -> Result<Option<String>, CallFailed> {
        let call = |chat: i64| {
            let mut message = SendMessage::new(recipient(chat), text);
            message.parse_mode = mode;
            message.business_connection_id = connection(&target.room);
            message.message_thread_id = target.thread.map(thread);
            // In another chat the number is another message's.
            let reply_to = target.reply_to.filter(|_| chat == target.room.chat);
            if let Some(id) = reply_to {
                let reply = ReplyParameters::new(MessageId(id)).allow_sending_without_reply();
                message = message.reply_parameters(reply);
            }
            async move { self.hub.api.send::<_, Sent>(&message).await }
        };
        let (chat, sent) = self.hub.write(&target.room, Call::Adds, call).await?;
        Ok(Some(self.hub.moved.id(chat, sent.message_id)))
    }

    async fn replace(
        &self,
        room: &Room,
        id: i32,
        text: &str,
        mode: Option<ParseMode>,
    ) -> Result<(), CallFailed> {
        let call = |chat: i64| {
            let mut edit = EditMessageText::new(recipient(chat), MessageId(id), text);
            edit.parse_mode = mode;
            if let Some(connection) = connection(room) {
                edit = edit.business_connection_id(connection);
            }
            async move { self.hub.api.send::<_, Done>(&edit).await }
        };
        match self.hub.write(room, Call::Changes, call).await {
            Err(error) if error.says("message is not modified") => Ok(()),
            done => done.map(drop),
        }
    }

    async fn file(
        &self,
        target: &Target,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<Option<String>, CallFailed> {
        let call = |chat: i64| {
            let document = FormPart::bytes(bytes.clone()).file_name(name.to_owned());
            let mut form = Form::new()
                .text("chat_id", chat.to_string())
                .part("document", document);
            if let Some(BusinessConnectionId(id)) = connection(&target.room) {
                form = form.text("business_connection_id", id);
            }
            if let Some(thread) = target.thread {
                form = form.text("message_thread_id", thread.to_string());
            }
            async move { self.hub.api.upload::<Sent>("SendDocument", form).await }
        };
        let (chat, sent) = self.hub.write(&target.room, Call::Adds, call).await?;
        Ok(Some(self.hub.moved.id(chat, sent.message_id)))
    }

    /// What came of an answer for the asker alone. Whoever has never opened a chat with the bot cannot be
    /// written to, and is told so where they asked.
    async fn told<T>(&self, done: Result<T, CallFailed>) -> Result<T, SendError> {
        match done {
            Err(error) if error.is_gone() => {
                let name = &self.hub.me.username;
                let how = match self.asker {
                    Some(_) => format!(
                        "I can only answer that in private. Please open a chat with me (https://t.me/{name}), \
                         press Start, and ask again."
                    ),
                    None => "I can only answer that in private, to a person who asks under their own name."
                        .to_owned(),
                };
                self.text(&self.here, &how).await?;
                Err(SendError::Refused(
                    "the asker has no private chat with the bot, and was told".into(),
                ))
            }
            done => Ok(done?),
        }
    }
}

#[async_trait]
impl Outbox for Reply {
    fn limit(&self) -> Limit {
        LIMIT
    }

    fn pace(&self) -> Duration {
        if self.group { GROUP_PACE } else { PRIVATE_PACE }
    }

    fn quiet<'a>(&self, text: &'a str) -> Cow<'a, str> {
        quiet(text, self.hub.pings)
    }

    async fn send(&self, part: Part<'_>) -> Result<Option<String>, SendError> {
        if let Some(aside) = self.aside(part.audience) {
            let sent = self.text(&aside, part.text).await;
            return self.told(sent).await;
        }
        let mut here = self.here.clone();
        // The first message of an answer shows what it answers.
        here.reply_to = here.reply_to.filter(|_| part.nth == 0);
        Ok(self.text(&here, part.text).await?)
    }

    async fn edit(&self, id: &str, text: &str) -> Result<(), SendError> {
        let Some((chat, message)) = parse_id(id) else {
            return Err(SendError::Refused("no id of a Telegram message".into()));
        };
        let mut room = self.here.room.clone();
        room.chat = chat.unwrap_or(room.chat);
        let text = quiet_part(text, self.hub.pings, LIMIT);
        if let Some(html) = markdown::render(&text) {
            match self
                .replace(&room, message, &html, Some(ParseMode::Html))
                .await
            {
                Err(error) if error.says("can't parse entities") => {}
                done => return Ok(done?),
            }
        }
        let plain = self.unformatted(&text);
        Ok(self.replace(&room, message, &plain, None).await?)
    }

    async fn send_file(
        &self,
        name: &str,
        bytes: Vec<u8>,
        audience: Audience,
    ) -> Result<Option<String>, SendError> {
        if let Some(aside) = self.aside(audience) {
            let sent = self.file(&aside, name, bytes).await;
            return self.told(sent).await;
        }
        Ok(self.file(&self.here, name, bytes).await?)
    }

    async fn typing(&self) -> Result<(), SendError> {
        let here = &self.here;
        let call = |chat: i64| {
            let mut action = SendChatAction::new(recipient(chat), ChatAction::Typing);
            if let Some(connection) = connection(&here.room) {
                action = action.business_connection_id(connection);
            }
            action.message_thread_id = here.thread.map(thread);
            async move { self.hub.api.send::<_, Done>(&action).await }
        };
        let room = Room {
            chat: self.hub.moved.current(here.room.chat),
            ..here.room.clone()
        };
        Ok(self.hub.write(&room, Call::Changes, call).await.map(drop)?)
    }
}

const fn recipient(chat: i64) -> Recipient {
    Recipient::Id(ChatId(chat))
}

const fn thread(id: i32) -> ThreadId {
    ThreadId(MessageId(id))
}

fn connection(room: &Room) -> Option<BusinessConnectionId> {
    room.business.clone().map(BusinessConnectionId)
}
