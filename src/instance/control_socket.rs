//! The control socket of an instance. Other processes send requests to the server through it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, listen, recv, send, socket,
};

use super::directory::{CONTROL, Directory, DirectoryError};
use super::process::Peer;
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

    /// Connects to the control socket of the server. Does not wait: if the backlog of the socket is full,
    /// fails with `EAGAIN`. The connection is non-blocking, too.
    pub(super) fn connect_control(&self) -> Result<OwnedFd, Errno> {
        let fd = control_socket(SockFlag::SOCK_NONBLOCK)?;
        connect(fd.as_raw_fd(), &self.control_address()?)?;
        Ok(fd)
    }

    /// Whether a process listens on the control socket.
    pub(super) fn has_listener(&self) -> bool {
        matches!(self.connect_control(), Ok(_) | Err(Errno::EAGAIN))
    }

    /// The process id of the server that listens on the control socket, unless the server is in another pid
    /// namespace.
    pub(super) fn server(&self) -> Option<i32> {
        match Peer::of(&self.connect_control().ok()?) {
            Ok(Peer::Process(process)) => Some(process.pid),
            _ => None,
        }
    }

    /// The address of the control socket, through the descriptor of the directory. The path of the directory
    /// may therefore have any length, and no link in it is followed.
    fn control_address(&self) -> Result<UnixAddr, Errno> {
        UnixAddr::new(format!("/proc/self/fd/{}/{CONTROL}", self.descriptor().as_raw_fd()).as_str())
    }

    /// Whether a server runs here: it answers so before the deadline. A stopping server does not answer so. A
    /// killed server whose sockets the kernel has not closed yet does not answer at all.
    pub(super) fn is_running(&self, deadline: Instant) -> bool {
        let Ok(control) = self.connect_control() else { return false };
        let flags = MsgFlags::MSG_NOSIGNAL;
        let is_sent = send(control.as_raw_fd(), PING, flags).is_ok();
        is_sent
            && wait_for_input(&control, deadline)
            && receive(&control).is_ok_and(|answer| answer == RUNNING)
    }
}

/// Receives the answer of a server. The answer is empty if the connection was closed. Does not wait.
pub(super) fn receive(control: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut answer = [0; 16];
    let len = recv(control.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    Ok(answer[..len].to_vec())
}

/// Waits until a descriptor is readable or closed at its other end. Returns whether that happened before the
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
