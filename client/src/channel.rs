//! Requests out, frames in: the socket of a client and the bytes received from it.
//!
//! Events arrive between replies. [`Channel`] passes them to the [`EventQueue`] and returns only replies.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use super::Error;
use super::encoder::Encoder;
use super::event_queue::EventQueue;
use super::frame::{Frame, FrameKind};
use super::socket::Socket;

/// Bytes requested from the socket by one `read`.
const CHUNK: usize = 64 * 1024;

/// Time between two attempts to send and to receive when the socket permits neither.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

/// The shortest socket timeout. A timeout of zero is an error for the standard library.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Channel {
    socket: Socket,
    /// Bytes received and not yet decoded.
    received: Vec<u8>,
    pub timeout: Option<Duration>,
    pub closed: bool,
    /// Whether a request was sent.
    has_spoken: bool,
}

impl Channel {
    pub(crate) fn new(socket: Socket) -> Self {
        Channel { socket, received: Vec::new(), timeout: None, closed: false, has_spoken: false }
    }

    /// Sets the maximum time in which no byte of a request is sent and no byte of its reply is received.
    pub(crate) fn set_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeout = timeout.map(|timeout| timeout.max(TIMEOUT_MIN));
        self.socket.set_read_timeout(self.timeout)?;
        self.socket.set_write_timeout(self.timeout)
    }

    /// Sends a request and receives its reply. Events that arrive before the reply are queued. The first
    /// request is sent after a `hello` with this name, unless it is a `hello`. The reply to a first `hello`
    /// sets `life`.
    pub(crate) fn exchange(
        &mut self,
        request: &[u8],
        name: Option<&str>,
        events: &mut EventQueue,
        life: &mut Option<u64>,
    ) -> Result<Frame, Error> {
        if std::mem::replace(&mut self.has_spoken, true) {
            return self.exchange_once(request, events);
        }
        let is_hello = request.starts_with(b"hello");
        let greeted = if is_hello { request.to_vec() } else { [&greeting(name).encode()?, request].concat() };
        let reply = self.exchange_once(&greeted, events)?;
        if reply.kind != FrameKind::Ok {
            // The server has refused the connection.
            return Ok(reply);
        }
        *life = life.or(reply.number("life"));
        if is_hello { Ok(reply) } else { self.exchange_once(&[], events) }
    }

    fn exchange_once(&mut self, request: &[u8], events: &mut EventQueue) -> Result<Frame, Error> {
        let sent = self.send(request, events);
        loop {
            if let Some(reply) = self.next_reply(events)? {
                return Ok(reply);
            }
            // A server that refuses a connection sends a reply and closes the connection. The reply may be
            // readable although sending failed.
            match (self.receive(), &sent) {
                (Ok(()), _) => {}
                (Err(error), Ok(())) => return Err(error.into()),
                (Err(_), Err(_)) => return sent.and(Err(Error::closed())),
            }
        }
    }

    /// Returns the next complete reply among the received bytes, or `None`. Events before it are queued.
    pub(crate) fn next_reply(&mut self, events: &mut EventQueue) -> Result<Option<Frame>, Error> {
        while let Some(frame) = Frame::decode(&mut self.received)? {
            if frame.kind != FrameKind::Event {
                return Ok(Some(frame));
            }
            events.push(frame)?;
        }
        Ok(None)
    }

    /// Waits until bytes arrive, at most until `deadline`. Returns whether bytes have arrived.
    pub(crate) fn receive_until(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        let remaining =
            deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).max(TIMEOUT_MIN));
        self.socket.set_read_timeout(remaining)?;
        let received = self.receive();
        self.socket.set_read_timeout(self.timeout)?;
        match received {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::TimedOut && deadline.is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.received = Vec::new();
        self.socket.shutdown();
    }

    /// Sends `q` and closes the connection.
    pub(crate) fn quit(&mut self) {
        if !self.closed {
            // Sending fails when the server has closed the connection: the result is the same.
            let _ = self.socket.write_all(b"q\n");
            self.close();
        }
    }

    /// Sends a request. While a server has an event to send, it does not read requests. A client with a watch
    /// therefore receives while it sends: otherwise the two would wait for each other as soon as both socket
    /// buffers are full.
    fn send(&mut self, request: &[u8], events: &mut EventQueue) -> Result<(), Error> {
        if events.watched.is_empty() {
            return self.socket.write_all(request).map_err(|error| as_timeout(error).into());
        }
        self.socket.set_nonblocking(true)?;
        let sent = self.send_while_receiving(request, events);
        self.socket.set_nonblocking(false)?;
        sent
    }

    fn send_while_receiving(&mut self, mut rest: &[u8], events: &mut EventQueue) -> Result<(), Error> {
        let mut last_progress = Instant::now();
        while !rest.is_empty() {
            let sent = unless_blocked(self.socket.write(rest))?;
            rest = &rest[sent.unwrap_or(0)..];
            if sent.is_some() {
                last_progress = Instant::now();
                continue;
            }
            match self.receive() {
                Ok(()) => {
                    last_progress = Instant::now();
                    // Before the request is complete, the only possible reply is an `ERR` that ends the
                    // connection. It stays in the buffer for `exchange`.
                    while self.received.starts_with(b"EVENT ") {
                        let Some(event) = Frame::decode(&mut self.received)? else { break };
                        events.push(event)?;
                    }
                }
                Err(error) if error.kind() != ErrorKind::TimedOut => return Err(error.into()),
                Err(error) if self.timeout.is_some_and(|timeout| last_progress.elapsed() > timeout) => {
                    return Err(error.into());
                }
                Err(_) => thread::sleep(RETRY_INTERVAL),
            }
        }
        Ok(())
    }

    /// Receives at least one byte. The end of the stream is an error, and so is the timeout of the socket.
    fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
                }
                Ok(len) => {
                    self.received.extend_from_slice(&chunk[..len]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(as_timeout(error)),
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The request that is sent in front of the first one, without an extra round trip. The reply tells which
/// mailboxes these are, as `life=`. At the classic port of a server, `hello` also tells that the connection
/// speaks the text protocol: bare datagrams begin with `r` and `w`, too.
pub(super) fn greeting(name: Option<&str>) -> Encoder<'static> {
    Encoder::new("hello").key("name", name)
}

/// A blocking socket reports its timeout as `WouldBlock`; this makes it `TimedOut`.
fn as_timeout(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, "the server was silent for too long"),
        _ => error,
    }
}

/// The number of bytes sent, or `None` when no byte was sent and sending can be tried again.
fn unless_blocked(sent: io::Result<usize>) -> io::Result<Option<usize>> {
    match sent {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        Ok(len) => Ok(Some(len)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}
