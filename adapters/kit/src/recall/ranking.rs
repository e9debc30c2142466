//! Ranks messages against one question by BM25, and decides whether the best one answers it.
//!
//! Invariants: only what a person stated is a candidate (no question, no command, not the question
//! itself); among equals the newest wins; a match on words that many statements share, or that name
//! only a relation (`called`, `lives`), is no answer unless the question holds nothing else.
//!
//! Messages are fed in any order and page by page; of each match only a bounded quote is kept.

use std::collections::HashMap;
use std::sync::Arc;

use scrollback::{Author, Message, Role, Seq};

use super::question::{is_command, questions, statements};
use super::quote::quote;
use super::terms::Terms;

/// BM25's saturation and length parameters, at the values its authors recommend.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// What a word counts that says little, against 1 for any other.
const WEAK: f64 = 0.25;
/// How much of what the question asks for a message must hold.
const ENOUGH: f64 = 0.5;
/// Scores closer than this share are equal.
const EQUAL: f64 = 0.95;
/// What the asker's own words count more when they ask about themselves.
const OWN: f64 = 1.25;

/// One question and what has been found so far.
#[derive(Debug)]
pub(super) struct Ranking {
    terms: Arc<Terms>,
    query: Vec<QueryTerm>,
    asker: Option<Author>,
    /// The question's platform id.
    id: Option<String>,
    about_self: bool,
    statements: u32,
    length: f64,
    found: Vec<Found>,
}

#[derive(Debug)]
struct QueryTerm {
    term: String,
    weak: bool,
    /// Statements that hold the term.
    in_statements: u32,
}

/// A statement that shares a term with the question.
struct Found {
    seq: Seq,
    /// How often each query term occurs.
    counts: Vec<f64>,
    /// Which query terms are the speaker's name.
    named: Vec<bool>,
    length: f64,
    own: bool,
    quote: String,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found")
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl Ranking {
    pub(super) fn new(terms: Arc<Terms>, question: &Message) -> Self {
        let mut query: Vec<QueryTerm> = Vec::new();
        for (_, term) in questions(&question.text).flat_map(|q| terms.of(q)) {
            // Nobody asks about more than a few things; what hangs on is text pasted in.
            if query.len() < 32 && query.iter().all(|q| q.term != term) {
                let weak = terms.is_weak(&term);
                query.push(QueryTerm {
                    term,
                    weak,
                    in_statements: 0,
                });
            }
        }
        Self {
            terms,
            query,
            asker: question.author.clone(),
            id: question.id.clone(),
            about_self: speaks_of_self(&question.text),
            statements: 0,
            length: 0.0,
            found: Vec::new(),
        }
    }

    /// False when the question names nothing to look for.
    pub(super) fn has_terms(&self) -> bool {
        !self.query.is_empty()
    }

    /// Takes a message into account.
    pub(super) fn add(&mut self, seq: Seq, message: &Message) {
        let itself = self.id.is_some() && self.id == message.id;
        if message.role != Role::User || itself || is_command(&message.text) {
            return;
        }
        let mut seen = Seen::of(&self.terms, &self.query, &message.text);
        if !seen.states {
            return;
        }
        let own = match (&self.asker, &message.author) {
            (Some(asker), Some(author)) => asker.same(author),
            _ => false,
        };
        let named = self.named(message, own, &mut seen.counts);
        self.statements = self.statements.saturating_add(1);
        self.length += seen.length;
        for (query, count) in self.query.iter_mut().zip(&seen.counts) {
            query.in_statements += u32::from(*count > 0.0);
        }
        if seen.counts.iter().any(|n| *n > 0.0) {
            self.found.push(Found {
                seq,
                own,
                named,
                length: seen.length,
                quote: quote(message, self.asker.as_ref(), seen.sentence, seen.hit),
                counts: seen.counts,
            });
        }
    }

    /// Counts the speaker's name as said where they speak of themselves: `Ann's cat` is what Ann calls
    /// `my cat`.
    fn named(&self, message: &Message, own: bool, counts: &mut [f64]) -> Vec<bool> {
        let name = message.author.as_ref().and_then(|a| a.name.as_deref());
        let name = name
            .filter(|_| !own && speaks_of_self(&message.text))
            .unwrap_or_default();
        let name: Vec<String> = self.terms.of(name).map(|(_, term)| term).collect();
        let mut named = Vec::with_capacity(counts.len());
        for (query, count) in self.query.iter().zip(counts) {
            let by_name = *count == 0.0 && name.contains(&query.term);
            if by_name {
                *count = 1.0;
            }
            named.push(by_name);
        }
        named
    }

    /// The quote that answers the question, if one does.
    pub(super) fn answer(self) -> Option<String> {
        let enough = |f: &&Found| self.answers(f);
        let scored: Vec<(f64, &Found)> = self
            .found
            .iter()
            .filter(enough)
            .map(|f| (self.score(f), f))
            .collect();
        let best = scored.iter().map(|(score, _)| *score).fold(0.0, f64::max);
        scored
            .into_iter()
            .filter(|(score, _)| *score >= best * EQUAL)
            .max_by_key(|(_, found)| found.seq)
            .map(|(_, found)| found.quote.clone())
    }

    /// True when a statement holds enough of what the question asks for.
    fn answers(&self, found: &Found) -> bool {
        let (mut held, mut asked, mut rare) = (0.0, 0.0, false);
        for ((query, count), named) in self.query.iter().zip(&found.counts).zip(&found.named) {
            let weight = self.weight(query);
            asked += weight;
            if *count > 0.0 {
                held += if *named { WEAK } else { weight };
                rare |= weight > WEAK && !named;
            }
        }
        // Without a rare word everything asked for must be there: `what is my name?`.
        if rare {
            held >= asked * ENOUGH
        } else {
            held >= asked
        }
    }

    fn weight(&self, query: &QueryTerm) -> f64 {
        if query.weak || self.is_common(query) {
            WEAK
        } else {
            1.0
        }
    }

    /// True for a word that a fifth of the statements, and at least three, hold.
    fn is_common(&self, query: &QueryTerm) -> bool {
        query.in_statements >= 3 && query.in_statements.saturating_mul(5) >= self.statements
    }

    fn score(&self, found: &Found) -> f64 {
        let all = f64::from(self.statements);
        let long = found.length / (self.length / all).max(1.0);
        let score: f64 = self
            .query
            .iter()
            .zip(&found.counts)
            .map(|(query, n)| {
                let df = f64::from(query.in_statements);
                let idf = (1.0 + (all - df + 0.5) / (df + 0.5)).ln();
                let weight = self.weight(query);
                weight * idf * n * (K1 + 1.0) / (n + K1 * (1.0 - B + B * long))
            })
            .sum();
        if found.own && self.about_self {
            score * OWN
        } else {
            score
        }
    }
}

/// What of a question one message holds.
struct Seen {
    states: bool,
    counts: Vec<f64>,
    length: f64,
    /// Where the sentence with most of it starts, and the first match in it.
    sentence: usize,
    hit: usize,
}

impl Seen {
    fn of(terms: &Terms, query: &[QueryTerm], text: &str) -> Self {
        let places: HashMap<&str, usize> = query
            .iter()
            .enumerate()
            .map(|(i, q)| (q.term.as_str(), i))
            .collect();
        let mut seen = Self {
            states: false,
            counts: vec![0.0; query.len()],
            length: 0.0,
            sentence: 0,
            hit: 0,
        };
        let mut most = 0;
        for (start, sentence) in statements(text) {
            let (mut hits, mut first) = (0_usize, None);
            for (at, term) in terms.of(sentence) {
                seen.states = true;
                seen.length += 1.0;
                let place = places.get(term.as_str());
                if let Some(count) = place.and_then(|i| seen.counts.get_mut(*i)) {
                    *count += 1.0;
                    hits += 1;
                    first = first.or(Some(start + at));
                }
            }
            if let Some(hit) = first.filter(|_| hits > most) {
                (most, seen.sentence, seen.hit) = (hits, start, hit);
            }
        }
        seen
    }
}

fn speaks_of_self(text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).any(|w| {
        ["i", "my", "me", "mine"]
            .iter()
            .any(|me| w.eq_ignore_ascii_case(me))
    })
}

/// Answers from messages at hand, as the responder does from a session's pages.
#[cfg(test)]
pub(super) fn answer(question: &Message, said: &[Message]) -> Option<String> {
    let mut ranking = Ranking::new(Arc::new(Terms::new(super::Language::English)), question);
    for (n, message) in said.iter().enumerate() {
        ranking.add(Seq(n as u64), message);
    }
    ranking.answer()
}
