//! What only some connections have: a name, locks, watched mailboxes. Other connections do not pay for it.

use std::time::Instant;

use super::leases::Leases;
use super::watches::Watch;
use crate::mailboxes::Cursor;
use crate::workers::LockSet;

/// The optional part of a connection.
#[derive(Debug)]
pub(super) struct Extras {
    /// The value of `hello name=`.
    pub name: Option<Box<str>>,
    /// The locks, unless a job carries them.
    pub locks: Option<Box<LockSet>>,
    pub leases: Leases,
    pub watches: Vec<Watch>,
    /// Where the last `r after=` of a long list ended.
    pub read_cursor: Option<(u32, Cursor)>,
}

impl Extras {
    pub(super) fn new(now: Instant) -> Self {
        Extras { name: None, locks: None, leases: Leases::new(now), watches: Vec::new(), read_cursor: None }
    }

    /// Bytes of memory, itself included.
    pub(super) fn memory(&self) -> usize {
        let locks = self.locks.as_ref().map_or(0, |locks| locks.memory());
        size_of::<Self>() + self.leases.memory() + self.watches.capacity() * size_of::<Watch>() + locks
    }

    /// The watch of a mailbox.
    pub(super) fn watch(&mut self, mailbox: u32) -> Option<&mut Watch> {
        self.watches.iter_mut().find(|watch| watch.mailbox == mailbox)
    }
}
