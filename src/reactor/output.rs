//! The replies of a connection that are not written yet.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;

use super::connection::Flushed;

/// One partly written batch of replies, or one event. Owns no memory while it is empty.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Bytes,
    written: usize,
}

#[derive(Debug)]
enum Bytes {
    Own(Vec<u8>),
    /// An event, shared by all watchers that have not read it.
    Shared(Arc<Vec<u8>>),
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
            Bytes::Shared(event) => event,
        }
    }
}

impl Output {
    /// Whether everything is written.
    pub(super) fn is_empty(&self) -> bool {
        self.written == self.bytes.as_slice().len()
    }

    /// Bytes of memory owned by this connection alone.
    pub(super) fn capacity(&self) -> usize {
        match &self.bytes {
            Bytes::Own(bytes) => bytes.capacity(),
            Bytes::Shared(_) => 0,
        }
    }

    /// Sets the replies to be written. The output must be empty.
    pub(super) fn set(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.is_empty(), "one batch of replies at a time");
        *self = Output { bytes: Bytes::Own(bytes), written: 0 };
    }

    /// Sets an event whose first `written` bytes have been written. The output must be empty.
    pub(super) fn set_event(&mut self, event: &Arc<Vec<u8>>, written: usize) {
        debug_assert!(self.is_empty(), "an event is sent between two replies");
        *self = Output { bytes: Bytes::Shared(Arc::clone(event)), written };
    }

    /// Takes the buffer, emptied.
    pub(super) fn take(&mut self) -> Vec<u8> {
        match std::mem::take(self).bytes {
            Bytes::Own(mut bytes) => {
                bytes.clear();
                bytes
            }
            Bytes::Shared(_) => Vec::new(),
        }
    }

    /// Drops the unwritten bytes behind the first `len` bytes of the batch. Returns false if these `len`
    /// bytes are written already, and drops nothing.
    pub(super) fn truncate(&mut self, len: usize) -> bool {
        match &mut self.bytes {
            Bytes::Own(bytes) if self.written < len => {
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
            Bytes::Shared(event) => {
                let rest = [&event[self.written..], bytes].concat();
                *self = Output { bytes: Bytes::Own(rest), written: 0 };
            }
        }
    }

    /// Writes to `sink` until it would block, or until about `budget` bytes are written.
    pub(super) fn write_to(&mut self, sink: &mut impl Write, budget: usize) -> io::Result<Flushed> {
        let bytes = self.bytes.as_slice();
        let start = self.written;
        while self.written < bytes.len() {
            if self.written - start >= budget {
                return Ok(Flushed::BudgetSpent);
            }
            let end = bytes.len().min(self.written + budget);
            match sink.write(&bytes[self.written..end]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(if self.written == start { Flushed::WouldBlock } else { Flushed::Partial });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Flushed::All)
    }
}
