//! What still stands when a message's turn to be answered comes.
//!
//! Invariant: what was erased or edited while a message waited reaches no responder as it was.

use std::collections::HashMap;
use std::sync::Arc;

use scrollback::{Context, Message, Page, Session};

/// How far back a message is looked for that the window has moved past.
const RECENT: usize = 500;

/// The context that was there when `question` came, as far as it still stands; `None` when the question
/// itself was erased. During an outage it is taken as it was.
pub(super) async fn standing(
    session: &Session,
    question: &Message,
    then: &Context,
) -> Option<Context> {
    let Some(id) = question.id.as_deref() else {
        return Some(then.clone());
    };
    let Ok(now) = session.context_cached().await else {
        return Some(then.clone());
    };
    let mut stands: HashMap<String, Arc<Message>> = HashMap::new();
    for message in &now.messages {
        stands.extend(message.id.clone().map(|id| (id, Arc::clone(message))));
    }
    let is_there = |stands: &HashMap<_, _>, m: &Message| {
        m.id.as_ref().is_none_or(|id| stands.contains_key(id))
    };
    if !then.messages.iter().all(|m| is_there(&stands, m)) || !stands.contains_key(id) {
        // Erased, or only left behind by the window or a reset: the history tells.
        let page = Page {
            before: None,
            limit: RECENT,
        };
        let Ok(recent) = session.history(page).await else {
            return Some(then.clone());
        };
        for (_, message) in recent {
            if let Some(id) = message.id.clone() {
                stands.entry(id).or_insert_with(|| Arc::new(message));
            }
        }
    }
    stands.get(id)?;
    let as_it_is = |m: &Arc<Message>| match m.id.as_deref() {
        None => Some(Arc::clone(m)),
        Some(id) => stands.get(id).cloned(),
    };
    Some(Context {
        messages: then.messages.iter().filter_map(as_it_is).collect(),
        stale: now.stale,
    })
}
