//! Erases what a person said, and what the bot said back to them or quoted of them.
//!
//! Invariants: the bot's messages go first, so that a `/forget yes` that was cut short can be repeated and
//! finds what is left; and once more at the end, since until then answers may still have been kept. What a model said to somebody else in words of its own is beyond reach.

use std::collections::{HashMap, HashSet};

use scrollback::{Author, Cache, Forgotten, Message, Page, Role, Session, SessionKey};

use crate::recall::{LONGEST_QUOTE, quoted};

/// Messages read at once.
const PAGE: usize = 500;

/// Erases what a person said in every session, and the bot's messages that answer or quote it.
///
/// # Errors
/// An outage of the store; calling it again goes on where it stopped.
pub async fn forget_person(cache: &Cache, person: &Author) -> scrollback::Result<Forgotten> {
    let mut said: HashMap<SessionKey, Traces> = HashMap::new();
    for (key, _, message) in cache.export_author(person).await? {
        said.entry(key).or_default().add(&message);
    }
    let mut total = Forgotten::default();
    for (key, traces) in &said {
        add(
            &mut total,
            unsay(&cache.session(key.clone()), traces).await?,
        );
    }
    add(&mut total, cache.forget_author(person).await?);
    // From here on an answer that was under way is not kept any more.
    for (key, traces) in &said {
        add(
            &mut total,
            unsay(&cache.session(key.clone()), traces).await?,
        );
    }
    Ok(total)
}

/// Erases; with `own`, the whole session too.
pub(super) async fn forget(
    cache: &Cache,
    session: &Session,
    asker: &Author,
    own: bool,
) -> scrollback::Result<Forgotten> {
    let mut total = forget_person(cache, asker).await?;
    if own {
        add(&mut total, session.forget().await?);
    }
    Ok(total)
}

fn add(total: &mut Forgotten, more: Forgotten) {
    total.sessions += more.sessions;
    total.messages += more.messages;
    total.bytes += more.bytes;
}

/// Deletes the bot's messages in which a person's words live on.
async fn unsay(session: &Session, traces: &Traces) -> scrollback::Result<Forgotten> {
    let mut gone = Forgotten::default();
    let mut before = None;
    loop {
        let page = session
            .history(Page {
                before,
                limit: PAGE,
            })
            .await?;
        for (_, message) in page.iter().filter(|(_, m)| traces.left_in(m)) {
            // Without a platform id it cannot be named; every chat platform gives one.
            if let Some(id) = &message.id {
                session.delete(id).await?;
                gone.messages += 1;
                gone.bytes += message.text.len() as u64;
            }
        }
        match page.first() {
            Some((first, _)) if page.len() >= PAGE => before = Some(*first),
            _ => return Ok(gone),
        }
    }
}

/// By what the bot's messages about a person's words are known.
#[derive(Default)]
struct Traces {
    ids: HashSet<String>,
    texts: HashSet<String>,
    /// Texts that are too long to be quoted whole.
    long: Vec<String>,
}

impl Traces {
    fn add(&mut self, message: &Message) {
        self.ids.extend(message.id.clone());
        let text = plain(&message.text);
        if text.chars().count() > LONGEST_QUOTE {
            self.long.push(text);
        } else {
            self.texts.insert(text);
        }
    }

    fn left_in(&self, message: &Message) -> bool {
        if message.role != Role::Assistant {
            return false;
        }
        let answers = message
            .reply_to
            .as_ref()
            .is_some_and(|id| self.ids.contains(id));
        answers || quoted(&message.text).any(|quote| self.holds(&plain(quote)))
    }

    fn holds(&self, quote: &str) -> bool {
        let excerpt = quote.trim_matches('…').trim();
        self.texts.contains(quote) || self.long.iter().any(|text| text.contains(excerpt))
    }
}

/// A text as it is compared: without the zero-width spaces that take the ping out of a quote.
fn plain(text: &str) -> String {
    text.trim().replace('\u{200b}', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces() -> Traces {
        let mut traces = Traces::default();
        let ann = || Author::new("t", 1);
        traces.add(&Message::user(ann(), " my cat @here is: Mog ").id("m1"));
        traces.add(&Message::user(ann(), "word ".repeat(300)));
        traces
    }

    #[test]
    fn replies_to_a_person_and_quotes_of_them_are_traces() {
        let quote =
            |text: &str| Message::assistant(format!("Ann said on 2026-11-22 21:50 UTC: {text}"));
        let traces = traces();
        assert!(traces.left_in(&Message::assistant("So be it.").reply_to("m1")));
        assert!(traces.left_in(&quote("my cat @\u{200b}here is: Mog")));
        assert!(traces.left_in(&Message::assistant(
            "Eve said on 1 UTC: said on 2026-11-22 21:50 UTC: my cat @here is: Mog"
        )));
        assert!(traces.left_in(&quote(&format!("…{}…", "word ".repeat(40)))));
    }

    #[test]
    fn other_messages_are_none() {
        let traces = traces();
        for message in [
            Message::assistant("Noted.").reply_to("m2"),
            Message::assistant("Bob said on 2026-11-22 21:50 UTC: my cat"),
            Message::assistant("my cat @here is: Mog"),
            Message::user(Author::new("t", 2), "me too").reply_to("m1"),
        ] {
            assert!(!traces.left_in(&message));
        }
    }
}
