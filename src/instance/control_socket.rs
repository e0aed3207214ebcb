//! The control socket of an instance, through which other processes ask its server.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, listen, recv, send, socket,
};

use super::directory::{CONTROL, Directory, DirectoryError};
use crate::reactor::{PING, RUNNING};

/// Connections that the kernel queues until the server accepts them.
const BACKLOG: i32 = 8;

impl Directory {
    /// Listens on the control socket. To be called after the last fork, because dipcrm gets the pid of the
    /// process that listens.
    pub(super) fn open_control(&self) -> Result<OwnedFd, DirectoryError> {
        self.unlink(CONTROL)?;
        let opened = || {
            let fd = control_socket(SockFlag::SOCK_NONBLOCK)?;
            bind(fd.as_raw_fd(), &self.control_address()?)?;
            listen(&fd, Backlog::new(BACKLOG)?)?;
            Ok(fd)
        };
        opened().map_err(|errno| self.error(CONTROL, errno))
    }

    /// Connects to the control socket of the server. Does not wait for a place in its backlog: without one it
    /// fails with `EAGAIN`. The connection does not block either.
    pub(super) fn connect_control(&self) -> Result<OwnedFd, Errno> {
        let fd = control_socket(SockFlag::SOCK_NONBLOCK)?;
        connect(fd.as_raw_fd(), &self.control_address()?)?;
        Ok(fd)
    }

    /// Whether a process listens on the control socket.
    pub(super) fn has_listener(&self) -> bool {
        matches!(self.connect_control(), Ok(_) | Err(Errno::EAGAIN))
    }

    /// The address of the control socket, through the descriptor of the directory. So the path may have any
    /// length, and no link is followed.
    fn control_address(&self) -> Result<UnixAddr, Errno> {
        UnixAddr::new(format!("/proc/self/fd/{}/{CONTROL}", self.descriptor().as_raw_fd()).as_str())
    }

    /// Whether a server runs here: it says so before the deadline. A server that stops, or that has been
    /// killed and whose sockets the kernel has not closed yet, does not.
    pub(super) fn is_running(&self, deadline: Instant) -> bool {
        let Ok(control) = self.connect_control() else { return false };
        let flags = MsgFlags::MSG_NOSIGNAL;
        let is_sent = send(control.as_raw_fd(), PING, flags).is_ok();
        is_sent
            && wait_for_input(&control, deadline)
            && receive(&control).is_ok_and(|answer| answer == RUNNING)
    }
}

/// Receives the answer of a server; an empty one if the connection was closed. Does not wait.
pub(super) fn receive(control: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut answer = [0; 16];
    let len = recv(control.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    Ok(answer[..len].to_vec())
}

/// Waits until a descriptor is readable or closed at its other end. Returns whether it is before the
/// deadline.
pub(super) fn wait_for_input(fd: impl AsFd, deadline: Instant) -> bool {
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(remaining).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            Ok(ready) => return ready > 0,
            Err(_) => return false,
        }
    }
}

fn control_socket(flags: SockFlag) -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | flags, None)
}
