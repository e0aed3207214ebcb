//! Takes the mailboxes of a segment over into one with mailboxes of another number or size.

use std::fs::File;
use std::io;

use memmap2::{MmapOptions, MmapRaw};

use super::block::{Block, Damaged, Recovered};
use super::segment::{Geometry, Segment, SegmentError};
use crate::protocol::Name;

impl Segment {
    /// Creates a segment in `file`, which is empty, with the messages, versions, names and the life of `old`.
    /// `old` is not changed. Fails if something does not fit.
    pub(crate) fn resize(
        file: &File,
        geometry: Geometry,
        uid: u32,
        old: &File,
    ) -> Result<Self, SegmentError> {
        let old = Segment::open_copy(old)?;
        old.check_fits(geometry)?;
        let new = Segment::allocate(file, geometry, old.life())?;
        let common = old.geometry().mailboxes.min(geometry.mailboxes);
        for mailbox in 0..common {
            let copied = new.sole_block(mailbox).copy_from(&old.sole_block(mailbox));
            copied.map_err(|Damaged| damaged(mailbox))?;
        }
        old.names().for_each(|(mailbox, name)| new.set_name(mailbox, Some(&name)));
        new.complete(file, uid, &old)
    }

    /// Whether the mailboxes, after their recovery, fit into ones of another number and size.
    fn check_fits(&self, geometry: Geometry) -> Result<(), SegmentError> {
        if let Some((mailbox, _)) = self.recover().iter().find(|(_, found)| *found == Recovered::Lost) {
            return Err(damaged(*mailbox));
        }
        for mailbox in 0..self.geometry().mailboxes {
            let block = self.sole_block(mailbox);
            let reason = match mailbox < geometry.mailboxes {
                true => too_large(&block, geometry),
                false => in_use(&block, self.name(mailbox).as_ref()),
            };
            if let Some(reason) = reason.map_err(|Damaged| damaged(mailbox))? {
                return Err(SegmentError::DoesNotFit(format!("mailbox {mailbox} {reason}")));
            }
        }
        Ok(())
    }

    /// Opens a segment of any geometry. Changes do not reach the file.
    #[allow(unsafe_code, reason = "maps the file")]
    fn open_copy(file: &File) -> Result<Self, SegmentError> {
        let geometry = Segment::geometry_of(file)?;
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // SAFETY: no server runs, so no other process changes the file.
        let map = MmapRaw::from(unsafe { MmapOptions::new().len(len).map_copy(file)? });
        Segment::over(map, geometry, file)
    }

    /// A block of a segment that only this thread uses.
    #[allow(unsafe_code, reason = "there are no grants before a server runs")]
    fn sole_block(&self, mailbox: u32) -> Block<'_> {
        // SAFETY: no server uses either segment, and one thread calls this.
        unsafe { self.block(mailbox) }
    }
}

fn damaged(mailbox: u32) -> SegmentError {
    SegmentError::DoesNotFit(format!("mailbox {mailbox} is damaged"))
}

/// Why the messages of a mailbox do not fit into one of another size.
fn too_large(block: &Block<'_>, geometry: Geometry) -> Result<Option<String>, Damaged> {
    let bytes = block.copied_bytes()?;
    let fits = bytes <= geometry.capacity + super::block::ENTRY_HEADER as u64;
    Ok((!fits).then(|| format!("has messages of {bytes} bytes, more than {} kB", geometry.capacity / 1024)))
}

/// Why a mailbox cannot be left out.
fn in_use(block: &Block<'_>, name: Option<&Name>) -> Result<Option<String>, Damaged> {
    let contents = block.contents()?;
    Ok(match (contents.count, contents.version, name) {
        (0, 0, None) => None,
        (0, 0, Some(name)) => Some(format!("would be left out, and has the name {name}")),
        (0, version, _) => Some(format!("would be left out, and has version {version}")),
        (count, ..) => Some(format!("would be left out, and has messages: {count}")),
    })
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
