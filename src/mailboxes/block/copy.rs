//! Copies the list of one mailbox to an empty one of another size.

use super::entry::Walk;
use super::record::{Damaged, Holes, Record};
use super::{Block, ENTRY_HEADER};
use crate::mailboxes::Ring;

impl Block<'_> {
    /// Bytes of all entries in a copy. A hole has no payload there.
    pub(crate) fn copied_bytes(&self) -> Result<u64, Damaged> {
        let mut bytes = 0;
        let mut walk = self.walk()?;
        while let Some((entry, _)) = walk.next(&self.ring)? {
            bytes += ENTRY_HEADER as u64 + if entry.is_hole { 0 } else { entry.len as u64 };
        }
        Ok(bytes)
    }

    /// Copies the messages and the version of another mailbox, whose entries fit, to this one, which is new.
    pub(crate) fn copy_from(&mut self, other: &Block<'_>) -> Result<(), Damaged> {
        let from = other.record()?;
        let mut record = Record { version: from.version, head: 0, tail: 0, last: 0, count: from.count };
        let mut holes = Holes::default();
        let mut newest = 0;
        let mut walk = other.walk()?;
        while let Some((entry, version)) = walk.next(&other.ring)? {
            let len = if entry.is_hole { 0 } else { entry.len };
            let copied = self.begin_entry(record, record.tail, len);
            if entry.is_hole {
                holes.count += 1;
                copied.mark(&mut self.ring, true);
            } else {
                newest = copied.at;
                holes.trailing = u32::try_from(from.version - version).map_err(|_| Damaged)?;
                copy(&other.ring, entry.payload(), &mut self.ring, copied.payload(), len);
            }
            (record.last, record.tail) = (copied.at, copied.end());
        }
        if holes.count > 0 {
            holes.distance = u32::try_from(record.tail - newest).map_err(|_| Damaged)?;
            self.control.store_holes(holes);
        }
        self.control.commit(record);
        self.control.finish();
        Ok(())
    }

    fn walk(&self) -> Result<Walk, Damaged> {
        let (record, holes) = self.state()?;
        Ok(Walk::new(record, holes.count > 0, record.head, record.first()))
    }
}

fn copy(from: &Ring<'_>, at: u64, to: &mut Ring<'_>, target: u64, len: usize) {
    let [front, back] = from.read(at, len);
    to.write(target, front);
    to.write(target + front.len() as u64, back);
}
