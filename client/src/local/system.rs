//! System calls that the standard library does not have.
#![allow(unsafe_code, reason = "calls functions of the C library")]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;
use std::time::Duration;

use super::sync::AtomicU32;

/// A wait for one of several words; see futex_waitv(2).
#[repr(C)]
struct Waited {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// A word of 32 bits in memory that processes share.
const SHARED_U32: u32 = 2;

/// Longest wait for one of several words on a kernel that can only wait for one: before Linux 5.16.
const FALLBACK: Duration = Duration::from_millis(10);

/// The effective user of this process.
pub(super) fn user() -> u32 {
    // SAFETY: the function has no precondition and cannot fail.
    unsafe { libc::geteuid() }
}

/// Seconds of a clock that never goes back. Reading it takes few nanoseconds.
pub(super) fn seconds() -> i64 {
    time(libc::CLOCK_MONOTONIC_COARSE).tv_sec
}

fn time(clock: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel stores to `now`. If the clock does not exist, `now` is not changed.
    unsafe { libc::clock_gettime(clock, &mut now) };
    now
}

/// Opens a file of a directory. Links are not followed, and nothing blocks.
pub(super) fn open_at(directory: &File, name: &CStr, flags: i32) -> io::Result<File> {
    let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    // SAFETY: the name ends with a zero, and the descriptor of the directory is open.
    let descriptor = unsafe { libc::openat(directory.as_raw_fd(), name.as_ptr(), flags) };
    match descriptor {
        ..0 => Err(io::Error::last_os_error()),
        // SAFETY: the descriptor was opened above, and nothing else owns it.
        _ => Ok(unsafe { File::from_raw_fd(descriptor) }),
    }
}

/// Sleeps until one of the words is woken, has another value than the one in `seen`, or `timeout` has passed.
/// May return earlier.
pub(super) fn wait_for_change(words: &[&AtomicU32], seen: &[u32], timeout: Duration) {
    match (words, seen) {
        ([word], [seen]) => wait_for_one(word, *seen, timeout),
        ([word, ..], [first, ..]) => {
            if !wait_for_any(words, seen, timeout) {
                wait_for_one(word, *first, timeout.min(FALLBACK));
            }
        }
        _ => std::thread::sleep(timeout),
    }
}

fn wait_for_one(word: &AtomicU32, seen: u32, timeout: Duration) {
    let timeout = timespec(timeout);
    let word = ptr::from_ref(word);
    // SAFETY: the word and the timeout are valid during the call. Every result means: look again.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, seen, &timeout, 0, 0) };
}

/// Returns false if the kernel cannot wait for several words.
fn wait_for_any(words: &[&AtomicU32], seen: &[u32], timeout: Duration) -> bool {
    let waited: Vec<Waited> = words
        .iter()
        .zip(seen)
        .map(|(word, seen)| Waited {
            value: u64::from(*seen),
            address: ptr::from_ref(*word).addr() as u64,
            flags: SHARED_U32,
            reserved: 0,
        })
        .collect();
    let now = time(libc::CLOCK_MONOTONIC);
    let passed = Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned() as u32);
    let deadline = timespec(passed + timeout);
    // SAFETY: the list, its words and the deadline are valid during the call.
    let result = unsafe {
        let clock = libc::CLOCK_MONOTONIC;
        libc::syscall(libc::SYS_futex_waitv, waited.as_ptr(), waited.len(), 0, &deadline, clock)
    };
    let cannot = [libc::ENOSYS, libc::EPERM, libc::EINVAL];
    result >= 0 || !io::Error::last_os_error().raw_os_error().is_some_and(|error| cannot.contains(&error))
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}
