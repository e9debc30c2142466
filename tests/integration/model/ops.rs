//! The steps of a sequence, and sequences by their seeds.

use harness::faulty::Fault;
use harness::random::Random;

pub(super) const SESSIONS: usize = 3;
const LENGTH: usize = 50;

/// One step; `(cache, session)` first.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Append(usize, usize, u64),
    AppendAll(usize, usize, u64),
    Reply(usize, usize, u64),
    Fill(usize, usize, u64),
    Edit(usize, usize, u64, u64),
    Delete(usize, usize, u64),
    Reset(usize, usize),
    State(usize, usize, u64, bool),
    Forget(usize, usize),
    End(usize, usize),
    /// An append whose caller goes away after so many steps.
    Cancel(usize, usize, u64, u64),
    Read(usize, usize),
    Flush(usize),
    Crash(usize),
    Away(bool),
    NoFlush(bool),
    Fail(Fault),
    Lose,
    Evict(usize),
    Snapshot,
    Restore,
    Expire,
}

pub(super) fn sequence(seed: u64) -> Vec<Op> {
    let mut r = Random::new(seed);
    let mut fresh = [1; SESSIONS];
    let mut unique = 1000;
    let mut ops = Vec::with_capacity(LENGTH);
    for _ in 0..LENGTH {
        let (c, s) = (r.index(2), r.index(SESSIONS));
        unique += 100;
        // Mostly the next id; else an older one, or one of the near future.
        let older = r.below(fresh[s] + 3) + 1;
        let mut next = || {
            fresh[s] += 1;
            fresh[s]
        };
        ops.push(match r.below(106) {
            0..26 => Op::Append(c, s, next()),
            26..34 => Op::Append(c, s, older),
            34..38 => Op::AppendAll(c, s, next()),
            38..44 => Op::Reply(c, s, unique),
            44..46 => Op::Fill(c, s, unique),
            46..51 => Op::Edit(c, s, older, r.below(1000)),
            51..54 => Op::Delete(c, s, older),
            54..56 => Op::Reset(c, s),
            56..61 => Op::State(c, s, unique, r.below(5) > 0),
            61..63 => Op::Forget(c, s),
            63..69 => Op::Read(c, s),
            69..76 => Op::Flush(c),
            76..80 => Op::Crash(c),
            80..85 => Op::Away(r.below(2) == 0),
            85..88 => Op::NoFlush(r.below(2) == 0),
            88..90 => Op::Fail(Fault::LostReply),
            90..92 => Op::Fail(Fault::LostRequest),
            92..93 => Op::Lose,
            93..95 => Op::Evict(s),
            95..97 => Op::Snapshot,
            97..99 => Op::Restore,
            99..100 => Op::Expire,
            100..103 => Op::End(c, s),
            _ => Op::Cancel(c, s, next(), r.below(40)),
        });
    }
    ops
}
