//! Finds out which of the newest messages were edited or deleted while nobody listened.
//!
//! Invariant: only what is kept is changed; a message counts as gone only where Discord has shown all that is
//! there, and only in a session of this place alone: one that spans channels keeps a thread's messages under
//! its channel's id, and does not tell where they stand.

use std::collections::{BTreeMap, BTreeSet};

use scrollback::{Message, Page, Session, SessionKey};
use serenity::all::Message as Said;

use super::{Fetched, PAGE, fetch};
use crate::directory::At;
use crate::map::{self, Edit, unix_ms};
use crate::news::whole_message;
use crate::rest::id_of;
use crate::work::{Closed, Site};

/// How many of a session's messages are looked at: more than a page, as its own may be among them.
const KEPT: usize = 300;

/// Compares the newest messages of a channel with what is kept of them.
pub(super) async fn compare(site: &Site) -> Result<(), Closed> {
    let taken_in = site.book.cursor(site.at.itself());
    let Fetched::Page(page) = fetch(site, None).await else {
        return Ok(());
    };
    // An empty page may only mean that the bot may not read what was said before.
    let ids: BTreeSet<u64> = page.iter().filter_map(id_of).collect();
    let (Some(first), Some(last)) = (ids.first().copied(), ids.last().copied()) else {
        return Ok(());
    };
    let from = if ids.len() < PAGE { 0 } else { first };
    let shown = from..=last.max(taken_in);
    let said: BTreeMap<u64, Said> = page
        .iter()
        .filter_map(whole_message)
        .map(|said| (said.id.get(), said))
        .collect();
    for (user, session) in sessions(site, &said) {
        let page = Page {
            before: None,
            limit: KEPT,
        };
        let kept = match session.history(page).await {
            Ok(kept) => kept,
            Err(scrollback::Error::Closed) => return Err(Closed),
            Err(error) => {
                tracing::warn!(%error, session = %session.key(), "missed edits are not looked for");
                continue;
            }
        };
        for (_, message) in kept {
            let Some(id) = id_there(session.key(), site.at, &message) else {
                continue;
            };
            if !shown.contains(&id) {
            } else if let Some(said) = said.get(&id) {
                if let Some(edit) = missed_edit(site, said, &message) {
                    site.edit(&edit).await?;
                }
            } else if !ids.contains(&id) && session.key().channel_id().is_some() {
                site.gone(user, id).await?;
            }
        }
    }
    Ok(())
}

/// The sessions in which a channel's messages are kept: one, or one of each person who said something.
fn sessions(site: &Site, said: &BTreeMap<u64, Said>) -> Vec<(Option<u64>, Session)> {
    let session = |user| {
        site.shared
            .bot
            .session(&map::origin(site.at, &site.me, user))
    };
    let whole = session(None);
    if whole.key().user_id().is_none() {
        return vec![(None, whole)];
    }
    let people: BTreeSet<u64> = said.values().map(|said| said.author.id.get()).collect();
    people
        .into_iter()
        .map(|user| (Some(user), session(Some(user))))
        .collect()
}

/// Discord's id of a message that a session keeps, if it stands at this place.
fn id_there(key: &SessionKey, at: At, message: &Message) -> Option<u64> {
    let id = message.id.as_deref()?;
    if key.channel_id().is_some() {
        return id.parse().ok();
    }
    let (channel, id) = id.split_once(':')?;
    id.parse()
        .ok()
        .filter(|_| channel == at.channel.to_string())
}

/// The edit that is not kept yet; of the bot's own words the last ones are kept when they are said.
fn missed_edit(site: &Site, said: &Said, kept: &Message) -> Option<Edit> {
    let at_ms = unix_ms(said.edited_timestamp?);
    if said.author.id == site.me.id || kept.edited_ms.is_some_and(|kept| kept >= at_ms) {
        return None;
    }
    let text = map::incoming(said, site.at, &site.me, &site.shared.directory)
        .message
        .text;
    (text != kept.text).then(|| Edit {
        user: Some(said.author.id.get()),
        id: said.id.get(),
        text,
        at_ms,
    })
}
