//! The operations that a connection needs of its socket.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::ptr;

use nix::libc;
use socket2::Socket;

/// A non-blocking byte stream: a socket, or a pipe of the simulation.
pub(super) trait Transport: Read + Write + Debug {
    /// Closes the sending half.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Bytes that were written and are not acknowledged by the peer.
    fn unacknowledged(&self) -> usize;

    /// Bytes that have arrived and were not read.
    fn available(&self) -> usize;

    /// Lets a TCP socket be readable only when this many bytes have arrived, when its input ends, or when it
    /// has no room for more. Returns false if that fails. A poll ignores it for a Unix-domain socket.
    fn await_bytes(&self, len: usize) -> bool;

    /// Keeps the connection open even if the peer does not acknowledge bytes for a long time.
    fn disable_user_timeout(&self);
}

nix::ioctl_read_bad!(
    /// Source: tcp(7) and unix(7), SIOCOUTQ.
    outgoing_queue,
    libc::TIOCOUTQ,
    libc::c_int
);

nix::ioctl_read_bad!(
    /// Source: tcp(7) and unix(7), SIOCINQ.
    incoming_queue,
    libc::FIONREAD,
    libc::c_int
);

impl Transport for Socket {
    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    #[allow(unsafe_code, reason = "this ioctl has no safe interface")]
    fn unacknowledged(&self) -> usize {
        let mut left = 0;
        // SAFETY: the descriptor is open, and the kernel writes one c_int.
        let result = unsafe { outgoing_queue(self.as_raw_fd(), &mut left) };
        result.map_or(0, |_| usize::try_from(left).unwrap_or(0))
    }

    #[allow(unsafe_code, reason = "this ioctl has no safe interface")]
    fn available(&self) -> usize {
        let mut arrived = 0;
        // SAFETY: the descriptor is open, and the kernel writes one c_int.
        let result = unsafe { incoming_queue(self.as_raw_fd(), &mut arrived) };
        result.map_or(0, |_| usize::try_from(arrived).unwrap_or(0))
    }

    #[allow(unsafe_code, reason = "this option has no safe interface")]
    fn await_bytes(&self, len: usize) -> bool {
        let Ok(len) = libc::c_int::try_from(len) else { return false };
        let size = size_of_val(&len) as libc::socklen_t;
        // SAFETY: the descriptor is open, and the value is a c_int. Source: socket(7).
        let result = unsafe {
            let option = ptr::from_ref(&len).cast();
            libc::setsockopt(self.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVLOWAT, option, size)
        };
        result == 0
    }

    fn disable_user_timeout(&self) {
        // Fails on a Unix-domain socket, which has no such timeout.
        let _ = self.set_tcp_user_timeout(None);
    }
}
