//! The unwritten replies of a connection: writes replies and events, and closes gracefully after the last
//! reply.

use std::io::{self, ErrorKind, IoSlice, Write};
use std::sync::Arc;
use std::time::Instant;

use super::{Connection, Input, LINGER};
use crate::protocol::DISCARD_MAX;
use crate::reactor::phase::Phase;
use crate::reactor::transport::Transport;

/// Bytes that one flush writes before it returns [`Flushed::BudgetSpent`].
pub(in crate::reactor) const BYTES_PER_FLUSH: usize = 256 * 1024;

/// How much of the output was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All of it.
    All,
    /// A part. The socket has no room for more.
    Partial,
    /// Nothing: the socket has no room.
    WouldBlock,
    /// A part. The socket may have room for more.
    BudgetSpent,
}

/// One partly written batch of replies, or one event. Owns no memory while it is empty.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Bytes,
    /// Number of written bytes. A message has less than 2^31 bytes.
    written: u32,
    /// Unacknowledged bytes when the socket was last full.
    pub unacknowledged: u32,
}

#[derive(Debug)]
enum Bytes {
    Own(Vec<u8>),
    Shared(Box<SharedEvent>),
}

/// An event that a client has read in part.
#[derive(Debug)]
struct SharedEvent {
    /// The event, shared by all watchers that have not read it.
    event: Arc<Vec<u8>>,
    /// The bytes that follow the event.
    following: Vec<u8>,
}

impl Default for Bytes {
    fn default() -> Self {
        Bytes::Own(Vec::new())
    }
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Own(bytes) => bytes,
            Bytes::Shared(shared) => &shared.event,
        }
    }
}

impl Output {
    /// Whether everything is written.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn written(&self) -> usize {
        self.written as usize
    }

    /// Number of unwritten bytes.
    pub(super) fn len(&self) -> usize {
        let following = match &self.bytes {
            Bytes::Own(_) => 0,
            Bytes::Shared(shared) => shared.following.len(),
        };
        self.bytes.as_slice().len() - self.written() + following
    }

    /// Bytes of memory owned by this connection alone.
    pub(super) fn capacity(&self) -> usize {
        match &self.bytes {
            Bytes::Own(bytes) => bytes.capacity(),
            Bytes::Shared(shared) => shared.following.capacity(),
        }
    }

    /// Sets the replies to be written. The output must be empty.
    pub(super) fn set(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.is_empty(), "one batch of replies at a time");
        *self = Output { bytes: Bytes::Own(bytes), ..Output::default() };
    }

    /// Sets an event whose first `written` bytes have been written. The output must be empty.
    pub(super) fn set_event(&mut self, event: &Arc<Vec<u8>>, written: usize) {
        debug_assert!(self.is_empty(), "an event is sent between two replies");
        let shared = SharedEvent { event: Arc::clone(event), following: Vec::new() };
        let bytes = Bytes::Shared(Box::new(shared));
        *self = Output { bytes, written: written as u32, ..Output::default() };
    }

    /// Takes the buffer and empties it.
    pub(super) fn take(&mut self) -> Vec<u8> {
        match std::mem::take(self).bytes {
            Bytes::Own(mut bytes) => {
                bytes.clear();
                bytes
            }
            Bytes::Shared(_) => Vec::new(),
        }
    }

    /// Drops the unwritten bytes behind the first `len` bytes of the batch. Returns false, and drops nothing,
    /// if these `len` bytes are written already.
    pub(super) fn truncate(&mut self, len: usize) -> bool {
        match &mut self.bytes {
            Bytes::Own(bytes) if (self.written as usize) < len => {
                bytes.truncate(len);
                true
            }
            _ => false,
        }
    }

    /// Appends to the unwritten bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        match &mut self.bytes {
            Bytes::Own(own) => own.extend_from_slice(bytes),
            Bytes::Shared(shared) => shared.following.extend_from_slice(bytes),
        }
    }

    /// Writes to `sink` until it would block, or until about `budget` bytes are written.
    pub(super) fn write_to(&mut self, sink: &mut impl Write, budget: usize) -> io::Result<Flushed> {
        let mut total = 0;
        while !self.is_empty() {
            if total >= budget {
                return Ok(Flushed::BudgetSpent);
            }
            let unwritten = &self.bytes.as_slice()[self.written()..];
            match sink.write(&unwritten[..unwritten.len().min(budget - total)]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => (self.written, total) = (self.written + len as u32, total + len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(if total == 0 { Flushed::WouldBlock } else { Flushed::Partial });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.end_event();
        }
        Ok(Flushed::All)
    }

    /// If an event is written whole, the bytes that follow it are next.
    fn end_event(&mut self) {
        if let Bytes::Shared(shared) = &mut self.bytes
            && self.written as usize == shared.event.len()
            && !shared.following.is_empty()
        {
            let bytes = Bytes::Own(std::mem::take(&mut shared.following));
            *self = Output { bytes, ..Output::default() };
        }
    }
}

impl<T: Transport> Connection<T> {
    /// Writes replies. The output must be empty. If all bytes are written, the emptied buffer is returned in
    /// `replies`. Otherwise the connection keeps the replies, to be written by [`Connection::flush`].
    pub(crate) fn send(&mut self, replies: &mut Vec<u8>, now: Instant) -> io::Result<Flushed> {
        self.output.set(std::mem::take(replies));
        self.has_events = false;
        self.last_progress = now;
        let flushed = self.write()?;
        if flushed == Flushed::All {
            *replies = self.output.take();
        }
        Ok(flushed)
    }

    /// Writes `head`, a message and `end`. The output must be empty. The connection keeps what the socket
    /// does not take. Leaves `head` empty.
    pub(crate) fn send_message(
        &mut self,
        head: &mut Vec<u8>,
        [front, back]: [&[u8]; 2],
        end: &[u8],
        now: Instant,
    ) -> io::Result<Flushed> {
        debug_assert!(!self.has_output(), "one batch of replies at a time");
        self.has_events = false;
        self.last_progress = now;
        let mut written = self.write_slices(&[&**head, front, back, end].map(IoSlice::new))?;
        let is_blocked = written == 0;
        let from_head = written.min(head.len());
        head.drain(..from_head);
        written -= from_head;
        for part in [front, back, end] {
            let from_part = written.min(part.len());
            head.extend_from_slice(&part[from_part..]);
            written -= from_part;
        }
        if head.is_empty() {
            return Ok(Flushed::All);
        }
        self.output.set(std::mem::take(head));
        self.record_unacknowledged();
        Ok(if is_blocked { Flushed::WouldBlock } else { Flushed::Partial })
    }

    /// Continues to write the output.
    pub(crate) fn flush(&mut self, now: Instant) -> io::Result<Flushed> {
        let flushed = self.write()?;
        if flushed != Flushed::WouldBlock {
            self.last_progress = now;
        }
        Ok(flushed)
    }

    /// Takes the emptied buffer of replies that are all written.
    pub(crate) fn take_emptied(&mut self) -> Vec<u8> {
        debug_assert!(!self.has_output());
        self.output.take()
    }

    /// Writes an event. The output must be empty. If the socket takes a part of the event, the connection
    /// keeps the rest. If the socket takes nothing, the connection keeps nothing.
    pub(crate) fn send_event(&mut self, event: &Arc<Vec<u8>>, now: Instant) -> io::Result<Flushed> {
        let written = self.write_event(&[IoSlice::new(event)])?;
        if written == 0 || written == event.len() {
            return Ok(if written == 0 { Flushed::WouldBlock } else { Flushed::All });
        }
        self.keep_event(event, written, now);
        Ok(Flushed::Partial)
    }

    /// Writes an event that consists of these slices. The output must be empty. Returns the number of bytes
    /// that the socket takes. The caller keeps the rest.
    pub(crate) fn write_event(&mut self, slices: &[IoSlice]) -> io::Result<usize> {
        debug_assert!(!self.has_output(), "an event is sent between two replies");
        self.write_slices(slices)
    }

    /// Keeps the rest of an event whose first `written` bytes are written.
    pub(crate) fn keep_event(&mut self, event: &Arc<Vec<u8>>, written: usize, now: Instant) {
        self.last_progress = now;
        self.output.set_event(event, written);
        self.has_events = true;
        self.record_unacknowledged();
    }

    /// Writes once. Returns the number of bytes that the socket takes; 0 if it has no room.
    fn write_slices(&mut self, slices: &[IoSlice]) -> io::Result<usize> {
        loop {
            match self.transport.write_vectored(slices) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(error) => return Err(error),
            }
        }
    }

    /// Drops the unwritten bytes behind the first `at` bytes of the output. Returns false, and drops nothing,
    /// if these `at` bytes are written already.
    pub(crate) fn truncate_unsent(&mut self, at: usize) -> bool {
        self.output.truncate(at)
    }

    /// Appends to the unwritten replies.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.output.append(bytes);
    }

    fn write(&mut self) -> io::Result<Flushed> {
        let flushed = self.output.write_to(&mut self.transport, BYTES_PER_FLUSH)?;
        if matches!(flushed, Flushed::Partial | Flushed::WouldBlock) {
            self.record_unacknowledged();
        }
        Ok(flushed)
    }

    pub(super) fn record_unacknowledged(&mut self) {
        self.output.unacknowledged = u32::try_from(self.transport.unacknowledged()).unwrap_or(u32::MAX);
    }

    /// Begins a graceful close: the client reads the last reply and then the end of input. Returns false if
    /// the client has closed its half or the connection is broken. In both cases there is nothing to wait
    /// for.
    pub(crate) fn linger(&mut self, now: Instant) -> bool {
        self.input = Input::default();
        if self.eof || self.transport.shutdown_write().is_err() {
            return false;
        }
        self.last_progress = now;
        self.readable = true;
        self.transition(Phase::Lingering { discard_budget: DISCARD_MAX, until: now + LINGER });
        true
    }

    /// Whether a graceful close may end: the client has acknowledged all bytes, or [`LINGER`] is over.
    pub(crate) fn check_linger(&mut self, now: Instant) -> bool {
        let Phase::Lingering { until, .. } = self.phase else { return false };
        self.last_progress = now;
        until <= now || self.transport.unacknowledged() == 0
    }

    /// Discards received bytes. Returns false if the client has closed the connection, too, if the client has
    /// sent more than the budget allows, or if the socket has failed.
    pub(crate) fn discard(&mut self, scratch: &mut [u8], now: Instant) -> bool {
        // In every other phase received bytes are requests.
        let Phase::Lingering { discard_budget, .. } = &mut self.phase else { return true };
        loop {
            match self.transport.read(scratch) {
                Ok(0) => return false,
                Ok(read) if read as u64 > *discard_budget => return false,
                Ok(read) => {
                    *discard_budget -= read as u64;
                    self.last_progress = now;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_behind_a_shared_event_copy_no_event() {
        let event = Arc::new(b"event".to_vec());
        let mut output = Output::default();
        output.set_event(&event, 2);
        output.append(b" and more");
        assert!(output.capacity() < 64 && output.len() == 12);
        let mut sink = Vec::new();
        assert_eq!(output.write_to(&mut sink, 5).expect("written"), Flushed::BudgetSpent);
        assert_eq!(output.write_to(&mut sink, 100).expect("written"), Flushed::All);
        assert_eq!(sink, b"ent and more");
        assert!(output.is_empty());
    }
}
