//! From answers to the socket, up to the last one.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::{Connection, LINGER};
use crate::protocol::DISCARD_MAX;
use crate::reactor::input::Input;
use crate::reactor::phase::Phase;
use crate::reactor::transport::Transport;

/// Bytes that one turn of a connection writes.
pub(super) const BYTES_PER_FLUSH: usize = 1024 * 1024;

/// How much of what waited has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All of it.
    All,
    /// A part; the socket has no room for more.
    Partial,
    /// Nothing: the socket has no room.
    WouldBlock,
    /// The share of one turn; the socket may have room for more.
    BudgetSpent,
}

impl<T: Transport> Connection<T> {
    /// Writes answers, when none wait. When all have left their memory comes back; else they are kept, and
    /// writing goes on when the socket has room.
    pub(crate) fn send(&mut self, answers: &mut Vec<u8>, now: Instant) -> io::Result<Flushed> {
        self.output.set(std::mem::take(answers));
        self.last_progress = now;
        let sent = self.write()?;
        if sent == Flushed::All {
            *answers = self.output.take();
        }
        Ok(sent)
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self, now: Instant) -> io::Result<Flushed> {
        let sent = self.write()?;
        if sent != Flushed::WouldBlock {
            self.last_progress = now;
        }
        Ok(sent)
    }

    /// The memory of answers that have all left.
    pub(crate) fn take_emptied(&mut self) -> Vec<u8> {
        debug_assert!(!self.has_output());
        self.output.take()
    }

    /// Writes an event, when nothing waits. What the socket does not take is kept, unless it takes nothing.
    pub(crate) fn send_event(&mut self, event: &Arc<Vec<u8>>, now: Instant) -> io::Result<Flushed> {
        debug_assert!(!self.has_output(), "an event comes between two answers");
        let written = loop {
            match self.transport.write(event) {
                Ok(written) => break written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break 0,
                Err(error) => return Err(error),
            }
        };
        if written == 0 || written == event.len() {
            return Ok(if written == 0 { Flushed::WouldBlock } else { Flushed::All });
        }
        self.last_progress = now;
        self.output.set_event(event, written);
        self.record_unacknowledged();
        Ok(Flushed::Partial)
    }

    /// Takes back what waits from `at` on, when something before it waits, too.
    pub(crate) fn truncate_unsent(&mut self, at: usize) -> bool {
        self.output.truncate(at)
    }

    /// Adds a few bytes to the answers that wait.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.output.append(bytes);
    }

    fn write(&mut self) -> io::Result<Flushed> {
        let sent = self.output.write_to(&mut self.transport, BYTES_PER_FLUSH)?;
        if matches!(sent, Flushed::Partial | Flushed::WouldBlock) {
            self.record_unacknowledged();
        }
        Ok(sent)
    }

    pub(super) fn record_unacknowledged(&mut self) {
        self.unacknowledged = u32::try_from(self.transport.unacknowledged()).unwrap_or(u32::MAX);
    }

    /// Says goodbye: the client reads the last answer and then the end. False when there is nobody to wait
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

    /// Whether a goodbye may end: the client's side has everything, or has had the time to take it.
    pub(crate) fn check_linger(&mut self, now: Instant) -> bool {
        let Phase::Lingering { until, .. } = self.phase else { return false };
        self.last_progress = now;
        until <= now || self.transport.unacknowledged() == 0
    }

    /// Throws away what still arrives. False when the client has closed too, or does not stop.
    pub(crate) fn discard(&mut self, scratch: &mut [u8], now: Instant) -> bool {
        let Phase::Lingering { discard_budget: patience, .. } = &mut self.phase else {
            unreachable!("only said goodbye")
        };
        loop {
            match self.transport.read(scratch) {
                Ok(0) => return false,
                Ok(read) if read as u64 > *patience => return false,
                Ok(read) => {
                    *patience -= read as u64;
                    self.last_progress = now;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}
