//! The connections to Discord's gateway: sessions, heartbeats, resumes, and events in their order.
//!
//! Invariants: what a [`Listener`] hears of one shard it hears in the order in which Discord sent it, from
//! the first event of a session on, and a loss is told ([`Heard::Gap`]); a shard ends only when told to, or
//! for a reason that no further try can mend. Knows no message and no cache.
//!
//! Why this is not serenity's shard manager (0.12.5): it starts a task per event, which loses their order,
//! and the collector that keeps it can be registered only after READY, so that what follows READY at once
//! is missed; its runner does not see close codes 4010 to 4012 or a close without a code as an end and spins
//! on the dead socket, blocking its thread until the next heartbeat; after a missed heartbeat it throws its
//! session away; and it logs a payload it cannot read, users' words included.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use scrollback_kit::Secret;
use serde::Deserialize;
use serde_json::Value;
use serenity::all::GatewayIntents;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::error::Error;

mod close;
mod heart;
mod shard;
mod socket;

pub(crate) use heart::Backoff;
use shard::Shard;

/// What a shard hears.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A new session: what was said since the last one is not sent again.
    Session(Ready),
    /// An event, by its name, not yet read.
    Event {
        /// Such as `MESSAGE_CREATE`.
        kind: String,
        /// Its payload.
        data: Value,
    },
    /// Something was lost on the way.
    Gap,
}

/// Takes what the shards hear; called in a shard's loop, so it must not block.
pub(crate) trait Listener: Send + Sync + 'static {
    /// Takes what a shard hears.
    fn hear(&self, shard: u32, heard: Heard);
}

/// The start of a session.
#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    /// The bot itself.
    pub(crate) user: ReadyUser,
    /// Its application.
    pub(crate) application: Option<ReadyApplication>,
    session_id: String,
    resume_gateway_url: Option<String>,
}

/// The bot's own user.
#[derive(Debug, Deserialize)]
pub(crate) struct ReadyUser {
    /// Its id.
    pub(crate) id: serenity::all::UserId,
    /// Its name.
    pub(crate) username: String,
}

/// The bot's application.
#[derive(Debug, Deserialize)]
pub(crate) struct ReadyApplication {
    /// Its id.
    pub(crate) id: serenity::all::ApplicationId,
}

/// The event in a gateway payload, when it holds one.
#[cfg(feature = "testing")]
pub(crate) fn event(payload: &[u8]) -> Option<(String, Value)> {
    let frame = socket::plain(payload).filter(|frame| frame.op == 0)?;
    Some((frame.t?, frame.d))
}

/// Where to connect, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The gateway's URL.
    pub(crate) url: String,
    /// Whether a session may name another URL to resume at; not with another server's API.
    pub(crate) follow: bool,
    /// How many shards there are.
    pub(crate) total: u32,
    /// How many may identify at once.
    pub(crate) at_once: u32,
    /// Sessions that may still be started, and when there are more.
    pub(crate) starts: (u32, Duration),
}

/// Discord allows one identify in this time, for each that it allows at once.
const IDENTIFY_EVERY: Duration = Duration::from_secs(5);

/// Lets shards start their sessions as fast as Discord allows.
#[derive(Debug)]
struct Gate {
    at_once: u32,
    /// When the next one may, for each that may at once.
    next: Mutex<Vec<Instant>>,
    starts: Mutex<(u32, Instant)>,
}

impl Gate {
    fn new(plan: &Plan) -> Self {
        let at_once = plan.at_once.max(1);
        let now = Instant::now();
        let (left, more_in) = plan.starts;
        Self {
            at_once,
            next: Mutex::new((0..at_once).map(|_| now).collect()),
            starts: Mutex::new((left, now + more_in)),
        }
    }

    /// Completes when this shard may start a session.
    async fn pass(&self, shard: u32) {
        let turn = {
            let mut next = self.next.lock();
            let slot = usize::try_from(shard % self.at_once).unwrap_or_default();
            let now = Instant::now();
            let turn = next
                .get(slot)
                .copied()
                .unwrap_or(now)
                .max(now)
                .max(self.start());
            if let Some(next) = next.get_mut(slot) {
                *next = turn + IDENTIFY_EVERY;
            }
            turn
        };
        sleep_until(turn).await;
    }

    /// Counts one start; not before when.
    fn start(&self) -> Instant {
        let mut starts = self.starts.lock();
        let (left, more_at) = *starts;
        if left > 0 {
            starts.0 = left - 1;
            return Instant::now();
        }
        tracing::warn!(
            "too many Discord sessions were started; the next one waits until Discord allows it"
        );
        // A day's worth: Discord would reset the token of a bot that starts more.
        *starts = (999, more_at + Duration::from_secs(24 * 60 * 60));
        more_at
    }

    /// A start that was counted was not made: Discord was not reached.
    fn give_back(&self) {
        let mut starts = self.starts.lock();
        starts.0 = starts.0.saturating_add(1);
    }
}

/// Connects every shard and keeps them connected until `stop` is true or one ends for good.
pub(crate) async fn run(
    plan: Plan,
    token: &Secret,
    intents: GatewayIntents,
    listener: Arc<dyn Listener>,
    stop: watch::Receiver<bool>,
) -> Result<(), Error> {
    let gate = Arc::new(Gate::new(&plan));
    let mut shards = JoinSet::new();
    for index in 0..plan.total {
        let shard = Shard::new(
            index,
            plan.clone(),
            token.clone(),
            intents,
            Arc::clone(&gate),
            Arc::clone(&listener),
        );
        shards.spawn(shard.run(stop.clone()));
    }
    // Dropping the set, as when this future is dropped, ends the others.
    while let Some(ended) = shards.join_next().await {
        ended.map_err(Error::failed)??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(at_once: u32, starts: u32) -> Plan {
        Plan {
            url: String::new(),
            follow: true,
            total: 1,
            at_once,
            starts: (starts, Duration::from_secs(3600)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_start_no_faster_than_discord_allows() {
        let start = Instant::now();
        let gate = Gate::new(&plan(2, 100));
        for (shard, after) in [(0, 0), (1, 0), (2, 5), (3, 5), (4, 10)] {
            gate.pass(shard).await;
            assert_eq!(start.elapsed().as_secs(), after, "shard {shard}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_day_has_no_more_sessions_than_discord_allows() {
        let start = Instant::now();
        let gate = Gate::new(&plan(1, 1));
        gate.pass(0).await;
        assert_eq!(start.elapsed().as_secs(), 0);
        gate.pass(0).await;
        assert_eq!(start.elapsed().as_secs(), 3600);
        let none_left = Gate::new(&plan(1, 0));
        none_left.pass(0).await;
        assert_eq!(start.elapsed().as_secs(), 2 * 3600);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_uses_up_no_sessions() {
        let start = Instant::now();
        let gate = Gate::new(&plan(1, 1));
        for _ in 0..20 {
            gate.pass(0).await;
            gate.give_back();
        }
        assert_eq!(start.elapsed().as_secs(), 19 * 5);
    }
}
