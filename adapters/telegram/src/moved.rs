//! Groups that became supergroups: Telegram gives the chat a new id and starts its message numbers again.
//!
//! Invariants: what is noted is as safe as a message before the update that told it is confirmed; from
//! then on all of the new chat belongs to the session of the old one, under ids that name the new chat.
//! One process takes a bot's updates, so what another notes is read at the start.
//! The notes are messages of a session of their own, since those are taken in while the hot tier is away.

use std::collections::HashMap;

use parking_lot::RwLock;
use scrollback::{Cache, Message, Session, SessionKey};

/// Where the notes are kept: one session a bot.
const PLATFORM: &str = "telegram-moved";

/// The time of a note, in the year 9999: no retention erases it, since without it a group's session would
/// be another after the next start.
const FOR_EVER: u64 = 253_402_300_799_000;

/// Which chat was which before.
#[derive(Debug)]
pub(crate) struct Moved {
    notes: Session,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    before: HashMap<i64, i64>,
    after: HashMap<i64, i64>,
}

impl Known {
    fn add(&mut self, new: i64, old: i64) {
        self.before.insert(new, old);
        self.after.insert(old, new);
    }
}

impl Moved {
    /// Nothing yet; [`load`](Self::load) it.
    pub(crate) fn of(cache: &Cache, bot: u64) -> Self {
        Self {
            notes: cache.session(SessionKey::new(PLATFORM, bot)),
            known: RwLock::default(),
        }
    }

    /// Reads what was noted in earlier runs.
    pub(crate) async fn load(&self) -> scrollback::Result<()> {
        let notes = self.notes.export().await?;
        let mut known = self.known.write();
        for (_, note) in notes {
            let ids = note
                .id
                .and_then(|new| Some((new.parse().ok()?, note.text.parse().ok()?)));
            if let Some((new, old)) = ids {
                known.add(new, old);
            }
        }
        Ok(())
    }

    /// Notes that the chat `old` is `new` now; when this returns it is safe.
    pub(crate) async fn note(&self, new: i64, old: i64) -> scrollback::Result<()> {
        let old = self.first(old);
        if new == old || self.first(new) != new {
            return Ok(());
        }
        let note = Message::system(old.to_string()).id(new).at_ms(FOR_EVER);
        self.notes.append(note).await?;
        self.known.write().add(new, old);
        tracing::info!(old, new, "a group became a supergroup; its session goes on");
        Ok(())
    }

    /// The id under which a chat's session is kept.
    pub(crate) fn first(&self, chat: i64) -> i64 {
        let known = self.known.read();
        known.before.get(&chat).copied().unwrap_or(chat)
    }

    /// The id under which a chat is written to.
    pub(crate) fn current(&self, chat: i64) -> i64 {
        let known = self.known.read();
        known.after.get(&chat).copied().unwrap_or(chat)
    }

    /// The id by which a session knows a message of a chat.
    pub(crate) fn id(&self, chat: i64, message: i32) -> String {
        if self.first(chat) == chat {
            message.to_string()
        } else {
            format!("{chat}:{message}")
        }
    }
}

/// The chat, where the id names one, and the number of a message.
pub(crate) fn parse_id(id: &str) -> Option<(Option<i64>, i32)> {
    match id.rsplit_once(':') {
        None => Some((None, id.parse().ok()?)),
        Some((chat, message)) => Some((Some(chat.parse().ok()?), message.parse().ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use scrollback::SledConfig;

    async fn cache(dir: &tempfile::TempDir) -> Cache {
        let store = SledConfig::new(dir.path().join("store"));
        Cache::builder().store(store).build().await.unwrap()
    }

    #[tokio::test]
    async fn a_note_survives_a_restart_and_is_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        for run in 0..2 {
            let cache = cache(&dir).await;
            let moved = Moved::of(&cache, 7);
            moved.load().await.unwrap();
            if run == 0 {
                moved.note(-1002, -5).await.unwrap();
                moved.note(-1002, -5).await.unwrap();
            }
            assert_eq!((moved.first(-1002), moved.current(-5)), (-5, -1002));
            assert_eq!((moved.first(-5), moved.current(-1002)), (-5, -1002));
            let notes = moved.notes.export().await.unwrap();
            assert_eq!(notes.len(), 1);
            assert_eq!(notes[0].1.at_ms, FOR_EVER, "retention spares it");
            cache.close(Duration::from_secs(5)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn ids_of_a_moved_chat_name_it_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(&dir).await;
        let moved = Moved::of(&cache, 7);
        moved.note(-1002, -5).await.unwrap();
        moved.note(-5, -5).await.unwrap();
        assert_eq!(moved.id(-5, 9), "9");
        assert_eq!(moved.id(-1002, 9), "-1002:9");
        assert_eq!(parse_id("-1002:9"), Some((Some(-1002), 9)));
        assert_eq!(parse_id("9"), Some((None, 9)));
        assert_eq!(parse_id("x:9"), None);
    }
}
