//! Removes one message from a session at a person's request, where the platform tells of no deletion.
//!
//! Invariant: a person removes what they said and what they were answered; others' words only where they
//! may moderate.

use scrollback::{Message, Page, Role, Session};

use super::run::{Answer, Asked};

/// How far back a message is looked for.
const PAGES: usize = 4;
const PAGE: usize = 500;

pub(super) async fn delete(asked: &Asked<'_>) -> scrollback::Result<Answer> {
    let Some(id) = asked.reply_to else {
        return Ok(Answer::asker(
            "Say /delete as a reply to the message that I am to remove from my memory.",
        ));
    };
    let recent = recent(asked.session).await?;
    let with = |id: &str| recent.iter().find(|m| m.id.as_deref() == Some(id));
    let Some(message) = with(id) else {
        return Ok(Answer::asker("I do not have that message in my memory."));
    };
    let own = |m: &Message| m.author.as_ref().is_some_and(|a| a.same(asked.asker));
    let answered = message.reply_to.as_deref().and_then(with);
    let answer_to_own = message.role == Role::Assistant && answered.is_some_and(own);
    if !(asked.private || asked.moderator || own(message) || answer_to_own) {
        return Ok(Answer::asker(
            "Only who wrote a message, or a moderator, can have it removed from my memory.",
        ));
    }
    asked.session.delete(id).await?;
    Ok(Answer::asker("Removed from my memory."))
}

/// The newest messages of a session.
async fn recent(session: &Session) -> scrollback::Result<Vec<Message>> {
    let mut found = Vec::new();
    let mut before = None;
    for _ in 0..PAGES {
        let limit = PAGE;
        let page = session.history(Page { before, limit }).await?;
        let more = page.len() == PAGE;
        before = page.first().map(|(seq, _)| *seq);
        found.extend(page.into_iter().map(|(_, message)| message));
        if !more {
            break;
        }
    }
    Ok(found)
}
