//! The control socket of this server. Only the owner of the server and root can stop it through the socket.
//!
//! A peer sends one message and gets one answer. Then its connection is closed. If the connection is closed
//! without an answer, the peer sends its message again. So no error of this socket loses a request to stop.
//! The connection of a new server that takes over has more messages; see [`handover`](super::handover).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{MsgFlags, SockFlag, accept4, getsockopt, recv, send};
use nix::unistd::geteuid;

use super::handover::{HELLO, HELLO_MAX};
use super::listeners::{is_transient, open_spare_fd};

/// The message that stops the server.
pub(crate) const STOP: &[u8] = b"stop";

/// The message that asks whether the server runs.
pub(crate) const PING: &[u8] = b"ping";

/// The answer to [`PING`] of a server that serves clients.
pub(crate) const RUNNING: &[u8] = b"running";

/// The answer to [`STOP`], and to [`PING`] while the server stops.
pub(crate) const STOPPING: &[u8] = b"stopping";

/// Largest number of open control connections. Further connections are closed.
const PEERS_MAX: usize = 8;

/// Largest number of connections accepted in one call.
const ACCEPTS_MAX: usize = 64;

/// Delay after which a failed accept is retried: no event announces the connection again.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The listening SEQPACKET socket and its connections.
#[derive(Debug)]
pub(super) struct Control {
    /// `None` before the control socket is open, and after a handover.
    listener: Option<OwnedFd>,
    peers: Vec<OwnedFd>,
    token: Token,
    /// A descriptor that is closed when clients have taken all others, so that the owner can always connect.
    spare_fd: Option<File>,
    retry_at: Option<Instant>,
}

/// The messages that authorized peers have sent.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Whether a peer has asked to stop.
    pub stop: bool,
    /// The connections of new servers, each with its first message.
    pub hellos: Vec<(OwnedFd, Vec<u8>)>,
}

impl Control {
    /// Registers `listener`. All events of the control socket carry `token`.
    pub(super) fn open(listener: Option<OwnedFd>, token: Token, registry: &Registry) -> io::Result<Self> {
        let spare_fd = Some(open_spare_fd()?);
        let mut control = Control { listener: None, peers: Vec::new(), token, spare_fd, retry_at: None };
        listener.map_or(Ok(()), |listener| control.replace(listener, registry))?;
        Ok(control)
    }

    /// Replaces the listener by `listener`, because the file of the present listener is gone.
    pub(super) fn replace(&mut self, listener: OwnedFd, registry: &Registry) -> io::Result<()> {
        registry.register(&mut SourceFd(&listener.as_raw_fd()), self.token, Interest::READABLE)?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Closes the control socket and its connections. Their peers ask again, and reach the new server.
    pub(super) fn close(&mut self) {
        (self.listener, self.retry_at) = (None, None);
        self.peers.clear();
    }

    /// When [`Control::receive`] has to be called without an event.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Accepts connections, and answers their messages. Returns those that concern the reactor.
    pub(super) fn receive(&mut self, registry: &Registry, is_stopping: bool, now: Instant) -> Messages {
        self.retry_at = (!self.accept_peers(registry)).then(|| now + ACCEPT_RETRY);
        let mut messages = Messages::default();
        for peer in std::mem::take(&mut self.peers) {
            let mut message = [0; HELLO_MAX];
            match recv(peer.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
                Ok(len) if message[..len].starts_with(HELLO) => {
                    messages.hellos.push((peer, message[..len].to_vec()));
                }
                Ok(len) => {
                    messages.stop |= &message[..len] == STOP;
                    let answer = if messages.stop || is_stopping { STOPPING } else { RUNNING };
                    // A peer that gets no answer asks again, or has disconnected.
                    send_message(&peer, answer);
                }
                Err(Errno::EAGAIN) => self.peers.push(peer),
                Err(_) => {}
            }
        }
        if self.spare_fd.is_none() {
            self.spare_fd = open_spare_fd().ok();
        }
        messages
    }

    /// Accepts the connections of the backlog. Returns whether it is empty now.
    fn accept_peers(&mut self, registry: &Registry) -> bool {
        for _ in 0..ACCEPTS_MAX {
            match self.accept() {
                Ok(peer) => {
                    let is_allowed = self.peers.len() < PEERS_MAX && is_owner(&peer);
                    let mut source = SourceFd(&peer.as_raw_fd());
                    if is_allowed && registry.register(&mut source, self.token, Interest::READABLE).is_ok() {
                        self.peers.push(peer);
                    }
                }
                Err(Errno::EAGAIN) => return true,
                Err(errno) if is_transient(errno) => {}
                Err(errno) => {
                    log::warn!("cannot accept at the control socket: {errno}");
                    return false;
                }
            }
        }
        false
    }

    #[allow(unsafe_code, reason = "takes ownership of the descriptor that accept4 returns")]
    fn accept(&mut self) -> Result<OwnedFd, Errno> {
        let listener = self.listener.as_ref().ok_or(Errno::EAGAIN)?.as_raw_fd();
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let peer = match accept4(listener, flags) {
            Err(Errno::EMFILE | Errno::ENFILE) if self.spare_fd.take().is_some() => accept4(listener, flags),
            accepted => accepted,
        };
        // SAFETY: the descriptor is new, and nothing else owns it.
        peer.map(|peer| unsafe { OwnedFd::from_raw_fd(peer) })
    }
}

/// Sends a message without waiting. Returns whether the peer will receive it, if it lives.
pub(super) fn send_message(peer: &OwnedFd, message: &[u8]) -> bool {
    send(peer.as_raw_fd(), message, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).is_ok()
}

fn is_owner(peer: &OwnedFd) -> bool {
    let allowed = [0, geteuid().as_raw()];
    getsockopt(&peer.as_fd(), PeerCredentials).is_ok_and(|peer| allowed.contains(&peer.uid()))
}
