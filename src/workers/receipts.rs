//! The messages that one client has in hand. They are in the job of the client while it has one, else in its
//! connection, like its locks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::mailboxes::IN_HAND_MEMORY;
use crate::protocol::Eol;

/// Largest number of messages that a connection may have in hand.
pub(crate) const IN_HAND_MAX: usize = 1024;

/// A message that a client has in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub mailbox: u32,
    pub version: u64,
    /// Longest silence of the client.
    pub ttl: Duration,
    /// The end of line of the request, for the event that the message was given back.
    pub eol: Eol,
}

/// The messages that a client has in hand. Some of them may be gone: the mailbox knows which ones. Every
/// operation costs O(log n).
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    receipts: BTreeMap<(u32, u64), Receipt>,
    /// The longest silence of each receipt, the shortest first.
    silences: BTreeSet<(Duration, u32, u64)>,
}

impl Receipts {
    pub(crate) fn len(&self) -> usize {
        self.receipts.len()
    }

    /// Bytes of memory of the entries.
    pub(crate) fn memory(&self) -> usize {
        self.len() * IN_HAND_MEMORY
    }

    /// The end of line of a client that has a message in hand.
    pub(crate) fn eol(&self) -> Option<Eol> {
        self.receipts.first_key_value().map(|(_, receipt)| receipt.eol)
    }

    /// Adds a message that was handed out.
    pub(crate) fn add(&mut self, receipt: Receipt) {
        let Receipt { mailbox, version, ttl, .. } = receipt;
        self.silences.insert((ttl, mailbox, version));
        self.receipts.insert((mailbox, version), receipt);
    }

    /// Removes a message. Returns whether the client had it.
    pub(crate) fn remove(&mut self, mailbox: u32, version: u64) -> bool {
        let Some(receipt) = self.receipts.remove(&(mailbox, version)) else { return false };
        self.silences.remove(&(receipt.ttl, mailbox, version));
        true
    }

    /// Removes any message.
    pub(crate) fn pop(&mut self) -> Option<Receipt> {
        let receipt = *self.receipts.last_key_value()?.1;
        self.remove(receipt.mailbox, receipt.version);
        Some(receipt)
    }

    /// When the first message is given back, if the client sends nothing after `since`.
    pub(crate) fn next_end(&self, since: Instant) -> Option<Instant> {
        since.checked_add(self.silences.first()?.0)
    }

    /// Removes a message whose time is over. `since` is the time of the last answer.
    pub(crate) fn pop_expired(&mut self, since: Instant, now: Instant) -> Option<Receipt> {
        let (_, mailbox, version) = *self.silences.first()?;
        if self.next_end(since)? > now {
            return None;
        }
        let receipt = *self.receipts.get(&(mailbox, version))?;
        self.remove(mailbox, version);
        Some(receipt)
    }
}
