//! The process of a server, which dipcrm may signal.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use super::control_socket::{receive, wait_for_input};

/// A process, identified by a pidfd. Unlike a pid, a pidfd never refers to a later process.
#[derive(Debug)]
pub(super) struct Process {
    /// The process id.
    pub pid: i32,
    pidfd: OwnedFd,
}

/// The process at the other end of a connection.
#[derive(Debug)]
pub(super) enum Peer {
    /// The connection leads to this process.
    Process(Process),
    /// The process is in another pid namespace, or the kernel has no pidfd for it. It must not be signalled.
    Unknown,
    /// The process has ended, or has closed the connection or sent something.
    Gone,
}

impl Peer {
    /// The process at the other end of `connection`. It has not sent anything on the connection yet.
    pub(super) fn of(connection: &OwnedFd) -> io::Result<Self> {
        let pid = getsockopt(&connection.as_fd(), PeerCredentials)?.pid();
        if pid <= 0 {
            return Ok(Peer::Unknown);
        }
        let process = match Process::open(pid) {
            Ok(process) => process,
            Err(Errno::ESRCH) => return Ok(Peer::Gone),
            Err(_) => return Ok(Peer::Unknown),
        };
        // The proof that the pidfd is not of a later process with the same pid: a process that ends closes
        // its sockets before its pid is free. So while the connection is open, the pid is the server's.
        match receive(connection) {
            Err(Errno::EAGAIN) => Ok(Peer::Process(process)),
            _ => Ok(Peer::Gone),
        }
    }
}

#[allow(unsafe_code, reason = "nix has no safe interface for pidfds")]
impl Process {
    fn open(pid: i32) -> Result<Self, Errno> {
        // SAFETY: takes no pointers. Source: pidfd_open(2).
        let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
        // SAFETY: the descriptor is new and has no other owner.
        Ok(Process { pid, pidfd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Sends a signal. Succeeds also if the process has ended.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let (fd, signal) = (self.pidfd.as_raw_fd(), signal as i32);
        let no_info = std::ptr::null::<nix::libc::siginfo_t>();
        // SAFETY: a null siginfo is allowed. Source: pidfd_send_signal(2).
        let sent = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Process {
    /// Waits for the end of the process, at most for `timeout`. Returns whether it has ended.
    pub(super) fn wait_for_end(&self, timeout: Duration) -> bool {
        wait_for_input(&self.pidfd, Instant::now() + timeout)
    }
}
