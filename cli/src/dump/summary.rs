//! What restoring a mailbox of a dump needs, without its messages.

use super::format::{Mailbox, Message};

/// A mailbox of the dump, and what its messages need.
pub(crate) struct Summary {
    pub mailbox: Mailbox,
    /// The position of the first message in the file.
    pub at: u64,
    /// The version of the oldest message. None: there is no message.
    pub first: Option<u64>,
    /// The newest version whose message is gone, while an older one is left. None: there is no such version.
    pub last_hole: Option<u64>,
    /// The number of messages before `last_hole`.
    pub before_hole: u64,
    /// The length of the longest message.
    pub longest: u64,
    /// The bytes of all messages.
    pub bytes: u64,
}

impl Summary {
    /// A mailbox without messages. `at` is the position after its line.
    pub(super) fn new(mailbox: Mailbox, at: u64) -> Self {
        Summary { mailbox, at, first: None, last_hole: None, before_hole: 0, longest: 0, bytes: 0 }
    }

    /// Adds a message. `before` is the number of messages before it, and `last` the version of the last of
    /// them.
    pub(super) fn add(&mut self, message: Message, last: Option<u64>, before: u64) {
        self.first = self.first.or(Some(message.version));
        if last.is_some_and(|last| message.version > last + 1) {
            (self.last_hole, self.before_hole) = (Some(message.version - 1), before);
        }
        self.longest = self.longest.max(message.len);
        self.bytes = self.bytes.saturating_add(message.len);
    }

    /// The version that the mailbox needs before its first message is put.
    pub(crate) fn base(&self) -> u64 {
        self.first.map_or(self.mailbox.version, |first| first - 1)
    }

    /// The bytes that the messages and holes take in a mailbox: 4 more for each one beyond the first.
    pub(crate) fn room(&self) -> u128 {
        let further = self.first.map_or(0, |first| self.mailbox.version - first);
        u128::from(self.bytes) + 4 * u128::from(further)
    }
}
