//! Sequences that once failed, kept as the search had shortened them.

use harness::faulty::Fault;

use super::ops::Op::{Append, AppendAll, Away, Crash, Edit, End, Fail, Fill, NoFlush, Read, Reply};
use super::outcome;

#[test]
fn a_message_that_came_by_another_way_meanwhile_stays_in_its_first_place() {
    // The second cache's entry was made before it had heard of the message that the first one has.
    let ops = [
        Edit(0, 0, 4, 343),
        Append(1, 0, 2),
        Append(1, 0, 3),
        Append(1, 0, 4),
        Fill(1, 0, 2100),
        NoFlush(true),
        AppendAll(0, 0, 4),
    ];
    for seed in 0..24 {
        outcome(seed, &ops).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

#[test]
fn what_is_flushed_while_the_tier_goes_away_is_not_placed_a_second_time() {
    let ops = [
        Read(1, 2),
        Crash(1),
        Reply(1, 2, 2000),
        Fail(Fault::LostRequest),
        Append(0, 2, 4),
        Away(true),
        Crash(1),
        End(0, 1),
        Read(1, 2),
        Read(1, 1),
        Append(0, 2, 5),
    ];
    // Which of the two comes first is not decided here.
    for round in 0..40 {
        outcome(4909, &ops).unwrap_or_else(|why| panic!("round {round}: {why}"));
    }
}
