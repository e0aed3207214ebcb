//! Requests out, answers in: the one connection of a client.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::Error;
use super::event_queue::EventQueue;
use super::frame::{Frame, FrameKind};
use super::socket::Socket;

/// Bytes taken from the socket at once.
const CHUNK: usize = 64 * 1024;

/// How long to look away when a server neither takes nor sends.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The shortest time that a socket can be told to wait.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Channel {
    stream: Socket,
    received: Vec<u8>,
    pub timeout: Option<Duration>,
    pub closed: bool,
}

impl Channel {
    pub fn new(stream: Socket) -> Self {
        Channel { stream, received: Vec::new(), timeout: None, closed: false }
    }

    /// The longest silence of the server within a request.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeout = timeout.map(|timeout| timeout.max(TIMEOUT_MIN));
        self.stream.set_read_timeout(self.timeout)?;
        self.stream.set_write_timeout(self.timeout)
    }

    /// Sends a request and receives its answer; keeps the events that come before that.
    pub fn exchange(&mut self, request: &[u8], events: &mut EventQueue) -> Result<Frame, Error> {
        let sent = self.send(request, events);
        loop {
            if let Some(frame) = self.next_reply(events)? {
                return Ok(frame);
            }
            // A server that refuses and hangs up has said why: that is read, even when sending failed.
            match (self.receive(), &sent) {
                (Ok(()), _) => {}
                (Err(error), Ok(())) => return Err(error.into()),
                (Err(_), Err(_)) => return sent.and(Err(Error::closed())),
            }
        }
    }

    /// The next answer that has arrived in whole; keeps the events before it.
    pub fn next_reply(&mut self, events: &mut EventQueue) -> Result<Option<Frame>, Error> {
        while let Some(frame) = Frame::decode(&mut self.received)? {
            if frame.kind != FrameKind::Event {
                return Ok(Some(frame));
            }
            events.push(frame)?;
        }
        Ok(None)
    }

    /// Receives something before `deadline`, if there is one; whether something came.
    pub fn receive_until(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        let left =
            deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).max(TIMEOUT_MIN));
        self.stream.set_read_timeout(left)?;
        let received = self.receive();
        self.stream.set_read_timeout(self.timeout)?;
        match received {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::TimedOut && deadline.is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub fn close(&mut self) {
        self.closed = true;
        self.received = Vec::new();
        self.stream.shutdown();
    }

    /// Takes leave, and closes.
    pub fn quit(&mut self) {
        if !self.closed {
            // It may be gone already.
            let _ = self.stream.write_all(b"q\n");
            self.close();
        }
    }

    fn send(&mut self, request: &[u8], events: &mut EventQueue) -> Result<(), Error> {
        // A server that has events to tell does not listen: whoever watches reads while it sends.
        if events.watched.is_empty() {
            return self.stream.write_all(request).map_err(|error| as_timeout(error).into());
        }
        self.stream.set_nonblocking(true)?;
        let sent = self.send_while_receiving(request, events);
        self.stream.set_nonblocking(false)?;
        sent
    }

    fn send_while_receiving(&mut self, mut rest: &[u8], events: &mut EventQueue) -> Result<(), Error> {
        let mut progress = Instant::now();
        while !rest.is_empty() {
            let sent = nonblocking(self.stream.write(rest))?;
            rest = &rest[sent.unwrap_or(0)..];
            if sent.is_some() {
                progress = Instant::now();
                continue;
            }
            match self.receive() {
                Ok(()) => {
                    progress = Instant::now();
                    // An answer cannot be among them before the request is sent, except one that ends the connection.
                    while self.received.starts_with(b"EVENT ") {
                        let Some(event) = Frame::decode(&mut self.received)? else { break };
                        events.push(event)?;
                    }
                }
                Err(error) if error.kind() != ErrorKind::TimedOut => return Err(error.into()),
                Err(error) if self.timeout.is_some_and(|timeout| progress.elapsed() > timeout) => {
                    return Err(error.into());
                }
                Err(_) => std::thread::sleep(POLL_INTERVAL),
            }
        }
        Ok(())
    }

    /// Receives what comes next; the end is an error, and so is silence.
    fn receive(&mut self) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        loop {
            match self.stream.read(&mut chunk) {
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
        self.stream.as_fd()
    }
}

/// What a socket calls "would block" when its timeout has passed.
fn as_timeout(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, "the server was silent for too long"),
        _ => error,
    }
}

fn nonblocking(sent: io::Result<usize>) -> io::Result<Option<usize>> {
    match sent {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        Ok(len) => Ok(Some(len)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}
