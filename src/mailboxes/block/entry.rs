//! One message in the ring, and the ways to find it. Whatever the bytes there are, nothing outside the list is touched.

use super::control::{Damaged, Record};
use super::{Cursor, ENTRY_HEADER};
use crate::mailboxes::Ring;

/// A message in the ring: `len u32 | payload`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Where it starts.
    pub at: u64,
    /// Bytes of its payload.
    pub len: usize,
}

impl Entry {
    /// Where its payload starts.
    pub fn payload(self) -> u64 {
        self.at + ENTRY_HEADER as u64
    }

    /// Where the next one starts.
    pub fn end(self) -> u64 {
        self.payload() + self.len as u64
    }

    /// The newest message; an empty one when there is none.
    pub fn newest(ring: &Ring, record: Record) -> Result<Entry, Damaged> {
        match record.count {
            0 => Ok(Entry { at: record.tail, len: 0 }),
            _ => Entry::whole(ring, record, record.last, 1),
        }
    }

    /// The oldest message of a list that has one.
    pub fn oldest(ring: &Ring, record: Record) -> Result<Entry, Damaged> {
        Entry::whole(ring, record, record.head, record.count)
    }

    /// The message of a live version: the first one behind the cursor, or the oldest.
    pub fn of(ring: &Ring, record: Record, version: u64, cursor: Cursor) -> Result<Entry, Damaged> {
        // A message stays in its place as long as it lives, and the next one lies right behind it. Behind one that is
        // gone there may be anything.
        let behind = cursor.next.filter(|_| cursor.version >= record.first());
        let (mut at, mut reached) = match behind {
            _ if version == record.version => (record.last, version),
            Some(next) => (next, version),
            None => (record.head, record.first()),
        };
        while reached < version {
            at = Entry::header(ring, record, at, record.version - reached + 1)?.end();
            reached += 1;
        }
        Entry::whole(ring, record, at, record.version - version + 1)
    }

    /// The frame at `at`, with which `left` are left of the list. The one behind it must be in order too: that tells a
    /// wrong length from a right one.
    fn whole(ring: &Ring, record: Record, at: u64, left: u64) -> Result<Entry, Damaged> {
        let frame = Entry::header(ring, record, at, left)?;
        if left > 1 {
            Entry::header(ring, record, frame.end(), left - 1)?;
        }
        Ok(frame)
    }

    /// The frame at `at`, with which `left` are left of the list. It leaves room for the headers of the others.
    fn header(ring: &Ring, record: Record, at: u64, left: u64) -> Result<Entry, Damaged> {
        let [front, back] = ring.read(at, ENTRY_HEADER);
        let mut header = [0; ENTRY_HEADER];
        header[..front.len()].copy_from_slice(front);
        header[front.len()..].copy_from_slice(back);
        let frame = Entry { at, len: u32::from_ne_bytes(header) as usize };
        let fits = match left {
            1 => at == record.last && frame.end() == record.tail,
            2 => frame.end() == record.last,
            _ => frame.end() + (left - 2) * ENTRY_HEADER as u64 <= record.last,
        };
        if record.head <= at && fits { Ok(frame) } else { Err(Damaged) }
    }
}
