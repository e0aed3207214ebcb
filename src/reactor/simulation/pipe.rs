//! A simulated socket: two byte queues. Reads and writes are partial, block and fail at random, and readiness
//! is edge-triggered as with epoll.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::rc::Rc;

use super::super::connection::Readiness;
use super::super::transport::Transport;
use super::rng::Rng;

/// The state of the client's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientEnd {
    Open,
    /// The client sends nothing more and still reads.
    HalfClosed,
    /// The client has closed its end. The bytes that it had sent can still be read.
    Closed,
    /// The client has closed its end, and the bytes that it had sent are lost.
    Reset,
}

/// The state of a connection: both queues, the client's end and the server's end.
#[derive(Debug)]
pub(super) struct Pipe {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    capacity_to_server: usize,
    capacity_to_client: usize,
    /// Bytes written by the server that the oracle has not checked yet.
    unchecked: Vec<u8>,
    client_end: ClientEnd,
    server_shutdown: bool,
    server_dropped: bool,
    is_unix: bool,
    /// Whether readiness may have changed since the last event.
    edge: bool,
    wants_write: bool,
    /// The queue to the server is readable when it has this many bytes.
    low_water: usize,
    rng: Rng,
}

/// The server's end.
#[derive(Debug)]
pub(super) struct PipeSocket(pub Rc<RefCell<Pipe>>);

impl Pipe {
    pub(super) fn new(is_unix: bool, mut rng: Rng) -> Self {
        let capacity_to_server = *rng.choose(&[20, 100, 1000]);
        let capacity_to_client = *rng.choose(&[10, 60, 300, 5000]);
        Pipe {
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            capacity_to_server,
            capacity_to_client,
            unchecked: Vec::new(),
            client_end: ClientEnd::Open,
            server_shutdown: false,
            server_dropped: false,
            is_unix,
            edge: false,
            wants_write: false,
            low_water: 1,
            rng,
        }
    }

    /// A pipe whose queue to the client holds `capacity` bytes.
    pub(super) fn with_client_capacity(capacity: usize) -> Self {
        Pipe { capacity_to_server: 1000, capacity_to_client: capacity, ..Pipe::new(false, Rng::new(0)) }
    }

    /// Sends some of `bytes`. Returns the number of bytes sent.
    pub(super) fn send(&mut self, bytes: &[u8]) -> usize {
        let room = self.capacity_to_server - self.to_server.len();
        let len_max = room.min(bytes.len());
        if len_max == 0 || self.client_end != ClientEnd::Open || self.server_dropped {
            return 0;
        }
        let len = if self.rng.chance(70) { len_max } else { 1 + self.rng.below(len_max) };
        self.to_server.extend(&bytes[..len]);
        self.edge = true;
        len
    }

    /// Reads some of the bytes that the server has written. Returns whether any bytes were read.
    pub(super) fn receive(&mut self) -> bool {
        if self.to_client.is_empty() {
            return false;
        }
        let len =
            if self.rng.chance(60) { self.to_client.len() } else { 1 + self.rng.below(self.to_client.len()) };
        self.to_client.drain(..len);
        self.edge |= self.wants_write;
        true
    }

    /// Closes the client's end, or only its sending half.
    pub(super) fn close_client(&mut self, end: ClientEnd) {
        let unread = end == ClientEnd::Closed && !self.to_client.is_empty();
        self.client_end = if unread { ClientEnd::Reset } else { end };
        if self.client_end == ClientEnd::Reset {
            self.to_server.clear();
        }
        self.edge = true;
    }

    pub(super) fn client_end(&self) -> ClientEnd {
        self.client_end
    }

    pub(super) fn is_unix(&self) -> bool {
        self.is_unix
    }

    /// Whether the server has closed its end.
    pub(super) fn is_dropped(&self) -> bool {
        self.server_dropped
    }

    /// The bytes that the server has written since the last call.
    pub(super) fn take_unchecked(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unchecked)
    }

    /// The event that epoll would report now, if any.
    pub(super) fn take_event(&mut self) -> Option<Readiness> {
        if !std::mem::take(&mut self.edge) {
            return None;
        }
        let hung_up = self.client_end != ClientEnd::Open;
        let broken = match self.client_end {
            ClientEnd::Open => false,
            ClientEnd::HalfClosed => self.server_shutdown,
            ClientEnd::Closed => self.is_unix || self.server_shutdown,
            ClientEnd::Reset => true,
        };
        let has_room = self.to_client.len() < self.capacity_to_client;
        Some(Readiness {
            readable: hung_up || self.is_readable(),
            writable: broken || self.wants_write && (has_room || self.client_end == ClientEnd::Closed),
            urgent: false,
            hung_up,
            broken,
        })
    }

    fn is_readable(&self) -> bool {
        self.to_server.len() >= self.low_water || self.is_full()
    }

    /// Whether the client can send nothing more before the server reads.
    pub(super) fn is_full(&self) -> bool {
        self.to_server.len() == self.capacity_to_server
    }

    /// Whether epoll would report an event.
    pub(super) fn has_event(&self) -> bool {
        self.edge
    }

    /// Registers a new interest. Present readiness is reported again.
    pub(super) fn register(&mut self, wants_write: bool) {
        self.wants_write = wants_write;
        self.edge = true;
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.client_end == ClientEnd::Reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if self.rng.chance(2) {
            return Err(ErrorKind::Interrupted.into());
        }
        let len_max = buffer.len().min(self.to_server.len());
        if len_max == 0 {
            return if self.client_end == ClientEnd::Open {
                Err(ErrorKind::WouldBlock.into())
            } else {
                Ok(0)
            };
        }
        // A TCP socket returns all received bytes.
        let len = if self.is_unix && self.rng.chance(30) { 1 + self.rng.below(len_max) } else { len_max };
        for (to, from) in buffer.iter_mut().zip(self.to_server.drain(..len)) {
            *to = from;
        }
        Ok(len)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.client_end {
            ClientEnd::Reset => return Err(ErrorKind::BrokenPipe.into()),
            ClientEnd::Closed if self.is_unix => return Err(ErrorKind::BrokenPipe.into()),
            ClientEnd::Closed => {
                // The kernel accepts the bytes. The peer answers with a reset.
                self.unchecked.extend_from_slice(bytes);
                self.close_client(ClientEnd::Reset);
                return Ok(bytes.len());
            }
            ClientEnd::Open | ClientEnd::HalfClosed => {}
        }
        let len_max = bytes.len().min(self.capacity_to_client - self.to_client.len());
        if len_max == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let len = if self.rng.chance(80) { len_max } else { 1 + self.rng.below(len_max) };
        self.to_client.extend(&bytes[..len]);
        self.unchecked.extend_from_slice(&bytes[..len]);
        Ok(len)
    }
}

impl Read for PipeSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl Write for PipeSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.0.borrow_mut().write(&bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for PipeSocket {
    fn shutdown_write(&self) -> io::Result<()> {
        let mut pipe = self.0.borrow_mut();
        if pipe.client_end == ClientEnd::Reset {
            return Err(ErrorKind::NotConnected.into());
        }
        pipe.server_shutdown = true;
        pipe.edge |= pipe.client_end != ClientEnd::Open;
        Ok(())
    }

    fn unacknowledged(&self) -> usize {
        self.0.borrow().to_client.len()
    }

    fn available(&self) -> usize {
        self.0.borrow().to_server.len()
    }

    fn await_bytes(&self, len: usize) -> bool {
        let mut pipe = self.0.borrow_mut();
        pipe.low_water = len;
        pipe.edge = true;
        true
    }

    fn disable_user_timeout(&self) {}
}

impl Drop for PipeSocket {
    fn drop(&mut self) {
        self.0.borrow_mut().server_dropped = true;
    }
}
