//! The mapped files. Every access is checked against the size of the mapping, whatever the files contain.
#![allow(unsafe_code, reason = "maps files and accesses the mapped memory")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU64};

use super::control::Control;
use super::racy;
use super::sync::AtomicU32;

/// A mapped file. Other processes change its contents.
#[derive(Debug)]
pub(super) struct Map {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and all accesses are atomic or copies by `racy`.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

/// A ring in a mapping. Position `p` is at offset `p` modulo the size of the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring<'a> {
    map: &'a Map,
    at: usize,
    size: usize,
}

impl Map {
    /// Maps the first `size` bytes of a file for reading.
    pub(super) fn read_only(file: &File, size: usize) -> io::Result<Self> {
        Map::new(file, size, libc::PROT_READ)
    }

    /// Maps the first `size` bytes of a file for reading and writing.
    pub(super) fn writable(file: &File, size: usize) -> io::Result<Self> {
        Map::new(file, size, libc::PROT_READ | libc::PROT_WRITE)
    }

    fn new(file: &File, size: usize, protection: i32) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses replaces none.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), size, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        match NonNull::new(start.cast::<u8>()).filter(|_| start != libc::MAP_FAILED) {
            Some(start) => Ok(Map { start, size }),
            None => Err(io::Error::last_os_error()),
        }
    }

    /// The control area that begins at this offset.
    pub(super) fn control(&self, at: usize) -> &Control {
        self.get(at)
    }

    pub(super) fn u64(&self, at: usize) -> &AtomicU64 {
        self.get(at)
    }

    pub(super) fn u32(&self, at: usize) -> &AtomicU32 {
        self.get(at)
    }

    pub(super) fn u8(&self, at: usize) -> &AtomicU8 {
        self.get(at)
    }

    /// The part of a mapping that is a ring.
    pub(super) fn ring(&self, at: usize, size: usize) -> Ring<'_> {
        assert!(size > 0 && at.checked_add(size).is_some_and(|end| end <= self.size));
        Ring { map: self, at, size }
    }

    /// A value of atomics, for which every bit pattern is valid.
    fn get<T: Atomics>(&self, at: usize) -> &T {
        assert!(
            at.checked_add(size_of::<T>()).is_some_and(|end| end <= self.size)
                && at.is_multiple_of(align_of::<T>())
        );
        // SAFETY: the value lies within the mapping, which lives as long as `self`. The mapping begins at a
        // page, so the value is aligned. Every bit pattern is valid. Other processes may store to it: it is
        // atomic.
        unsafe { self.start.add(at).cast::<T>().as_ref() }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: `new` has mapped this range, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.size) };
    }
}

/// Types that consist of atomics.
///
/// # Safety
///
/// Every bit pattern of their size is a valid value, and shared access to each field is atomic.
unsafe trait Atomics {}
// SAFETY: integers have no invalid bit patterns.
unsafe impl Atomics for AtomicU8 {}
// SAFETY: as above.
unsafe impl Atomics for AtomicU32 {}
// SAFETY: as above.
unsafe impl Atomics for AtomicU64 {}
// SAFETY: it consists of atomic integers.
unsafe impl Atomics for Control {}

impl Ring<'_> {
    /// The four bytes at a position.
    #[inline]
    pub(super) fn u32(&self, position: u64) -> u32 {
        let mut bytes = [0; size_of::<u32>()];
        // SAFETY: the array has that many bytes.
        unsafe { self.copy_to(position, bytes.len(), bytes.as_mut_ptr()) };
        u32::from_ne_bytes(bytes)
    }

    /// Copies the `len` bytes at a position into `buffer`, in place of its contents. `len` is at most the
    /// size of the ring.
    pub(super) fn copy(&self, position: u64, len: usize, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.reserve(len);
        // SAFETY: the capacity is at least `len`, and `copy_to` initializes that many bytes.
        unsafe {
            self.copy_to(position, len, buffer.as_mut_ptr());
            buffer.set_len(len);
        }
    }

    /// Copies the `len` bytes at a position to `to`.
    ///
    /// # Safety
    ///
    /// `len` bytes from `to` on are private memory of the caller.
    #[inline]
    unsafe fn copy_to(&self, position: u64, len: usize, to: *mut u8) {
        assert!(len <= self.size, "{len} bytes in a ring of {}", self.size);
        let size = self.size as u64;
        let at = if position < size { position } else { position % size } as usize;
        let front = len.min(self.size - at);
        // SAFETY: `at + front` and `len - front` are at most the size of the ring, which `Map::ring` has
        // checked against the mapping. The caller guarantees that `to` has `len` bytes.
        unsafe {
            let start = self.map.start.as_ptr().add(self.at);
            racy::copy(start.add(at), to, front);
            if front < len {
                racy::copy(start, to.add(front), len - front);
            }
        }
    }
}
