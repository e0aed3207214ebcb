//! The entries of one state in the ring: `len u32 | payload`. The ring may change while it is read, so every
//! number from it is checked before it is used as a position. An entry that is returned lies within the list.

use std::cell::Cell;

use super::cursor::Place;
use super::map::Ring;
use super::record::{ENTRY_HEADER, Holes, Record};

/// The bit of the length that marks a hole.
const HOLE: u32 = 1 << 31;

/// The bytes are not those of a list: damaged, or changed meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfit;

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Position of its header.
    at: u64,
    /// Bytes of its payload.
    pub len: u64,
    is_hole: bool,
}

/// A message behind a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub entry: Entry,
    pub version: u64,
    /// The version of the first entry whose length was read on the way.
    pub first_visited: u64,
}

/// The list of one state.
#[derive(Debug)]
pub(super) struct List<'a> {
    ring: Ring<'a>,
    record: &'a Record,
    holes: Holes,
    has_seen_hole: Cell<bool>,
}

impl Entry {
    /// Position of its payload.
    pub(super) fn payload(self) -> u64 {
        self.at + ENTRY_HEADER
    }

    /// Position behind its payload.
    pub(super) fn end(self) -> u64 {
        self.payload() + self.len
    }
}

impl<'a> List<'a> {
    pub(super) fn new(ring: Ring<'a>, record: &'a Record, holes: Holes) -> Self {
        List { ring, record, holes, has_seen_hole: Cell::new(false) }
    }

    /// Whether what was found depends on holes, which are changed in place.
    pub(super) fn needs_whole_state(&self) -> bool {
        self.holes.count > 0 || self.has_seen_hole.get()
    }

    /// Number of messages.
    pub(super) fn count(&self) -> u64 {
        self.record.count.saturating_sub(u64::from(self.holes.count))
    }

    /// The version of the newest message; 0 if there is none.
    pub(super) fn newest_version(&self) -> Result<u64, Unfit> {
        self.check_holes()?;
        Ok(if self.count() == 0 { 0 } else { self.record.version - self.holes.trailing })
    }

    /// The newest message; an empty entry if there is none.
    pub(super) fn newest(&self) -> Result<Entry, Unfit> {
        self.check_holes()?;
        let (record, trailing) = (self.record, self.holes.trailing);
        if record.count == 0 {
            return Ok(Entry { at: record.tail, len: 0, is_hole: false });
        }
        let at = match trailing {
            0 => record.last,
            _ => record.tail.checked_sub(self.holes.distance).ok_or(Unfit)?,
        };
        self.message(at, trailing + 1)
    }

    /// The oldest message that is newer than the version `from`; `None` if there is none. `place` is where
    /// the entry behind that version begins, if that is known.
    pub(super) fn after(&self, from: u64, place: Option<Place>) -> Result<Option<Found>, Unfit> {
        if from >= self.newest_version()? {
            return Ok(None);
        }
        let record = self.record;
        let wanted = record.first().max(from + 1);
        let (mut at, mut version) = match place.filter(|_| from >= record.first()) {
            _ if wanted == record.version => (record.last, wanted),
            Some(place) => (place.next, wanted),
            None => (record.head, record.first()),
        };
        let first_visited = version;
        loop {
            let remaining = record.version - version + 1;
            let entry = self.entry(at, remaining)?;
            if version >= wanted && !entry.is_hole {
                let entry = self.message(at, remaining)?;
                return Ok(Some(Found { entry, version, first_visited }));
            }
            if remaining == 1 {
                return Err(Unfit);
            }
            (at, version) = (entry.end(), version + 1);
        }
    }

    /// Whether the number of holes can be that of this list.
    fn check_holes(&self) -> Result<(), Unfit> {
        let Holes { count, trailing, .. } = self.holes;
        let fits = u64::from(count) < self.record.count && trailing <= u64::from(count);
        if count == 0 || fits { Ok(()) } else { Err(Unfit) }
    }

    /// The entry at `at`, which is a message. Checks the header of the next entry, too, which detects a wrong
    /// length of this one.
    fn message(&self, at: u64, remaining: u64) -> Result<Entry, Unfit> {
        let entry = self.entry(at, remaining)?;
        if remaining > 1 {
            self.entry(entry.end(), remaining - 1)?;
        }
        if entry.is_hole { Err(Unfit) } else { Ok(entry) }
    }

    /// The entry at `at`, the first of the last `remaining` entries. Its end must leave room for the others.
    #[inline]
    fn entry(&self, at: u64, remaining: u64) -> Result<Entry, Unfit> {
        let record = self.record;
        if !(record.head..=record.last).contains(&at) {
            return Err(Unfit);
        }
        let header = self.ring.u32(at);
        let entry = Entry { at, len: u64::from(header & !HOLE), is_hole: header & HOLE != 0 };
        if entry.is_hole {
            self.has_seen_hole.set(true);
        }
        let fits = match remaining {
            1 => at == record.last && entry.end() == record.tail,
            2 => entry.end() == record.last,
            _ => entry.end() + (remaining - 2) * ENTRY_HEADER <= record.last,
        };
        if fits { Ok(entry) } else { Err(Unfit) }
    }
}
