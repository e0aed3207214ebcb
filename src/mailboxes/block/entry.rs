//! One entry in the ring, and how to find it. Every entry that is returned lies within the list, even if the
//! bytes in the ring are damaged.

use super::record::{Damaged, Holes, Record};
use super::{Cursor, ENTRY_HEADER};
use crate::mailboxes::Ring;

/// The bit of the length that marks a hole.
const HOLE: u32 = 1 << 31;

/// The byte of the header with this bit, and the bit in that byte.
const HOLE_BYTE: u64 = if cfg!(target_endian = "little") { ENTRY_HEADER as u64 - 1 } else { 0 };
const HOLE_BIT: u8 = 1 << 7;

/// An entry in the ring: `len u32 | payload`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Position of its header.
    pub at: u64,
    /// Bytes of its payload.
    pub len: usize,
    /// Whether its message was removed.
    pub is_hole: bool,
}

impl Entry {
    /// An entry with a message.
    pub(super) fn new(at: u64, len: usize) -> Self {
        Entry { at, len, is_hole: false }
    }

    /// Position of its payload.
    pub(super) fn payload(self) -> u64 {
        self.at + ENTRY_HEADER as u64
    }

    /// Position after its payload, where the next entry begins.
    pub(super) fn end(self) -> u64 {
        self.payload() + self.len as u64
    }

    /// Makes the entry a hole, or a message again, by storing one byte.
    pub(super) fn mark(self, ring: &mut Ring, is_hole: bool) {
        ring.set_bit(self.at + HOLE_BYTE, HOLE_BIT, is_hole);
    }

    /// The newest message; an empty entry if there is none.
    pub(super) fn newest(ring: &Ring, record: Record, holes: Holes) -> Result<Entry, Damaged> {
        match (record.count, u64::from(holes.trailing)) {
            (0, _) => Ok(Entry::new(record.tail, 0)),
            (_, 0) => Entry::checked(ring, record, record.last, 1)?.message(),
            (_, trailing) => {
                let at = record.tail.checked_sub(u64::from(holes.distance)).ok_or(Damaged)?;
                Entry::checked(ring, record, at, trailing + 1)?.message()
            }
        }
    }

    /// The oldest message of a list that is not empty. The oldest entry is never a hole.
    pub(super) fn oldest(ring: &Ring, record: Record) -> Result<Entry, Damaged> {
        Entry::checked(ring, record, record.head, record.count)?.message()
    }

    /// The first message with this version or a newer one, and its version. `version` is that of an entry,
    /// the first one after the cursor. The newest message is not older.
    pub(super) fn of(
        ring: &Ring,
        record: Record,
        holes: Holes,
        version: u64,
        cursor: Cursor,
    ) -> Result<(Entry, u64), Damaged> {
        // An entry does not move, and the next entry begins where it ends. The position in the cursor is
        // valid only while the entry of the cursor exists.
        let next = cursor.next.filter(|_| cursor.version >= record.first());
        let (at, reached) = match next {
            _ if version == record.version => (record.last, version),
            Some(next) => (next, version),
            None => (record.head, record.first()),
        };
        let mut walk = Walk::new(record, holes.count > 0, at, reached);
        while let Some((entry, found)) = walk.next(ring)? {
            if found >= version && !entry.is_hole {
                let entry = Entry::checked(ring, record, entry.at, record.version - found + 1)?;
                return Ok((entry, found));
            }
        }
        Err(Damaged)
    }

    /// Returns this entry if it is a message.
    fn message(self) -> Result<Entry, Damaged> {
        if self.is_hole { Err(Damaged) } else { Ok(self) }
    }

    /// The entry at `at`, the first of the last `remaining` entries of the list. Checks the header of the
    /// next entry too, which detects a wrong length of this one.
    pub(super) fn checked(ring: &Ring, record: Record, at: u64, remaining: u64) -> Result<Entry, Damaged> {
        let entry = Entry::header(ring, record, at, remaining)?;
        if remaining > 1 {
            Entry::header(ring, record, entry.end(), remaining - 1)?;
        }
        Ok(entry)
    }

    /// The entry at `at`, the first of the last `remaining` entries of the list. Its length must leave room
    /// for the headers of the others.
    fn header(ring: &Ring, record: Record, at: u64, remaining: u64) -> Result<Entry, Damaged> {
        let [front, back] = ring.read(at, ENTRY_HEADER);
        let mut header = [0; ENTRY_HEADER];
        header[..front.len()].copy_from_slice(front);
        header[front.len()..].copy_from_slice(back);
        let header = u32::from_ne_bytes(header);
        let entry = Entry { at, len: (header & !HOLE) as usize, is_hole: header & HOLE != 0 };
        let fits = match remaining {
            1 => at == record.last && entry.end() == record.tail,
            2 => entry.end() == record.last,
            _ => entry.end() + (remaining - 2) * ENTRY_HEADER as u64 <= record.last,
        };
        if record.head <= at && fits { Ok(entry) } else { Err(Damaged) }
    }
}

/// A walk over the entries of a list, from one of them to the newest one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    record: Record,
    /// Whether entries may be holes.
    has_holes: bool,
    at: u64,
    version: u64,
}

impl Walk {
    /// A walk from the entry of `version`, which begins at `at`.
    pub(super) fn new(record: Record, has_holes: bool, at: u64, version: u64) -> Self {
        Walk { record, has_holes, at, version }
    }

    /// The next entry with its version; `None` after the newest one.
    pub(super) fn next(&mut self, ring: &Ring) -> Result<Option<(Entry, u64)>, Damaged> {
        if self.version > self.record.version {
            return Ok(None);
        }
        let version = self.version;
        let entry = Entry::header(ring, self.record, self.at, self.record.version - version + 1)?;
        if entry.is_hole && !self.has_holes {
            return Err(Damaged);
        }
        (self.at, self.version) = (entry.end(), version + 1);
        Ok(Some((entry, version)))
    }
}
