//! The removal of messages in any order: finds a message, removes it, and undoes the removal. A message that
//! is removed while an older one is left becomes a hole.

use super::entry::{Entry, Walk};
use super::record::{Damaged, Holes, Record};
use super::{Block, Message, to_u32};

/// Where a message is. Valid as long as the message is not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub version: u64,
    /// Position of its entry in the ring.
    at: u64,
}

/// A message that was found, or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub location: Location,
    /// The location of the next entry, which may be a hole, or not exist yet.
    pub next: Location,
    /// Bytes of the message.
    pub len: usize,
    /// Number of entries that were visited.
    pub steps: u64,
}

impl Located {
    /// A message of a test without a block.
    #[cfg(all(test, not(feature = "loom")))]
    pub(crate) fn of_version(version: u64) -> Self {
        let [location, next] = [version, version + 1].map(|version| Location { version, at: version });
        Located { location, next, len: 0, steps: 1 }
    }
}

/// Undoes a removal; see [`Block::requeue`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub located: Located,
    before: Record,
    holes: Holes,
    /// Whether the message became a hole.
    is_marked: bool,
}

impl Block<'_> {
    /// Finds the first message at `from` or after it. `None` starts at the oldest message. Returns `None` if
    /// there is no such message.
    pub(crate) fn locate(&self, from: Option<Location>) -> Result<Option<Located>, Damaged> {
        let (record, holes) = self.state()?;
        let first = Location { version: record.first(), at: record.head };
        let Location { version, at } = from.unwrap_or(first);
        if version < first.version {
            return Err(Damaged);
        }
        let mut walk = Walk::new(record, holes.count > 0, at, version);
        let mut steps = 0;
        while let Some((entry, version)) = walk.next(&self.ring)? {
            steps += 1;
            if !entry.is_hole {
                let entry = Entry::checked(&self.ring, record, entry.at, record.version - version + 1)?;
                let location = Location { version, at: entry.at };
                let next = Location { version: version + 1, at: entry.end() };
                return Ok(Some(Located { location, next, len: entry.len, steps }));
            }
        }
        Ok(None)
    }

    /// The message at a location that [`Block::locate`] has returned.
    pub(crate) fn message(&self, located: &Located) -> Result<Message<'_>, Damaged> {
        let count = self.contents()?.count;
        let entry = Entry::new(located.location.at, located.len);
        let parts = self.slice(entry, 0, u64::MAX);
        Ok(Message { parts, version: located.location.version, count, lost: 0 })
    }

    /// Removes the message at a location. If there is an older message, this one becomes a hole.
    pub(crate) fn remove(&mut self, location: Location) -> Result<Taken, Damaged> {
        let (before, holes) = self.state()?;
        let Location { version, at } = location;
        if version < before.first() || version > before.version {
            return Err(Damaged);
        }
        let remaining = before.version - version + 1;
        let entry = Entry::checked(&self.ring, before, at, remaining)?;
        if entry.is_hole {
            return Err(Damaged);
        }
        let next = Location { version: version + 1, at: entry.end() };
        let located = |steps| Located { location, next, len: entry.len, steps };
        if version == before.first() {
            let mut left = holes;
            let after = self.without_oldest(before, &mut left)?;
            let steps = u64::from(holes.count - left.count) + 1;
            self.control.commit(after);
            self.forget_holes(left);
            return Ok(Taken { located: located(steps), before, holes, is_marked: false });
        }
        let is_newest = remaining == u64::from(holes.trailing) + 1;
        let (newest, steps) = match is_newest {
            true => self.message_before(before, holes, version)?,
            false => (holes, 1),
        };
        let count = holes.count + 1;
        self.control.begin();
        // The number of holes is stored before the hole is made. The new place of the newest message is
        // stored afterwards, because until then the removed message is the newest. A starting server finds
        // both again.
        self.control.store_holes(Holes { count, ..holes });
        entry.mark(&mut self.ring, true);
        self.control.store_holes(Holes { count, ..newest });
        self.control.finish();
        Ok(Taken { located: located(steps), before, holes, is_marked: true })
    }

    /// Undoes a removal. The caller holds the same grant as at that removal, and has changed nothing since.
    pub(crate) fn requeue(&mut self, taken: Taken) -> Result<(), Damaged> {
        let Taken { located, before, holes, is_marked } = taken;
        let record = self.record()?;
        let unchanged = (before.version, before.tail) == (record.version, record.tail);
        assert!(unchanged && is_marked == (before == record), "{before:?} became {record:?} after a take");
        self.control.begin();
        if is_marked {
            Entry::new(located.location.at, located.len).mark(&mut self.ring, false);
            self.control.store_holes(holes);
        } else {
            // The holes are in the list again with the commit.
            self.control.store_holes(holes);
            self.control.commit(before);
        }
        self.control.finish();
        Ok(())
    }

    /// Counts the holes again, at a start. Returns false if the list is damaged. All requests for the mailbox
    /// are refused then.
    pub(crate) fn recount(&mut self) -> bool {
        let counted = self.count_holes();
        let none = Holes { count: u32::MAX, ..Holes::default() };
        self.control.begin();
        self.control.store_holes(counted.unwrap_or(none));
        self.control.finish();
        counted.is_ok()
    }

    fn count_holes(&self) -> Result<Holes, Damaged> {
        let record = self.control.active()?.check_capacity(self.capacity as u64)?;
        let mut walk = Walk::new(record, true, record.head, record.first());
        let mut holes = Holes::default();
        while let Some((entry, version)) = walk.next(&self.ring)? {
            if entry.is_hole {
                holes.count += 1;
            } else {
                holes.trailing = to_u32(record.version - version);
                holes.distance = to_u32(record.tail - entry.at);
            }
        }
        let is_whole =
            record.count == 0 || !Entry::checked(&self.ring, record, record.head, record.count)?.is_hole;
        if is_whole { Ok(holes) } else { Err(Damaged) }
    }

    /// The place of the newest message before `version`, in a list whose oldest message is older. Also
    /// returns the number of entries that were visited.
    fn message_before(&self, record: Record, holes: Holes, version: u64) -> Result<(Holes, u64), Damaged> {
        let mut walk = Walk::new(record, holes.count > 0, record.head, record.first());
        let mut place = Holes::default();
        while let Some((entry, found)) = walk.next(&self.ring)?
            && found < version
        {
            if !entry.is_hole {
                place.trailing = to_u32(record.version - found);
                place.distance = to_u32(record.tail - entry.at);
            }
        }
        Ok((place, version - record.first()))
    }

    /// The list without its oldest message and without the holes after it. Subtracts these from `holes`.
    pub(super) fn without_oldest(&self, record: Record, holes: &mut Holes) -> Result<Record, Damaged> {
        let mut kept = record.without_oldest(Entry::oldest(&self.ring, record)?.end());
        while holes.count > 0 && kept.count > 0 {
            let entry = Entry::checked(&self.ring, kept, kept.head, kept.count)?;
            if !entry.is_hole {
                break;
            }
            kept = kept.without_oldest(entry.end());
            holes.count -= 1;
        }
        if holes.count == 0 {
            *holes = Holes::default();
        }
        Ok(kept)
    }
}
