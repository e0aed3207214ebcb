//! The memory of one mailbox: a list of messages, changed by one store. Pure: no lock, thread, socket or clock.
//!
//! **The law**: *live bytes are never overwritten, and one 8-byte release store commits a change.* Killed before it,
//! the mailbox has its old content, whole; killed after it, the new.
//!
//! A message is a frame `len u32 | payload` in a [`Ring`] with room for two of full size, so that a new one always
//! fits beside a live one. A message that replaces all others goes to the start of the half that they do not touch: a
//! mailbox of small messages then lives in two places that stay in the cache, instead of walking through its ring.
//! The [`Control`] area holds two records; the commit word says which of them is active:
//!
//! ```text
//!     word = seq << 1 | active            fill the inactive record, then store the word
//!     record = version, head, tail, count, checksum       the messages lie from head to tail, positions in the ring
//! ```

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::ring::Ring;

/// Bytes before each payload.
pub const FRAME_HEADER: usize = 4;

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
    count: AtomicU64,
    checksum: AtomicU64,
}

/// One state of a mailbox: where its messages lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    version: u64,
    head: u64,
    tail: u64,
    count: u64,
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

/// A message, where it lies.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its bytes, in order; the second part is empty unless they wrap.
    pub parts: [&'a [u8]; 2],
    /// The newest version of the mailbox.
    pub version: u64,
    /// How many messages the mailbox holds.
    pub count: u64,
}

/// The memory of one mailbox, in the hands of somebody who holds a grant for it.
#[derive(Debug)]
pub struct Block<'a> {
    control: &'a Control,
    ring: Ring<'a>,
    capacity: usize,
}

impl Control {
    /// Makes this the control area of an empty mailbox.
    pub fn format(&self) {
        let empty = Record { version: 0, head: 0, tail: 0, count: 0 };
        self.records[0].store(empty);
        self.records[1].store(empty);
        self.word.store(0, Ordering::Release);
    }

    /// The newest version, for somebody who holds no grant.
    pub fn version(&self) -> Result<u64, Damaged> {
        self.snapshot().map(|record| record.version)
    }

    /// About how many bytes the mailbox holds, for somebody who holds no grant.
    pub fn live_bytes(&self) -> u64 {
        self.snapshot().map_or(0, |record| record.tail - record.head)
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

    fn active(&self) -> Result<Record, Damaged> {
        self.records[active(self.word.load(Ordering::Acquire))].load()
    }

    fn commit(&self, record: Record) {
        let word = self.word.load(Ordering::Relaxed);
        self.records[1 - active(word)].store(record);
        self.word.store(next(word), Ordering::Release);
    }
}

fn active(word: u64) -> usize {
    (word & 1) as usize
}

/// The word after `word`: the next sequence number, the other record.
fn next(word: u64) -> u64 {
    ((word >> 1) + 1) << 1 | (1 - (word & 1))
}

impl Slot {
    fn load(&self) -> Result<Record, Damaged> {
        let record = Record {
            version: self.version.load(Ordering::Relaxed),
            head: self.head.load(Ordering::Relaxed),
            tail: self.tail.load(Ordering::Relaxed),
            count: self.count.load(Ordering::Relaxed),
        };
        let sane = record.head <= record.tail && record.checksum() == self.checksum.load(Ordering::Relaxed);
        if sane { Ok(record) } else { Err(Damaged) }
    }

    fn store(&self, record: Record) {
        self.version.store(record.version, Ordering::Relaxed);
        self.head.store(record.head, Ordering::Relaxed);
        self.tail.store(record.tail, Ordering::Relaxed);
        self.count.store(record.count, Ordering::Relaxed);
        self.checksum.store(record.checksum(), Ordering::Relaxed);
    }
}

impl Record {
    /// Mixes the four numbers so that no flipped bit and no page of zeros passes for a record.
    fn checksum(&self) -> u64 {
        [self.version, self.head, self.tail, self.count].iter().fold(0x6469_7063, |sum: u64, number| {
            (sum ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        })
    }
}

impl<'a> Block<'a> {
    /// The block of `control` and `ring`; the ring has room for two messages of `capacity` bytes and their headers.
    pub fn new(control: &'a Control, ring: Ring<'a>, capacity: usize) -> Self {
        debug_assert!(ring.size() >= 2 * (capacity + FRAME_HEADER));
        Block { control, ring, capacity }
    }

    /// The newest version.
    pub fn version(&self) -> Result<u64, Damaged> {
        self.control.active().map(|record| record.version)
    }

    /// At most `len` bytes from `offset` on of the newest message; an empty mailbox has an empty one.
    pub fn read(&self, offset: u64, len: u64) -> Result<Message<'_>, Damaged> {
        let record = self.control.active()?;
        let (start, length) = self.newest(record)?;
        let offset = offset.min(length as u64);
        let len = len.min(length as u64 - offset) as usize;
        let parts = self.ring.read(start + offset, len);
        Ok(Message { parts, version: record.version, count: record.count })
    }

    /// Makes `bytes`, at most the capacity, the only message; returns its version.
    pub fn write(&mut self, bytes: &[u8]) -> Result<u64, Damaged> {
        let record = self.control.active()?;
        let at = self.frame(record, bytes.len())?;
        self.ring.write(at + FRAME_HEADER as u64, bytes);
        Ok(self.replace(record, at, bytes.len()))
    }

    /// Puts `bytes` at `offset` of the newest message, with zeros in between when it ends before that, and makes the
    /// result the only message. `offset + bytes.len()` is at most the capacity. Returns its version.
    pub fn patch(&mut self, offset: usize, bytes: &[u8]) -> Result<u64, Damaged> {
        let record = self.control.active()?;
        let (old, old_len) = self.newest(record)?;
        let end = offset + bytes.len();
        let len = old_len.max(end);
        let at = self.frame(record, len)?;
        let start = at + FRAME_HEADER as u64;
        let kept = old_len.min(offset);
        self.ring.copy(old, start, kept);
        self.ring.zero(start + kept as u64, offset - kept);
        self.ring.write(start + offset as u64, bytes);
        if old_len > end {
            self.ring.copy(old + end as u64, start + end as u64, old_len - end);
        }
        Ok(self.replace(record, at, len))
    }

    /// Where the payload of the newest message starts, and its length.
    fn newest(&self, record: Record) -> Result<(u64, usize), Damaged> {
        if record.count == 0 {
            return Ok((record.tail, 0));
        }
        let [front, back] = self.ring.read(record.head, FRAME_HEADER);
        let mut header = [0; FRAME_HEADER];
        header[..front.len()].copy_from_slice(front);
        header[front.len()..].copy_from_slice(back);
        let len = u32::from_ne_bytes(header) as usize;
        let fits = len <= self.capacity && record.head + (FRAME_HEADER + len) as u64 == record.tail;
        if fits { Ok((record.head + FRAME_HEADER as u64, len)) } else { Err(Damaged) }
    }

    /// Writes the header of a message that is to replace the live ones; returns where it is.
    fn frame(&mut self, record: Record, len: usize) -> Result<u64, Damaged> {
        assert!(len <= self.capacity, "{len} bytes into a mailbox of {}", self.capacity);
        let at = self.free_half(record)?;
        let header = u32::try_from(len).expect("a capacity fits into 32 bits").to_ne_bytes();
        self.ring.write(at, &header);
        Ok(at)
    }

    /// The start of a half of the ring that no live byte is in.
    fn free_half(&self, record: Record) -> Result<u64, Damaged> {
        let half = self.ring.size() as u64 / 2;
        let live = record.tail - record.head;
        match record.head % (2 * half) {
            head if head + live <= half => Ok(half),
            head if head >= half && head + live <= 2 * half => Ok(0),
            // One message never lies in both halves.
            _ => Err(Damaged),
        }
    }

    /// Commits: the message that was framed at `at` is the only one now.
    fn replace(&mut self, old: Record, at: u64, len: usize) -> u64 {
        let version = old.version + 1;
        let tail = at + (FRAME_HEADER + len) as u64;
        self.control.commit(Record { version, head: at, tail, count: 1 });
        version
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
