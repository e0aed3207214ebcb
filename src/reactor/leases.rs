//! The leases of one client: how long each of its locks lasts. Pure: `now` is a parameter.
//!
//! Each request of a client renews all its leases, so one instant is stored for all of them.

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

    /// Bytes of memory, without the value itself.
    pub(super) fn memory(&self) -> usize {
        self.leases.capacity() * size_of::<Lease>()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.leases.iter()
    }

    pub(super) fn of(&self, mailbox: u32) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.mailbox == mailbox)
    }

    /// Renews all leases: a request has arrived.
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
        lease.end(self.last_renewal)
    }

    /// Removes the leases that have ended.
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<Lease> {
        let renewed = self.last_renewal;
        self.leases.extract_if(.., |lease| lease.end(renewed) <= now).collect()
    }
}

impl Lease {
    /// When it ends if this was the client's last request.
    fn end(&self, last_renewal: Instant) -> Instant {
        let silent = last_renewal.checked_add(self.ttl);
        silent.map_or(self.hard_deadline, |silent| silent.min(self.hard_deadline))
    }
}
