//! The table of the clients that hold locks, by mailbox. The grants themselves are in the lock set of each
//! client or its job, and their terms are in its leases.
//!
//! **The law**: only the reactor begins and ends locks, and only the reactor lets their holders wait. So no
//! wait begins or ends while it searches for a cycle of waits, and the result of the search is exact.

use std::collections::BTreeSet;

use crate::mailboxes::would_deadlock;
use crate::workers::ConnectionId;

/// The holders of all locks, by mailbox.
#[derive(Debug, Default)]
pub(super) struct Locks {
    holders: BTreeSet<(u32, ConnectionId)>,
}

impl Locks {
    /// Adds a mailbox that a client has acquired, which may be the first of several mailboxes of one `lock`.
    pub(super) fn begin(&mut self, mailbox: u32, holder: ConnectionId) {
        let is_new = self.holders.insert((mailbox, holder));
        debug_assert!(is_new, "a mailbox is locked once");
    }

    pub(super) fn end(&mut self, mailbox: u32, holder: ConnectionId) {
        let was_held = self.holders.remove(&(mailbox, holder));
        debug_assert!(was_held, "a lock ends once");
    }

    /// The clients that hold a lock of a mailbox.
    pub(super) fn holders(&self, mailbox: u32) -> impl Iterator<Item = ConnectionId> {
        let first = ConnectionId { slot: 0, generation: 0 };
        let last = ConnectionId { slot: u32::MAX, generation: u32::MAX };
        self.holders.range((mailbox, first)..=(mailbox, last)).map(|(_, holder)| *holder)
    }

    /// Number of locks: one for each mailbox and holder.
    pub(super) fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether a client would complete a cycle of waits if it waited at a mailbox. `waiting_on` returns the
    /// mailbox at which a client waits.
    pub(super) fn would_deadlock(
        &self,
        id: ConnectionId,
        mailbox: u32,
        waiting_on: impl FnMut(ConnectionId) -> Option<u32>,
    ) -> bool {
        let holders = |mailbox, found: &mut Vec<_>| found.extend(self.holders(mailbox));
        would_deadlock(id, mailbox, holders, waiting_on)
    }
}
