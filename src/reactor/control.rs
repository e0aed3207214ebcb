//! The control socket of this server: a way for its owner, and nobody else, to stop it.

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

/// What is sent to stop the server.
pub const STOP: &[u8] = b"stop";

/// Callers that are listened to at once; more are hung up on.
const PEERS_MAX: usize = 8;

/// A listening SEQPACKET socket, and who is calling.
#[derive(Debug)]
pub struct Control {
    listener: OwnedFd,
    peers: Vec<OwnedFd>,
    token: Token,
    /// A descriptor to give away when clients have taken all others: the owner shall always be heard.
    spare_fd: Option<File>,
}

impl Control {
    /// Listens on `listener`; all its events carry `token`.
    pub fn open(listener: OwnedFd, token: Token, registry: &Registry) -> io::Result<Self> {
        registry.register(&mut SourceFd(&listener.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Control { listener, peers: Vec::new(), token, spare_fd: Some(open_spare_fd()?) })
    }

    /// Whether somebody who may has asked to stop.
    pub fn stop_requested(&mut self, registry: &Registry) -> bool {
        while let Some(caller) = self.accept() {
            let welcome = self.peers.len() < PEERS_MAX && is_owner(&caller);
            let mut source = SourceFd(&caller.as_raw_fd());
            if welcome && registry.register(&mut source, self.token, Interest::READABLE).is_ok() {
                self.peers.push(caller);
            }
        }
        let mut stop = false;
        self.peers.retain(|caller| {
            let mut message = [0; 16];
            match recv(caller.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
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

    #[allow(unsafe_code, reason = "takes over the descriptor that accept4 made")]
    fn accept(&mut self) -> Option<OwnedFd> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let caller = match accept4(self.listener.as_raw_fd(), flags) {
            Err(Errno::EMFILE | Errno::ENFILE) if self.spare_fd.take().is_some() => {
                accept4(self.listener.as_raw_fd(), flags)
            }
            accepted => accepted,
        };
        let caller = caller.ok()?;
        // SAFETY: the descriptor is new, and nobody else knows it.
        Some(unsafe { OwnedFd::from_raw_fd(caller) })
    }
}

fn is_owner(peer: &OwnedFd) -> bool {
    let allowed = [0, geteuid().as_raw()];
    getsockopt(&peer.as_fd(), PeerCredentials).is_ok_and(|peer| allowed.contains(&peer.uid()))
}
