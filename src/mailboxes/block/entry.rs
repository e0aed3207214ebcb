//! One message in the ring, and how to find it. Every entry that is returned lies within the list, even if
//! the bytes in the ring are damaged.

use super::record::{Damaged, Record};
use super::{Cursor, ENTRY_HEADER};
use crate::mailboxes::Ring;

/// A message in the ring: `len u32 | payload`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Position of its header.
    pub at: u64,
    /// Bytes of its payload.
    pub len: usize,
}

impl Entry {
    /// Position of its payload.
    pub(super) fn payload(self) -> u64 {
        self.at + ENTRY_HEADER as u64
    }

    /// Position after its payload, where the next entry begins.
    pub(super) fn end(self) -> u64 {
        self.payload() + self.len as u64
    }

    /// The newest message; an empty entry if there is none.
    pub(super) fn newest(ring: &Ring, record: Record) -> Result<Entry, Damaged> {
        match record.count {
            0 => Ok(Entry { at: record.tail, len: 0 }),
            _ => Entry::checked(ring, record, record.last, 1),
        }
    }

    /// The oldest message of a list that is not empty.
    pub(super) fn oldest(ring: &Ring, record: Record) -> Result<Entry, Damaged> {
        Entry::checked(ring, record, record.head, record.count)
    }

    /// The message with this version, which is live. It is the first live message after the cursor.
    pub(super) fn of(ring: &Ring, record: Record, version: u64, cursor: Cursor) -> Result<Entry, Damaged> {
        // A live message does not move, and the next message begins where it ends. The position in the cursor
        // is valid only while the message of the cursor exists.
        let next = cursor.next.filter(|_| cursor.version >= record.first());
        let (mut at, mut reached) = match next {
            _ if version == record.version => (record.last, version),
            Some(next) => (next, version),
            None => (record.head, record.first()),
        };
        while reached < version {
            at = Entry::header(ring, record, at, record.version - reached + 1)?.end();
            reached += 1;
        }
        Entry::checked(ring, record, at, record.version - version + 1)
    }

    /// The entry at `at`, the first of the last `remaining` entries of the list. Checks the header of the
    /// next entry too, which detects a wrong length of this one.
    fn checked(ring: &Ring, record: Record, at: u64, remaining: u64) -> Result<Entry, Damaged> {
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
        let entry = Entry { at, len: u32::from_ne_bytes(header) as usize };
        let fits = match remaining {
            1 => at == record.last && entry.end() == record.tail,
            2 => entry.end() == record.last,
            _ => entry.end() + (remaining - 2) * ENTRY_HEADER as u64 <= record.last,
        };
        if record.head <= at && fits { Ok(entry) } else { Err(Damaged) }
    }
}
