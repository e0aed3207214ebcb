//! Deadlines of connections. Pure: `now` is a parameter.
//!
//! A connection has at most one entry, so the number of entries is bounded by the number of clients. An entry
//! is never moved to a later time. If an entry expires too early, the connection is armed again. So a request
//! that completes in time, as nearly all do, changes nothing here.
//!
//! The entries are a binary heap in one allocation, and the position of each entry is recorded by its slot.
//! The nodes of a tree would lie between the buffers of clients and keep the pages of these buffers in memory
//! after the buffers are freed.

use std::time::Instant;

use crate::workers::ConnectionId;

/// The position of a slot without an entry.
const NO_ENTRY: u32 = u32::MAX;

/// The deadlines, the earliest first.
#[derive(Debug)]
pub(super) struct Deadlines {
    /// A binary heap: an entry at `n` is no later than the entries at `2n + 1` and `2n + 2`.
    heap: Vec<(Instant, ConnectionId)>,
    /// By slot: the position of its entry in the heap.
    positions: Vec<u32>,
}

impl Deadlines {
    /// Creates an empty heap and reserves memory for `max` connections.
    pub(super) fn with_capacity(max: usize) -> Self {
        Deadlines { heap: Vec::with_capacity(max), positions: Vec::with_capacity(max) }
    }

    /// Makes sure that the entry of `connection` expires no later than `at`.
    pub(super) fn arm(&mut self, connection: ConnectionId, at: Instant) {
        let slot = connection.slot as usize;
        if slot >= self.positions.len() {
            self.positions.resize(slot + 1, NO_ENTRY);
        }
        let position = match self.positions[slot] {
            NO_ENTRY => {
                self.heap.push((at, connection));
                self.heap.len() - 1
            }
            position if self.heap[position as usize].0 <= at => return,
            position => {
                self.heap[position as usize].0 = at;
                position as usize
            }
        };
        self.sift_up(position);
    }

    /// Removes the entry of a connection, if there is one.
    pub(super) fn disarm(&mut self, connection: ConnectionId) {
        match self.positions.get(connection.slot as usize) {
            None | Some(&NO_ENTRY) => {}
            Some(&position) => self.remove(position as usize),
        }
    }

    /// When the next entry expires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|(at, _)| *at)
    }

    /// Removes and returns an entry that has expired.
    pub(super) fn expire(&mut self, now: Instant) -> Option<ConnectionId> {
        let (at, connection) = *self.heap.first()?;
        if at > now {
            return None;
        }
        self.remove(0);
        Some(connection)
    }

    fn remove(&mut self, position: usize) {
        let (_, connection) = self.heap.swap_remove(position);
        self.positions[connection.slot as usize] = NO_ENTRY;
        if position < self.heap.len() {
            // The moved entry may have to go in either direction. At most one of the two calls moves it.
            self.sift_down(position);
            self.sift_up(position);
        }
    }

    /// Moves an entry towards the front until its parent is no later.
    fn sift_up(&mut self, mut position: usize) {
        while position > 0 && self.heap[position].0 < self.heap[(position - 1) / 2].0 {
            self.heap.swap(position, (position - 1) / 2);
            self.record_position(position);
            position = (position - 1) / 2;
        }
        self.record_position(position);
    }

    /// Moves an entry towards the end until its children are no earlier.
    fn sift_down(&mut self, mut position: usize) {
        while let Some(earlier) =
            (2 * position + 1..self.heap.len().min(2 * position + 3)).min_by_key(|at| self.heap[*at].0)
            && self.heap[earlier].0 < self.heap[position].0
        {
            self.heap.swap(position, earlier);
            self.record_position(position);
            position = earlier;
        }
        self.record_position(position);
    }

    fn record_position(&mut self, position: usize) {
        self.positions[self.heap[position].1.slot as usize] = position as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const SLOTS: usize = 20;

    fn id(slot: usize) -> ConnectionId {
        ConnectionId { slot: slot as u32, generation: 7 }
    }

    proptest! {
        /// After any sequence of `arm` and `disarm`, each armed connection expires once and in time.
        #[test]
        fn no_deadline_expires_late(steps in prop::collection::vec((0..SLOTS, 0u64..100, 0..4), 1..200)) {
            let start = Instant::now();
            let at = |millis: u64| start + Duration::from_millis(millis);
            let mut deadlines = Deadlines::with_capacity(SLOTS);
            let mut wanted = [None::<u64>; SLOTS];
            for (slot, millis, what) in steps {
                if what == 0 {
                    deadlines.disarm(id(slot));
                    wanted[slot] = None;
                } else {
                    deadlines.arm(id(slot), at(millis));
                    wanted[slot] = Some(wanted[slot].map_or(millis, |earlier| earlier.min(millis)));
                }
                prop_assert_eq!(deadlines.next(), wanted.iter().flatten().min().map(|millis| at(*millis)));
            }
            for millis in 0..100 {
                while let Some(found) = deadlines.expire(at(millis)) {
                    prop_assert_eq!(wanted[found.slot as usize].take(), Some(millis));
                }
            }
            prop_assert!(wanted.iter().all(Option::is_none) && deadlines.next().is_none());
        }
    }
}
