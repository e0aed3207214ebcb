//! One state of a mailbox: the positions of its messages. Pure numbers; [`Control`](super::Control) stores
//! them.

use super::ENTRY_HEADER;
use crate::protocol::VERSION_MAX;

/// The largest valid position and version. No server runs long enough to reach this value.
pub(super) const POSITION_MAX: u64 = VERSION_MAX;

/// One state of a mailbox: the positions of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Version of the newest message that was ever stored.
    pub version: u64,
    /// Where the oldest entry begins.
    pub head: u64,
    /// Where the newest entry ends.
    pub tail: u64,
    /// Where the newest entry begins; the tail if there is no entry.
    pub last: u64,
    /// Number of entries, including holes.
    pub count: u64,
}

/// The holes of a list. Stored beside the record, without a checksum: a start counts them again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holes {
    /// Number of holes. It is increased before a hole is made and decreased after holes are gone, so it is
    /// never 0 while there are holes.
    pub count: u32,
    /// Number of holes after the newest message.
    pub trailing: u32,
    /// Distance from the begin of the newest message to the tail; only used if `trailing` is not 0.
    pub distance: u32,
}

/// The contents of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The newest version that was ever stored; 0 before the first message.
    pub version: u64,
    /// The version of the newest message; 0 if there is no message.
    pub newest: u64,
    /// Number of messages.
    pub count: u64,
    /// Number of messages in hand. A block does not know them:
    /// [`Admission`](super::super::admission::Admission) sets this number.
    pub in_hand: u64,
    /// Number of messages and holes. Their versions are `version - entries + 1 ..= version`.
    pub entries: u64,
    /// Bytes of the largest message that a put could add; `None` if there is no room for an empty message.
    pub room: Option<u64>,
}

/// The memory has contents that this server never writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory of this mailbox is damaged")]
pub(crate) struct Damaged;

impl Contents {
    /// The contents of a mailbox without holes and without messages in hand.
    #[cfg(test)]
    pub(crate) const fn of_list(version: u64, count: u64, room: Option<u64>) -> Self {
        let newest = if count > 0 { version } else { 0 };
        Contents { version, newest, count, in_hand: 0, entries: count, room }
    }

    /// The version of the oldest message; if there is none, one more than the newest version.
    pub(crate) fn first(&self) -> u64 {
        self.version - self.entries + 1
    }
}

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

    pub(super) fn contents(&self, holes: Holes, capacity: u64) -> Contents {
        let count = self.count.saturating_sub(u64::from(holes.count));
        let newest = if count == 0 { 0 } else { self.version - u64::from(holes.trailing) };
        let (version, entries, room) = (self.version, self.count, self.room(capacity));
        Contents { version, newest, count, in_hand: 0, entries, room }
    }

    /// The list without its oldest entry, which ends at `end`.
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
