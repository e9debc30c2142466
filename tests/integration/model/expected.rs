//! What must be true of a session after any sequence of operations, kept in plain maps.

use std::collections::{BTreeMap, BTreeSet};

use scrollback::{Message, Seq};

/// What is known of one message, by its platform id or, without one, its text.
#[derive(Debug, Default, Clone)]
struct Track {
    text: String,
    /// Acknowledged, and neither deleted nor forgotten since.
    wanted: bool,
    /// Deleted or forgotten: must not be there.
    gone: bool,
    /// Forgotten while nobody could know of it: if it comes again, it may be taken for new.
    doubtful: bool,
    /// Said by a caller that did not wait for the answer, and not acknowledged since.
    unanswered: bool,
    /// Said so by any cache: it may stand anywhere from then on.
    attempted: bool,
    /// When it was accepted as new, and by which cache.
    accepted: Vec<(usize, usize)>,
    edits: BTreeMap<u64, String>,
    /// Edited by a cache that had not heard of a forgetting: the edit may count as made before it.
    blurred: bool,
    /// Caches that mentioned it and have not flushed since.
    unflushed: BTreeSet<usize>,
}

/// What must hold of one session.
#[derive(Debug)]
pub(super) struct Expected {
    tracks: BTreeMap<String, Track>,
    /// Any of these may be the state, the newest last.
    states: Vec<Option<String>>,
    tick: usize,
    /// The cache that forgot while the hot tier could not tell the other one of it.
    untold: Option<usize>,
}

impl Default for Expected {
    fn default() -> Self {
        Self {
            tracks: BTreeMap::new(),
            states: vec![None],
            tick: 0,
            untold: None,
        }
    }
}

impl Expected {
    fn track(&mut self, key: &str, cache: usize) -> &mut Track {
        let track = self.tracks.entry(key.to_owned()).or_default();
        track.unflushed.insert(cache);
        track
    }

    /// `cache` acknowledged this message, as new or as a duplicate.
    pub(super) fn appended(
        &mut self,
        cache: usize,
        key: &str,
        text: &str,
        duplicate: Option<bool>,
    ) -> Result<(), String> {
        self.tick += 1;
        let tick = self.tick;
        let untold = self.untold.is_some_and(|c| c != cache);
        let fresh = !self.tracks.contains_key(key);
        let t = self.track(key, cache);
        if duplicate == Some(true) && fresh {
            return Err(format!("{key} is called a duplicate and is new"));
        }
        let twice = t.accepted.iter().any(|(c, _)| *c == cache);
        if duplicate == Some(false) && twice && !t.doubtful {
            return Err(format!("cache {cache} accepted {key} twice"));
        }
        if t.text.is_empty() {
            t.text = text.to_owned();
        }
        t.unanswered = false;
        // What the other cache says before it hears of a forgetting may count as said before it.
        t.doubtful |= untold && !t.wanted && !t.gone;
        t.wanted |= !t.gone && !t.doubtful;
        // Of several in one call it is not told which were there already.
        let unknown = duplicate.is_none() && !fresh;
        // Taken for new where the first one was not known, it stands where this cache put it.
        t.attempted |= unknown && !twice;
        if duplicate != Some(true) && !unknown && !twice {
            if untold {
                // What was taken for said before the forgetting is not shown, and may stand anywhere.
                t.attempted = true;
            } else {
                t.accepted.push((cache, tick));
            }
        }
        Ok(())
    }

    /// `cache` may have taken this message in, or not: nobody was there for the answer.
    pub(super) fn attempted(&mut self, cache: usize, key: &str, text: &str) {
        self.tick += 1;
        let untold = self.untold.is_some_and(|c| c != cache);
        let t = self.track(key, cache);
        if t.text.is_empty() {
            t.text = text.to_owned();
        }
        t.unanswered |= !t.wanted && !t.gone;
        t.attempted = true;
        t.doubtful |= untold && !t.wanted && !t.gone;
    }

    pub(super) fn edited(&mut self, cache: usize, key: &str, text: &str, at_ms: u64) {
        let untold = self.untold.is_some_and(|c| c != cache);
        let t = self.track(key, cache);
        t.edits.insert(at_ms, text.to_owned());
        t.blurred |= untold;
        t.doubtful |= untold && !t.wanted && !t.gone;
    }

    pub(super) fn deleted(&mut self, cache: usize, key: &str) {
        let t = self.track(key, cache);
        // Whether an erasure took it first stays open.
        (t.gone, t.wanted) = (true, false);
    }

    /// `calm`: nothing has happened to the hot tier since everything was last flushed.
    pub(super) fn forgotten(&mut self, cache: usize, calm: bool) {
        for t in self.tracks.values_mut() {
            t.unflushed.remove(&cache);
            t.wanted = false;
            // What may never have come is not known to be forgotten.
            if !t.unanswered && (calm || (t.unflushed.is_empty() && !t.doubtful)) {
                (t.gone, t.doubtful) = (true, false);
            } else {
                (t.gone, t.doubtful) = (false, true);
                t.accepted.clear();
            }
        }
        self.states = vec![None];
        if !calm {
            self.untold = Some(cache);
        }
    }

    /// Everything was flushed and the hot tier is there: every cache has heard of everything.
    pub(super) fn calmed(&mut self) {
        self.untold = None;
    }

    /// `known`: the outcome is known; `calm` as above.
    pub(super) fn state_set(&mut self, value: &str, known: bool, calm: bool) {
        if known && calm {
            self.states.clear();
        }
        self.states.push(Some(value.to_owned()));
    }

    pub(super) fn flushed(&mut self, cache: usize) {
        for t in self.tracks.values_mut() {
            t.unflushed.remove(&cache);
        }
    }

    /// A read by `cache`, or by anybody after everything was flushed; `calm` as above.
    pub(super) fn check(
        &self,
        history: &[(Seq, Message)],
        cache: Option<usize>,
        calm: bool,
    ) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for (_, m) in history {
            let key = m.id.as_ref().unwrap_or(&m.text);
            let Some(t) = self.tracks.get(key) else {
                return Err(format!("{key} was never said"));
            };
            if !seen.insert(key) {
                return Err(format!("{key} is there twice"));
            }
            if t.gone && calm {
                return Err(format!("{key} was deleted or forgotten and is there"));
            }
            let newest = t.edits.last_key_value().map_or(&t.text, |(_, text)| text);
            if *newest != m.text && calm && !t.doubtful && !t.blurred {
                return Err(format!("{key} says {:?}, not {newest:?}", m.text));
            }
        }
        for (key, t) in &self.tracks {
            let here = calm || cache.is_none_or(|c| t.accepted.iter().any(|(by, _)| *by == c));
            if t.wanted && here && !seen.contains(key) {
                return Err(format!("{key} is lost"));
            }
        }
        // While entries are between two epochs a read may still show them out of order.
        if calm {
            self.check_order(history)?;
        }
        Ok(())
    }

    /// What one cache alone accepted stands in the order in which it did.
    fn check_order(&self, history: &[(Seq, Message)]) -> Result<(), String> {
        let mut last: BTreeMap<usize, (usize, &str)> = BTreeMap::new();
        for (_, m) in history {
            let key = m.id.as_ref().unwrap_or(&m.text);
            let track = self.tracks.get(key);
            let track = track.filter(|t| !t.doubtful && !t.attempted);
            let Some([(cache, tick)]) = track.map(|t| &*t.accepted) else {
                continue;
            };
            if let Some((_, before)) = last.insert(*cache, (*tick, key)).filter(|(t, _)| t > tick) {
                return Err(format!(
                    "{key} stands after {before}, cache {cache} said it before"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn check_state(&self, state: Option<&String>) -> Result<(), String> {
        let possible = self.states.iter().any(|s| s.as_ref() == state);
        if possible {
            Ok(())
        } else {
            Err(format!(
                "the state is {state:?}, not one of {:?}",
                self.states
            ))
        }
    }
}
