//! The dispatcher with handlers that are held and let go by hand.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, mpsc};

use super::*;

fn key(n: usize) -> SessionKey {
    SessionKey::new("test", "bot").channel(n)
}

const LONG: Duration = Duration::from_secs(3600);

/// Jobs wait at a gate, then report their number.
fn gated(
    limits: DispatchLimits,
) -> (
    Dispatcher<usize>,
    Arc<Semaphore>,
    mpsc::UnboundedReceiver<usize>,
) {
    let gate = Arc::new(Semaphore::new(0));
    let (done, seen) = mpsc::unbounded_channel();
    let held = Arc::clone(&gate);
    let dispatcher = Dispatcher::new(limits, move |n| {
        let (gate, done) = (Arc::clone(&held), done.clone());
        async move {
            gate.acquire().await.unwrap().forget();
            done.send(n).unwrap();
        }
    });
    (dispatcher, gate, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn jobs_of_a_session_run_in_order_and_never_together() {
    let seen: Arc<Mutex<HashMap<usize, Vec<usize>>>> = Arc::default();
    let running: Arc<[AtomicUsize; 20]> = Arc::new(std::array::from_fn(|_| AtomicUsize::new(0)));
    let (log, busy) = (Arc::clone(&seen), Arc::clone(&running));
    let limits = DispatchLimits {
        per_session: 1000,
        total: 100_000,
    };
    let dispatcher = Dispatcher::new(limits, move |(session, n): (usize, usize)| {
        let (log, busy) = (Arc::clone(&log), Arc::clone(&busy));
        async move {
            assert_eq!(busy[session].fetch_add(1, Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            log.lock().entry(session).or_default().push(n);
            assert_eq!(busy[session].fetch_sub(1, Ordering::SeqCst), 1);
        }
    });
    for n in 0..500 {
        for session in 0..20 {
            dispatcher.submit(&key(session), (session, n)).unwrap();
        }
    }
    assert_eq!(dispatcher.drain(LONG).await, Drained { left: 0 });
    let seen = seen.lock();
    assert_eq!(seen.len(), 20);
    assert!(seen.values().all(|v| v.iter().copied().eq(0..500)));
    assert_eq!(dispatcher.active(), 0);
}

#[tokio::test]
async fn a_slow_session_delays_no_other() {
    let (done, mut seen) = mpsc::unbounded_channel();
    let dispatcher = Dispatcher::new(DispatchLimits::default(), move |n: usize| {
        let done = done.clone();
        async move {
            if n == 0 {
                std::future::pending::<()>().await;
            }
            done.send(n).unwrap();
        }
    });
    dispatcher.submit(&key(0), 0).unwrap();
    for n in 1..100 {
        dispatcher.submit(&key(n), n).unwrap();
    }
    for _ in 1..100 {
        assert_ne!(seen.recv().await, Some(0));
    }
}

#[tokio::test]
async fn a_full_session_refuses_and_others_do_not() {
    let limits = DispatchLimits {
        per_session: 2,
        total: 5,
    };
    let (dispatcher, gate, mut seen) = gated(limits);
    for n in 0..3 {
        dispatcher.submit(&key(1), n).unwrap();
    }
    assert_eq!(
        dispatcher.submit(&key(1), 3),
        Err((Refused::SessionFull(2), 3))
    );
    dispatcher.submit(&key(2), 4).unwrap();
    dispatcher.submit(&key(3), 5).unwrap();
    assert_eq!(dispatcher.submit(&key(4), 6), Err((Refused::Full(5), 6)));
    gate.add_permits(5);
    for _ in 0..5 {
        seen.recv().await.unwrap();
    }
    assert_eq!(dispatcher.drain(LONG).await.left, 0);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_submit_gets_the_room_that_is_made_or_its_deadline() {
    let limits = DispatchLimits {
        per_session: 1,
        total: 10,
    };
    let (dispatcher, gate, mut seen) = gated(limits);
    dispatcher.submit(&key(1), 0).unwrap();
    dispatcher.submit(&key(1), 1).unwrap();
    let patience = Duration::from_secs(5);
    let late = dispatcher.submit_within(&key(1), 2, patience).await;
    assert_eq!(late, Err((Refused::SessionFull(1), 2)));
    let k = key(1);
    let (taken, ()) = tokio::join!(dispatcher.submit_within(&k, 3, patience), async {
        gate.add_permits(1);
    });
    assert_eq!(taken, Ok(()));
    gate.add_permits(9);
    for n in [0, 1, 3] {
        assert_eq!(seen.recv().await, Some(n));
    }
}

#[tokio::test]
async fn a_panic_does_not_end_its_session() {
    let (done, mut seen) = mpsc::unbounded_channel();
    let dispatcher = Dispatcher::new(DispatchLimits::default(), move |n: usize| {
        assert!(n != 1, "before the future");
        let done = done.clone();
        async move {
            assert!(n != 2, "in the future");
            done.send(n).unwrap();
        }
    });
    for n in 0..4 {
        dispatcher.submit(&key(1), n).unwrap();
    }
    assert_eq!((seen.recv().await, seen.recv().await), (Some(0), Some(3)));
    assert_eq!(dispatcher.drain(LONG).await.left, 0);
    assert_eq!((dispatcher.in_hand(), dispatcher.active()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_refuses_new_work_and_tells_what_it_cut_off() {
    let (dispatcher, gate, mut seen) = gated(DispatchLimits::default());
    for n in 0..5 {
        dispatcher.submit(&key(n % 2), n).unwrap();
    }
    gate.add_permits(2);
    let drained = dispatcher.drain(Duration::from_secs(9)).await;
    assert_eq!(drained, Drained { left: 3 });
    assert_eq!(dispatcher.submit(&key(9), 9), Err((Refused::Closing, 9)));
    assert_eq!((dispatcher.in_hand(), dispatcher.active()), (0, 0));
    gate.add_permits(9);
    assert!(seen.recv().await.is_some() && seen.recv().await.is_some());
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn no_task_and_no_entry_outlives_its_work() {
    let (dispatcher, gate, mut seen) = gated(DispatchLimits::default());
    for n in 0..50 {
        dispatcher.submit(&key(n), n).unwrap();
    }
    assert_eq!((dispatcher.active(), dispatcher.in_hand()), (50, 50));
    gate.add_permits(50);
    for _ in 0..50 {
        seen.recv().await.unwrap();
    }
    assert_eq!(dispatcher.drain(LONG).await.left, 0);
    assert_eq!((dispatcher.active(), dispatcher.in_hand()), (0, 0));
}
