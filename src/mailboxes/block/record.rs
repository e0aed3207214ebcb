//! One state of a mailbox: the positions of its messages. Pure numbers; [`Control`](super::Control) stores
//! them.

use super::ENTRY_HEADER;

/// The largest valid position and version. No server runs long enough to reach this value.
pub(super) const POSITION_MAX: u64 = 1 << 62;

/// One state of a mailbox: the positions of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Version of the newest message that was ever stored.
    pub version: u64,
    /// Where the oldest entry begins.
    pub head: u64,
    /// Where the newest entry ends.
    pub tail: u64,
    /// Where the newest entry begins; the tail if there is no message.
    pub last: u64,
    /// Number of messages.
    pub count: u64,
}

/// The contents of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The newest version; 0 before the first message.
    pub version: u64,
    /// Number of messages. Their versions are `version - count + 1 ..= version`.
    pub count: u64,
    /// Bytes of the largest message that a put could add; `None` if there is no room for an empty message.
    pub room: Option<u64>,
}

/// The memory has contents that this server never writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory of this mailbox is damaged")]
pub(crate) struct Damaged;

impl Record {
    /// The version of the oldest message; if there is none, one more than the newest version.
    pub(super) fn first(&self) -> u64 {
        self.version - self.count + 1
    }

    /// Bytes of all entries.
    pub(super) fn live(&self) -> u64 {
        self.tail - self.head
    }

    /// Bytes of the largest message that can be added; `None` if there is no room for an empty message. The
    /// header of one message is not counted against the capacity, so that a single message can have the size
    /// of the mailbox.
    pub(super) fn room(&self, capacity: u64) -> Option<u64> {
        capacity.checked_sub(self.live())
    }

    pub(super) fn contents(&self, capacity: u64) -> Contents {
        Contents { version: self.version, count: self.count, room: self.room(capacity) }
    }

    /// The list without its oldest message, whose entry ends at `end`.
    pub(super) fn without_oldest(self, end: u64) -> Self {
        let count = self.count - 1;
        let last = if count == 0 { self.tail } else { self.last };
        Record { head: end, last, count, ..self }
    }

    /// Returns this record if its messages fit into a mailbox of `capacity` bytes.
    pub(super) fn check_capacity(self, capacity: u64) -> Result<Self, Damaged> {
        if self.live() <= capacity + ENTRY_HEADER as u64 { Ok(self) } else { Err(Damaged) }
    }

    /// Whether the fields are consistent: ordered, within bounds, and with room for the header of every
    /// entry.
    pub(super) fn is_consistent(&self) -> bool {
        let header = ENTRY_HEADER as u64;
        let ordered = self.head <= self.last && self.last <= self.tail && self.tail <= POSITION_MAX;
        let versioned = self.count <= self.version && self.version <= POSITION_MAX;
        ordered
            && versioned
            && match (self.count, self.last - self.head, self.tail - self.last) {
                (0, older, newest) => older == 0 && newest == 0,
                (1, older, newest) => older == 0 && newest >= header,
                (count, older, newest) => older / header >= count - 1 && newest >= header,
            }
    }

    /// A checksum that detects every change of a single field, and a record of zeros.
    pub(super) fn checksum(&self) -> u64 {
        [self.version, self.head, self.tail, self.last, self.count]
            .iter()
            .fold(0x6469_7063, |sum: u64, number| {
                (sum ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
            })
    }
}
