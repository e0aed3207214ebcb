//! When to look at which connection again. Pure: `now` is a parameter.
//!
//! A connection has at most one entry, so the number of entries is bounded by the number of clients. An entry is never
//! moved to a later time: when it expires too early, its owner says when to look again. So a request that is
//! answered in time, as nearly all are, costs no change here at all.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::workers::ConnectionId;

/// What a connection remembers of its entry.
pub type Armed = Option<Instant>;

/// The entries, earliest first.
#[derive(Debug, Default)]
pub struct Deadlines {
    entries: BTreeSet<(Instant, ConnectionId)>,
}

impl Deadlines {
    /// Makes sure that `connection` is looked at no later than `at`.
    pub fn arm(&mut self, connection: ConnectionId, armed: &mut Armed, at: Instant) {
        match *armed {
            Some(earlier) if earlier <= at => return,
            Some(later) => drop(self.entries.remove(&(later, connection))),
            None => {}
        }
        self.entries.insert((at, connection));
        *armed = Some(at);
    }

    /// Forgets a connection.
    pub fn disarm(&mut self, connection: ConnectionId, armed: &mut Armed) {
        if let Some(at) = armed.take() {
            self.entries.remove(&(at, connection));
        }
    }

    /// When the next entry expires.
    pub fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// Takes an entry that has expired. Its owner is to forget what it has [`Armed`].
    pub fn expire(&mut self, now: Instant) -> Option<ConnectionId> {
        let (at, connection) = *self.entries.first()?;
        if at > now {
            return None;
        }
        self.entries.pop_first();
        Some(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn id(slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: 7 }
    }

    proptest! {
        /// However entries are armed and forgotten: each connection is looked at, never late, and once.
        #[test]
        fn nobody_is_looked_at_too_late(steps in prop::collection::vec((0u32..5, 0u64..100, any::<bool>()), 1..100)) {
            let start = Instant::now();
            let mut deadlines = Deadlines::default();
            let mut armed = [None; 5];
            let mut wanted = [None::<u64>; 5];
            for (slot, millis, forget) in steps {
                let connection = slot as usize;
                if forget {
                    deadlines.disarm(id(slot), &mut armed[connection]);
                    wanted[connection] = None;
                } else {
                    deadlines.arm(id(slot), &mut armed[connection], start + Duration::from_millis(millis));
                    wanted[connection] = Some(wanted[connection].map_or(millis, |earlier| earlier.min(millis)));
                }
                let first = wanted.iter().flatten().min().map(|millis| start + Duration::from_millis(*millis));
                prop_assert_eq!(deadlines.next(), first);
            }
            for millis in 0..100 {
                while let Some(found) = deadlines.expire(start + Duration::from_millis(millis)) {
                    prop_assert_eq!(wanted[found.slot as usize].take(), Some(millis));
                }
            }
            prop_assert!(wanted.iter().all(Option::is_none) && deadlines.next().is_none());
        }
    }
}
