//! The locks of one client. They are in the job of the client while it has one, else in its connection. A
//! thread that executes a request therefore has the grants that cover the request.

use std::collections::{BTreeMap, BTreeSet};

use crate::mailboxes::{Grant, Mode};

/// The locks of a client, and its expired locks that it has not acknowledged. Every operation on one mailbox
/// costs O(log n).
#[derive(Debug, Default)]
pub(crate) struct LockSet {
    /// By mailbox.
    locks: BTreeMap<u32, Grant>,
    /// The locks of a `lock` that still waits for other mailboxes, in the order of the mailboxes.
    pending: Vec<Lock>,
    /// Mailboxes whose lock has expired. A request for such a mailbox may rely on the lock, so the request is
    /// refused.
    expired: BTreeSet<u32>,
}

/// A grant that is held across requests.
#[derive(Debug)]
pub(crate) struct Lock {
    pub mailbox: u32,
    pub grant: Grant,
}

/// Whether a client's own locks admit a request to a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The client holds no lock of the mailbox: the request has to be admitted.
    Unlocked,
    /// The client holds a lock that covers the request.
    Owned,
    /// The client holds a shared lock, and the request needs an exclusive grant. The request would wait for
    /// its own client.
    Insufficient,
    /// The client held a lock that has expired.
    Expired,
}

impl LockSet {
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_locks() && self.expired.is_empty()
    }

    /// Bytes of memory of the entries, without the overhead of the trees.
    pub(crate) fn memory(&self) -> usize {
        let locks = self.locks.len() * size_of::<(u32, Grant)>();
        locks + self.pending.capacity() * size_of::<Lock>() + self.expired.len() * size_of::<u32>()
    }

    pub(crate) fn has_locks(&self) -> bool {
        !self.locks.is_empty() || !self.pending.is_empty()
    }

    /// Number of mailboxes with a lock or an expired lock that are not in `wanted`. No mailbox in `wanted` is
    /// locked.
    pub(crate) fn others(&self, wanted: &[u32]) -> usize {
        let again = wanted.iter().filter(|mailbox| self.expired.contains(mailbox)).count();
        self.locks.len() + self.expired.len() - again
    }

    pub(crate) fn access(&self, mailbox: u32, mode: Mode) -> Access {
        match self.locks.get(&mailbox) {
            None if self.expired.contains(&mailbox) => Access::Expired,
            None => Access::Unlocked,
            Some(grant) if grant.mode() == Mode::Exclusive || mode == Mode::Shared => Access::Owned,
            Some(_) => Access::Insufficient,
        }
    }

    pub(crate) fn holds(&self, mailbox: u32) -> bool {
        self.locks.contains_key(&mailbox)
    }

    /// Number of mailboxes that an incomplete `lock` has acquired.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Adds a mailbox of an incomplete `lock`.
    pub(crate) fn add(&mut self, mailbox: u32, grant: Grant) {
        debug_assert!(!self.holds(mailbox), "a mailbox is locked once");
        self.pending.push(Lock { mailbox, grant });
    }

    /// Completes a `lock` that has acquired all its mailboxes. Forgets the expired locks of these mailboxes.
    pub(crate) fn complete(&mut self) {
        for Lock { mailbox, grant } in std::mem::take(&mut self.pending) {
            self.expired.remove(&mailbox);
            self.locks.insert(mailbox, grant);
        }
    }

    /// Removes the locks of an incomplete `lock`.
    pub(crate) fn take_pending(&mut self) -> Vec<Lock> {
        std::mem::take(&mut self.pending)
    }

    /// Removes the lock of a mailbox, unless it belongs to an incomplete `lock`.
    pub(crate) fn take(&mut self, mailbox: u32) -> Option<Lock> {
        self.locks.remove(&mailbox).map(|grant| Lock { mailbox, grant })
    }

    /// Removes any lock.
    pub(crate) fn pop(&mut self) -> Option<Lock> {
        let complete = self.locks.pop_last().map(|(mailbox, grant)| Lock { mailbox, grant });
        complete.or_else(|| self.pending.pop())
    }

    /// Number of locks.
    pub(crate) fn len(&self) -> usize {
        self.locks.len() + self.pending.len()
    }

    /// The grant of a lock.
    pub(crate) fn grant(&mut self, mailbox: u32) -> Option<&mut Grant> {
        self.locks.get_mut(&mailbox)
    }

    /// Records that the lock of a mailbox has expired.
    pub(crate) fn expire(&mut self, mailbox: u32) {
        self.expired.insert(mailbox);
    }

    /// Records that the client has acknowledged the expired lock of a mailbox.
    pub(crate) fn forget_expired(&mut self, mailbox: u32) {
        self.expired.remove(&mailbox);
    }

    /// Records that the client has acknowledged all expired locks. Returns whether there were any.
    pub(crate) fn forget_all_expired(&mut self) -> bool {
        !std::mem::take(&mut self.expired).is_empty()
    }
}
