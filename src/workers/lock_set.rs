//! The locks of one connection. They lie with the connection, or travel with its job; so whoever runs a request has the
//! grants that it may run under.

use crate::mailboxes::{Grant, Mode};

/// What a connection holds, and what it held and has not heard about.
#[derive(Debug, Default)]
pub struct LockSet {
    locks: Vec<Lock>,
    /// Mailboxes whose lock has run out: no request of this connection that counted on it may be carried out.
    expired: Vec<u32>,
}

/// A grant that outlives the request it was given to.
#[derive(Debug)]
pub struct Lock {
    /// Which mailbox.
    pub mailbox: u32,
    /// How it is held.
    pub mode: Mode,
    /// The number that the client was told; 0 while its request still waits for other mailboxes.
    pub fencing_token: u64,
    /// Absent only while a request runs under it.
    grant: Option<Grant>,
}

/// What a connection may do in a mailbox without being admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It holds no lock there: it has to be admitted.
    Unlocked,
    /// It holds a lock that covers this.
    Owned,
    /// It holds a shared lock, which does not cover this; to wait for more would be to wait for itself.
    Insufficient,
    /// It held a lock that has run out.
    Expired,
}

impl Lock {
    /// A lock of a request that may still want others.
    pub fn new(mailbox: u32, grant: Grant) -> Self {
        Lock { mailbox, mode: grant.mode(), fencing_token: 0, grant: Some(grant) }
    }

    /// Ends it: what it was made of.
    pub fn into_grant(self) -> Grant {
        self.grant.expect("no request runs")
    }
}

impl LockSet {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.locks.is_empty() && self.expired.is_empty()
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.locks.capacity() * size_of::<Lock>() + self.expired.capacity() * size_of::<u32>()
    }

    /// Whether anybody could wait for this connection.
    pub fn has_locks(&self) -> bool {
        !self.locks.is_empty()
    }

    /// All locks.
    pub fn locks(&self) -> &[Lock] {
        &self.locks
    }

    /// How many mailboxes have to be remembered besides `wanted`, which is in ascending order.
    pub fn others(&self, wanted: &[u32]) -> usize {
        let lost = self.expired.iter().filter(|mailbox| wanted.binary_search(mailbox).is_err());
        self.locks.len() + lost.count()
    }

    /// The right to be in `mailbox`.
    pub fn access(&self, mailbox: u32, mode: Mode) -> Access {
        match self.find(mailbox) {
            None if self.expired.contains(&mailbox) => Access::Expired,
            None => Access::Unlocked,
            Some(at) if self.locks[at].mode == Mode::Exclusive || mode == Mode::Shared => Access::Owned,
            Some(_) => Access::Insufficient,
        }
    }

    /// Whether there is a lock of `mailbox`.
    pub fn holds(&self, mailbox: u32) -> bool {
        self.find(mailbox).is_some()
    }

    /// How many the request under way has taken so far. They are the last ones.
    pub fn pending(&self) -> usize {
        self.locks.iter().rev().take_while(|lock| lock.fencing_token == 0).count()
    }

    /// Takes a lock in.
    pub fn add(&mut self, lock: Lock) {
        debug_assert!(!self.holds(lock.mailbox), "a mailbox is locked once");
        self.locks.push(lock);
    }

    /// Tells the locks of the request under way their number.
    pub fn set_fencing_token(&mut self, number: u64) {
        self.locks
            .iter_mut()
            .filter(|lock| lock.fencing_token == 0)
            .for_each(|lock| lock.fencing_token = number);
    }

    /// Takes out the locks that `chosen` picks.
    pub fn take(&mut self, chosen: impl FnMut(&mut Lock) -> bool) -> Vec<Lock> {
        self.locks.extract_if(.., chosen).collect()
    }

    /// The grant of a lock, to run a request under; it comes back through [`LockSet::put_back`].
    pub fn borrow(&mut self, mailbox: u32) -> Grant {
        let at = self.find(mailbox).expect("only asked for a lock that is held");
        self.locks[at].grant.take().expect("one request at a time")
    }

    /// Takes back what [`LockSet::borrow`] gave.
    pub fn put_back(&mut self, mailbox: u32, grant: Grant) {
        let at = self.find(mailbox).expect("a lock does not end while a request runs");
        self.locks[at].grant = Some(grant);
    }

    /// Remembers that the lock of `mailbox` has run out.
    pub fn expire(&mut self, mailbox: u32) {
        self.expired.push(mailbox);
    }

    /// The client knows that the lock of `mailbox` has run out.
    pub fn forget_expired(&mut self, mailbox: u32) {
        self.expired.retain(|lost| *lost != mailbox);
    }

    /// Whether any lock had run out; from now on the client knows of all.
    pub fn forget_all_expired(&mut self) -> bool {
        !std::mem::take(&mut self.expired).is_empty()
    }

    fn find(&self, mailbox: u32) -> Option<usize> {
        self.locks.iter().position(|lock| lock.mailbox == mailbox)
    }
}
