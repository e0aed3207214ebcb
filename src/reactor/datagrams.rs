//! The UDP socket of the classic port.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

/// Largest number of bytes of a packet.
const PACKET_MAX: usize = 64 * 1024;

/// Largest number of packets that are received in a tick.
const PACKETS_PER_TICK: usize = 64;

/// A socket for requests and answers of one packet each.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: UdpSocket,
    buffer: Box<[u8]>,
    /// The socket may have packets. mio is edge-triggered: a packet that was not received causes no second
    /// event.
    pub pending: bool,
}

impl Datagrams {
    /// Registers the socket.
    pub(super) fn open(mut socket: UdpSocket, token: Token, registry: &Registry) -> io::Result<Self> {
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Datagrams { socket, buffer: vec![0; PACKET_MAX].into(), pending: true })
    }

    /// Passes packets with their senders to `on_packet`, until it returns false, the socket is empty or
    /// [`PACKETS_PER_TICK`] is reached.
    pub(super) fn receive(&mut self, mut on_packet: impl FnMut(&[u8], SocketAddr) -> bool) {
        for _ in 0..PACKETS_PER_TICK {
            match self.socket.recv_from(&mut self.buffer) {
                Ok((len, from)) => {
                    if !on_packet(&self.buffer[..len], from) {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.pending = false;
                    return;
                }
                // An answer to an earlier packet could not be delivered.
                Err(_) => {}
            }
        }
    }

    /// Sends a packet. Returns whether the system has taken it.
    pub(super) fn send(&self, packet: &[u8], to: SocketAddr) -> bool {
        self.socket.send_to(packet, to).is_ok()
    }

    /// Closes the descriptor of the socket, which a new server has, too.
    pub(super) fn hand_over(mut self, registry: &Registry) {
        // Fails only for a socket that is not registered.
        let _ = registry.deregister(&mut self.socket);
    }

    /// The descriptor of the socket.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The address of the socket.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }
}
