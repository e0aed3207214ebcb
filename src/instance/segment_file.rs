//! The file of the mailboxes' memory in the directory of an instance.

use std::fs::File;

use nix::fcntl::{OFlag, renameat};
use nix::unistd::geteuid;

use super::directory::{Directory, DirectoryError, NEW_SEGMENT, SEGMENT, WAITERS};
use crate::mailboxes::{Geometry, Retired, Segment, SegmentError, Waiters};

/// Why the segment cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// A file of the directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The contents of the segment cannot be used.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// What a start does with an existing segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// Goes on with it, if its mailboxes have the right number and size.
    Continue,
    /// Takes its mailboxes over, if they have another number or size.
    Resize,
    /// Replaces it by an empty one.
    Replace,
}

/// The segment of an instance. Its file is locked, too: the lock file can lose its name, and no second server
/// may use the segment then.
#[derive(Debug)]
pub(super) struct SegmentFile {
    file: File,
    /// Whether it is `segment.new`, which gets its name in [`Directory::commit`].
    is_new: bool,
}

impl SegmentFile {
    /// The file of a running server, whose descriptor was received. It is locked already, for both servers.
    pub(super) fn adopt(file: File, directory: &Directory) -> Result<Self, DirectoryError> {
        directory.check_adopted(SEGMENT, &file)?;
        Ok(SegmentFile { file, is_new: false })
    }

    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Whether the file no longer has its name.
    pub(super) fn has_lost_name(&self, directory: &Directory) -> bool {
        directory.is_named(SEGMENT, &self.file).is_ok_and(|is_named| !is_named)
    }
}

impl Directory {
    /// Opens the existing segment, or creates one. A new segment replaces an existing one in
    /// [`Directory::commit`].
    pub(super) fn segment(
        &self,
        geometry: Geometry,
        existing: Existing,
    ) -> Result<(Segment, SegmentFile), OpenError> {
        // A start that was killed may have left this file.
        self.unlink(NEW_SEGMENT)?;
        let (mut segment, file) = self.segment_with(geometry, existing)?;
        segment.set_waiters(self.waiters(geometry.mailboxes)?);
        Ok((segment, file))
    }

    fn segment_with(
        &self,
        geometry: Geometry,
        existing: Existing,
    ) -> Result<(Segment, SegmentFile), OpenError> {
        let is_replaced = existing == Existing::Replace;
        match self.open_segment() {
            Ok(Some(file)) if !is_replaced => match Segment::open(&file, geometry) {
                Err(SegmentError::OtherGeometry(_)) if existing == Existing::Resize => {
                    self.create_segment(|new| Segment::resize(new, geometry, geteuid().as_raw(), &file))
                }
                opened => Ok((opened?, SegmentFile { file, is_new: false })),
            },
            Err(DirectoryError::NotOurs { .. }) if is_replaced => self.create_empty_segment(geometry),
            Err(error) => Err(error.into()),
            Ok(_) => self.create_empty_segment(geometry),
        }
    }

    fn create_empty_segment(&self, geometry: Geometry) -> Result<(Segment, SegmentFile), OpenError> {
        self.create_segment(|file| Segment::create(file, geometry, geteuid().as_raw()))
    }

    /// The flags of the processes that wait for changes in the shared memory. A new file for each start: a
    /// process that has opened an earlier one finds the new one when its wait times out.
    fn waiters(&self, mailboxes: u32) -> Result<Waiters, OpenError> {
        self.unlink(WAITERS)?;
        let file = self.open_file(WAITERS, OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR)?;
        Ok(Waiters::create(&file, mailboxes).map_err(SegmentError::Io)?)
    }

    /// The flags of the running server that this process takes over from.
    pub(super) fn open_waiters(&self, mailboxes: u32) -> Result<Waiters, DirectoryError> {
        let file = self.open_file(WAITERS, OFlag::O_RDWR)?;
        Waiters::open(&file, mailboxes)
            .map_err(|error| DirectoryError::Io { path: self.path().join(WAITERS), error })
    }

    /// Opens and locks the existing segment, if there is one.
    fn open_segment(&self) -> Result<Option<File>, DirectoryError> {
        let file = match self.open_file(SEGMENT, OFlag::O_RDWR) {
            Err(error) if error.is_not_found() => return Ok(None),
            file => file?,
        };
        self.lock_file(SEGMENT, &file)?;
        Ok(Some(file))
    }

    fn create_segment(
        &self,
        create: impl FnOnce(&File) -> Result<Segment, SegmentError>,
    ) -> Result<(Segment, SegmentFile), OpenError> {
        let file = self.open_file(NEW_SEGMENT, OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR)?;
        self.lock_file(NEW_SEGMENT, &file)?;
        let segment = create(&file)?;
        Ok((segment, SegmentFile { file, is_new: true }))
    }

    /// Renames `segment.new` to `segment`, in place of an earlier segment. After this, the only step of the
    /// start that can still fail is the report that the server is ready.
    pub(super) fn commit(&self, segment: &SegmentFile) -> Result<(), DirectoryError> {
        if segment.is_new {
            let dir = self.descriptor();
            let earlier = self.open_file(SEGMENT, OFlag::O_RDWR);
            renameat(dir, NEW_SEGMENT, dir, SEGMENT).map_err(|errno| self.error(SEGMENT, errno))?;
            // A file that is no segment of this version has no readers.
            let _ = earlier.map(|file| Segment::retire(&file));
        }
        Ok(())
    }

    /// Marks the segment, because it is removed, and wakes the processes that wait for its mailboxes. Returns
    /// what it contained, if it is a segment of this version. The caller holds the lock.
    pub(super) fn retire_segment(&self) -> Option<Retired> {
        let file = self.open_file(SEGMENT, OFlag::O_RDWR).ok()?;
        Segment::retire(&file).ok()
    }

    /// The sizes of the mailboxes in the segment, if it is a segment of this version.
    pub(super) fn geometry(&self) -> Option<Geometry> {
        let file = self.open_file(SEGMENT, OFlag::O_RDONLY).ok()?;
        Segment::geometry_of(&file).ok()
    }

    /// Removes a new segment that was committed before the start failed. The caller holds the lock.
    pub(super) fn revoke(&self, segment: &SegmentFile) {
        if segment.is_new && !segment.has_lost_name(self) {
            let _ = self.unlink(SEGMENT);
        }
    }

    /// Whether a server runs here although the caller could lock the instance. This happens if the server's
    /// lock file was removed: the server has the segment locked then, or listens on the control socket.
    pub(super) fn is_served(&self) -> Result<bool, DirectoryError> {
        match self.open_segment() {
            Err(DirectoryError::InUse { .. }) => Ok(true),
            // The segment is not locked, or cannot be opened. A server may still listen on the control
            // socket.
            Err(DirectoryError::NotOurs { .. }) | Ok(_) => Ok(self.has_listener()),
            Err(error) => Err(error),
        }
    }
}
