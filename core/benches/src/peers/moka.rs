//! A map in this process and nothing else: not durable, not shared; the bound.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use moka::sync::Cache;

use super::r3::Stored;
use crate::workload::{CONTEXT, Handed, Said, Turns};

/// More than any run has.
const CAPACITY: u64 = 1_000_000;

type History = Arc<Mutex<VecDeque<Arc<Stored>>>>;

/// The map.
pub(crate) struct Moka {
    sessions: Cache<String, History>,
    history: usize,
}

impl Moka {
    pub(crate) fn new(history: usize) -> Self {
        Self {
            sessions: Cache::new(CAPACITY),
            history,
        }
    }

    fn push(&self, session: usize, said: Said) -> Vec<Arc<Stored>> {
        let history = self
            .sessions
            .get_with(format!("bench:{session}"), History::default);
        let mut messages = history.lock().unwrap_or_else(PoisonError::into_inner);
        messages.push_back(Arc::new(said.into()));
        while messages.len() > self.history {
            messages.pop_front();
        }
        let skip = messages.len().saturating_sub(CONTEXT);
        messages.iter().skip(skip).map(Arc::clone).collect()
    }
}

impl Turns for Moka {
    async fn fill(&self, session: usize, history: Vec<Said>) -> anyhow::Result<()> {
        for said in history {
            self.push(session, said);
        }
        Ok(())
    }

    async fn turn(&self, session: usize, said: Said, reply: Said) -> anyhow::Result<()> {
        let newest = said.id;
        let context = self.push(session, said);
        let handed = Handed {
            messages: context.len(),
            newest: context.last().map(|m| m.id()).unwrap_or_default(),
        };
        handed.check(newest)?;
        self.push(session, reply);
        Ok(())
    }

    async fn close(&self) -> anyhow::Result<()> {
        Ok(())
    }
}
