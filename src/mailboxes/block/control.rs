//! The control area of one mailbox: which of two records is the state, and how a kill leaves one of them whole.
//!
//! ```text
//!     word = seq << 1 | active            fill the inactive record, then store the word
//!     record = version, head, tail, last, count, checksum
//! ```

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::ENTRY_HEADER;

/// Positions and versions end here; no server lives to see it.
const POSITION_MAX: u64 = 1 << 62;

/// The control area of one mailbox, as it lies in the segment, on cache lines of its own.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Control {
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

/// One state of a mailbox: where its messages lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Of the newest message that was ever in.
    pub version: u64,
    /// Where the oldest frame starts.
    pub head: u64,
    /// Where the newest frame ends.
    pub tail: u64,
    /// Where the newest frame starts; the tail when there is none.
    pub last: u64,
    /// How many messages.
    pub count: u64,
}

/// What a mailbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The newest version; 0 when nothing was ever in.
    pub version: u64,
    /// How many messages: the versions `version - count + 1 ..= version`.
    pub count: u64,
    /// Bytes of the largest message that a put would take now; `None` when not even an empty one has room.
    pub room: Option<u64>,
}

/// The memory does not hold what this server writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory of this mailbox is damaged")]
pub struct Damaged;

/// What recovery found at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// The active record is good.
    Whole,
    /// The active record was bad, the one before it is active now.
    FellBack,
    /// Both are bad; every request of this mailbox is refused.
    Lost,
}

impl Control {
    /// Makes this the control area of an empty mailbox.
    pub fn format(&self) {
        let empty = Record { version: 0, head: 0, tail: 0, last: 0, count: 0 };
        self.records[0].store(empty);
        self.records[1].store(empty);
        self.word.store(0, Ordering::Release);
    }

    /// The newest version, for somebody who holds no grant.
    pub fn version(&self) -> Result<u64, Damaged> {
        self.snapshot().map(|record| record.version)
    }

    /// What the mailbox of `capacity` bytes holds, for somebody who holds no grant.
    pub fn contents(&self, capacity: u64) -> Result<Contents, Damaged> {
        Ok(self.snapshot()?.check_capacity(capacity)?.contents(capacity))
    }

    /// About how many bytes the mailbox holds, for somebody who holds no grant.
    pub fn live_bytes(&self) -> u64 {
        self.snapshot().map_or(0, |record| record.live())
    }

    /// The same of a mailbox of `capacity` bytes, but of a record that is not checked, and perhaps of two states at once:
    /// for whoever only wants to know how much work it is.
    pub fn approximate_bytes(&self, capacity: u64) -> u64 {
        let slot = &self.records[active(self.word.load(Ordering::Relaxed))];
        let live = slot.tail.load(Ordering::Relaxed).saturating_sub(slot.head.load(Ordering::Relaxed));
        live.min(capacity)
    }

    /// Looks at both records after a start; falls back to the older one when the active one is bad.
    pub fn recover(&self) -> Recovered {
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

    /// The active record, read while somebody may be committing.
    fn snapshot(&self) -> Result<Record, Damaged> {
        loop {
            let word = self.word.load(Ordering::Acquire);
            let record = self.records[active(word)].load();
            fence(Ordering::Acquire);
            // The active record is only rewritten after the word has moved away from it.
            if self.word.load(Ordering::Relaxed) == word {
                return record;
            }
        }
    }

    /// The active record, for the holder of a grant.
    pub(super) fn active(&self) -> Result<Record, Damaged> {
        self.records[active(self.word.load(Ordering::Acquire))].load()
    }

    /// Makes `record` the state.
    pub(super) fn commit(&self, record: Record) {
        debug_assert!(record.is_consistent(), "{record:?}");
        let word = self.word.load(Ordering::Relaxed);
        self.records[1 - active(word)].store(record);
        self.word.store(next(word), Ordering::Release);
        // The next change under the same grant writes where the old state was: never before the word has left it.
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
    /// The version of the oldest message; one more than the newest when there is none.
    pub fn first(&self) -> u64 {
        self.version - self.count + 1
    }

    /// Bytes of all frames.
    pub fn live(&self) -> u64 {
        self.tail - self.head
    }

    /// Bytes of the largest message that may be added; `None` when not even an empty one may. One message of full size
    /// fits when there is none, and each further one costs its header.
    pub fn room(&self, capacity: u64) -> Option<u64> {
        capacity.checked_sub(self.live())
    }

    pub fn contents(&self, capacity: u64) -> Contents {
        Contents { version: self.version, count: self.count, room: self.room(capacity) }
    }

    /// The list without its oldest message, whose frame has this end.
    pub fn without_oldest(self, end: u64) -> Self {
        let count = self.count - 1;
        let last = if count == 0 { self.tail } else { self.last };
        Record { head: end, last, count, ..self }
    }

    /// This record, if a mailbox of `capacity` bytes can hold so much.
    pub fn check_capacity(self, capacity: u64) -> Result<Self, Damaged> {
        if self.live() <= capacity + ENTRY_HEADER as u64 { Ok(self) } else { Err(Damaged) }
    }

    /// Whether the numbers can belong together: every frame has room for its header.
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

    /// Mixes the numbers so that no flipped bit and no page of zeros passes for a record.
    fn checksum(&self) -> u64 {
        [self.version, self.head, self.tail, self.last, self.count]
            .iter()
            .fold(0x6469_7063, |sum: u64, number| {
                (sum ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
            })
    }
}
