//! The leases of one client: how long each of its locks lasts. Pure: `now` is a parameter.
//!
//! Each request of a client renews all its leases, so one instant is stored for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::mailboxes::Mode;
use crate::protocol::Eol;

/// The term of one lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub mailbox: u32,
    pub mode: Mode,
    /// The fencing token in the reply to the `lock`.
    pub token: u64,
    pub since: Instant,
    /// Longest silence of the client.
    pub ttl: Duration,
    /// The lock ends at this instant even if the client sends requests.
    pub hard_deadline: Instant,
    /// The end of line of the request, for events about the lock.
    pub eol: Eol,
}

/// All leases of a client. An operation on one lease costs O(log n).
#[derive(Debug)]
pub(super) struct Leases {
    /// By mailbox.
    leases: BTreeMap<u32, Lease>,
    /// The longest silence of each lease, the shortest first.
    silences: BTreeSet<(Duration, u32)>,
    /// The hard deadline of each lease, the earliest first.
    hard_deadlines: BTreeSet<(Instant, u32)>,
    last_renewal: Instant,
}

impl Leases {
    pub(super) fn new(now: Instant) -> Self {
        let (silences, hard_deadlines) = (BTreeSet::new(), BTreeSet::new());
        Leases { leases: BTreeMap::new(), silences, hard_deadlines, last_renewal: now }
    }

    /// Bytes of memory, without the value itself and without the overhead of its trees.
    pub(super) fn memory(&self) -> usize {
        let entry = size_of::<(u32, Lease)>() + size_of::<(Duration, u32)>() + size_of::<(Instant, u32)>();
        self.leases.len() * entry
    }

    /// All leases, in the order of their mailboxes.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Lease> {
        self.leases.values()
    }

    pub(super) fn of(&self, mailbox: u32) -> Option<&Lease> {
        self.leases.get(&mailbox)
    }

    /// Renews all leases: a request has arrived.
    pub(super) fn renew(&mut self, now: Instant) {
        self.last_renewal = now;
    }

    /// Adds the lease of a mailbox that has none.
    pub(super) fn add(&mut self, lease: Lease) {
        self.silences.insert((lease.ttl, lease.mailbox));
        self.hard_deadlines.insert((lease.hard_deadline, lease.mailbox));
        let before = self.leases.insert(lease.mailbox, lease);
        debug_assert!(before.is_none(), "a mailbox is locked once");
    }

    pub(super) fn remove(&mut self, mailbox: u32) -> Option<Lease> {
        let lease = self.leases.remove(&mailbox)?;
        self.silences.remove(&(lease.ttl, mailbox));
        self.hard_deadlines.remove(&(lease.hard_deadline, mailbox));
        Some(lease)
    }

    /// Removes any lease. Returns whether there was one.
    pub(super) fn pop(&mut self) -> bool {
        let last = self.leases.last_key_value().map(|(mailbox, _)| *mailbox);
        last.and_then(|mailbox| self.remove(mailbox)).is_some()
    }

    pub(super) fn clear(&mut self) {
        *self = Leases::new(self.last_renewal);
    }

    /// When the first lease ends if no further request arrives.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.next().map(|(end, _)| end)
    }

    /// When a lease ends if no further request arrives.
    pub(super) fn end(&self, lease: &Lease) -> Instant {
        let silent = self.last_renewal.checked_add(lease.ttl);
        silent.map_or(lease.hard_deadline, |silent| silent.min(lease.hard_deadline))
    }

    /// Removes the leases that have ended.
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<Lease> {
        let mut expired = Vec::new();
        while let Some((end, mailbox)) = self.next()
            && end <= now
        {
            expired.extend(self.remove(mailbox));
        }
        expired
    }

    /// The end and the mailbox of the lease that ends first if no further request arrives.
    fn next(&self) -> Option<(Instant, u32)> {
        let silent = self.silences.first().and_then(|(ttl, mailbox)| {
            let end = self.last_renewal.checked_add(*ttl)?;
            Some((end, *mailbox))
        });
        [silent, self.hard_deadlines.first().copied()].into_iter().flatten().min()
    }
}
