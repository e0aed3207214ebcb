//! The control area of one mailbox: two records, and a word that selects the active one. A kill at any
//! moment leaves the active record intact.
//!
//! ```text
//!     word = seq << 1 | active            fill the inactive record, then store the word
//!     record = version, head, tail, last, count, checksum
//! ```

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::ENTRY_HEADER;

/// The largest valid position and version. No server runs long enough to reach it.
const POSITION_MAX: u64 = 1 << 62;

/// The control area of one mailbox, as laid out in the segment, on its own cache lines.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Control {
    word: AtomicU64,
    records: [Slot; 2],
}

#[derive(Debug)]
#[repr(C)]
struct Slot {
    version: AtomicU64,
    head: AtomicU64,
    tail: AtomicU64,
    last: AtomicU64,
    count: AtomicU64,
    checksum: AtomicU64,
}

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

/// The outcome of the recovery of a mailbox at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovered {
    /// The active record is intact.
    Whole,
    /// The active record was damaged; the previous record is active now.
    FellBack,
    /// Both records are damaged; every request for this mailbox is refused.
    Lost,
}

impl Control {
    /// Initializes the control area of an empty mailbox.
    pub(crate) fn format(&self) {
        let empty = Record { version: 0, head: 0, tail: 0, last: 0, count: 0 };
        self.records[0].store(empty);
        self.records[1].store(empty);
        self.word.store(0, Ordering::Release);
    }

    /// The newest version, for a caller without a grant.
    pub(crate) fn version(&self) -> Result<u64, Damaged> {
        self.snapshot().map(|record| record.version)
    }

    /// The contents of this mailbox of `capacity` bytes, for a caller without a grant.
    pub(crate) fn contents(&self, capacity: u64) -> Result<Contents, Damaged> {
        Ok(self.snapshot()?.check_capacity(capacity)?.contents(capacity))
    }

    /// Bytes of all entries of the mailbox, for a caller without a grant; 0 if the record is damaged.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.snapshot().map_or(0, |record| record.live())
    }

    /// An estimate of [`Control::live_bytes`], at most `capacity`, without verifying the checksum. The head
    /// and the tail may belong to two states. Enough for an estimate of how long a request will take.
    pub(crate) fn approximate_bytes(&self, capacity: u64) -> u64 {
        let slot = &self.records[active(self.word.load(Ordering::Relaxed))];
        let live = slot.tail.load(Ordering::Relaxed).saturating_sub(slot.head.load(Ordering::Relaxed));
        live.min(capacity)
    }

    /// Checks both records at a start. If the active one is damaged, activates the other one.
    pub(crate) fn recover(&self) -> Recovered {
        let word = self.word.load(Ordering::Acquire);
        if self.records[active(word)].load().is_ok() {
            return Recovered::Whole;
        }
        if self.records[1 - active(word)].load().is_err() {
            return Recovered::Lost;
        }
        self.word.store(next(word), Ordering::Release);
        Recovered::FellBack
    }

    /// The active record, read while another thread may be committing.
    fn snapshot(&self) -> Result<Record, Damaged> {
        loop {
            let word = self.word.load(Ordering::Acquire);
            let record = self.records[active(word)].load();
            fence(Ordering::Acquire);
            // A commit writes the inactive record only. If the word has not changed, this record was active
            // throughout.
            if self.word.load(Ordering::Relaxed) == word {
                return record;
            }
        }
    }

    /// The active record, for the holder of a grant.
    pub(super) fn active(&self) -> Result<Record, Damaged> {
        self.records[active(self.word.load(Ordering::Acquire))].load()
    }

    /// Makes `record` the active one.
    pub(super) fn commit(&self, record: Record) {
        debug_assert!(record.is_consistent(), "{record:?}");
        let word = self.word.load(Ordering::Relaxed);
        self.records[1 - active(word)].store(record);
        self.word.store(next(word), Ordering::Release);
        // The next change under the same grant overwrites the old state. This fence orders those stores after
        // the one of the word.
        fence(Ordering::Release);
    }
}

fn active(word: u64) -> usize {
    (word & 1) as usize
}

/// The word after `word`: the next sequence number, the other record.
fn next(word: u64) -> u64 {
    (word >> 1).wrapping_add(1) << 1 | (1 - (word & 1))
}

impl Slot {
    fn load(&self) -> Result<Record, Damaged> {
        let record = Record {
            version: self.version.load(Ordering::Relaxed),
            head: self.head.load(Ordering::Relaxed),
            tail: self.tail.load(Ordering::Relaxed),
            last: self.last.load(Ordering::Relaxed),
            count: self.count.load(Ordering::Relaxed),
        };
        let whole = record.checksum() == self.checksum.load(Ordering::Relaxed) && record.is_consistent();
        if whole { Ok(record) } else { Err(Damaged) }
    }

    fn store(&self, record: Record) {
        self.version.store(record.version, Ordering::Relaxed);
        self.head.store(record.head, Ordering::Relaxed);
        self.tail.store(record.tail, Ordering::Relaxed);
        self.last.store(record.last, Ordering::Relaxed);
        self.count.store(record.count, Ordering::Relaxed);
        self.checksum.store(record.checksum(), Ordering::Relaxed);
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
    fn is_consistent(&self) -> bool {
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

    /// A checksum that detects every flipped bit, and a page of zeros.
    fn checksum(&self) -> u64 {
        [self.version, self.head, self.tail, self.last, self.count]
            .iter()
            .fold(0x6469_7063, |sum: u64, number| {
                (sum ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
            })
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
