//! Edits and deletions that a platform reports.
//!
//! Invariant: a change reaches the session in which its message stands, also where sessions are told
//! apart by person and the platform does not tell whose message it was.

use scrollback::{Origin, Scope, Session, SessionKey};

use super::Core;

/// Sessions looked at in one step.
const PAGE: usize = 1000;

impl Core {
    pub(super) async fn edit(
        &self,
        origin: &Origin,
        id: &str,
        text: &str,
        at_ms: u64,
    ) -> scrollback::Result<()> {
        if !self.config.access.permits(origin) {
            return Ok(());
        }
        let id = self.config.scopes.id(origin, id);
        for session in self.holding(origin, &id).await? {
            session.edit_at(&id, text, at_ms).await?;
        }
        Ok(())
    }

    pub(super) async fn delete(&self, origin: &Origin, id: &str) -> scrollback::Result<()> {
        let id = self.config.scopes.id(origin, id);
        for session in self.holding(origin, &id).await? {
            session.delete(&id).await?;
        }
        Ok(())
    }

    /// The sessions that a change of a message concerns. There is one, found without a look-up, unless
    /// it depends on a person whom the platform does not name; then those that know the message.
    async fn holding(&self, origin: &Origin, id: &str) -> scrollback::Result<Vec<Session>> {
        let scope = self.config.scopes.at(origin);
        if scope == Scope::Channel || !origin.user.is_empty() {
            return Ok(vec![self.session(origin)]);
        }
        let place = scope.key(origin);
        let mut found = Vec::new();
        let mut after: Option<SessionKey> = None;
        loop {
            let page = self.cache.sessions(after.as_ref(), PAGE).await?;
            for key in page.iter().filter(|key| is_person_at(key, &place)) {
                let session = self.cache.session(key.clone());
                if session.knows(id).await? {
                    found.push(session);
                }
            }
            after = page.last().cloned();
            if page.len() < PAGE {
                return Ok(found);
            }
        }
    }
}

/// True when a session is some person's at this place.
fn is_person_at(key: &SessionKey, place: &SessionKey) -> bool {
    let at = |key: &SessionKey| {
        [key.space_id(), key.channel_id(), key.thread_id()].map(|id| id.map(str::to_owned))
    };
    key.user_id().is_some()
        && (key.platform(), key.bot()) == (place.platform(), place.bot())
        && at(key) == at(place)
}
