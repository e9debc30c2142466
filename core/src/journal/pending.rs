//! What is journaled and not durable in the store yet, by entry id.
//!
//! A process's ids rise by one from entry to entry, so most of them need no map: each stands in a row at its distance from
//! the first. Invariant: an id is in the row or among the strangers, never in both.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::key::Address;
use crate::message::EntryId;

/// An id so far ahead of the row is a stranger: calls overtake each other between getting an id and the journal, or are
/// refused there.
const GAP: usize = 64;

/// A row that is longer than this, and mostly empty, is cut: a session that the store refuses must not hold up its memory.
const SPARSE: usize = 4096;

#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) segment: u64,
    pub(super) session: Address,
    pub(super) epoch: u64,
    pub(super) record: Bytes,
}

/// The pending entries of one journal.
#[derive(Debug, Default)]
pub(super) struct PendingEntries {
    row: VecDeque<Option<Pending>>,
    /// The id of the row's first place.
    first: u128,
    in_row: usize,
    /// An earlier process's ids, and what was left behind.
    strangers: HashMap<EntryId, Pending, foldhash::fast::RandomState>,
}

impl PendingEntries {
    pub(super) fn len(&self) -> usize {
        self.in_row + self.strangers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds one of an earlier process, whose ids say nothing of those to come.
    pub(super) fn insert_stranger(&mut self, id: EntryId, pending: Pending) {
        self.strangers.insert(id, pending);
    }

    /// Adds one; the entry that it replaces.
    pub(super) fn insert(&mut self, id: EntryId, pending: Pending) -> Option<Pending> {
        if let Some(before) = self.strangers.get_mut(&id) {
            return Some(std::mem::replace(before, pending));
        }
        if self.row.is_empty() {
            self.first = id.0;
        }
        let place = self.place(id).filter(|at| *at <= self.row.len() + GAP);
        let Some(at) = place else {
            return self.strangers.insert(id, pending);
        };
        if at >= self.row.len() {
            self.row.resize(at, None);
            self.row.push_back(Some(pending));
            self.in_row += 1;
            return None;
        }
        let before = self.row.get_mut(at)?.replace(pending);
        self.in_row += usize::from(before.is_none());
        before
    }

    pub(super) fn get(&self, id: EntryId) -> Option<&Pending> {
        let in_row = self.place(id).and_then(|at| self.row.get(at)?.as_ref());
        in_row.or_else(|| self.strangers.get(&id))
    }

    pub(super) fn get_mut(&mut self, id: EntryId) -> Option<&mut Pending> {
        let at = self.place(id);
        let in_row = at.and_then(|at| self.row.get_mut(at)?.as_mut());
        in_row.or_else(|| self.strangers.get_mut(&id))
    }

    pub(super) fn remove(&mut self, id: EntryId) -> Option<Pending> {
        let at = self.place(id);
        let Some(pending) = at.and_then(|at| self.row.get_mut(at)?.take()) else {
            return self.strangers.remove(&id);
        };
        self.in_row -= 1;
        while let Some(None) = self.row.front() {
            self.row.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        if self.row.len() > SPARSE && self.in_row < self.row.len() / 4 {
            self.leave_behind();
        }
        if self.row.capacity() > SPARSE && self.row.len() < self.row.capacity() / 4 {
            // A burst is over.
            self.row.shrink_to(SPARSE.max(2 * self.row.len()));
        }
        Some(pending)
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (EntryId, &Pending)> {
        let row = (0_u128..).zip(&self.row);
        let row =
            row.filter_map(|(at, p)| Some((EntryId(self.first.wrapping_add(at)), p.as_ref()?)));
        row.chain(self.strangers.iter().map(|(id, p)| (*id, p)))
    }

    fn place(&self, id: EntryId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first)?).ok()
    }

    /// Makes strangers of the older half of the row.
    fn leave_behind(&mut self) {
        let older: Vec<_> = self.row.drain(..self.row.len() / 2).collect();
        for pending in older {
            if let Some(pending) = pending {
                self.in_row -= 1;
                self.strangers.insert(EntryId(self.first), pending);
            }
            self.first = self.first.wrapping_add(1);
        }
        if self.in_row == 0 {
            self.row.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn near_or_far() -> impl Strategy<Value = u64> {
        prop_oneof![0..8_u64, 0..200_u64, 0..20_000_u64]
    }

    fn pending(segment: u64) -> Pending {
        Pending {
            segment,
            session: Address::from_text("x/1/channel=7"),
            epoch: 1,
            record: Bytes::new(),
        }
    }

    fn all(entries: &PendingEntries) -> BTreeMap<EntryId, u64> {
        entries.iter().map(|(id, p)| (id, p.segment)).collect()
    }

    proptest! {
        #[test]
        fn it_is_a_map_whatever_the_order_of_ids(steps in vec((any::<bool>(), near_or_far()), 0..400)) {
            let (mut entries, mut wanted) = (PendingEntries::default(), BTreeMap::new());
            for (n, (adds, ahead)) in (0_u64..).zip(steps) {
                let id = EntryId(u128::from(n) + u128::from(ahead));
                if adds {
                    let before = entries.insert(id, pending(n)).map(|p| p.segment);
                    prop_assert_eq!(before, wanted.insert(id, n));
                } else {
                    // Mostly one that is there.
                    let at = usize::try_from(ahead).unwrap() % (wanted.len() + 1);
                    let id = wanted.keys().nth(at).copied().unwrap_or(id);
                    prop_assert_eq!(entries.get(id).map(|p| p.segment), wanted.get(&id).copied());
                    prop_assert_eq!(entries.remove(id).map(|p| p.segment), wanted.remove(&id));
                }
                prop_assert_eq!(entries.len(), wanted.len());
            }
            prop_assert_eq!(all(&entries), wanted);
        }
    }

    #[test]
    fn one_that_stays_does_not_hold_up_the_memory_of_all_that_came_after() {
        let mut entries = PendingEntries::default();
        for n in 0..100_000 {
            entries.insert(EntryId(n), pending(7));
            if n > 10 {
                entries.remove(EntryId(n - 5));
            }
        }
        assert!(
            entries.row.capacity() <= 4 * SPARSE,
            "{}",
            entries.row.capacity()
        );
        assert_eq!(entries.len(), 11);
        assert!((0..=5).all(|n| entries.get(EntryId(n)).is_some()));
    }
}
