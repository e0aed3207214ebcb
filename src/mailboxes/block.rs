//! The memory of one mailbox: a list of messages, changed by one store. Pure: no lock, thread, socket or clock.
//!
//! **The law**: *live bytes are never overwritten, and one 8-byte release store commits a change.* Killed before it,
//! the mailbox has its old content, whole; killed after it, the new.
//!
//! A message is a frame `len u32 | payload` in a [`Ring`]. The frames of a list lie one behind the other, from the
//! record's head to its tail:
//!
//! ```text
//!     head                            last               tail
//!     │ len │ payload │ len │ payload │ len │ payload    │
//!       version - count + 1             version
//! ```
//!
//! All live frames together take at most the capacity and one header, and so does a new one; the ring is twice that
//! size. So a new message always fits behind the live ones, whatever they are, before the ring comes around to them.
//! One that stands alone goes to the start of the half that they do not touch, if there is one: a mailbox of small
//! messages then lives in two places that stay in the cache, instead of walking through its ring.

mod control;
mod entry;

use super::ring::Ring;
use control::Record;
pub use control::{Contents, Control, Damaged, Recovered};
use entry::Entry;

/// Bytes before each payload.
pub const ENTRY_HEADER: usize = 4;

/// A message, where it lies.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its bytes, in order; the second part is empty unless they wrap.
    pub parts: [&'a [u8]; 2],
    /// Its version; the mailbox's when this is the empty message of an empty mailbox.
    pub version: u64,
    /// How many messages the mailbox holds; without this one when it is taken.
    pub count: u64,
    /// How many messages between the cursor and this one are gone; 0 where there is no cursor.
    pub lost: u64,
}

/// How far somebody has read. It holds for one mailbox in one run of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Everything up to this version has been read.
    pub version: u64,
    /// Where the message of this version ends, when it was found.
    next: Option<u64>,
}

impl Cursor {
    /// A cursor behind `version`, which need not exist.
    pub fn at(version: u64) -> Self {
        Cursor { version, next: None }
    }
}

/// What became of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patched {
    /// The result is the only message.
    Done {
        /// Its version.
        version: u64,
    },
    /// There are several messages; nothing has changed.
    Multi,
}

/// A message that was taken, to put it back where it was.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    before: Record,
}

/// The memory of one mailbox, in the hands of somebody who holds a grant for it.
#[derive(Debug)]
pub struct Block<'a> {
    control: &'a Control,
    ring: Ring<'a>,
    capacity: usize,
}

impl<'a> Block<'a> {
    /// The block of `control` and `ring`; the ring has room for two messages of `capacity` bytes and their headers.
    pub fn new(control: &'a Control, ring: Ring<'a>, capacity: usize) -> Self {
        debug_assert!(ring.size() >= 2 * (capacity + ENTRY_HEADER));
        Block { control, ring, capacity }
    }

    /// The newest version.
    pub fn version(&self) -> Result<u64, Damaged> {
        self.record().map(|record| record.version)
    }

    /// What the mailbox holds.
    pub fn contents(&self) -> Result<Contents, Damaged> {
        self.record().map(|record| record.contents(self.capacity as u64))
    }

    /// At most `len` bytes from `offset` on of the newest message; an empty mailbox has an empty one.
    pub fn read(&self, offset: u64, len: u64) -> Result<Message<'_>, Damaged> {
        let record = self.record()?;
        let parts = self.slice(Entry::newest(&self.ring, record)?, offset, len);
        Ok(Message { parts, version: record.version, count: record.count, lost: 0 })
    }

    /// At most `len` bytes from `offset` on of the oldest message that is newer than the cursor, and the cursor behind
    /// it; `None` when there is none. The cursor that comes back finds the next message at once, without a walk.
    pub fn after(
        &self,
        cursor: Cursor,
        offset: u64,
        len: u64,
    ) -> Result<Option<(Message<'_>, Cursor)>, Damaged> {
        let record = self.record()?;
        if record.count == 0 || cursor.version >= record.version {
            return Ok(None);
        }
        let version = record.first().max(cursor.version + 1);
        let frame = Entry::of(&self.ring, record, version, cursor)?;
        let parts = self.slice(frame, offset, len);
        let lost = version - cursor.version - 1;
        let message = Message { parts, version, count: record.count, lost };
        Ok(Some((message, Cursor { version, next: Some(frame.end()) })))
    }

    /// Makes `bytes`, at most the capacity, the only message; returns its version.
    pub fn write(&mut self, bytes: &[u8]) -> Result<u64, Damaged> {
        let record = self.record()?;
        let frame = self.write_entry(record, self.free_offset(record), bytes);
        Ok(self.commit_single(record, frame))
    }

    /// Puts `bytes` at `offset` of the one message, with zeros in between when it ends before that, and makes the
    /// result the only message. An empty mailbox is patched like an empty message. `offset + bytes.len()` is at most
    /// the capacity.
    pub fn patch(&mut self, offset: usize, bytes: &[u8]) -> Result<Patched, Damaged> {
        let record = self.record()?;
        if record.count > 1 {
            return Ok(Patched::Multi);
        }
        let old = Entry::newest(&self.ring, record)?;
        let end = offset + bytes.len();
        let frame = self.begin_entry(record, self.free_offset(record), old.len.max(end));
        let (from, to) = (old.payload(), frame.payload());
        let kept = old.len.min(offset);
        self.ring.copy(from, to, kept);
        self.ring.zero(to + kept as u64, offset - kept);
        self.ring.write(to + offset as u64, bytes);
        if old.len > end {
            self.ring.copy(from + end as u64, to + end as u64, old.len - end);
        }
        Ok(Patched::Done { version: self.commit_single(record, frame) })
    }

    /// Adds `bytes`, at most the capacity, as the newest message; `None` when there is no room for it.
    pub fn put(&mut self, bytes: &[u8]) -> Result<Option<Contents>, Damaged> {
        let record = self.record()?;
        Ok(self.has_room(record, bytes.len()).then(|| self.append(record, record, bytes)))
    }

    /// Adds `bytes`, at most the capacity, as the newest message, without as many of the oldest as are in its way.
    pub fn put_dropping(&mut self, bytes: &[u8]) -> Result<Contents, Damaged> {
        let record = self.record()?;
        let mut kept = record;
        while !self.has_room(kept, bytes.len()) {
            kept = kept.without_oldest(Entry::oldest(&self.ring, kept)?.end());
        }
        Ok(self.append(record, kept, bytes))
    }

    /// Gives the oldest message away, then removes it; `None` when there is none.
    pub fn take(&mut self, give: impl FnOnce(Message<'_>)) -> Result<Option<Taken>, Damaged> {
        let before = self.record()?;
        if before.count == 0 {
            return Ok(None);
        }
        let oldest = Entry::oldest(&self.ring, before)?;
        let left = before.without_oldest(oldest.end());
        let parts = self.slice(oldest, 0, u64::MAX);
        give(Message { parts, version: before.first(), count: left.count, lost: 0 });
        self.control.commit(left);
        Ok(Some(Taken { before }))
    }

    /// Puts a taken message back where it was: under the grant that it was taken under, before any other change but
    /// further takes, which this undoes too.
    pub fn requeue(&mut self, taken: Taken) -> Result<(), Damaged> {
        let Taken { before } = taken;
        let record = self.record()?;
        let unchanged = (before.version, before.tail) == (record.version, record.tail);
        assert!(unchanged, "{before:?} was taken from, and is {record:?} now");
        self.control.commit(before);
        Ok(())
    }

    fn record(&self) -> Result<Record, Damaged> {
        self.control.active()?.check_capacity(self.capacity as u64)
    }

    fn has_room(&self, record: Record, len: usize) -> bool {
        assert!(len <= self.capacity, "{len} bytes into a mailbox of {}", self.capacity);
        record.room(self.capacity as u64).is_some_and(|room| len as u64 <= room)
    }

    /// A part of the payload of a frame.
    fn slice(&self, frame: Entry, offset: u64, len: u64) -> [&[u8]; 2] {
        let offset = offset.min(frame.len as u64);
        let len = len.min(frame.len as u64 - offset) as usize;
        self.ring.read(frame.payload() + offset, len)
    }

    /// Where a message of any size overwrites no live one: at the start of a half that none touches, or behind all.
    /// What is live takes at most one half, and so does the message: behind all, it ends before the head comes again.
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

    /// Starts a frame beside all that is live: writes its header.
    fn begin_entry(&mut self, live: Record, at: u64, len: usize) -> Entry {
        assert!(len <= self.capacity, "{len} bytes into a mailbox of {}", self.capacity);
        debug_assert!({
            let size = self.ring.size() as u64;
            let from_head = (at % size + size - live.head % size) % size;
            live.live() <= from_head && from_head + (ENTRY_HEADER + len) as u64 <= size || live.live() == 0
        });
        let header = u32::try_from(len).expect("a capacity fits into 32 bits").to_ne_bytes();
        self.ring.write(at, &header);
        Entry { at, len }
    }

    fn write_entry(&mut self, live: Record, at: u64, bytes: &[u8]) -> Entry {
        let frame = self.begin_entry(live, at, bytes.len());
        self.ring.write(frame.payload(), bytes);
        frame
    }

    /// Commits: `frame` is the only message now.
    fn commit_single(&mut self, old: Record, frame: Entry) -> u64 {
        let version = old.version + 1;
        let (head, tail) = (frame.at, frame.end());
        self.control.commit(Record { version, head, tail, last: head, count: 1 });
        version
    }

    /// Commits `kept`, the newest of the live messages, and `bytes` behind them. Nothing of `live` is overwritten.
    fn append(&mut self, live: Record, kept: Record, bytes: &[u8]) -> Contents {
        let alone = kept.count == 0;
        let frame = self.write_entry(live, if alone { self.free_offset(live) } else { live.tail }, bytes);
        let head = if alone { frame.at } else { kept.head };
        let (version, count) = (live.version + 1, kept.count + 1);
        let record = Record { version, head, tail: frame.end(), last: frame.at, count };
        self.control.commit(record);
        record.contents(self.capacity as u64)
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
