//! Takes in what updates mean: safe in the cache first, then handed to the kit for its answer.
//!
//! Invariants: [`Intake::take_all`] returns `Ok` only when every update is safe or can never be; updates
//! of one chat keep their order; nothing waits for an answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use scrollback_kit::commands::{Command, Parsed, parse};
use scrollback_kit::{Bot, Incoming, insist};
use serde_json::json;

use crate::chats::Room;
use crate::decode::{Member, Received};
use crate::error::Error;
use crate::event::{Edited, Event, Kind, Place, Said};
use crate::hub::Hub;
use crate::outbox::Reply;

/// Chats of one batch that are taken in at the same time.
const CHATS: usize = 16;
/// How long it may take to look up who may moderate; nobody may, when it takes longer.
const LOOK_UP: Duration = Duration::from_secs(5);

/// The way in.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) hub: Arc<Hub>,
    pub(crate) bot: Arc<Bot>,
}

impl Intake {
    /// Takes in a batch, trying again as long as that can help.
    pub(crate) async fn take_all(&self, batch: &[Received]) -> Result<(), Error> {
        let mut chats: HashMap<i64, Vec<&Received>> = HashMap::new();
        // What concerns more than one chat puts the whole batch into one queue.
        let apart = batch.iter().all(|one| one.event.chat().is_some());
        for one in batch {
            let chat = one.event.chat().filter(|_| apart).unwrap_or_default();
            chats
                .entry(self.hub.moved.first(chat))
                .or_default()
                .push(one);
        }
        let queues: Vec<_> = chats
            .into_values()
            .map(|queue| self.take_queue(queue))
            .collect();
        let mut queues = stream::iter(queues).buffer_unordered(CHATS);
        while let Some(done) = queues.next().await {
            done?;
        }
        Ok(())
    }

    async fn take_queue(&self, queue: Vec<&Received>) -> Result<(), Error> {
        for one in queue {
            let taken = insist(|| self.take(one)).await;
            self.settled(one.id, taken)?;
        }
        Ok(())
    }

    /// Takes in one update. An error means that it is not safe: deliver it again.
    pub(crate) async fn take(&self, update: &Received) -> scrollback::Result<()> {
        match &update.event {
            Event::Said(said) => self.said(said).await,
            Event::Edited(edited) => self.edited(edited).await,
            Event::Deleted { place, ids } => self.deleted(place, ids).await,
            Event::Connected { id, may_reply } => {
                self.hub.connections.note(id, *may_reply);
                Ok(())
            }
            Event::Migrated { new, old } => self.hub.moved.note(*new, *old).await,
            Event::Membership { room, present } => {
                self.membership(room, *present);
                Ok(())
            }
            Event::Unreadable { kind } => {
                let (update_id, left_out) = (update.id, self.hub.leave_out());
                tracing::warn!(update_id, %kind, left_out, "an update cannot be read and is left out");
                Ok(())
            }
            Event::Nothing => Ok(()),
        }
    }

    async fn said(&self, said: &Said) -> scrollback::Result<()> {
        let hub = &self.hub;
        hub.chats.back(&said.place.room());
        let id = |id| hub.moved.id(said.place.chat, id);
        let mut message = said.message.clone().id(id(said.id));
        message.reply_to = said.reply_to.map(id);
        let incoming = Incoming {
            origin: said.place.origin(&hub.me, &hub.moved),
            message,
            addressed: said.addressed && self.may_answer(&said.place).await,
            private: said.heeded && said.place.kind == Kind::Private,
            moderator: self.is_moderator(said).await,
            // Without a name no command is taken for one to this bot.
            bot_name: said.heeded.then(|| hub.me.username.clone()),
        };
        let accepted = self.bot.accept(incoming).await?;
        // A refusal is told by the kit; the message is safe all the same.
        let _ = self.bot.submit(accepted, Arc::new(Reply::to(hub, said)));
        Ok(())
    }

    async fn edited(&self, edited: &Edited) -> scrollback::Result<()> {
        let Edited {
            place,
            id,
            text,
            at_ms,
        } = edited;
        let hub = &self.hub;
        hub.chats.back(&place.room());
        let (origin, id) = (
            place.origin(&hub.me, &hub.moved),
            hub.moved.id(place.chat, *id),
        );
        self.bot.edit(&origin, &id, text, *at_ms).await
    }

    async fn deleted(&self, place: &Place, ids: &[i32]) -> scrollback::Result<()> {
        let hub = &self.hub;
        let origin = place.origin(&hub.me, &hub.moved);
        for id in ids {
            self.bot
                .delete(&origin, &hub.moved.id(place.chat, *id))
                .await?;
        }
        Ok(())
    }

    fn membership(&self, room: &Room, present: bool) {
        let chat = room.chat;
        if present {
            self.hub.chats.back(room);
            tracing::info!(
                chat,
                "the bot came into a chat, or its rights there changed"
            );
        } else {
            self.hub.chats.gone(room);
            tracing::info!(chat, "the bot was removed from a chat or blocked there");
        }
    }

    async fn may_answer(&self, place: &Place) -> bool {
        match &place.kind {
            Kind::Private | Kind::Group => true,
            Kind::Business(id) => self.hub.connections.may_reply(&self.hub.api, id).await,
        }
    }

    /// True for who may remove others' messages; looked up only where it matters.
    async fn is_moderator(&self, said: &Said) -> bool {
        let hub = &self.hub;
        let parsed = parse(
            &said.message.text,
            Some(&hub.me.username),
            said.addressed,
            false,
        );
        let others = said.reply_to.is_some() && said.replied != said.asker;
        let matters = said.heeded && said.place.kind == Kind::Group && others;
        if !matters || parsed != Parsed::Command(Command::Delete) {
            return false;
        }
        let Some(asker) = said.asker else {
            return said.as_group;
        };
        let whom = json!({ "chat_id": said.place.chat, "user_id": asker });
        match hub
            .api
            .call::<Member>("GetChatMember", &whom, LOOK_UP)
            .await
        {
            Ok(member) => member.moderates(),
            Err(error) => {
                tracing::warn!(chat = said.place.chat, %error, "a member's rights are not known");
                false
            }
        }
    }

    /// Lets go of what can never be taken in.
    pub(crate) fn settled(
        &self,
        update_id: i64,
        taken: scrollback::Result<()>,
    ) -> Result<(), Error> {
        match taken {
            Ok(()) => Ok(()),
            Err(scrollback::Error::Closed) => Err(Error::Closed),
            Err(error) => {
                let left_out = self.hub.leave_out();
                tracing::error!(update_id, %error, left_out, "an update can never be taken in");
                Ok(())
            }
        }
    }
}
