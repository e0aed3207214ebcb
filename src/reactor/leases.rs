//! The leases of one client: how long each of its locks lasts. Pure: `now` is a parameter.
//!
//! All leases of a client are renewed together, by each of its requests, so one instant says when.

use std::time::{Duration, Instant};

use crate::mailboxes::Mode;
use crate::protocol::Eol;

/// The term of one lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub mailbox: u32,
    pub mode: Mode,
    /// The fencing token that the client was told.
    pub token: u64,
    pub since: Instant,
    /// How long the client may be silent.
    pub ttl: Duration,
    /// When the lock ends at the latest.
    pub hard_deadline: Instant,
    /// The end of line of the request, for events about the lock.
    pub eol: Eol,
}

/// All leases of a client.
#[derive(Debug)]
pub(super) struct Leases {
    leases: Vec<Lease>,
    last_renewal: Instant,
}

impl Leases {
    pub(super) fn new(now: Instant) -> Self {
        Leases { leases: Vec::new(), last_renewal: now }
    }

    /// Bytes of memory behind it.
    pub(super) fn memory(&self) -> usize {
        self.leases.capacity() * size_of::<Lease>()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter()
    }

    pub(super) fn of(&self, mailbox: u32) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.mailbox == mailbox)
    }

    /// A request has arrived.
    pub(super) fn renew(&mut self, now: Instant) {
        self.last_renewal = now;
    }

    pub(super) fn add(&mut self, lease: Lease) {
        self.leases.push(lease);
    }

    pub(super) fn remove(&mut self, mailbox: u32) {
        self.leases.retain(|lease| lease.mailbox != mailbox);
    }

    pub(super) fn clear(&mut self) {
        self.leases.clear();
    }

    /// When the first lease ends if no further request arrives.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.leases.iter().map(|lease| self.end(lease)).min()
    }

    /// When a lease ends if no further request arrives.
    pub(super) fn end(&self, lease: &Lease) -> Instant {
        let silent = self.last_renewal.checked_add(lease.ttl);
        silent.map_or(lease.hard_deadline, |silent| silent.min(lease.hard_deadline))
    }

    /// Removes the leases that have ended.
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<Lease> {
        let (ended, kept) = self.leases.iter().copied().partition(|lease| self.end(lease) <= now);
        self.leases = kept;
        ended
    }
}
