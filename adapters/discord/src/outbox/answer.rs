//! Answers a command of Discord's own list: the first message fills in "is thinking …", others follow.
//!
//! Invariant: nothing is sent before the command is acknowledged; who sees the answers is settled with that.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use async_trait::async_trait;
use scrollback_kit::{Audience, Limit, Outbox, Part, Pings, SendError};
use serde_json::{Value, json};

use super::{LIMIT, allowed};
use crate::rest::{Failure, File, Posted, Rest};
use crate::shared::Shared;
use crate::slash::{Acknowledged, Call};

/// The flag of a message that only the asker sees.
const EPHEMERAL: u64 = 1 << 6;

/// Answers one command.
pub(crate) struct AnswerOutbox {
    rest: Arc<Rest>,
    application: u64,
    interaction: u64,
    token: String,
    ephemeral: bool,
    acknowledged: Acknowledged,
    /// The first message is filled in.
    filled: AtomicBool,
    pings: Pings,
}

impl fmt::Debug for AnswerOutbox {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerOutbox")
            .field("interaction", &self.interaction)
            .field("ephemeral", &self.ephemeral)
            .finish_non_exhaustive()
    }
}

impl AnswerOutbox {
    pub(crate) fn new(
        shared: &Shared,
        application: u64,
        call: &Call,
        acknowledged: Acknowledged,
    ) -> Self {
        Self {
            rest: Arc::clone(&shared.rest),
            application,
            interaction: call.interaction,
            token: call.token.expose().to_owned(),
            ephemeral: call.ephemeral,
            acknowledged,
            filled: AtomicBool::new(false),
            pings: shared.pings,
        }
    }

    fn of(&self) -> (u64, u64, &str) {
        (self.application, self.interaction, &self.token)
    }

    fn body(&self, text: &str) -> Value {
        json!({"content": text, "allowed_mentions": allowed(self.pings)})
    }

    async fn put(&self, text: &str, file: Option<File<'_>>) -> Result<Posted, SendError> {
        if !self.acknowledged.clone().await {
            return Err(SendError::Refused(
                "the command was not acknowledged in time".into(),
            ));
        }
        let mut body = self.body(text);
        if !self.filled.load(SeqCst) {
            // Filling in may be repeated.
            let posted = self.rest.edit_answer(self.of(), None, &body, file).await;
            let posted = posted.map_err(Failure::repeatable)?;
            self.filled.store(true, SeqCst);
            return Ok(posted);
        }
        if let (true, Some(body)) = (self.ephemeral, body.as_object_mut()) {
            body.insert("flags".into(), EPHEMERAL.into());
        }
        // No nonce here: what may have been sent is not sent again.
        let posted = self.rest.follow_up(self.of(), &body, file).await;
        posted.map_err(Failure::once)
    }

    /// Says why there is no answer; a failure is only noted.
    pub(crate) async fn excuse(&self, text: &str) {
        if let Err(error) = self.put(text, None).await {
            tracing::debug!(%error, "a command is left without an answer");
        }
    }
}

#[async_trait]
impl Outbox for AnswerOutbox {
    fn limit(&self) -> Limit {
        LIMIT
    }

    async fn send(&self, part: Part<'_>) -> Result<Option<String>, SendError> {
        let posted = self.put(part.text, None).await?;
        Ok(Some(posted.id.to_string()))
    }

    async fn edit(&self, id: &str, text: &str) -> Result<(), SendError> {
        let id = id
            .parse()
            .map_err(|_| SendError::Refused("not a message's id".into()))?;
        let edited = self
            .rest
            .edit_answer(self.of(), Some(id), &self.body(text), None)
            .await;
        edited.map(drop).map_err(Failure::repeatable)
    }

    async fn send_file(
        &self,
        name: &str,
        bytes: Vec<u8>,
        _audience: Audience,
    ) -> Result<Option<String>, SendError> {
        let bytes = bytes.as_slice();
        let posted = self.put("", Some(File { name, bytes })).await?;
        Ok(Some(posted.id.to_string()))
    }
}
