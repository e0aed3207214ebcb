//! The received bytes of a connection that are not yet a complete request.

use std::io::{self, Read};

/// Received bytes, the oldest first. Owns no memory while it is empty.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// Initialized memory. Bytes outside of `start..end` are meaningless.
    bytes: Vec<u8>,
    start: u32,
    end: u32,
}

impl Input {
    /// The buffered bytes.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start as usize..self.end as usize]
    }

    /// Whether no bytes are buffered.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes of memory.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether there is a buffer.
    pub(super) fn has_room(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Bytes that can be read without more memory.
    pub(super) fn room(&self) -> usize {
        self.bytes.len() - self.as_slice().len()
    }

    /// Sets the buffer of an empty input.
    pub(super) fn set_buffer(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.is_empty());
        *self = Input { bytes, start: 0, end: 0 };
    }

    /// Moves the buffered bytes to a larger buffer. Returns the old buffer.
    pub(super) fn swap_buffer(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let len = self.as_slice().len();
        bytes[..len].copy_from_slice(self.as_slice());
        let before = std::mem::replace(self, Input { bytes, start: 0, end: len as u32 });
        before.bytes
    }

    /// Appends bytes.
    pub(super) fn extend(&mut self, more: &[u8]) {
        self.reserve(more.len());
        let end = self.end as usize;
        self.bytes[end..end + more.len()].copy_from_slice(more);
        self.end += more.len() as u32;
    }

    /// Reads at most `len` bytes from `source` and appends them. Returns how many.
    pub(super) fn read_from(&mut self, source: &mut impl Read, len: usize) -> io::Result<usize> {
        self.reserve(len);
        let end = self.end as usize;
        let read = source.read(&mut self.bytes[end..end + len])?;
        self.end += read as u32;
        Ok(read)
    }

    /// Drops the oldest `len` bytes.
    pub(super) fn consume(&mut self, len: usize) {
        debug_assert!(len <= self.as_slice().len());
        self.start += len as u32;
    }

    /// Drops the newest `len` bytes.
    pub(super) fn truncate_back(&mut self, len: usize) {
        debug_assert!(len <= self.as_slice().len());
        self.end -= len as u32;
    }

    /// Takes the buffer and the offset of the buffered bytes in it. The input is empty afterwards.
    pub(super) fn take(&mut self) -> (Vec<u8>, usize) {
        let Input { bytes, start, .. } = std::mem::take(self);
        (bytes, start as usize)
    }

    /// Makes room for `len` more bytes. The space of consumed bytes is used first.
    fn reserve(&mut self, len: usize) {
        if self.start > 0 && self.end as usize + len > self.bytes.len() {
            self.bytes.copy_within(self.start as usize..self.end as usize, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let needed = self.end as usize + len;
        if needed > self.bytes.len() {
            self.bytes.resize(needed, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_unconsumed_bytes() {
        let mut input = Input::default();
        input.extend(b"hello ");
        input.consume(4);
        let mut more: &[u8] = b"world and more";
        assert_eq!(input.read_from(&mut more, 5).expect("read"), 5);
        assert_eq!(input.as_slice(), b"o world");
        assert_eq!(input.swap_buffer(vec![0; 100]).len(), 7);
        assert_eq!((input.as_slice(), input.room()), (&b"o world"[..], 93));
        let (bytes, start) = input.take();
        assert_eq!(&bytes[start..start + 7], b"o world");
        assert!(input.is_empty() && !input.has_room());
    }
}
