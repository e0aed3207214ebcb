//! The memory of one mailbox: a list of messages. A single store commits each change. Pure: no lock, thread,
//! socket or clock.
//!
//! **The law**: *live bytes are never overwritten, and one 8-byte release store commits a change.* A kill
//! before that store leaves the old contents. A kill after that store leaves the new contents.
//!
//! A message is an entry `len u32 | payload` in a [`Ring`]. The entries of a list are contiguous, from the
//! record's head to its tail:
//!
//! ```text
//!     head                            last               tail
//!     │ len │ payload │ len │ payload │ len │ payload    │
//!       version - count + 1             version
//! ```
//!
//! The record is in the [`Control`] area. There are two records, and a word that selects the active one. A
//! kill at any moment leaves the active record intact:
//!
//! ```text
//!     word = held << 63 | seq << 1 | active    fill the inactive record, then store the word
//!     record = version, head, tail, last, count, checksum
//! ```
//!
//! A message that is removed while an older one is left becomes a *hole*: the top bit of its length is set.
//! This store of one byte commits the removal. It is the only store into live bytes. The oldest entry of a
//! list is always a message: a removal of the oldest message also removes the holes behind it. The number of
//! holes is stored beside the records. It is never 0 while there are holes, and a start counts them again.
//!
//! Readers of the shared memory hold no grant. The sequence number of a change is stored in `begun` before
//! the change stores anything else, so a reader that finds a higher one may have copied bytes of two states.
//! The holes are not a part of the record. A change of a mailbox with holes therefore has two sequence
//! numbers: one for the record, one for the holes behind it. The holes belong to the record while `begun` and
//! the word have the same sequence number.
//!
//! All live entries together take at most the capacity plus one header. A new entry takes at most the same
//! number of bytes. The ring has twice that size, so a new entry after the live entries never overwrites
//! them. A message that becomes the only one is written to the start of a half of the ring, if that half has
//! no live bytes. A mailbox that has one small message at a time therefore uses two short ranges, which stay
//! in the cache, and not its whole ring.

mod copy;
mod entry;
mod record;
mod removal;
mod source;

use super::segment::Ring;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use entry::Entry;
pub(crate) use record::{Contents, Damaged};
use record::{Holes, Record};
pub(crate) use removal::{Located, Location, Taken};
use source::certain;
pub(crate) use source::{Incoming, Source};

/// Bytes before each payload.
pub(super) const ENTRY_HEADER: usize = 4;

/// The bit of the word that keeps readers of the shared memory out: a lock holds the mailbox, or a taken
/// message is not acknowledged.
const HELD: u64 = 1 << 63;

/// The control area of one mailbox, as laid out in the segment, on its own cache lines.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Control {
    word: AtomicU64,
    records: [Slot; 2],
    /// The sequence number of the word after the change that has begun last. Stored before any other store of
    /// that change, so that a reader of the shared memory knows which bytes may have been overwritten. It
    /// never decreases.
    begun: AtomicU64,
    /// Counts the changes that readers of the shared memory have waited for.
    bell: AtomicU32,
    /// The fields of [`Holes`]: the count, then `trailing << 32 | distance`.
    holes: AtomicU32,
    newest: AtomicU64,
}

#[cfg(not(feature = "loom"))]
const _: () = assert!(size_of::<Control>() == 128, "part of the layout of the segment");

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
        self.begun.store(0, Ordering::Relaxed);
        self.store_holes(Holes::default());
        self.word.store(0, Ordering::Release);
    }

    /// The newest version, for a caller without a grant.
    pub(crate) fn version(&self) -> Result<u64, Damaged> {
        self.snapshot().map(|record| record.version)
    }

    /// The contents of this mailbox of `capacity` bytes, for a caller without a grant.
    pub(crate) fn contents(&self, capacity: u64) -> Result<Contents, Damaged> {
        let record = self.snapshot()?.check_capacity(capacity)?;
        Ok(record.contents(self.holes(), capacity))
    }

    /// Bytes of all entries of the mailbox, for a caller without a grant; 0 if the record is damaged.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.snapshot().map_or(0, |record| record.live())
    }

    /// An estimate of [`Control::live_bytes`], at most `capacity`. The checksum is not verified, and the head
    /// and the tail may belong to two states. The callers need the estimate only to predict the cost of a
    /// request.
    pub(crate) fn approximate_bytes(&self, capacity: u64) -> u64 {
        let slot = &self.records[active(self.word.load(Ordering::Relaxed))];
        let live = slot.tail.load(Ordering::Relaxed).saturating_sub(slot.head.load(Ordering::Relaxed));
        live.min(capacity)
    }

    /// An estimate of the bytes of a message, as [`Control::approximate_bytes`].
    pub(crate) fn mean_bytes(&self, capacity: u64) -> u64 {
        let slot = &self.records[active(self.word.load(Ordering::Relaxed))];
        self.approximate_bytes(capacity) / slot.count.load(Ordering::Relaxed).max(1)
    }

    /// Checks the active record at a start. If it is damaged and the other record is intact, activates the
    /// other record.
    pub(crate) fn recover(&self) -> Recovered {
        let word = self.word.fetch_and(!HELD, Ordering::AcqRel) & !HELD;
        let recovered = if self.records[active(word)].load().is_ok() {
            Recovered::Whole
        } else if self.records[1 - active(word)].load().is_err() {
            return Recovered::Lost;
        } else {
            Recovered::FellBack
        };
        // A change that a kill has interrupted is not continued. Its sequence number is used up, because
        // readers of the shared memory may have seen it.
        let (seq, begun) = (word >> 1, self.begun.load(Ordering::Relaxed));
        let seq = if (seq..=seq + 2).contains(&begun) { begun } else { seq };
        let word = seq << 1 | word & 1;
        let word = if recovered == Recovered::FellBack { next(word) } else { word };
        self.begun.store(word >> 1, Ordering::Relaxed);
        self.word.store(word, Ordering::Release);
        recovered
    }

    /// Keeps readers of the shared memory out, or lets them in again. For the holder of an exclusive grant.
    pub(crate) fn set_held(&self, is_held: bool) {
        match is_held {
            true => self.word.fetch_or(HELD, Ordering::AcqRel),
            false => self.word.fetch_and(!HELD, Ordering::AcqRel),
        };
    }

    /// The word that readers of the shared memory wait for; see [`Waiters`](super::Waiters).
    pub(super) fn bell(&self) -> &AtomicU32 {
        &self.bell
    }

    /// Whether the mailbox may have holes.
    pub(crate) fn has_holes(&self) -> bool {
        self.holes.load(Ordering::Relaxed) > 0
    }

    fn holes(&self) -> Holes {
        let count = self.holes.load(Ordering::Relaxed);
        if count == 0 {
            return Holes::default();
        }
        let newest = self.newest.load(Ordering::Relaxed);
        Holes { count, trailing: (newest >> 32) as u32, distance: newest as u32 }
    }

    fn store_holes(&self, holes: Holes) {
        let Holes { count, trailing, distance } = holes;
        self.newest.store(u64::from(trailing) << 32 | u64::from(distance), Ordering::Relaxed);
        self.holes.store(count, Ordering::Release);
        // A store that makes or removes a hole must not move before or behind these stores.
        fence(Ordering::SeqCst);
    }

    /// Announces a change to the readers of the shared memory. To be called before the first store of the
    /// change. A change of a mailbox with holes ends with [`Control::finish`].
    fn begin(&self) {
        let seq = (self.word.load(Ordering::Relaxed) & !HELD) >> 1;
        let last = seq + 1 + u64::from(self.has_holes());
        if self.begun.load(Ordering::Relaxed) < last {
            self.begun.store(last, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
    }

    /// Ends a change: from now on the holes belong to the active record. Does nothing if the last commit has
    /// ended the change.
    fn finish(&self) {
        let word = self.word.load(Ordering::Relaxed);
        let begun = self.begun.load(Ordering::Relaxed);
        if (word & !HELD) >> 1 != begun {
            self.word.store(word & HELD | (begun << 1 & !HELD) | word & 1, Ordering::Release);
            fence(Ordering::Release);
        }
    }

    /// The active record, read while another thread may be committing.
    fn snapshot(&self) -> Result<Record, Damaged> {
        loop {
            let word = self.word.load(Ordering::Acquire);
            let record = self.records[active(word)].load();
            fence(Ordering::Acquire);
            // A commit writes the inactive record only. If the word has not changed, this record was active
            // throughout.
            if (self.word.load(Ordering::Relaxed) ^ word) & !HELD == 0 {
                return record;
            }
        }
    }

    /// The active record, for the holder of a grant.
    fn active(&self) -> Result<Record, Damaged> {
        self.records[active(self.word.load(Ordering::Acquire))].load()
    }

    /// Makes `record` the active one.
    fn commit(&self, record: Record) {
        debug_assert!(record.is_consistent(), "{record:?}");
        self.begin();
        let word = self.word.load(Ordering::Relaxed);
        self.records[1 - active(word)].store(record);
        self.word.store(next(word), Ordering::Release);
        // The next change under the same grant may overwrite the old state. This fence orders the stores of
        // that change after the store of the word.
        fence(Ordering::Release);
    }
}

fn active(word: u64) -> usize {
    (word & 1) as usize
}

/// The word after `word`: the next sequence number, the other record. The mailbox stays held.
fn next(word: u64) -> u64 {
    let seq = (word & !HELD) >> 1;
    word & HELD | ((seq + 1) << 1 | (1 - (word & 1))) & !HELD
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

/// A message in the ring.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The requested bytes, in order. The second part is empty unless the bytes wrap around the end of the
    /// ring.
    pub parts: [&'a [u8]; 2],
    /// Its version. For the empty message of an empty mailbox, the version of the mailbox.
    pub version: u64,
    /// Number of messages in the mailbox, including this one.
    pub count: u64,
    /// Number of removed messages between the cursor and this message; 0 without a cursor.
    pub lost: u64,
}

impl Message<'_> {
    /// Number of requested bytes.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
}

/// The position of a reader. It is valid for one mailbox in one run of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The last version that was read.
    pub version: u64,
    /// Where the message of this version ends. `None` if the cursor was made from a version only.
    next: Option<u64>,
}

impl Cursor {
    /// A cursor after `version`, which need not exist.
    pub(crate) fn at(version: u64) -> Self {
        Cursor { version, next: None }
    }
}

/// The outcome of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patched {
    /// Patched: the result is the only message.
    Done {
        /// Its version.
        version: u64,
    },
    /// Not patched, because there are several messages.
    Multi,
}

/// The memory of one mailbox, for the holder of a grant.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    control: &'a Control,
    ring: Ring<'a>,
    capacity: usize,
}

impl<'a> Block<'a> {
    /// A block of `control` and `ring`. The ring has room for two messages of `capacity` bytes with their
    /// headers.
    pub(crate) fn new(control: &'a Control, ring: Ring<'a>, capacity: usize) -> Self {
        debug_assert!(ring.size() >= 2 * (capacity + ENTRY_HEADER));
        Block { control, ring, capacity }
    }

    /// The newest version.
    pub(crate) fn version(&self) -> Result<u64, Damaged> {
        self.record().map(|record| record.version)
    }

    /// The contents of the mailbox.
    pub(crate) fn contents(&self) -> Result<Contents, Damaged> {
        let (record, holes) = self.state()?;
        Ok(record.contents(holes, self.capacity as u64))
    }

    /// Returns the newest message, at most `len` bytes of it from `offset` on. For an empty mailbox, returns
    /// an empty message. The version is that of the mailbox, even if its message was removed.
    pub(crate) fn read(&self, offset: u64, len: u64) -> Result<Message<'_>, Damaged> {
        let (record, holes) = self.state()?;
        let parts = self.slice(Entry::newest(&self.ring, record, holes)?, offset, len);
        let count = record.contents(holes, self.capacity as u64).count;
        Ok(Message { parts, version: record.version, count, lost: 0 })
    }

    /// Returns the oldest message that is newer than the cursor, at most `len` bytes of it from `offset` on,
    /// and a cursor after that message. Returns `None` if no message is newer. The new cursor finds the next
    /// message without walking the list.
    pub(crate) fn after(
        &self,
        cursor: Cursor,
        offset: u64,
        len: u64,
    ) -> Result<Option<(Message<'_>, Cursor)>, Damaged> {
        let (record, holes) = self.state()?;
        let Contents { newest, count, .. } = record.contents(holes, self.capacity as u64);
        if cursor.version >= newest {
            return Ok(None);
        }
        let first = record.first().max(cursor.version + 1);
        let (entry, version) = Entry::of(&self.ring, record, holes, first, cursor)?;
        let parts = self.slice(entry, offset, len);
        let lost = version - cursor.version - 1;
        let message = Message { parts, version, count, lost };
        Ok(Some((message, Cursor { version, next: Some(entry.end()) })))
    }

    /// Replaces all messages by one with `bytes`, at most the capacity. Returns its version.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<u64, Damaged> {
        self.write_from(bytes).map(certain)
    }

    /// As [`Block::write`]. If the source fails, nothing is changed.
    pub(crate) fn write_from<S: Source>(&mut self, source: S) -> Result<Result<u64, S::Error>, Damaged> {
        let record = self.record()?;
        let entry = self.write_entry(record, self.free_offset(record), source);
        Ok(entry.map(|entry| self.commit_single(record, entry)))
    }

    /// Replaces the only message by a copy with `bytes` at `offset`. If the message ends before `offset`,
    /// zeros fill the gap. An empty mailbox is patched like an empty message. `offset + bytes.len()` is at
    /// most the capacity.
    pub(crate) fn patch(&mut self, offset: usize, bytes: &[u8]) -> Result<Patched, Damaged> {
        let (record, holes) = self.state()?;
        if record.count > u64::from(holes.count) + 1 {
            return Ok(Patched::Multi);
        }
        let old = Entry::newest(&self.ring, record, holes)?;
        let end = offset + bytes.len();
        let entry = self.begin_entry(record, self.free_offset(record), old.len.max(end));
        let (from, to) = (old.payload(), entry.payload());
        let kept = old.len.min(offset);
        self.ring.copy(from, to, kept);
        self.ring.zero(to + kept as u64, offset - kept);
        self.ring.write(to + offset as u64, bytes);
        if old.len > end {
            self.ring.copy(from + end as u64, to + end as u64, old.len - end);
        }
        Ok(Patched::Done { version: self.commit_single(record, entry) })
    }

    /// Adds `bytes`, at most the capacity, as the newest message. Returns `None` if there is no room for the
    /// message.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<Option<Contents>, Damaged> {
        Ok(self.put_from(bytes)?.map(certain))
    }

    /// As [`Block::put`]. If the source fails, nothing is changed.
    pub(crate) fn put_from<S: Source>(
        &mut self,
        source: S,
    ) -> Result<Option<Result<Contents, S::Error>>, Damaged> {
        let (record, holes) = self.state()?;
        Ok(self.has_room(record, source.len()).then(|| self.append(record, record, holes, source)))
    }

    /// Adds `bytes`, at most the capacity, as the newest message. Drops the oldest messages until there is
    /// room.
    pub(crate) fn put_dropping(&mut self, bytes: &[u8]) -> Result<Contents, Damaged> {
        let (record, mut holes) = self.state()?;
        let mut kept = record;
        while !self.has_room(kept, bytes.len()) {
            kept = self.without_oldest(kept, &mut holes)?;
        }
        Ok(certain(self.append(record, kept, holes, bytes)))
    }

    /// Raises the version of an empty mailbox to `version`, at most
    /// [`VERSION_MAX`](crate::protocol::VERSION_MAX). Returns false, and changes nothing, if the mailbox is
    /// not empty or its version is not lower.
    pub(crate) fn raise_version(&mut self, version: u64) -> Result<bool, Damaged> {
        let record = self.record()?;
        let is_possible = record.count == 0 && record.version < version;
        if is_possible {
            self.control.commit(Record { version, ..record });
        }
        Ok(is_possible)
    }

    fn record(&self) -> Result<Record, Damaged> {
        self.state().map(|(record, _)| record)
    }

    fn state(&self) -> Result<(Record, Holes), Damaged> {
        let record = self.control.active()?.check_capacity(self.capacity as u64)?;
        let holes = self.control.holes();
        let fits = u64::from(holes.count) < record.count && holes.trailing <= holes.count;
        if holes.count == 0 || fits { Ok((record, holes)) } else { Err(Damaged) }
    }

    fn has_room(&self, record: Record, len: usize) -> bool {
        assert!(len <= self.capacity, "{len} bytes into a mailbox of {}", self.capacity);
        record.room(self.capacity as u64).is_some_and(|room| len as u64 <= room)
    }

    /// A part of the payload of an entry.
    fn slice(&self, entry: Entry, offset: u64, len: u64) -> [&[u8]; 2] {
        let offset = offset.min(entry.len as u64);
        let len = len.min(entry.len as u64 - offset) as usize;
        self.ring.read(entry.payload() + offset, len)
    }

    /// A position where an entry of any size overwrites no live one: the start of a half without live bytes,
    /// or the tail. The live entries take at most half of the ring and the new entry at most half, so an
    /// entry at the tail ends before the head.
    fn free_offset(&self, record: Record) -> u64 {
        let size = self.ring.size() as u64;
        let half = size / 2;
        let head = record.head % size;
        let tail = head + record.live();
        if tail <= half {
            half
        } else if head >= half && tail <= size {
            0
        } else {
            record.tail
        }
    }

    /// Begins an entry that does not overlap the live ones: writes its header.
    fn begin_entry(&mut self, live: Record, at: u64, len: usize) -> Entry {
        assert!(len <= self.capacity, "{len} bytes into a mailbox of {}", self.capacity);
        debug_assert!({
            let size = self.ring.size() as u64;
            let from_head = (at % size + size - live.head % size) % size;
            live.live() <= from_head && from_head + (ENTRY_HEADER + len) as u64 <= size || live.live() == 0
        });
        self.control.begin();
        self.ring.write(at, &to_u32(len as u64).to_ne_bytes());
        Entry::new(at, len)
    }

    fn write_entry<S: Source>(&mut self, live: Record, at: u64, source: S) -> Result<Entry, S::Error> {
        let entry = self.begin_entry(live, at, source.len());
        // A source that fails leaves the change without a commit. Its sequence number is used up.
        source.store(&mut self.ring, entry.payload()).inspect_err(|_| self.control.finish())?;
        Ok(entry)
    }

    /// Commits `entry` as the only message. Returns its version.
    fn commit_single(&mut self, old: Record, entry: Entry) -> u64 {
        let version = old.version + 1;
        let (head, tail) = (entry.at, entry.end());
        self.control.commit(Record { version, head, tail, last: head, count: 1 });
        self.forget_holes(Holes::default());
        version
    }

    /// Commits the messages of `kept`, which are the newest of `live`, and a new one after them. `holes` are
    /// the holes of `kept`. Does not overwrite any entry of `live`.
    fn append<S: Source>(
        &mut self,
        live: Record,
        kept: Record,
        holes: Holes,
        source: S,
    ) -> Result<Contents, S::Error> {
        let is_only = kept.count == 0;
        let at = if is_only { self.free_offset(live) } else { live.tail };
        let entry = self.write_entry(live, at, source)?;
        let head = if is_only { entry.at } else { kept.head };
        let (version, count) = (live.version + 1, kept.count + 1);
        let record = Record { version, head, tail: entry.end(), last: entry.at, count };
        self.control.commit(record);
        let holes = Holes { count: holes.count, ..Holes::default() };
        self.forget_holes(holes);
        Ok(record.contents(holes, self.capacity as u64))
    }

    /// Stores the number of holes after a commit that has removed some, or after which the newest entry is a
    /// message. Ends the change.
    fn forget_holes(&self, left: Holes) {
        if self.control.has_holes() {
            self.control.store_holes(left);
        }
        self.control.finish();
    }
}

/// A number of bytes or entries of a mailbox. Its capacity has 31 bits.
fn to_u32(number: u64) -> u32 {
    u32::try_from(number).expect("a capacity has 31 bits")
}

#[cfg(all(test, feature = "loom"))]
mod model;
#[cfg(all(test, not(feature = "loom")))]
mod tests;
