//! The peers: each does the same turn with other means.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::Options;
use crate::measure::{self, Plan, Round};
use crate::server::Monitor;
use crate::workload::{Said, Turns};

mod moka;
mod ours;
mod r3;
mod teloxide;

use moka::Moka;
pub(crate) use ours::{Ours, message as message_of};
pub(crate) use r3::R3;
use teloxide::Teloxide;

/// How many sessions are filled at the same time.
const FILLING: usize = 64;

/// One round trip a turn, or two: the reply as a call of its own, as with a model between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trips {
    One,
    Two,
}

/// A peer under its name.
pub(crate) struct Peer {
    name: &'static str,
    kind: Kind,
}

enum Kind {
    R3(Arc<R3>),
    Ours(Arc<Ours>),
    Teloxide(Arc<Teloxide>),
    Moka(Arc<Moka>),
}

impl Peer {
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) async fn round(
        &self,
        plan: &Plan,
        monitor: Option<&Monitor>,
    ) -> anyhow::Result<Round> {
        match &self.kind {
            Kind::R3(peer) => measure::round(peer, plan, monitor).await,
            Kind::Ours(peer) => measure::round(peer, plan, monitor).await,
            Kind::Teloxide(peer) => measure::round(peer, plan, monitor).await,
            Kind::Moka(peer) => measure::round(peer, plan, monitor).await,
        }
    }

    pub(crate) async fn fill(&self, options: &Options) -> anyhow::Result<()> {
        match &self.kind {
            Kind::R3(peer) => fill(&**peer, options).await,
            Kind::Ours(peer) => fill(&**peer, options).await,
            Kind::Teloxide(peer) => fill(&**peer, options).await,
            Kind::Moka(peer) => fill(&**peer, options).await,
        }
    }

    pub(crate) async fn close(&self) -> anyhow::Result<()> {
        match &self.kind {
            Kind::R3(peer) => peer.close().await,
            Kind::Ours(peer) => peer.close().await,
            Kind::Teloxide(peer) => peer.close().await,
            Kind::Moka(peer) => peer.close().await,
        }
    }
}

/// Gives every session its history.
pub(crate) async fn fill<T: Turns>(peer: &T, options: &Options) -> anyhow::Result<()> {
    stream::iter(0..options.sessions)
        .map(|session| {
            let of = |n: usize| {
                if n.is_multiple_of(2) {
                    Said::by_person(session)
                } else {
                    Said::by_bot()
                }
            };
            peer.fill(session, (0..options.history).map(of).collect())
        })
        .buffer_unordered(FILLING)
        .try_collect::<()>()
        .await?;
    peer.rest().await
}

/// Every peer that can be measured; those on Redis only when there is one.
pub(crate) async fn all(redis: Option<&str>, options: &Options) -> anyhow::Result<Vec<Peer>> {
    let mut peers = Vec::new();
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|n| n == name);
    let prefix = format!(
        "scrollback-bench-{}-{}",
        std::process::id(),
        fastrand::u32(..)
    );
    if let Some(url) = redis {
        for (name, trips) in [("r3", Trips::Two), ("r3_1rt", Trips::One)] {
            if wanted(name) {
                let r3 = R3::new(url, format!("{prefix}-{name}"), trips, options.history).await?;
                peers.push((name, Kind::R3(Arc::new(r3))));
            }
        }
        for (name, trips) in [("redis", Trips::Two), ("redis_1rt", Trips::One)] {
            if wanted(name) {
                let prefix = format!("{prefix}-{name}");
                let ours = Ours::new(Some((url, prefix)), trips).await?;
                peers.push((name, Kind::Ours(Arc::new(ours))));
            }
        }
    }
    if wanted("embedded") {
        let ours = Ours::new(None, Trips::Two).await?;
        peers.push(("embedded", Kind::Ours(Arc::new(ours))));
    }
    if let Some(url) = redis.filter(|_| wanted("teloxide")) {
        let storage = Teloxide::new(url, options.sessions, options.history).await?;
        peers.push(("teloxide", Kind::Teloxide(Arc::new(storage))));
    }
    if wanted("moka") {
        peers.push(("moka", Kind::Moka(Arc::new(Moka::new(options.history)))));
    }
    let peer = |(name, kind)| Peer { name, kind };
    Ok(peers.into_iter().map(peer).collect())
}
