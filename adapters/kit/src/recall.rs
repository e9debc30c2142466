//! The built-in responder: answers from what was said in this session, with no model.
//!
//! Invariant: it claims nothing that is not in the history; an answer is a quote with who and when, or
//! says that nothing was said. Reads through the session only; knows no tier and no platform.

use std::sync::Arc;

use async_trait::async_trait;
use scrollback::{Message, Page};

use crate::responder::{Reply, Request, RespondError, Responder};

mod question;
mod quote;
mod ranking;
mod terms;

pub(crate) use quote::{LONGEST as LONGEST_QUOTE, quoted};
use ranking::Ranking;
pub use terms::Language;
use terms::Terms;

/// How far back a search looks: more would keep a person waiting.
const MOST_MESSAGES: usize = 20_000;
/// How much text a search reads (32 MiB), newest first, for the same reason.
const MOST_BYTES: usize = 32 << 20;
/// Messages read at once: bounds what is in memory.
const PAGE: usize = 500;

const NOTED: &str = "Noted.";
const NOTHING: &str = "Nothing was said here about that.";

/// Answers questions with the one message of the session that fits best, by BM25.
#[derive(Debug, Clone)]
pub struct Recall {
    terms: Arc<Terms>,
}

impl Default for Recall {
    /// English.
    fn default() -> Self {
        Self::new(Language::English)
    }
}

impl Recall {
    /// A recall that reduces words to their stems by a language's rules. Stop words and question
    /// words are English whatever the language.
    #[must_use]
    pub fn new(language: Language) -> Self {
        Self {
            terms: Arc::new(Terms::new(language)),
        }
    }

    async fn answer(&self, request: &Request) -> Result<String, RespondError> {
        if !question::asks(&request.message.text) {
            return Ok(NOTED.into());
        }
        let mut ranking = Ranking::new(Arc::clone(&self.terms), &request.message);
        let (mut before, mut messages, mut bytes) = (Some(request.seq), 0, 0);
        while ranking.has_terms() && messages < MOST_MESSAGES && bytes < MOST_BYTES {
            let limit = PAGE.min(MOST_MESSAGES - messages);
            let page = request.session.history(Page { before, limit }).await?;
            let Some((first, _)) = page.first() else {
                break;
            };
            before = Some(*first);
            messages += page.len();
            bytes += page.iter().map(|(_, m)| m.text.len()).sum::<usize>();
            let last = page.len() < limit;
            ranking = rank(ranking, page).await?;
            if last {
                break;
            }
        }
        Ok(ranking.answer().unwrap_or_else(|| NOTHING.into()))
    }
}

/// Ranks a page off the async threads: long messages take a while to read.
async fn rank(
    mut ranking: Ranking,
    page: Vec<(scrollback::Seq, Message)>,
) -> Result<Ranking, RespondError> {
    let work = tokio::task::spawn_blocking(move || {
        page.iter().for_each(|(seq, m)| ranking.add(*seq, m));
        ranking
    });
    work.await.map_err(RespondError::failed)
}

#[async_trait]
impl Responder for Recall {
    async fn respond(&self, request: Request) -> Result<Reply, RespondError> {
        self.answer(&request).await.map(Reply::Text)
    }
}

#[cfg(test)]
mod tests;
