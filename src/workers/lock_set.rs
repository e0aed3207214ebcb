//! The locks of one client. They lie with its connection or travel with its job, so every thread that
//! executes a request has the grants that cover it.

use crate::mailboxes::{Grant, Mode};

/// The locks of a client, and the expired ones that it has not acknowledged.
#[derive(Debug, Default)]
pub(crate) struct LockSet {
    /// In the order in which they were acquired.
    locks: Vec<Lock>,
    /// How many of the last locks belong to a `lock` that still waits for other mailboxes.
    pending: usize,
    /// Mailboxes whose lock has expired. A request for one of them may have counted on the lock, so it is
    /// refused.
    expired: Vec<u32>,
}

/// A grant that is held across requests.
#[derive(Debug)]
pub(crate) struct Lock {
    pub mailbox: u32,
    pub grant: Grant,
}

/// What a client may do in a mailbox without being admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It holds no lock: it has to be admitted.
    Unlocked,
    /// It holds a lock that covers the request.
    Owned,
    /// It holds a shared lock. To wait for an exclusive one would be to wait for itself.
    Insufficient,
    /// It held a lock that has expired.
    Expired,
}

impl LockSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.locks.is_empty() && self.expired.is_empty()
    }

    /// Bytes of memory behind it.
    pub(crate) fn memory(&self) -> usize {
        self.locks.capacity() * size_of::<Lock>() + self.expired.capacity() * size_of::<u32>()
    }

    pub(crate) fn has_locks(&self) -> bool {
        !self.locks.is_empty()
    }

    /// How many mailboxes are remembered besides `wanted`, which is in ascending order.
    pub(crate) fn others(&self, wanted: &[u32]) -> usize {
        let expired = self.expired.iter().filter(|mailbox| wanted.binary_search(mailbox).is_err());
        self.locks.len() + expired.count()
    }

    pub(crate) fn access(&self, mailbox: u32, mode: Mode) -> Access {
        match self.locks.iter().find(|lock| lock.mailbox == mailbox) {
            None if self.expired.contains(&mailbox) => Access::Expired,
            None => Access::Unlocked,
            Some(lock) if lock.grant.mode() == Mode::Exclusive || mode == Mode::Shared => Access::Owned,
            Some(_) => Access::Insufficient,
        }
    }

    pub(crate) fn holds(&self, mailbox: u32) -> bool {
        self.locks.iter().any(|lock| lock.mailbox == mailbox)
    }

    /// Number of mailboxes that an incomplete `lock` has acquired.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Adds a mailbox of an incomplete `lock`.
    pub(crate) fn add(&mut self, mailbox: u32, grant: Grant) {
        debug_assert!(!self.holds(mailbox), "a mailbox is locked once");
        self.locks.push(Lock { mailbox, grant });
        self.pending += 1;
    }

    /// Completes a `lock`: it has acquired all its mailboxes.
    pub(crate) fn complete(&mut self) {
        self.pending = 0;
    }

    /// Removes the locks of an incomplete `lock`.
    pub(crate) fn take_pending(&mut self) -> Vec<Lock> {
        let first = self.locks.len() - std::mem::take(&mut self.pending);
        self.locks.split_off(first)
    }

    /// Removes the locks of the chosen mailboxes, except those of an incomplete `lock`.
    pub(crate) fn take(&mut self, chosen: impl Fn(u32) -> bool) -> Vec<Lock> {
        let complete = self.locks.len() - self.pending;
        self.locks.extract_if(..complete, |lock| chosen(lock.mailbox)).collect()
    }

    /// Removes all locks.
    pub(crate) fn take_all(&mut self) -> Vec<Lock> {
        self.pending = 0;
        std::mem::take(&mut self.locks)
    }

    /// The grant of a lock.
    pub(crate) fn grant(&mut self, mailbox: u32) -> Option<&mut Grant> {
        self.locks.iter_mut().find(|lock| lock.mailbox == mailbox).map(|lock| &mut lock.grant)
    }

    /// Records that the lock of a mailbox has expired.
    pub(crate) fn expire(&mut self, mailbox: u32) {
        self.expired.push(mailbox);
    }

    /// Records that the client has acknowledged the expired lock of a mailbox.
    pub(crate) fn forget_expired(&mut self, mailbox: u32) {
        self.expired.retain(|expired| *expired != mailbox);
    }

    /// Records that the client has acknowledged all expired locks. Returns whether there were any.
    pub(crate) fn forget_all_expired(&mut self) -> bool {
        !std::mem::take(&mut self.expired).is_empty()
    }
}
