//! One round: so many tasks take turns for a while; what they took is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

use crate::Options;
use crate::server::{Load, Monitor};
use crate::workload::{Said, Turns};

/// How a round is run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    tasks: usize,
    window: Duration,
    turns: u64,
    sessions: usize,
    allocations: Option<fn() -> u64>,
}

impl Plan {
    pub(crate) fn new(options: &Options, tasks: usize) -> Self {
        Self {
            tasks,
            window: options.window,
            turns: options.turns,
            sessions: options.sessions,
            allocations: options.allocations,
        }
    }
}

/// What a round came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Round {
    pub(crate) turns: u64,
    pub(crate) took: Duration,
    /// Nanoseconds that each turn took, sorted.
    pub(crate) each_ns: Vec<u64>,
    /// CPU time of this process.
    pub(crate) cpu: Duration,
    pub(crate) allocations: Option<u64>,
    pub(crate) redis: Load,
}

/// CPU time that this process has used so far.
pub(crate) fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

/// Runs one round, and what is to be done after it.
pub(crate) async fn round<T: Turns>(
    peer: &Arc<T>,
    plan: &Plan,
    monitor: Option<&Monitor>,
) -> anyhow::Result<Round> {
    let round = turns(peer, plan, monitor).await?;
    peer.rest().await?;
    Ok(round)
}

/// Runs the turns of one round. Each task turns in sessions of its own, one after the other.
pub(crate) async fn turns<T: Turns>(
    peer: &Arc<T>,
    plan: &Plan,
    monitor: Option<&Monitor>,
) -> anyhow::Result<Round> {
    let before = match monitor {
        Some(monitor) => monitor.load().await?,
        None => Load::default(),
    };
    let count = plan.allocations.unwrap_or(|| 0);
    let (allocated, cpu, began) = (count(), cpu_time(), Instant::now());
    let taken = Arc::new(AtomicU64::new(0));
    // Dropped with what is left in it: a peer that failed must not go on while it is closed.
    let mut running = JoinSet::new();
    for task in 0..plan.tasks {
        let (peer, taken, plan) = (Arc::clone(peer), Arc::clone(&taken), plan.clone());
        running.spawn(async move {
            let until = began + plan.window;
            let mut each = Vec::with_capacity(1024);
            let mut session = task % plan.sessions;
            loop {
                let start = Instant::now();
                if start >= until || taken.fetch_add(1, Relaxed) >= plan.turns {
                    return anyhow::Ok(each);
                }
                peer.turn(session, Said::by_person(session), Said::by_bot())
                    .await?;
                each.push(u64::try_from(start.elapsed().as_nanos())?);
                session += plan.tasks;
                if session >= plan.sessions {
                    session = task % plan.sessions;
                }
            }
        });
    }
    let mut each_ns = Vec::new();
    while let Some(task) = running.join_next().await {
        each_ns.append(&mut task??);
    }
    let (took, cpu) = (began.elapsed(), cpu_time().saturating_sub(cpu));
    let allocated = count() - allocated;
    let redis = match monitor {
        Some(monitor) => monitor.load().await?.since(&before),
        None => Load::default(),
    };
    each_ns.sort_unstable();
    Ok(Round {
        turns: each_ns.len() as u64,
        took,
        each_ns,
        cpu,
        allocations: plan.allocations.map(|_| allocated),
        redis,
    })
}
