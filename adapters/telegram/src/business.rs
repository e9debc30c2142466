//! Business connections: on whose behalf the bot reads chats, and where it may answer.
//!
//! Invariant: bounded; a connection that is not known is asked for once, and until it is known nobody is
//! answered through it.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use teloxide::types::BusinessConnection;

use crate::api::{Api, CallError};

/// Connections remembered; beyond it all are asked for again.
const MOST: usize = 10_000;
/// How long it may take to ask for one; meanwhile the updates of other chats wait.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Which connections the bot may answer through, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<HashMap<String, bool>>);

impl Connections {
    /// Notes what an update tells of a connection.
    pub(crate) fn note(&self, id: &str, may_reply: bool) {
        let mut known = self.0.lock();
        if known.len() >= MOST && !known.contains_key(id) {
            known.clear();
        }
        known.insert(id.to_owned(), may_reply);
    }

    /// True when messages may be answered through this connection.
    pub(crate) async fn may_reply(&self, api: &Api, id: &str) -> bool {
        let known = self.0.lock().get(id).copied();
        if let Some(may_reply) = known {
            return may_reply;
        }
        let ask = json!({ "business_connection_id": id });
        let asked = api.call::<BusinessConnection>("GetBusinessConnection", &ask, LOOK_UP);
        match asked.await {
            Ok(connection) => {
                let may_reply = may_reply(&connection);
                self.note(id, may_reply);
                may_reply
            }
            Err(error) => {
                tracing::warn!(%error, "a business connection is not known; it is not answered");
                if matches!(error, CallError::Refused { .. }) {
                    self.note(id, false);
                }
                false
            }
        }
    }
}

/// True when the connection is alive and lets the bot answer.
pub(crate) fn may_reply(connection: &BusinessConnection) -> bool {
    let rights = connection.rights.as_ref();
    connection.is_enabled && rights.is_some_and(|rights| rights.can_reply)
}
