//! The bytes of one mailbox in shared memory, addressed by positions that only grow.
#![allow(unsafe_code, reason = "accesses mapped memory through pointers")]

use std::marker::PhantomData;
use std::ptr;

/// A ring buffer inside the segment. Position `p` is at offset `p` modulo its size.
///
/// [`Segment`](super::Segment) creates a ring for the holder of a grant. The grant excludes concurrent
/// writes, so plain copies are free of data races. Writes go through raw pointers, not slices: the compiler
/// may move a store through `&mut` behind the commit that follows it, but not a store through a pointer into
/// shared memory.
#[derive(Debug)]
pub(crate) struct Ring<'a> {
    start: *mut u8,
    size: usize,
    segment: PhantomData<&'a [u8]>,
}

impl<'a> Ring<'a> {
    /// # Safety
    ///
    /// `size` bytes from `start` on stay mapped during `'a`. No other thread or process writes to them while
    /// this ring exists, and none reads them while this ring is written to.
    pub(super) unsafe fn new(start: *mut u8, size: usize) -> Self {
        Ring { start, size, segment: PhantomData }
    }

    /// Bytes in the ring.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The `len` bytes at `position`, at most the size; in two parts if they wrap.
    pub(crate) fn read(&self, position: u64, len: usize) -> [&[u8]; 2] {
        let [(at, front), (_, back)] = self.parts(position, len);
        // SAFETY: `parts` stays within the ring, which is mapped and not written to concurrently: see `new`.
        unsafe {
            [
                std::slice::from_raw_parts(self.start.add(at), front),
                std::slice::from_raw_parts(self.start, back),
            ]
        }
    }

    /// Writes `bytes`, at most the size, to `position`.
    pub(crate) fn write(&mut self, position: u64, bytes: &[u8]) {
        let [(at, front), (_, back)] = self.parts(position, bytes.len());
        // SAFETY: `parts` stays within the ring, which is mapped and not accessed concurrently: see `new`.
        // `bytes` is memory of this process outside of the segment, so the two do not overlap.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), front);
            ptr::copy_nonoverlapping(bytes.as_ptr().add(front), self.start, back);
        }
    }

    /// Copies the `len` bytes at `from` to `to`. The two do not overlap.
    pub(crate) fn copy(&mut self, from: u64, to: u64, len: usize) {
        debug_assert!({
            let distance =
                (self.size as u64 + to % self.size as u64 - from % self.size as u64) % self.size as u64;
            len as u64 <= distance && distance + len as u64 <= self.size as u64 || len == 0
        });
        let mut done = 0;
        while done < len {
            let [(source, readable), _] = self.parts(from + done as u64, len - done);
            let [(target, writable), _] = self.parts(to + done as u64, len - done);
            let step = readable.min(writable);
            // SAFETY: both ranges lie within the ring, and the caller guarantees that they do not overlap.
            unsafe { ptr::copy_nonoverlapping(self.start.add(source), self.start.add(target), step) };
            done += step;
        }
    }

    /// Writes `len` zeros to `position`.
    pub(crate) fn zero(&mut self, position: u64, len: usize) {
        let [(at, front), (_, back)] = self.parts(position, len);
        // SAFETY: as in `write`.
        unsafe {
            ptr::write_bytes(self.start.add(at), 0, front);
            ptr::write_bytes(self.start, 0, back);
        }
    }

    /// The parts of `len` bytes at `position`: offset and length up to the end of the ring, then from its
    /// start.
    fn parts(&self, position: u64, len: usize) -> [(usize, usize); 2] {
        assert!(len <= self.size, "{len} bytes in a ring of {}", self.size);
        let size = self.size as u64;
        // Most positions have not wrapped: they need no division.
        let at = if position < size { position } else { position % size } as usize;
        let front = len.min(self.size - at);
        [(at, front), (0, len - front)]
    }
}
