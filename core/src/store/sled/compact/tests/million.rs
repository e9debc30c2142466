//! How much space a compaction gives back, and how long writers wait: 20,000 messages, or 1,000,000 with
//! `SCROLLBACK_MILLION=1`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::ttl::Estimate;

const SESSIONS: u64 = 2_000;

/// About 400 bytes, different for each message.
fn text(channel: u64, n: u64) -> String {
    let mut random = Seeded(channel * 1_000_003 + n + 1);
    let words = (0..57).map(|_| format!("{:06x} ", random.below(1 << 24)));
    words.collect()
}

/// Flushes one entry a number of every session, in transactions as the cache makes them.
fn flush_all(store: &SledStore, numbers: &[u64], body: impl Fn(u64, u64) -> Body) {
    let per_session = numbers.len().min(50);
    // Nothing is packed: this is about what compaction itself gives back.
    let awake = Estimate {
        last_ms: u64::MAX,
        ..Estimate::default()
    };
    for numbers in numbers.chunks(per_session) {
        let channels: Vec<u64> = (0..SESSIONS).collect();
        for channels in channels.chunks(8_000 / per_session) {
            let parts = channels.iter().map(|c| {
                let entries = numbers.iter().map(|n| entry(*c, *n, body(*c, *n)));
                SessionFlush {
                    estimate: Some(awake),
                    ..part(*c, 1, entries.collect())
                }
            });
            store.flush(&parts.collect::<Vec<_>>()).unwrap();
        }
    }
}

/// Writes to sessions of its own until told to stop; the longest flush.
fn stalls(store: &SledStore, stop: &AtomicBool) -> (Duration, u64) {
    let (mut longest, mut n) = (Duration::ZERO, 0);
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let began = Instant::now();
        put(
            store,
            SESSIONS + n % 20,
            1 + n / 20,
            vec![said(n, "meanwhile")],
        );
        longest = longest.max(began.elapsed());
        std::thread::park_timeout(Duration::from_millis(2));
    }
    (longest, n)
}

#[test]
fn nine_of_ten_messages_deleted_give_their_space_back() {
    let full = std::env::var("SCROLLBACK_MILLION").is_ok();
    let each: u64 = if full { 500 } else { 10 };
    let (store, dir) = fresh();
    let began = Instant::now();
    let numbers: Vec<u64> = (1..=each).collect();
    flush_all(&store, &numbers, |channel, n| said(n, &text(channel, n)));
    let written = began.elapsed();
    // Nine of ten, as the cache deletes: an entry each.
    let dead: Vec<u64> = (1..=each).filter(|n| n % 10 != 0).collect();
    let deletes: Vec<u64> = (each + 1..).take(dead.len()).collect();
    flush_all(&store, &deletes, |_, n| {
        delete(dead[usize::try_from(n - each - 1).unwrap()])
    });
    let live_before = store.writer.lock().live.unwrap();
    let before_texts: u64 = text(1, 1).len() as u64 * (each / 10) * SESSIONS;
    let began = Instant::now();
    let stop = AtomicBool::new(false);
    let (done, (longest, writes)) = std::thread::scope(|s| {
        let writer = s.spawn(|| stalls(&store, &stop));
        let done = compact(&store);
        stop.store(true, Ordering::Relaxed);
        (done, writer.join().unwrap())
    });
    println!("{} messages written in {written:?}", each * SESSIONS);
    println!("{done:?}");
    println!(
        "live before {live_before}, text kept {before_texts}, compacted in {:?}, after/live {}%, {writes} writes \
         meanwhile, the longest {longest:?}",
        began.elapsed(),
        done.bytes_after * 100 / done.live_bytes,
    );
    assert_eq!(texts(&store, 7).len() as u64, each / 10);
    if full {
        assert!(done.bytes_after < 2 * done.live_bytes);
    } else {
        // sled's smallest files, of segments of 2 MiB, take their share.
        assert!(done.bytes_after < 2 * done.live_bytes + (16 << 20));
    }
    assert!(done.bytes_after < done.bytes_before / 3);
    drop(store);
    let store = open(dir.path());
    assert_eq!(texts(&store, 1999).len() as u64, each / 10);
    assert_eq!(store.find(&at(3), &["1"]).unwrap(), [Some(Found::Gone)]);
    let counted = store.writer.lock().live;
    let db = store.db().unwrap();
    let is: usize = db.iter().flatten().map(|(k, v)| k.len() + v.len()).sum();
    assert_eq!(counted, Some(is as u64));
}
