//! A network that lets replies through a byte at a time: no read time-out ever fires, so the lane's
//! thread itself hangs. Callers must not.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::hot::Append;
use crate::testing::hot_suite::{append, done, hot, numbers, session};

/// Copies one direction; while `slow`, a byte each 20 ms.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, slow: Arc<AtomicBool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        for byte in 0..count {
            if !slow.load(Ordering::SeqCst) {
                to.write_all(&buffer[byte..count]).await.ok();
                break;
            }
            to.write_all(&buffer[byte..=byte]).await.ok();
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A proxy before the server; its port and the switch that slows its replies.
async fn proxy(server: &RedisServer) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let slow = Arc::new(AtomicBool::new(false));
    let (switch, target) = (Arc::clone(&slow), server.port());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(upstream) = TcpStream::connect(("127.0.0.1", target)).await else {
                continue;
            };
            client.set_nodelay(true).ok();
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), upstream.into_split());
            tokio::spawn(copy(from_client, to_server, Arc::default()));
            tokio::spawn(copy(from_server, to_client, Arc::clone(&switch)));
        }
    });
    (port, slow)
}

#[tokio::test]
async fn a_trickling_network_holds_no_call_past_its_deadline() {
    let server = RedisServer::start();
    let (port, slow) = proxy(&server).await;
    let deadline = Duration::from_millis(250);
    let config = RedisConfig::new(format!("redis://127.0.0.1:{port}/")).deadline(deadline);
    let (tier, s) = (Arc::new(RedisTier::new(config).unwrap()), session("a"));
    hot(&*tier, &s).await;
    let entry = Bytes::from(vec![b'x'; 20_000]);
    done(
        &*tier,
        &s,
        Append {
            entry,
            ..append(&*tier, 1, 2)
        },
    )
    .await;
    slow.store(true, Ordering::SeqCst);
    let slowed = Instant::now();
    for _ in 0..200 {
        let start = Instant::now();
        let read = tier.read(&s, None, tier.generation()).await;
        assert!(read.unwrap_err().is_outage());
        assert!(
            start.elapsed() <= deadline + Duration::from_millis(50),
            "{:?}",
            start.elapsed()
        );
    }
    assert!(
        slowed.elapsed() < 4 * deadline,
        "a known hang costs nobody a wait"
    );
    slow.store(false, Ordering::SeqCst);
    let healed = Instant::now();
    while tier.fence(&s, 1).await.is_err() {
        assert!(healed.elapsed() <= Duration::from_secs(2), "no recovery");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(tier.generation(), 1);
    assert_eq!(numbers(&*tier, &s, None).await, [1, 2]);
}
