//! What is known of chats that cannot be written to now: gone, or to be left alone for a while.
//!
//! Invariant: bounded; a chat that is gone costs no further call until an update comes from it.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use scrollback_kit::SendError;
use tokio::time::Instant;

/// Chats remembered; beyond it all are forgotten, which costs each one call.
const MOST: usize = 10_000;

/// A chat as one sends to it: a business account's chat with a person is another than the bot's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Room {
    /// Telegram's id of the chat.
    pub(crate) chat: i64,
    /// The business connection through which it is reached.
    pub(crate) business: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Closed {
    Gone,
    Until(Instant),
}

/// The chats that cannot be written to now.
#[derive(Debug, Default)]
pub(crate) struct Chats(Mutex<HashMap<Room, Closed>>);

impl Chats {
    /// Refuses what could not be sent.
    pub(crate) fn check(&self, room: &Room) -> Result<(), SendError> {
        let mut closed = self.0.lock();
        let state = closed.get(room).copied();
        match state {
            None => Ok(()),
            Some(Closed::Gone) => Err(SendError::Refused(
                "the chat is gone for the bot: blocked, kicked or deleted".into(),
            )),
            Some(Closed::Until(at)) => match at.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => Err(SendError::Later { after: Some(left) }),
                _ => {
                    closed.remove(room);
                    Ok(())
                }
            },
        }
    }

    /// The bot cannot write there; true when that is news.
    pub(crate) fn gone(&self, room: &Room) -> bool {
        !matches!(self.put(room, Closed::Gone), Some(Closed::Gone))
    }

    /// Something came from there: it is open.
    pub(crate) fn back(&self, room: &Room) {
        let mut closed = self.0.lock();
        if matches!(closed.get(room), Some(Closed::Gone)) {
            closed.remove(room);
        }
    }

    /// Nothing is to be sent there for a while.
    pub(crate) fn later(&self, room: &Room, after: Duration) {
        self.put(room, Closed::Until(Instant::now() + after));
    }

    fn put(&self, room: &Room, state: Closed) -> Option<Closed> {
        let mut closed = self.0.lock();
        if closed.len() >= MOST && !closed.contains_key(room) {
            closed.clear();
        }
        closed.insert(room.clone(), state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(chat: i64) -> Room {
        Room {
            chat,
            business: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_chat_that_is_gone_is_refused_until_something_comes_from_it() {
        let chats = Chats::default();
        assert!(chats.gone(&room(1)) && !chats.gone(&room(1)));
        assert!(matches!(chats.check(&room(1)), Err(SendError::Refused(_))));
        assert!(chats.check(&room(2)).is_ok());
        let business = Room {
            business: Some("c".into()),
            ..room(1)
        };
        assert!(chats.check(&business).is_ok());
        chats.back(&room(1));
        assert!(chats.check(&room(1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_chat_is_left_alone_as_long_as_it_was_told() {
        let chats = Chats::default();
        chats.later(&room(1), Duration::from_secs(3));
        chats.back(&room(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        let told = chats.check(&room(1));
        assert!(matches!(told, Err(SendError::Later { after: Some(a) }) if a.as_secs() == 2));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(chats.check(&room(1)).is_ok());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let chats = Chats::default();
        for chat in 0..25_000 {
            chats.gone(&room(chat));
        }
        assert!(chats.0.lock().len() <= MOST);
    }
}
