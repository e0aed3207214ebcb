//! When to look at which connection again. Pure: `now` is a parameter.
//!
//! A connection has at most one entry, so the number of entries is bounded by the number of clients. An entry is never
//! moved to a later time: when it expires too early, its owner says when to look again. So a request that is
//! answered in time, as nearly all are, costs no change here at all.
//!
//! A binary heap in one piece of memory, with each entry's place noted by its slot. A tree would do as well, but its nodes
//! would lie between the buffers of clients, and keep the pages around them when those are dropped.

use std::time::Instant;

use crate::workers::ConnectionId;

/// Where a slot without an entry is.
const NOWHERE: u32 = u32::MAX;

/// The entries, the earliest first.
#[derive(Debug)]
pub struct Deadlines {
    /// Every entry is no later than the two at twice its place.
    heap: Vec<(Instant, ConnectionId)>,
    /// By slot: the place of its entry in the heap.
    places: Vec<u32>,
}

impl Deadlines {
    /// No entries, and room for `max` connections, reserved now.
    pub fn with_capacity(max: usize) -> Self {
        Deadlines { heap: Vec::with_capacity(max), places: Vec::with_capacity(max) }
    }

    /// Makes sure that `connection` is looked at no later than `at`.
    pub fn arm(&mut self, connection: ConnectionId, at: Instant) {
        let slot = connection.slot as usize;
        if slot >= self.places.len() {
            self.places.resize(slot + 1, NOWHERE);
        }
        let place = match self.places[slot] {
            NOWHERE => {
                self.heap.push((at, connection));
                self.heap.len() - 1
            }
            place if self.heap[place as usize].0 <= at => return,
            place => {
                self.heap[place as usize].0 = at;
                place as usize
            }
        };
        self.rise(place);
    }

    /// Forgets a connection.
    pub fn disarm(&mut self, connection: ConnectionId) {
        match self.places.get(connection.slot as usize) {
            None | Some(&NOWHERE) => {}
            Some(&place) => self.remove(place as usize),
        }
    }

    /// When the next entry expires.
    pub fn next(&self) -> Option<Instant> {
        self.heap.first().map(|(at, _)| *at)
    }

    /// Takes an entry that has expired.
    pub fn expire(&mut self, now: Instant) -> Option<ConnectionId> {
        let (at, connection) = *self.heap.first()?;
        if at > now {
            return None;
        }
        self.remove(0);
        Some(connection)
    }

    fn remove(&mut self, place: usize) {
        let (_, connection) = self.heap.swap_remove(place);
        self.places[connection.slot as usize] = NOWHERE;
        if place < self.heap.len() {
            // The entry that took the place may have to go either way; whichever it has not, changes nothing.
            self.sink(place);
            self.rise(place);
        }
    }

    /// Moves an entry towards the front until the one before it is no later.
    fn rise(&mut self, mut place: usize) {
        while place > 0 && self.heap[place].0 < self.heap[(place - 1) / 2].0 {
            self.heap.swap(place, (place - 1) / 2);
            self.note(place);
            place = (place - 1) / 2;
        }
        self.note(place);
    }

    /// Moves an entry towards the end until those behind it are no earlier.
    fn sink(&mut self, mut place: usize) {
        while let Some(earlier) =
            (2 * place + 1..self.heap.len().min(2 * place + 3)).min_by_key(|at| self.heap[*at].0)
            && self.heap[earlier].0 < self.heap[place].0
        {
            self.heap.swap(place, earlier);
            self.note(place);
            place = earlier;
        }
        self.note(place);
    }

    fn note(&mut self, place: usize) {
        self.places[self.heap[place].1.slot as usize] = place as u32;
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
        /// However entries are armed and forgotten: each connection is looked at, never late, and once.
        #[test]
        fn nobody_is_looked_at_too_late(steps in prop::collection::vec((0..SLOTS, 0u64..100, 0..4), 1..200)) {
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
