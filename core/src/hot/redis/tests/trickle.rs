//! A network that lets replies through a byte at a time, or loses them: callers must neither hang nor take one for another's.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::hot::Append;
use crate::testing::hot_suite::{append, done, hot, numbers, session};

/// What the proxy does with replies.
const THROUGH: u8 = 0;
/// A byte each 20 ms.
const SLOW: u8 = 1;
/// The connection ends instead.
const LOST: u8 = 2;

/// Copies one direction.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, how: Arc<AtomicU8>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        for byte in 0..count {
            match how.load(Ordering::SeqCst) {
                SLOW => {
                    to.write_all(&buffer[byte..=byte]).await.ok();
                    sleep(Duration::from_millis(20)).await;
                }
                LOST => return,
                _ => {
                    to.write_all(&buffer[byte..count]).await.ok();
                    break;
                }
            }
        }
    }
}

/// A proxy before the server; its port and the switch of what becomes of replies.
async fn proxy(server: &RedisServer) -> (u16, Arc<AtomicU8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let how = Arc::new(AtomicU8::new(THROUGH));
    let (switch, target) = (Arc::clone(&how), server.port());
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
    (port, how)
}

/// A tier behind the proxy.
fn behind(port: u16, deadline: Duration) -> Arc<RedisTier> {
    let config = RedisConfig::new(format!("redis://127.0.0.1:{port}/")).deadline(deadline);
    Arc::new(RedisTier::new(config).unwrap())
}

#[tokio::test]
async fn a_trickling_network_holds_no_call_past_its_deadline() {
    let server = RedisServer::start();
    let (port, how) = proxy(&server).await;
    let deadline = Duration::from_millis(250);
    let (tier, s) = (behind(port, deadline), session("a"));
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
    how.store(SLOW, Ordering::SeqCst);
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
    how.store(THROUGH, Ordering::SeqCst);
    let healed = Instant::now();
    while tier.fence(&s, 1).await.is_err() {
        assert!(healed.elapsed() <= Duration::from_secs(2), "no recovery");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(tier.generation(), 1);
    assert_eq!(numbers(&*tier, &s, None).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_comes_in_pieces_is_put_together_though_its_caller_had_no_time() {
    let server = RedisServer::start();
    let (port, how) = proxy(&server).await;
    let (tier, s) = (behind(port, Duration::from_secs(5)), session("a"));
    hot(&*tier, &s).await;
    how.store(SLOW, Ordering::SeqCst);
    // Its first bytes are read by the caller, the others by the lane's thread.
    done(&*tier, &s, append(&*tier, 1, 2)).await;
    how.store(THROUGH, Ordering::SeqCst);
    for number in 3..=40 {
        done(&*tier, &s, append(&*tier, 1, number)).await;
    }
    let all: Vec<u64> = (1..=40).collect();
    assert_eq!(numbers(&*tier, &s, None).await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_reply_is_lost_is_told_of_an_outage_and_the_entry_stands_once() {
    let server = RedisServer::start();
    let (port, how) = proxy(&server).await;
    let (tier, s) = (behind(port, Duration::from_secs(2)), session("a"));
    hot(&*tier, &s).await;
    for round in 0..10 {
        let number = 2 + round;
        how.store(LOST, Ordering::SeqCst);
        let lost = tier.append(&s, append(&*tier, 1, number)).await;
        assert!(lost.unwrap_err().is_outage(), "unknown, never a guess");
        how.store(THROUGH, Ordering::SeqCst);
        let until = Instant::now() + Duration::from_secs(5);
        while tier.fence(&s, 1).await.is_err() {
            assert!(Instant::now() < until, "no recovery");
            sleep(Duration::from_millis(5)).await;
        }
        let all: Vec<u64> = (1..=number).collect();
        assert_eq!(numbers(&*tier, &s, None).await, all);
    }
}

/// With one worker thread: what waits there for the server would keep everybody else waiting.
#[tokio::test]
async fn a_stopped_server_holds_up_no_other_task_of_the_only_worker() {
    let server = RedisServer::start();
    let deadline = Duration::from_secs(1);
    let tier = behind(server.port(), deadline);
    let s = session("a");
    hot(&*tier, &s).await;
    let longest = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&longest);
    let ticking = tokio::spawn(async move {
        let mut last = Instant::now();
        loop {
            sleep(Duration::from_millis(1)).await;
            let gap = u64::try_from(last.elapsed().as_millis()).unwrap();
            seen.fetch_max(gap, Ordering::SeqCst);
            last = Instant::now();
        }
    });
    server.freeze();
    for number in 2..5 {
        let start = Instant::now();
        let stopped = tier.append(&s, append(&*tier, 1, number)).await;
        assert!(stopped.unwrap_err().is_outage());
        assert!(start.elapsed() < deadline + Duration::from_millis(250));
    }
    server.thaw();
    ticking.abort();
    let longest = longest.load(Ordering::SeqCst);
    assert!(longest < 250, "the worker stood still for {longest} ms");
}
