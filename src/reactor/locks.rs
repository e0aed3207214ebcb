//! The table of the clients that hold locks, by mailbox. The grants themselves are in the lock set of each
//! client or of its job. The terms of the locks are in the leases of the client.
//!
//! **The law**: only the reactor begins and ends locks, and only the reactor lets the holders of locks wait.
//! So no wait of a holder for a lock begins or ends during one step of a search for a cycle of waits.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::workers::ConnectionId;

const FIRST: ConnectionId = ConnectionId { slot: 0, generation: 0 };
const LAST: ConnectionId = ConnectionId { slot: u32::MAX, generation: u32::MAX };

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
        self.holders.range((mailbox, FIRST)..=(mailbox, LAST)).map(|(_, holder)| *holder)
    }

    /// The first client that holds a lock of a mailbox, or the first one after `after`.
    pub(super) fn holder(&self, mailbox: u32, after: Option<ConnectionId>) -> Option<ConnectionId> {
        let start =
            after.map_or(Bound::Included((mailbox, FIRST)), |after| Bound::Excluded((mailbox, after)));
        self.holders.range((start, Bound::Included((mailbox, LAST)))).next().map(|(_, holder)| *holder)
    }

    /// Whether a client holds a lock of a mailbox.
    pub(super) fn holds(&self, mailbox: u32, holder: ConnectionId) -> bool {
        self.holders.contains(&(mailbox, holder))
    }

    /// All locks from this mailbox and slot on, by mailbox.
    pub(super) fn from(&self, mailbox: u32, slot: u32) -> impl Iterator<Item = (u32, ConnectionId)> {
        self.holders.range((mailbox, ConnectionId { slot, ..FIRST })..).copied()
    }

    /// Number of locks: one for each mailbox and holder.
    pub(super) fn len(&self) -> usize {
        self.holders.len()
    }
}
