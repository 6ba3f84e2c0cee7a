//! The rows of the journal, by what in them is still needed.
//!
//! Rows leave from the oldest on: a row's acknowledgements are about messages of the same or of older rows, so nothing is
//! needed of a row when all its messages are done and all older rows are gone. What holds up the oldest row when the
//! journal is full moves to the backlog.

use std::collections::VecDeque;

use super::state::Number;

/// Rows that nobody needs are deleted together: from so many on,
const MANY_ROWS: usize = 64;
/// or from so many bytes on.
const MANY_BYTES: usize = 1 << 20;
/// What goes to the backlog in one commit, in bytes of rows: others wait for it.
const MAX_SETTLED_BYTES: usize = 16 << 20;

#[derive(Debug)]
struct Row {
    sequence: u64,
    /// The number of its last message, or of the last one before.
    last: Number,
    bytes: usize,
    /// How many of its messages, counted once for each queue, are not done.
    live: usize,
}

/// What the journal consists of.
#[derive(Debug)]
pub(super) struct Rows {
    rows: VecDeque<Row>,
    bytes: usize,
    pub(super) next_number: Number,
    next_sequence: u64,
    /// Messages up to this one are in the backlog, or done.
    pub(super) settled: Number,
}

impl Default for Rows {
    fn default() -> Self {
        Self { rows: VecDeque::new(), bytes: 0, next_number: 1, next_sequence: 1, settled: 0 }
    }
}

/// Rows to delete, after the messages up to a number have gone to the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forget {
    pub(super) sequence: u64,
    pub(super) last: Number,
}

impl Rows {
    /// What is behind the journal: the greatest number in the backlog.
    pub(super) fn after(settled: Number) -> Self {
        Self { settled, next_number: settled + 1, ..Self::default() }
    }

    /// Whether a row that was read is the next one.
    pub(super) fn follows(&mut self, sequence: u64, first: Number) -> bool {
        if self.rows.is_empty() {
            self.next_sequence = sequence;
            self.next_number = first;
            self.settled = first.saturating_sub(1);
        }
        sequence == self.next_sequence && first == self.next_number
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Adds the next row; its messages have their numbers.
    pub(super) fn push(&mut self, sequence: u64, bytes: usize, live: usize) {
        self.rows.push_back(Row { sequence, last: self.next_number - 1, bytes, live });
        self.bytes += bytes;
        self.next_sequence = sequence + 1;
    }

    /// Counts one message in one queue as done.
    pub(super) fn one_is_done(&mut self, number: Number) {
        let at = self.rows.partition_point(|row| row.last < number);
        if let Some(row) = self.rows.get_mut(at).filter(|_| number > self.settled) {
            row.live = row.live.saturating_sub(1);
        }
    }

    /// The rows that leave now: those that nobody needs, if it is worth it, and beyond `max_bytes` the oldest of the others.
    pub(super) fn forget(&mut self, max_bytes: usize) -> Option<Forget> {
        let dead = self.rows.iter().take_while(|row| row.live == 0).count();
        let dead_bytes: usize = self.rows.iter().take(dead).map(|row| row.bytes).sum();
        let mut leaving = if dead >= MANY_ROWS || dead_bytes >= MANY_BYTES { dead } else { 0 };
        let mut left = self.bytes - self.rows.iter().take(leaving).map(|row| row.bytes).sum::<usize>();
        let mut settled = 0;
        while left > max_bytes && settled < MAX_SETTLED_BYTES {
            let Some(row) = self.rows.get(leaving) else { break };
            leaving += 1;
            left -= row.bytes;
            settled += row.bytes;
        }
        let last = self.rows.drain(..leaving).next_back()?;
        self.bytes = left;
        self.settled = last.last;
        Some(Forget { sequence: last.sequence, last: last.last })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn rows(lives: &[usize]) -> Rows {
        let mut rows = Rows::default();
        for live in lives {
            rows.next_number += *live as Number;
            rows.push(rows.next_sequence(), 100, *live);
        }
        rows
    }

    #[test]
    fn rows_that_nobody_needs_leave_together_and_none_behind_one_that_is_needed() {
        let mut rows = rows(&[1; MANY_ROWS + 10]);
        (1..=MANY_ROWS as Number + 10)
            .filter(|number| *number != MANY_ROWS as Number + 1)
            .for_each(|n| rows.one_is_done(n));
        let forget = rows.forget(usize::MAX).unwrap();
        assert_eq!(forget, Forget { sequence: MANY_ROWS as u64, last: MANY_ROWS as Number });
        assert_eq!(rows.forget(usize::MAX), None);
    }

    #[test]
    fn beyond_its_bound_the_journal_lets_go_of_the_oldest_rows() {
        let mut rows = rows(&[1, 1, 1]);
        assert_eq!(rows.forget(300), None);
        assert_eq!(rows.forget(200), Some(Forget { sequence: 1, last: 1 }));
        assert_eq!(rows.settled, 1);
        rows.one_is_done(1);
        assert_eq!(rows.forget(150), Some(Forget { sequence: 2, last: 2 }));
    }
}
