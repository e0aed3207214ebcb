//! The operations that a connection needs of its socket.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use socket2::Socket;

/// A non-blocking byte stream: a socket, or a pipe of the simulation.
pub(super) trait Transport: Read + Write + Debug {
    /// Closes the sending half.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Bytes that were written and are not acknowledged by the peer.
    fn unacknowledged(&self) -> usize;

    /// Keeps the connection open even if the peer does not acknowledge bytes for a long time.
    fn disable_user_timeout(&self);
}

nix::ioctl_read_bad!(
    /// Source: tcp(7) and unix(7), SIOCOUTQ.
    outgoing_queue,
    nix::libc::TIOCOUTQ,
    nix::libc::c_int
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

    fn disable_user_timeout(&self) {
        // Fails on a Unix-domain socket, which has no such timeout.
        let _ = self.set_tcp_user_timeout(None);
    }
}
