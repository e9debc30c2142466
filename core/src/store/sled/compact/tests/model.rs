//! What is written, edited, deleted and erased while compactions run is what a model holds (P13, P14).

use super::*;
use crate::message::State;
use crate::testing::memory_store::MemoryStore;

/// One thread's sessions, in a store and in its model.
pub(super) struct Chat<'a> {
    pub(super) stores: [&'a dyn Store; 2],
    pub(super) random: Seeded,
    pub(super) channels: std::ops::Range<u64>,
    /// By channel: the last number, and the epoch in each store.
    pub(super) at: Vec<(u64, [u64; 2])>,
}

impl Chat<'_> {
    pub(super) fn step(&mut self) {
        let channel = self.channels.start + self.random.below(self.at.len() as u64);
        let index = usize::try_from(channel - self.channels.start).unwrap();
        let (mut last, mut epochs) = self.at[index];
        let what = match self.random.below(40) {
            0 => Some(Erase::All),
            1 | 2 => Some(Erase::Author(ann())),
            3 => Some(Erase::Before(self.random.below(last + 1))),
            _ => None,
        };
        if let Some(what) = what {
            let done = self.stores.map(|s| s.erase(&at(channel), &what).unwrap());
            assert_eq!(done[0].messages, done[1].messages);
            epochs = [0, 1].map(|i| epochs[i].max(done[i].epoch));
        } else {
            let from = if self.random.below(10) == 0 {
                last / 2
            } else {
                last
            };
            let entries: Vec<_> = (1..=1 + self.random.below(6))
                .map(|n| (from + n, self.body(from + n)))
                .map(|(n, body)| entry(channel, n, body))
                .collect();
            let done = [0, 1].map(|i| {
                let part = part(channel, epochs[i], entries.clone());
                self.stores[i].flush(&[part]).unwrap().remove(0)
            });
            assert_eq!(done[0].entries, done[1].entries);
            assert_eq!(done[0].durable_to, done[1].durable_to);
            last = last.max(from + entries.len() as u64);
        }
        self.at[index] = (last, epochs);
    }

    fn body(&mut self, number: u64) -> Body {
        let id = 1 + self.random.below(number + 3);
        match self.random.below(12) {
            0..5 => said(
                number,
                &format!("{number} ").repeat(usize::try_from(self.random.below(90)).unwrap()),
            ),
            5 => said(id, "perhaps a second time"),
            6..9 => delete(id),
            9 | 10 => Body::Edit {
                id: id.to_string(),
                text: Some(format!("edited at {number}")),
                at_ms: self.random.below(50),
            },
            _ => Body::State(State {
                version: number,
                value: number.to_string().into(),
            }),
        }
    }
}

/// All that two stores tell of a session is the same, but for entries that say nothing.
pub(super) fn same(stores: [&dyn Store; 2], channel: u64, last: u64) {
    let at = at(channel);
    let page = Page {
        before: None,
        limit: 10_000,
    };
    let [a, b] = stores.map(|s| s.history(&at, page).unwrap());
    assert_eq!(a, b);
    for id in 1..last + 5 {
        let [a, b] = stores.map(|s| s.find(&at, &[&id.to_string()]).unwrap());
        assert_eq!(a, b, "{id} of {channel}");
    }
    let ids: Vec<_> = (1..=last + 1).map(|n| id(channel, n)).collect();
    let [a, b] = stores.map(|s| s.known(&at, &ids).unwrap().numbers);
    assert_eq!(a, b);
    let [a, b] = stores.map(|s| s.window(&at).unwrap());
    let (Some(a), Some(b)) = (a, b) else { return };
    assert_eq!(
        (a.last, a.durable_to, a.taken),
        (b.last, b.durable_to, b.taken)
    );
    assert_eq!(a.summary, b.summary);
    let live = |entries: Vec<(u64, bytes::Bytes)>| {
        let decoded = entries.into_iter().map(|(n, record)| {
            let entry: Entry = codec::decode(Kind::Entry, at.hash64(), &record).unwrap();
            (n, entry)
        });
        // The newest state is in the summary; whether an older one is emptied is each store's own affair.
        let dead = |e: &Entry| {
            matches!(
                e.body,
                Body::Void | Body::State(_) | Body::Delete { .. } | Body::Edit { text: None, .. }
            )
        };
        decoded.filter(|(_, e)| !dead(e)).collect::<Vec<_>>()
    };
    assert_eq!(live(a.entries), live(b.entries));
}

#[test]
fn what_four_threads_write_during_compactions_is_what_a_model_holds() {
    let seed = std::env::var("SEED").map_or(0x00c0_ffee, |s| s.parse().unwrap());
    println!("SEED={seed}");
    let (store, dir) = fresh();
    let model = MemoryStore::new();
    let stores: [&dyn Store; 2] = [&store, &model];
    let done = AtomicBool::new(false);
    let (lasts, rounds) = std::thread::scope(|s| {
        let compacting = s.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) || rounds < 3 {
                compact(&store);
                rounds += 1;
            }
            rounds
        });
        let writers = [0, 1, 2, 3].map(|thread: u64| {
            s.spawn(move || {
                let mut chat = Chat {
                    stores,
                    random: Seeded(seed + thread + 1),
                    channels: thread * 10..thread * 10 + 10,
                    at: vec![(0, [1, 1]); 10],
                };
                (0..400).for_each(|_| chat.step());
                chat.at
            })
        });
        let lasts = writers.map(|w| w.join().unwrap()).concat();
        done.store(true, Ordering::Relaxed);
        (lasts, compacting.join().unwrap())
    });
    println!("{rounds} compactions");
    let compare = |store: &SledStore| {
        sound(store);
        for ((last, _), channel) in lasts.iter().zip(0..) {
            same([store, &model], channel, *last);
        }
        let [a, b] = [store as &dyn Store, &model].map(|s| s.sessions_of(&ann()).unwrap());
        assert_eq!(a, b);
    };
    compare(&store);
    drop(store);
    let store = open(dir.path());
    compare(&store);
    compact(&store);
    compare(&store);
}
