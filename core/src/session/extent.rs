//! How much of a session stands in the hot tier: the copy that its log began with, and what came since.
//!
//! Invariant: it never counts less than the tier holds of what this process has written or read. Knows no entry.

use std::collections::VecDeque;

use crate::window::Window;

/// Entries that can go make a trim worth it: several appends share one trim and one summary. As many as a usual window is
/// cut by: with 32, a log held half as much again as its context shows.
const TRIM_ENTRIES: u64 = 12;

/// So do bytes that can go.
const TRIM_BYTES: u64 = (Window::MAX_BYTES / 4) as u64;

/// A log larger than this, or than twice the copy it began with, is replaced by a copy. A window (1 MiB), once as
/// the copy and once as entries, stays below it; edits, deletes and states, which move no window, come to it.
const MOST_BYTES: u64 = 3 * Window::MAX_BYTES as u64;

/// The same, counted in entries.
const MOST_ENTRIES: u64 = 3 * Window::MAX_MESSAGES as u64;

/// What an entry costs beside its bytes.
const ENTRY: u64 = 64;

/// The extent of one log.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    /// Number and bytes of each entry that stands, oldest first.
    entries: VecDeque<(u64, u64)>,
    bytes: u64,
    copy_bytes: u64,
    /// Below this number the log was trimmed.
    trimmed: u64,
}

impl Extent {
    /// A log that begins with a copy of `bytes`, which stands at `number`.
    pub(super) fn of_copy(number: u64, bytes: usize) -> Self {
        let mut extent = Self::default();
        extent.push(number, bytes);
        extent.copy_bytes = extent.bytes;
        extent
    }

    /// One more entry.
    pub(super) fn push(&mut self, number: u64, bytes: usize) {
        let bytes = bytes as u64 + ENTRY;
        self.entries.push_back((number, bytes));
        self.bytes += bytes;
    }

    /// True when it is worth it to trim what stands below `number`.
    pub(super) fn trims(&self, number: u64) -> bool {
        let below = self.entries.iter().take_while(|(n, _)| *n < number);
        number >= self.trimmed + TRIM_ENTRIES || below.map(|(_, b)| b).sum::<u64>() >= TRIM_BYTES
    }

    /// What stood below `number` went.
    pub(super) fn trim(&mut self, number: u64) {
        self.trimmed = self.trimmed.max(number);
        while let Some((n, bytes)) = self.entries.front().copied() {
            if n >= number {
                break;
            }
            self.entries.pop_front();
            self.bytes -= bytes;
        }
    }

    /// True when the log should be replaced by a copy.
    pub(crate) fn is_outgrown(&self) -> bool {
        let entries = self.entries.len() as u64;
        self.bytes > MOST_BYTES.max(2 * self.copy_bytes) || entries > MOST_ENTRIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_large_entries_are_trimmed_before_many_small_ones() {
        let mut large = Extent::of_copy(9, 100);
        let mut small = Extent::of_copy(9, 100);
        (10..20).for_each(|n| large.push(n, 64 << 10));
        (10..20).for_each(|n| small.push(n, 64));
        large.trim(9);
        small.trim(9);
        assert!(large.trims(14) && !small.trims(14) && !large.trims(12));
        (20..60).for_each(|n| small.push(n, 64));
        assert!(small.trims(21) && !small.trims(20));
    }

    #[test]
    fn a_log_of_what_moves_no_window_outgrows_its_copy() {
        let mut extent = Extent::of_copy(1, 100);
        (2..50).for_each(|n| extent.push(n, 64 << 10));
        assert!(extent.is_outgrown());
        let mut extent = Extent::of_copy(1, 2 << 20);
        (2..30).for_each(|n| extent.push(n, 64 << 10));
        assert!(!extent.is_outgrown());
        extent.trim(30);
        assert_eq!(extent.bytes, 0);
    }
}
