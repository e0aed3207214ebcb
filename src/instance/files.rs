//! The files of a starting or running server.
//!
//! A name can be lost while the server runs: a cleaner of old files removes it, or the directory is renamed.
//! The open files stay usable, but other processes no longer find the server. The server therefore checks the
//! names, and creates the directory, the lock and the control socket again. The segment cannot get its name
//! back, so its mailboxes end with the server.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::directory::{CONTROL, Directory, DirectoryError, InstanceLock, LOCK, SEGMENT};
use super::handover::send_descriptors;
use super::segment_file::SegmentFile;
use super::unix_socket::UnixSocket;
use crate::reactor::{FileCheck, Refusal, SocketKind};

/// The directory itself, among the names that can be lost.
const DIRECTORY: &str = "directory";

/// How long a panic waits for a step of the start that creates files.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// The files of a start that has not succeeded yet.
static STARTING: Mutex<Option<Arc<Mutex<Files>>>> = Mutex::new(None);

/// The files that a server has created or locked.
#[derive(Debug)]
pub(super) struct Files {
    directory: Directory,
    lock: InstanceLock,
    segment: SegmentFile,
    socket: Option<UnixSocket>,
    /// Device and inode of the control socket.
    control: Option<(u64, u64)>,
    /// The names that were lost at the last check.
    lost: Vec<&'static str>,
}

impl Files {
    /// The files of a server whose control socket is not open yet.
    pub(super) fn new(
        directory: Directory,
        lock: InstanceLock,
        segment: SegmentFile,
        socket: Option<UnixSocket>,
    ) -> Self {
        Files { directory, lock, segment, socket, control: None, lost: Vec::new() }
    }

    /// Shares the files with the panic hook, until [`Files::keep`].
    pub(super) fn share(self) -> Arc<Mutex<Self>> {
        let files = Arc::new(Mutex::new(self));
        *STARTING.lock() = Some(Arc::clone(&files));
        files
    }

    /// From here on a panic leaves the files: the start has succeeded.
    pub(super) fn keep() {
        *STARTING.lock() = None;
    }

    /// Removes the files of a start that ends with a panic.
    pub(super) fn discard_unfinished() {
        let starting = STARTING.try_lock().and_then(|mut starting| starting.take());
        // Another thread may be creating one of the files.
        if let Some(files) = starting.as_ref().and_then(|files| files.try_lock_for(DISCARD_TIMEOUT)) {
            files.discard();
        }
    }

    /// The directory of the instance.
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Refuses to hand over files that have lost their names. A new server could not find the instance.
    pub(super) fn check_complete(&self) -> Result<(), Refusal> {
        match self.lost_names().as_slice() {
            [] => Ok(()),
            lost => {
                let path = self.directory.path().display();
                Err(Refusal { code: 1, reason: format!("{path}: lost names: {}", lost.join(", ")) })
            }
        }
    }

    /// Sends a new server the lock, the segment and these sockets.
    pub(super) fn send(
        &self,
        peer: &OwnedFd,
        sockets: &[(SocketKind, BorrowedFd<'_>)],
    ) -> std::io::Result<()> {
        let files = [self.lock.file().as_fd(), self.segment.file().as_fd()];
        let inode = self.socket.as_ref().map_or(0, UnixSocket::inode);
        Ok(send_descriptors(peer, files, sockets, inode)?)
    }

    /// Listens on the control socket, and writes the pid. To be called after the last fork.
    pub(super) fn open_control(&mut self) -> Result<OwnedFd, DirectoryError> {
        let control = self.directory.open_control()?;
        self.directory.write_pid()?;
        self.control = self.directory.identity(CONTROL).ok();
        Ok(control)
    }

    /// Gives a new segment its name. This deletes the mailboxes of an earlier segment, even if the start
    /// fails afterwards.
    pub(super) fn commit(&self) -> Result<(), DirectoryError> {
        self.directory.commit(&self.segment)
    }

    /// Removes everything that a failed start has created.
    pub(super) fn discard(&self) {
        self.release();
        self.directory.revoke(&self.segment);
        self.directory.discard(&self.lock);
    }

    /// Removes the files that only a running server needs, unless another server has their names.
    pub(super) fn release(&self) {
        let is_socket_removed = self.socket.as_ref().is_none_or(UnixSocket::remove);
        if !self.directory.has_lost_lock(&self.lock) {
            self.directory.release(is_socket_removed);
            if self.segment.has_lost_name(&self.directory) {
                // Without mailboxes the directory has no use.
                self.directory.discard(&self.lock);
            }
        }
    }

    /// Finds lost names, and restores them.
    pub(super) fn check(&mut self) -> FileCheck {
        let lost = self.lost_names();
        if lost.is_empty() && self.lost.is_empty() {
            return FileCheck::default();
        }
        let is_news = lost != self.lost;
        if is_news && !lost.is_empty() {
            log::warn!("{}: lost names: {}", self.directory.path().display(), lost.join(", "));
        }
        let control = match self.restore(&lost) {
            Ok(control) => control,
            Err(error) => {
                if is_news {
                    log::error!("{error}; dipcrm may not find this server, SIGTERM stops it");
                }
                None
            }
        };
        self.lost = self.lost_names();
        let restored = lost.len().saturating_sub(self.lost.len()) as u64;
        if restored > 0 {
            log::warn!("{}: {restored} names restored", self.directory.path().display());
        }
        if is_news && self.lost.contains(&SEGMENT) {
            log::error!("the segment has lost its name: the mailboxes end with this server");
        }
        FileCheck { missing: self.lost.len() as u64, restored, control }
    }

    fn lost_names(&self) -> Vec<&'static str> {
        let is_control_lost = self.directory.identity(CONTROL).ok() != self.control;
        let names = [
            (DIRECTORY, self.directory.has_lost_name()),
            (LOCK, self.directory.has_lost_lock(&self.lock)),
            (CONTROL, is_control_lost),
            (SEGMENT, self.segment.has_lost_name(&self.directory)),
        ];
        names.into_iter().filter_map(|(name, is_lost)| is_lost.then_some(name)).collect()
    }

    /// Creates the lost ones of the directory, the lock and the control socket again. Returns the new control
    /// socket, if one was created. Fails if another process has locked the instance.
    fn restore(&mut self, lost: &[&str]) -> Result<Option<OwnedFd>, DirectoryError> {
        if lost.contains(&DIRECTORY) {
            (self.directory, self.lock) = self.directory.claim_again()?;
        } else if lost.contains(&LOCK)
            && let Some(lock) = self.directory.lock()?
        {
            self.lock = lock;
        }
        if !self.lost_names().contains(&CONTROL) {
            return Ok(None);
        }
        if let Some(socket) = &self.socket {
            self.directory.write_socket_path(socket.path())?;
        }
        self.open_control().map(Some)
    }
}
