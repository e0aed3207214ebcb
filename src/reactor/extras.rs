//! The parts of a connection that only some connections have: a name, locks, leases, messages in hand,
//! watches and a read cursor. Other connections allocate no memory for these parts.

use std::time::Instant;

use super::leases::Leases;
use super::watch_list::WatchList;
use crate::mailboxes::Cursor;
use crate::workers::{LockSet, Receipt, Receipts};

/// The optional part of a connection.
#[derive(Debug)]
pub(super) struct Extras {
    /// The value of `hello name=`.
    pub name: Option<Box<str>>,
    /// The locks, unless a job has them.
    pub locks: Option<Box<LockSet>>,
    pub leases: Leases,
    /// The messages in hand, unless a job has them.
    pub receipts: Option<Box<Receipts>>,
    /// The time of the last answer, from which on the messages in hand are given back after a silence.
    pub answered_at: Instant,
    pub watches: WatchList,
    /// The mailbox and the cursor after the message of the last `r after=` in a long list.
    pub read_cursor: Option<(u32, Cursor)>,
}

impl Extras {
    pub(super) fn new(now: Instant) -> Self {
        Extras {
            name: None,
            locks: None,
            leases: Leases::new(now),
            receipts: None,
            answered_at: now,
            watches: WatchList::default(),
            read_cursor: None,
        }
    }

    /// Bytes of memory, including the value itself.
    pub(super) fn memory(&self) -> usize {
        let locks = self.locks.as_ref().map_or(0, |locks| locks.memory());
        let receipts = self.receipts.as_ref().map_or(0, |receipts| receipts.memory());
        size_of::<Self>() + self.leases.memory() + self.watches.memory() + locks + receipts
    }

    /// When the first message in hand is given back, if the client stays silent.
    pub(super) fn hand_end(&self) -> Option<Instant> {
        self.receipts.as_ref()?.next_end(self.answered_at)
    }

    /// Removes a message in hand whose time is over.
    pub(super) fn pop_expired_receipt(&mut self, now: Instant) -> Option<Receipt> {
        let expired = self.receipts.as_mut()?.pop_expired(self.answered_at, now)?;
        self.receipts.take_if(|receipts| receipts.len() == 0);
        Some(expired)
    }
}
