//! Copies bytes that another process may change at the same time. The caller finds out afterwards whether the
//! copy is whole; until then its bytes have no meaning.
//!
//! Rust knows no data race with another process, but the compiler may assume that plain loads of memory which
//! it can see into return one value. A short copy therefore consists of relaxed atomic loads. A long one is a
//! call of a function that the compiler cannot see into.
#![allow(unsafe_code, reason = "reads memory that other processes change")]

use std::hint::black_box;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Longest copy by atomic loads. A call is faster for more bytes.
const WORDS_MAX: usize = 256;

const WORD: usize = size_of::<u64>();
const HALF: usize = size_of::<u32>();

/// Copies `len` bytes.
///
/// # Safety
///
/// `len` bytes from `from` on are mapped, and are changed by other processes only. `len` bytes from `to` on
/// are memory of the caller, which nothing else uses.
#[inline]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    if len > WORDS_MAX {
        let opaque: unsafe extern "C" fn(_, _, _) -> _ = black_box(libc::memcpy);
        // SAFETY: the caller guarantees that both ranges are valid and do not overlap.
        unsafe { opaque(to.cast(), from.cast(), len) };
        return;
    }
    let mut done = 0;
    // SAFETY: `done` plus the size of each access is at most `len`, so the access is in the ranges of the
    // caller. A relaxed load of this size is permitted in memory that is mapped only for reading. Loads of
    // several bytes are aligned.
    unsafe {
        let load = |at| AtomicU8::from_ptr(from.add(at).cast_mut()).load(Ordering::Relaxed);
        while done < len && !from.add(done).addr().is_multiple_of(HALF) {
            *to.add(done) = load(done);
            done += 1;
        }
        if done + HALF <= len && !from.add(done).addr().is_multiple_of(WORD) {
            let half = AtomicU32::from_ptr(from.add(done).cast_mut().cast()).load(Ordering::Relaxed);
            to.add(done).cast::<u32>().write_unaligned(half);
            done += HALF;
        }
        while done + WORD <= len {
            let word = AtomicU64::from_ptr(from.add(done).cast_mut().cast()).load(Ordering::Relaxed);
            to.add(done).cast::<u64>().write_unaligned(word);
            done += WORD;
        }
        while done < len {
            *to.add(done) = load(done);
            done += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_every_length_and_alignment_are_exact() {
        let bytes: Vec<u8> = (0..600u32).map(|number| (number * 7) as u8).collect();
        for start in 0..16 {
            for len in (0..300).chain([511, 512, 580]) {
                let mut copied = vec![0; len + 1];
                // SAFETY: the ranges lie within two vectors.
                unsafe { copy(bytes[start..].as_ptr(), copied.as_mut_ptr(), len) };
                assert_eq!((&copied[..len], copied[len]), (&bytes[start..start + len], 0));
            }
        }
    }
}
