//! A bounded HTTP server for one path.
//!
//! Invariants: at most [`CONNECTIONS`] are open, the rest wait to be accepted; a connection that sends its
//! headers slowly or too many of them is closed; at the end calls in hand are answered, by a deadline.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::receive::receive;
use super::{Door, IN_HAND};
use crate::error::Error;

const CONNECTIONS: usize = 64;
const HEADERS: usize = 8 << 10;
/// How long the headers of a call may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until `until` completes, and returns what that returns.
pub(super) async fn run(
    listener: TcpListener,
    door: Arc<Door>,
    until: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let router = Router::new().fallback(receive).with_state(door);
    let (closing, told) = watch::channel(());
    let mut open = JoinSet::new();
    let ended = tokio::select! {
        biased;
        ended = until => ended,
        never = accept(&listener, &router, &told, &mut open) => match never {},
    };
    drop(listener);
    drop(closing);
    let finished = timeout(IN_HAND, async { while open.join_next().await.is_some() {} });
    if finished.await.is_err() {
        open.shutdown().await;
    }
    ended
}

async fn accept(
    listener: &TcpListener,
    router: &Router,
    told: &watch::Receiver<()>,
    open: &mut JoinSet<()>,
) -> std::convert::Infallible {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        while open.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            continue;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                open.spawn(connection(stream, router.clone(), told.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "the webhook cannot accept a connection now");
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    mut told: watch::Receiver<()>,
    _permit: OwnedSemaphorePermit,
) {
    let mut server = Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_header_size(HEADERS);
    let service = TowerToHyperService::new(router);
    let mut serving = std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
    let done = tokio::select! {
        done = &mut serving => done,
        // The sender is dropped when the server is to end.
        _ = told.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, "a connection to the webhook broke off");
    }
}
