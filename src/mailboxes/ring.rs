//! The bytes of one mailbox in shared memory, addressed by counts that only grow.
#![allow(unsafe_code, reason = "mapped memory is reached through pointers")]

use std::marker::PhantomData;
use std::ptr;

/// A circle of bytes inside the segment. Position `p` lies at `p` modulo its size.
///
/// It is made by [`Segment`](super::Segment) for the holder of a grant, which is what makes its plain copies free of
/// races: nobody writes while somebody reads. Raw pointers, not slices, on the writing side: a store through `&mut`
/// may be moved behind the commit that follows it, one through a pointer into shared memory may not.
#[derive(Debug)]
pub struct Ring<'a> {
    start: *mut u8,
    size: usize,
    segment: PhantomData<&'a [u8]>,
}

impl<'a> Ring<'a> {
    /// # Safety
    ///
    /// `start` begins `size` mapped bytes that stay mapped during `'a`, nobody else writes to them while this ring
    /// exists, and nobody else reads them while this ring is written to.
    pub(super) unsafe fn new(start: *mut u8, size: usize) -> Self {
        Ring { start, size, segment: PhantomData }
    }

    /// Bytes in the circle.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The `len` bytes at `position`, in two parts where they wrap. At most a full circle.
    pub fn read(&self, position: u64, len: usize) -> [&[u8]; 2] {
        let [(at, front), (_, back)] = self.parts(position, len);
        // SAFETY: `parts` stays within the circle, and `new` promises that it is mapped and not written to.
        unsafe {
            [
                std::slice::from_raw_parts(self.start.add(at), front),
                std::slice::from_raw_parts(self.start, back),
            ]
        }
    }

    /// Puts `bytes` at `position`. At most a full circle.
    pub fn write(&mut self, position: u64, bytes: &[u8]) {
        let [(at, front), (_, back)] = self.parts(position, bytes.len());
        // SAFETY: `parts` stays within the circle, `new` promises that it is mapped and ours alone, and `bytes` is
        // the caller's own memory, which never is the segment's.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), front);
            ptr::copy_nonoverlapping(bytes.as_ptr().add(front), self.start, back);
        }
    }

    /// Copies the `len` bytes at `from` to `to`. The two do not overlap.
    pub fn copy(&mut self, from: u64, to: u64, len: usize) {
        debug_assert!({
            let apart =
                (self.size as u64 + to % self.size as u64 - from % self.size as u64) % self.size as u64;
            len as u64 <= apart && apart + len as u64 <= self.size as u64 || len == 0
        });
        let mut done = 0;
        while done < len {
            let [(source, readable), _] = self.parts(from + done as u64, len - done);
            let [(target, writable), _] = self.parts(to + done as u64, len - done);
            let step = readable.min(writable);
            // SAFETY: both lie within the circle, and the caller keeps them apart.
            unsafe { ptr::copy_nonoverlapping(self.start.add(source), self.start.add(target), step) };
            done += step;
        }
    }

    /// Puts `len` zeros at `position`.
    pub fn zero(&mut self, position: u64, len: usize) {
        let [(at, front), (_, back)] = self.parts(position, len);
        // SAFETY: as in `write`.
        unsafe {
            ptr::write_bytes(self.start.add(at), 0, front);
            ptr::write_bytes(self.start, 0, back);
        }
    }

    /// Where `len` bytes at `position` lie: offset and length up to the end of the circle, then from its start.
    fn parts(&self, position: u64, len: usize) -> [(usize, usize); 2] {
        assert!(len <= self.size, "{len} bytes in a ring of {}", self.size);
        let size = self.size as u64;
        // Mostly the first time around: then there is nothing to divide.
        let at = if position < size { position } else { position % size } as usize;
        let front = len.min(self.size - at);
        [(at, front), (0, len - front)]
    }
}
