//! The control socket of this server. Only the owner of the server and root can stop it through the socket.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{MsgFlags, SockFlag, accept4, getsockopt, recv};
use nix::unistd::geteuid;

use super::listeners::open_spare_fd;

/// The message that stops the server.
pub(crate) const STOP: &[u8] = b"stop";

/// Open control connections. Further ones are closed.
const PEERS_MAX: usize = 8;

/// The listening SEQPACKET socket and its connections.
#[derive(Debug)]
pub(super) struct Control {
    listener: OwnedFd,
    peers: Vec<OwnedFd>,
    token: Token,
    /// A descriptor that is closed when clients have taken all others, so that the owner can always connect.
    spare_fd: Option<File>,
}

impl Control {
    /// Registers `listener`. All events of the control socket carry `token`.
    pub(super) fn open(listener: OwnedFd, token: Token, registry: &Registry) -> io::Result<Self> {
        registry.register(&mut SourceFd(&listener.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Control { listener, peers: Vec::new(), token, spare_fd: Some(open_spare_fd()?) })
    }

    /// Accepts connections and reads messages. Returns whether an authorized peer has asked to stop.
    pub(super) fn stop_requested(&mut self, registry: &Registry) -> bool {
        while let Some(peer) = self.accept() {
            let is_allowed = self.peers.len() < PEERS_MAX && is_owner(&peer);
            let mut source = SourceFd(&peer.as_raw_fd());
            if is_allowed && registry.register(&mut source, self.token, Interest::READABLE).is_ok() {
                self.peers.push(peer);
            }
        }
        let mut stop = false;
        self.peers.retain(|peer| {
            let mut message = [0; 16];
            match recv(peer.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
                Ok(len) => {
                    stop |= &message[..len] == STOP;
                    false
                }
                Err(errno) => errno == Errno::EAGAIN,
            }
        });
        if self.spare_fd.is_none() {
            self.spare_fd = open_spare_fd().ok();
        }
        stop
    }

    #[allow(unsafe_code, reason = "takes ownership of the descriptor that accept4 returns")]
    fn accept(&mut self) -> Option<OwnedFd> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let peer = match accept4(self.listener.as_raw_fd(), flags) {
            Err(Errno::EMFILE | Errno::ENFILE) if self.spare_fd.take().is_some() => {
                accept4(self.listener.as_raw_fd(), flags)
            }
            accepted => accepted,
        };
        let peer = peer.ok()?;
        // SAFETY: the descriptor is new, and nothing else owns it.
        Some(unsafe { OwnedFd::from_raw_fd(peer) })
    }
}

fn is_owner(peer: &OwnedFd) -> bool {
    let allowed = [0, geteuid().as_raw()];
    getsockopt(&peer.as_fd(), PeerCredentials).is_ok_and(|peer| allowed.contains(&peer.uid()))
}
