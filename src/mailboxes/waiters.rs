//! The processes that wait for changes of mailboxes in the shared memory, without a request to the server.
//!
//! A waiter reads the bell of its mailbox, sets the flag of the mailbox, looks at the mailbox, and then waits
//! until the bell changes: futex(2). The server looks at the flag after each change. If the flag is set, the
//! server clears it, increments the bell and wakes all waiters. The flags are in a file of their own, so that
//! readers open the segment only for reading.
#![allow(unsafe_code, reason = "maps the file and wakes other processes")]

use std::fs::File;
use std::io;
use std::ptr;

use memmap2::{MmapOptions, MmapRaw};
use nix::libc;

use crate::sync::atomic::{AtomicU32, Ordering, fence};

/// The flags of all mailboxes: a `u32` for each, which is not 0 if processes wait.
#[derive(Debug)]
pub(crate) struct Waiters {
    map: MmapRaw,
    mailboxes: u32,
}

impl Waiters {
    /// Allocates the memory of a new file, and maps it.
    pub(crate) fn create(file: &File, mailboxes: u32) -> io::Result<Self> {
        nix::fcntl::posix_fallocate(file, 0, Waiters::size(mailboxes).cast_signed())?;
        Waiters::open(file, mailboxes)
    }

    /// Maps the file of a server that has this number of mailboxes. Changes nothing.
    pub(crate) fn open(file: &File, mailboxes: u32) -> io::Result<Self> {
        let size = Waiters::size(mailboxes);
        if file.metadata()?.len() != size {
            return Err(io::Error::other("the file of the waiters does not fit the mailboxes"));
        }
        let map = MmapOptions::new().len(usize::try_from(size).map_err(io::Error::other)?).map_raw(file)?;
        Ok(Waiters { map, mailboxes })
    }

    /// Bytes of the file.
    fn size(mailboxes: u32) -> u64 {
        u64::from(mailboxes) * size_of::<AtomicU32>() as u64
    }

    /// Whether processes wait for a change of a mailbox. Clears its flag. To be called after the change.
    pub(super) fn take(&self, mailbox: u32) -> bool {
        assert!(mailbox < self.mailboxes);
        // SAFETY: the file has a flag for each mailbox, and stays mapped as long as `self` lives. Every bit
        // pattern is valid.
        let flag = unsafe { &*self.map.as_ptr().cast::<AtomicU32>().add(mailbox as usize) };
        take_flag(flag)
    }
}

/// Whether a flag is set. Clears it. To be called after the change.
pub(super) fn take_flag(flag: &AtomicU32) -> bool {
    // A waiter stores the flag before it looks at the mailbox. One of the two sees the other.
    fence(Ordering::SeqCst);
    flag.load(Ordering::Relaxed) != 0 && flag.swap(0, Ordering::SeqCst) != 0
}

/// Changes a bell, and wakes all processes that wait until it changes.
pub(super) fn ring(bell: &AtomicU32) {
    bell.fetch_add(1, Ordering::SeqCst);
    let everyone = i32::MAX;
    // SAFETY: FUTEX_WAKE reads no memory of this process. The result is the number of woken processes.
    unsafe { libc::syscall(libc::SYS_futex, ptr::from_ref(bell), libc::FUTEX_WAKE, everyone) };
}
