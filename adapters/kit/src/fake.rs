//! An outbox for tests: keeps what was sent, and fails on demand.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::outbox::{Audience, Outbox, Part, SendError};
use crate::split::{Limit, Unit};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Text(String, Audience),
    Edit(String, String),
    File(String, Vec<u8>, Audience),
}

#[derive(Debug)]
pub(crate) struct FakeOutbox {
    limit: Limit,
    edits: bool,
    log: Mutex<Vec<(Instant, Call)>>,
    ids: AtomicU32,
    later: AtomicU32,
    hang: AtomicBool,
}

impl FakeOutbox {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            limit: Limit::new(max, Unit::Chars),
            edits: true,
            log: Mutex::default(),
            ids: AtomicU32::new(0),
            later: AtomicU32::new(0),
            hang: AtomicBool::new(false),
        }
    }

    pub(crate) fn without_edits(mut self) -> Self {
        self.edits = false;
        self
    }

    /// The next `n` calls are told to come again later.
    pub(crate) fn later(&self, n: u32) {
        self.later.store(n, Ordering::SeqCst);
    }

    pub(crate) fn hang(&self) {
        self.hang.store(true, Ordering::SeqCst);
    }

    pub(crate) fn log(&self) -> Vec<Call> {
        self.log.lock().iter().map(|(_, s)| s.clone()).collect()
    }

    /// When each call came.
    pub(crate) fn times(&self) -> Vec<Instant> {
        self.log.lock().iter().map(|(at, _)| *at).collect()
    }

    /// What a reader sees now: the texts after all edits.
    pub(crate) fn texts(&self) -> Vec<String> {
        let mut shown = Vec::new();
        for sent in self.log() {
            match sent {
                Call::Text(text, _) => shown.push(text),
                Call::Edit(id, text) => shown[id.parse::<usize>().unwrap() - 1] = text,
                Call::File(..) => {}
            }
        }
        shown
    }

    async fn note(&self, sent: Call) -> Result<(), SendError> {
        if self.hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let less = |n: u32| n.checked_sub(1);
        if self
            .later
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
        {
            return Err(SendError::Later { after: None });
        }
        self.log.lock().push((Instant::now(), sent));
        Ok(())
    }

    fn id(&self) -> Option<String> {
        Some((self.ids.fetch_add(1, Ordering::SeqCst) + 1).to_string())
    }
}

#[async_trait]
impl Outbox for FakeOutbox {
    fn limit(&self) -> Limit {
        self.limit
    }

    fn edits(&self) -> bool {
        self.edits
    }

    async fn send(&self, part: Part<'_>) -> Result<Option<String>, SendError> {
        let text = part.text;
        assert!(
            self.limit.fits(text) && !text.trim().is_empty(),
            "the platform rejects it"
        );
        self.note(Call::Text(text.into(), part.audience)).await?;
        Ok(self.id())
    }

    async fn edit(&self, id: &str, text: &str) -> Result<(), SendError> {
        assert!(
            self.limit.fits(text) && !text.trim().is_empty(),
            "the platform rejects it"
        );
        self.note(Call::Edit(id.into(), text.into())).await
    }

    async fn send_file(
        &self,
        name: &str,
        bytes: Vec<u8>,
        audience: Audience,
    ) -> Result<Option<String>, SendError> {
        self.note(Call::File(name.into(), bytes, audience)).await?;
        Ok(None)
    }
}
