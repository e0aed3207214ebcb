//! The parts of a connection that only some connections have: a name, locks, leases, watches and a read
//! cursor. Other connections allocate no memory for these parts.

use std::time::Instant;

use super::leases::Leases;
use super::watch_list::WatchList;
use crate::mailboxes::Cursor;
use crate::workers::LockSet;

/// The optional part of a connection.
#[derive(Debug)]
pub(super) struct Extras {
    /// The value of `hello name=`.
    pub name: Option<Box<str>>,
    /// The locks, unless a job has them.
    pub locks: Option<Box<LockSet>>,
    pub leases: Leases,
    pub watches: WatchList,
    /// The mailbox and the cursor behind the message of the last `r after=` in a long list.
    pub read_cursor: Option<(u32, Cursor)>,
}

impl Extras {
    pub(super) fn new(now: Instant) -> Self {
        Extras {
            name: None,
            locks: None,
            leases: Leases::new(now),
            watches: WatchList::default(),
            read_cursor: None,
        }
    }

    /// Bytes of memory, including the value itself.
    pub(super) fn memory(&self) -> usize {
        let locks = self.locks.as_ref().map_or(0, |locks| locks.memory());
        size_of::<Self>() + self.leases.memory() + self.watches.memory() + locks
    }
}
