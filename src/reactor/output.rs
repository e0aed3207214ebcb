//! The answers of a connection that have not left yet.

use std::io::{self, ErrorKind, Write};

use super::connection::Sent;

/// One batch of answers, some of it written. Holds no memory while it is empty.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    written: usize,
}

impl Output {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Bytes of memory.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes answers in, when none wait.
    pub fn keep(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.is_empty(), "one batch of answers at a time");
        *self = Output { bytes, written: 0 };
    }

    /// Gives the memory back, emptied.
    pub fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(self).bytes;
        bytes.clear();
        bytes
    }

    /// Adds to what waits.
    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes as much as `sink` takes, and about `share` bytes at most.
    pub fn write_to(&mut self, sink: &mut impl Write, share: usize) -> io::Result<Sent> {
        let start = self.written;
        while !self.is_empty() {
            if self.written - start >= share {
                return Ok(Sent::Share);
            }
            let end = self.bytes.len().min(self.written + share);
            match sink.write(&self.bytes[self.written..end]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(if self.written == start { Sent::Nothing } else { Sent::Part });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Sent::All)
    }
}
