//! A run: connects, takes events until told to stop, then leaves nothing undone that can be done.
//!
//! Invariant: every task of a run has ended when it returns.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use scrollback_kit::Bot;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::config::DiscordConfig;
use crate::error::Error;
use crate::gateway::{self, Backoff, Listener, Plan};
use crate::intake::{Ear, Intake};
use crate::rest::{Failure, Rest};
use crate::shared::Shared;

/// How often changed cursors are stored.
const STORE_EVERY: Duration = Duration::from_secs(1);
/// How long what waits may take after the stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the connections may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);
/// How long storing the cursors may take.
const STORE: Duration = Duration::from_secs(3);

/// A Discord bot, set up.
#[derive(Debug)]
pub struct Discord {
    config: DiscordConfig,
}

impl Discord {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Config`] names every fault.
    pub fn new(config: DiscordConfig) -> Result<Self, Error> {
        let faults = config.faults();
        if faults.is_empty() {
            Ok(Self { config })
        } else {
            Err(Error::Config(faults.join("; ")))
        }
    }

    /// Takes events until `stop` completes; answers are given by `bot`, which the caller closes afterwards.
    ///
    /// While Discord cannot be reached it tries again, also at the start. What was taken in when `stop`
    /// completes is made safe; answers that are under way go on until `bot` is closed.
    ///
    /// # Errors
    /// What no further try can mend: see [`Error`].
    pub async fn run(
        &self,
        bot: Arc<Bot>,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), Error> {
        let rest = Arc::new(Rest::new(&self.config).map_err(|e| Error::failed(e.without_url()))?);
        tokio::pin!(stop);
        let plan = tokio::select! {
            () = &mut stop => return Ok(()),
            plan = self.plan(&rest) => plan?,
        };
        let shared = Arc::new(Shared::new(bot, Arc::clone(&rest), self.config.pings));
        let intake = Arc::new(Intake::new(Arc::clone(&shared)));
        let (leave, leaving) = watch::channel(false);
        let ear: Arc<dyn Listener> = Arc::new(Ear(Arc::clone(&intake)));
        let intents = self.config.intents();
        let shards = gateway::run(plan, &self.config.token, intents, ear, leaving);
        tokio::pin!(shards);
        let mut left = false;
        let ended = tokio::select! {
            () = &mut stop => Ok(()),
            ended = &mut shards => { left = true; ended },
            () = rest.token_refused() => Err(Error::Unauthorized),
            () = shared.closed.notified() => Err(Error::Closed),
            never = keep_up(&shared, &intake) => match never {},
        };
        shared.stopping.store(true, SeqCst);
        leave.send_replace(true);
        let goodbye = async {
            if !left {
                // What the shards say now is of no interest: the run has its outcome.
                let _ = timeout(GOODBYE, &mut shards).await;
            }
        };
        tokio::join!(goodbye, finish(&shared, &intake));
        ended
    }

    /// Asks Discord where and how to connect, until it answers.
    async fn plan(&self, rest: &Rest) -> Result<Plan, Error> {
        let mut backoff = Backoff::default();
        loop {
            let failure = match rest.gateway_bot().await {
                Ok(told) => {
                    if backoff.failed() > 0 {
                        tracing::info!("Discord can be reached again");
                    }
                    return Ok(Plan {
                        follow: self.config.api_url.is_none(),
                        total: self
                            .config
                            .shards
                            .map_or(told.shards.max(1), std::num::NonZeroU32::get),
                        at_once: told.session_start_limit.max_concurrency,
                        starts: (
                            told.session_start_limit.remaining,
                            told.session_start_limit.more_in(),
                        ),
                        url: told.url,
                    });
                }
                Err(Failure::Refused { status: 401, .. }) => return Err(Error::Unauthorized),
                Err(failure) => failure,
            };
            if backoff.failed() == 0 {
                tracing::warn!(%failure, "Discord cannot be reached; trying until it can");
            }
            let pause = backoff.pause();
            sleep(failure.after().unwrap_or(pause)).await;
        }
    }
}

/// Stores cursors that changed, and looks after channels that fell behind.
async fn keep_up(shared: &Shared, intake: &Intake) -> std::convert::Infallible {
    let hurry = Arc::clone(&shared.cursors.hurry);
    let mut tick = interval(STORE_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => intake.nudge(),
            () = hurry.notified() => {}
        }
        shared.cursors.save().await;
    }
}

/// Works off what waits, then stores how far that is.
async fn finish(shared: &Shared, intake: &Intake) {
    let start = Instant::now();
    let drained = intake.drain(DRAIN).await;
    if drained.left > 0 {
        tracing::warn!(
            left = drained.left,
            "not all that came in was worked off; it is fetched at the next start"
        );
    }
    shared
        .finish(
            DRAIN
                .saturating_sub(start.elapsed())
                .max(Duration::from_millis(100)),
        )
        .await;
    if timeout(STORE, shared.cursors.save()).await.is_err() {
        tracing::warn!("cursors were not stored in time; more is fetched at the next start");
    }
}
