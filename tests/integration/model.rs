//! Random sequences of operations and faults against a model of plain maps (P1, P2, P4, P9, P10, P13, P14): two
//! caches, three sessions, one hot tier that is lost, put back, cut off and loses replies.
//!
//! `SCROLLBACK_MODEL_ROUNDS` sets how many sequences of 50 are tried (100 by default, 10,000 in a full run),
//! `SCROLLBACK_MODEL_SEED` from which seed on. A failure prints its seed and the shortest sequence found that still
//! fails.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use harness::faulty::{FaultyStore, FaultyTier};
use harness::world::{TTL, World, key, say};
use scrollback::hot::memory::{MemorySnapshot, MemoryTier};
use scrollback::key::Address;
use scrollback::testing::{ManualClock, MemoryStore};
use scrollback::{Cache, Error, Message, Session, Turn, Window};

use self::expected::Expected;
use self::ops::{Op, SESSIONS, sequence};

mod expected;
mod found;
mod ops;

const NAMES: [&str; 2] = ["a", "b"];

/// The caches under test and what must hold of them.
struct Run {
    world: World,
    caches: [Option<Cache>; 2],
    expected: [Expected; SESSIONS],
    snapshot: Option<MemorySnapshot>,
    prefix: &'static str,
    /// Caches that have not flushed since the hot tier was last disturbed.
    disturbed: [bool; 2],
    away: bool,
    was_away: bool,
    /// A cache died that may have been alone in a session: what it said is durable and nobody was told of it.
    untold: bool,
    no_flush: bool,
    edits: u64,
}

type Outcome = Result<(), String>;

fn failed(e: &Error) -> String {
    format!("an operation failed: {e:?}")
}

impl Run {
    async fn new(seed: u64) -> Self {
        let clock = ManualClock::shared();
        let memory = Arc::new(MemoryTier::new(64 << 20, Arc::clone(&clock) as _));
        let mut world = if seed.is_multiple_of(8) {
            World::over(Arc::clone(&memory) as _, clock)
        } else {
            // The in-memory store: the same contract, many more sequences a second.
            World {
                dir: tempfile::tempdir().unwrap(),
                store: FaultyStore::new(Arc::new(MemoryStore::default())),
                hot: FaultyTier::new(Arc::clone(&memory) as _),
                memory: None,
                clock,
            }
        };
        world.memory = Some(memory);
        let mut run = Self {
            world,
            caches: [None, None],
            expected: Default::default(),
            snapshot: None,
            prefix: if seed.is_multiple_of(3) { "id-" } else { "" },
            disturbed: [false; 2],
            away: false,
            was_away: false,
            untold: false,
            no_flush: false,
            edits: 0,
        };
        for c in 0..2 {
            run.open(c).await;
        }
        run
    }

    async fn open(&mut self, c: usize) {
        let builder = self.world.builder(NAMES[c]).window(Window::messages(6));
        self.caches[c] = Some(builder.build().await.unwrap());
    }

    fn cache(&self, c: usize) -> &Cache {
        self.caches[c].as_ref().unwrap()
    }

    fn session(&self, c: usize, s: usize) -> Session {
        self.cache(c).session(key(&s.to_string()))
    }

    fn calm(&self) -> bool {
        !self.away && self.disturbed == [false; 2] && !self.world.hot.will_fail()
    }

    fn disturb(&mut self) {
        self.disturbed = [true; 2];
    }

    fn id(&self, n: u64) -> String {
        format!("{}{n}", self.prefix)
    }

    fn said(&self, n: u64) -> Message {
        say(&self.id(n), &format!("m{n}"))
    }

    async fn append(&mut self, c: usize, s: usize, n: u64) -> Outcome {
        let turn = self.session(c, s).append(self.said(n)).await;
        self.appended(c, s, n, turn).await
    }

    async fn appended(
        &mut self,
        c: usize,
        s: usize,
        n: u64,
        turn: scrollback::Result<Turn>,
    ) -> Outcome {
        let (id, text) = (self.id(n), format!("m{n}"));
        let turn = turn.map_err(|e| failed(&e))?;
        let duplicate = turn.receipt().duplicate;
        let is_it = |m: &Message| m.id.as_ref() == Some(&id);
        let shown = &turn.context().messages;
        let last = shown.last().is_some_and(|m| is_it(m));
        if !duplicate && !last {
            // Between two epochs others' messages may have to be placed again behind it, also more than a window.
            let history = self.session(c, s).export().await.map_err(|e| failed(&e))?;
            if self.calm() || !history.iter().any(|(_, m)| is_it(m)) {
                return Err(format!("the context after {id} does not end with it"));
            }
        }
        self.expected[s].appended(c, &id, &text, Some(duplicate))
    }

    async fn append_all(&mut self, c: usize, s: usize, messages: Vec<Message>) -> Outcome {
        let turn = self.session(c, s).append_all(messages.clone()).await;
        turn.map_err(|e| failed(&e))?;
        for m in messages {
            let key = m.id.as_ref().unwrap_or(&m.text);
            self.expected[s].appended(c, key, &m.text, None)?;
        }
        Ok(())
    }

    async fn state(&mut self, c: usize, s: usize, n: u64, read: bool) -> Outcome {
        let (session, value) = (self.session(c, s), format!("s{n}"));
        if read {
            let was: Option<(u64, String)> = session.state().await.map_err(|e| failed(&e))?;
            if self.calm() {
                self.expected[s].check_state(was.as_ref().map(|(_, v)| v))?;
            }
        }
        let calm = self.calm();
        match session.set_state(&value).await {
            Ok(_) => self.expected[s].state_set(&value, true, calm),
            Err(Error::Conflict { .. }) if !read || !calm => {}
            Err(Error::Unavailable { .. }) if !calm => {
                self.expected[s].state_set(&value, false, calm);
            }
            Err(e) => return Err(failed(&e)),
        }
        Ok(())
    }

    async fn edit(&mut self, c: usize, s: usize, n: u64, at: u64) -> Outcome {
        self.edits += 1;
        // No two edits at the same time, or which is newer is anybody's guess.
        let (id, at_ms) = (self.id(n), at * 1000 + self.edits);
        let text = format!("e{at_ms}");
        let turn = self.session(c, s).edit_at(&id, &text, at_ms).await;
        turn.map_err(|e| failed(&e))?;
        self.expected[s].edited(c, &id, &text, at_ms);
        Ok(())
    }

    async fn end_session(&self, c: usize, s: usize) -> Outcome {
        let session = self.session(c, s);
        if self.no_flush {
            // Nothing becomes durable now, and the caller does not wait for it.
            abandoned(session.end(), 50).await;
            return Ok(());
        }
        session.end().await.map_err(|e| failed(&e))
    }

    async fn crash(&mut self, c: usize) {
        self.caches[c] = None;
        let metrics = tokio::runtime::Handle::current().metrics();
        while metrics.num_alive_tasks() > 1 {
            tokio::task::yield_now().await;
        }
        self.open(c).await;
    }

    async fn flush(&mut self, c: usize) {
        if self.cache(c).flush().await.is_ok() {
            self.expected.iter_mut().for_each(|e| e.flushed(c));
            self.disturbed[c] &= self.away || self.world.hot.will_fail();
            if self.calm() {
                self.expected.iter_mut().for_each(Expected::calmed);
            }
        }
    }

    async fn step(&mut self, op: &Op) -> Outcome {
        match *op {
            Op::Append(c, s, n) => self.append(c, s, n).await?,
            Op::AppendAll(c, s, n) => {
                let reply = Message::assistant(format!("r{n}-{c}"));
                let messages = vec![say(&self.id(n), &format!("m{n}")), reply];
                // Of the two only the first may be a duplicate; the model is told of both.
                self.append_all(c, s, messages).await?;
            }
            Op::Reply(c, s, n) => {
                let reply = Message::assistant(format!("r{n}"));
                self.append_all(c, s, vec![reply]).await?;
            }
            Op::Fill(c, s, n) => {
                for n in n..n + 45 {
                    let reply = Message::assistant(format!("f{n}"));
                    self.append_all(c, s, vec![reply]).await?;
                }
            }
            Op::Edit(c, s, n, at) => self.edit(c, s, n, at).await?,
            Op::Delete(c, s, n) => {
                let id = self.id(n);
                let turn = self.session(c, s).delete(&id).await;
                turn.map_err(|e| failed(&e))?;
                self.expected[s].deleted(c, &id);
            }
            Op::Reset(c, s) => {
                let turn = self.session(c, s).reset().await;
                turn.map_err(|e| failed(&e))?;
            }
            Op::State(c, s, n, read) => self.state(c, s, n, read).await?,
            Op::Forget(c, s) => {
                // While flushes are refused nothing is erased, and the call says so.
                if self.session(c, s).forget().await.is_ok() {
                    let calm = self.calm();
                    self.expected[s].forgotten(c, calm);
                }
            }
            Op::End(c, s) => self.end_session(c, s).await?,
            Op::Cancel(c, s, n, polls) => {
                let session = self.session(c, s);
                match abandoned(session.append(self.said(n)), polls).await {
                    Some(turn) => self.appended(c, s, n, turn).await?,
                    None => self.expected[s].attempted(c, &self.id(n), &format!("m{n}")),
                }
            }
            Op::Read(c, s) => {
                // A fault may wait for this very read.
                let calm = self.calm();
                let history = self.session(c, s).export().await.map_err(|e| failed(&e))?;
                self.expected[s].check(&history, Some(c), calm && self.calm())?;
            }
            Op::Flush(c) => self.flush(c).await,
            ref fault => self.fault(fault).await,
        }
        Ok(())
    }

    /// What happens to the caches and tiers.
    async fn fault(&mut self, op: &Op) {
        let memory = self.world.memory.clone().unwrap();
        match *op {
            Op::Crash(c) => {
                self.disturb();
                self.untold |= self.was_away;
                self.crash(c).await;
            }
            Op::Away(away) => {
                self.disturb();
                self.away = away;
                self.was_away |= away;
                self.world.hot.set_away(away);
            }
            Op::NoFlush(no_flush) => {
                self.no_flush = no_flush;
                self.world.store.set_no_flush(no_flush);
            }
            Op::Fail(fault) => {
                self.disturb();
                self.world.hot.fail_next(fault);
            }
            Op::Lose => {
                self.disturb();
                memory.lose_everything();
            }
            Op::Evict(s) => {
                self.disturb();
                memory.evict(&Address::from(&key(&s.to_string())));
            }
            Op::Snapshot => self.snapshot = Some(memory.snapshot()),
            Op::Restore => {
                if let Some(snapshot) = &self.snapshot {
                    memory.restore(snapshot);
                    self.disturb();
                }
            }
            Op::Expire => self.world.clock.advance(TTL * 2),
            _ => {}
        }
    }

    /// Everything back, everything flushed: now everything must hold.
    async fn end(&mut self) -> Outcome {
        self.world.hot.set_away(false);
        self.world.hot.clear();
        self.world.store.set_no_flush(false);
        for c in [0, 1, 0, 1] {
            let flushed = self.cache(c).flush().await;
            flushed.map_err(|e| format!("the last flush of {}: {e:?}", NAMES[c]))?;
        }
        for s in 0..SESSIONS {
            let (a, b) = (self.session(0, s), self.session(1, s));
            if self.untold {
                // The other cache learns of it when anybody loads the session from the store (docs/RELIABILITY.md).
                a.context().await.map_err(|e| failed(&e))?;
                b.context().await.map_err(|e| failed(&e))?;
            }
            let shown = a.context().await.map_err(|e| failed(&e))?.messages;
            let other = b.context().await.map_err(|e| failed(&e))?.messages;
            if keys(shown.iter().map(|m| &**m)) != keys(other.iter().map(|m| &**m)) {
                return Err(format!("the contexts of {s} differ: {shown:?}, {other:?}"));
            }
            let history = a.export().await.map_err(|e| failed(&e))?;
            if history != b.export().await.map_err(|e| failed(&e))? {
                return Err(format!("the histories of {s} differ"));
            }
            let in_session = |why: String| format!("session {s}: {why}; {history:?}");
            self.expected[s]
                .check(&history, None, true)
                .map_err(in_session)?;
            let tail = &history[history.len().saturating_sub(shown.len())..];
            let (want, got) = (
                keys(tail.iter().map(|(_, m)| m)),
                keys(shown.iter().map(|m| &**m)),
            );
            if want != got {
                return Err(format!(
                    "the context of {s} is {got:?}, the history ends with {want:?}"
                ));
            }
            for session in [&a, &b] {
                let state: Option<(u64, String)> = session.state().await.map_err(|e| failed(&e))?;
                self.expected[s]
                    .check_state(state.as_ref().map(|(_, v)| v))
                    .map_err(in_session)?;
            }
        }
        for (c, name) in NAMES.iter().enumerate() {
            let found = self.cache(c).verify().await.map_err(|e| failed(&e))?;
            if !found.violations.is_empty() {
                return Err(format!("verify of {name}: {:?}", found.violations));
            }
        }
        Ok(())
    }
}

/// What a call that is dropped after so many polls has said by then.
async fn abandoned<T>(call: impl Future<Output = T>, polls: u64) -> Option<T> {
    let mut call = pin!(call);
    for _ in 0..polls {
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
            return Some(done);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// What tells messages apart. The text of one whose edit came first and has left the window is right in a
/// context only after the next load, so texts are compared in histories.
fn keys<'a>(messages: impl Iterator<Item = &'a Message>) -> Vec<String> {
    let key = |m: &Message| m.id.as_ref().unwrap_or(&m.text).clone();
    messages.map(key).collect()
}

fn outcome(seed: u64, ops: &[Op]) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut run = Run::new(seed).await;
        for op in ops {
            run.step(op).await.map_err(|e| format!("{op:?}: {e}"))?;
        }
        run.end().await
    })
}

/// Leaves out whatever the failure does not need.
fn shortest(seed: u64, mut ops: Vec<Op>, mut why: String) -> (Vec<Op>, String) {
    let mut size = ops.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + size).min(ops.len()));
            match outcome(seed, &fewer) {
                Err(e) => (ops, why) = (fewer, e),
                Ok(()) => at += size,
            }
        }
        size /= 2;
    }
    (ops, why)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| v.parse().unwrap())
}

#[test]
fn no_sequence_of_operations_and_faults_loses_doubles_reorders_or_revives_anything() {
    let rounds = number("SCROLLBACK_MODEL_ROUNDS", 100);
    let first = number("SCROLLBACK_MODEL_SEED", 1);
    for seed in first..first + rounds {
        let ops = sequence(seed);
        if let Err(why) = outcome(seed, &ops) {
            let (ops, why) = shortest(seed, ops, why);
            panic!("seed {seed}: {why}\n{ops:?}");
        }
    }
}
