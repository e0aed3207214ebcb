//! The answers of a connection that have not left yet.

use std::io::{self, ErrorKind, Write};

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

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written
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

    /// Writes as much as `sink` takes. True when nothing waits any more.
    pub fn write_to(&mut self, sink: &mut impl Write) -> io::Result<bool> {
        while !self.is_empty() {
            match sink.write(&self.bytes[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => self.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
