//! The fields of one state: pure numbers.

/// Bytes before each payload: its length.
pub(super) const ENTRY_HEADER: u64 = 4;

/// The largest valid position and version.
const POSITION_MAX: u64 = 1 << 62;

/// The positions of the entries of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Version of the newest message that was ever stored.
    pub version: u64,
    /// Where the oldest entry begins.
    pub head: u64,
    /// Where the newest entry ends.
    pub tail: u64,
    /// Where the newest entry begins; the tail if there is none.
    pub last: u64,
    /// Number of entries, including holes.
    pub count: u64,
}

/// The holes of a list: entries whose messages were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holes {
    pub count: u32,
    /// Number of holes behind the newest message.
    pub trailing: u64,
    /// Bytes from the begin of the newest message to the tail, if `trailing` is not 0.
    pub distance: u64,
}

impl Record {
    /// The version of the oldest entry; if there is none, one more than the newest version.
    pub(super) fn first(&self) -> u64 {
        self.version - self.count + 1
    }

    /// Whether the entries fit into a mailbox of this capacity.
    pub(super) fn fits(&self, capacity: u64) -> bool {
        self.tail - self.head <= capacity + ENTRY_HEADER
    }

    /// Whether the positions are ordered, in bounds, and leave room for the header of each entry.
    pub(super) fn is_consistent(&self) -> bool {
        let is_ordered = self.head <= self.last && self.last <= self.tail && self.tail <= POSITION_MAX;
        if !is_ordered || self.count > self.version || self.version > POSITION_MAX {
            return false;
        }
        let (older, newest) = (self.last - self.head, self.tail - self.last);
        match self.count {
            0 => older == 0 && newest == 0,
            1 => older == 0 && newest >= ENTRY_HEADER,
            count => older / ENTRY_HEADER >= count - 1 && newest >= ENTRY_HEADER,
        }
    }

    /// The checksum that the server stores beside the fields.
    pub(super) fn checksum(&self) -> u64 {
        let mut sum = 0x6469_7063_u64;
        for field in [self.version, self.head, self.tail, self.last, self.count] {
            sum = (sum ^ field).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
        sum
    }
}
