//! The files that a process uses to wait for changes in the shared memory.

use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use crate::instance::{BaseDirectory, Instance};

/// Layout of the segment: a header page with the mark of a retired segment, then 128 bytes for each mailbox
/// with its bell.
const RETIRED_AT: u64 = 4064;
const BELL_AT: u64 = 112;

/// A process that waits for changes in the shared memory.
pub struct Waiter {
    segment: File,
    flags: File,
}

impl Waiter {
    /// Opens the files of a server.
    #[track_caller]
    pub fn open(base: &BaseDirectory, server: &Instance) -> Self {
        let directory = base.join(server.port.to_string());
        let flags = directory.join("waiters");
        assert_eq!(flags.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
        let flags = File::options().read(true).write(true).open(flags).expect("opened");
        Waiter { segment: open(&directory.join("segment")), flags }
    }

    /// The bell of a mailbox: how often it was rung.
    #[track_caller]
    pub fn bell(&self, mailbox: u64) -> u32 {
        number(&self.segment, 4096 + mailbox * 128 + BELL_AT)
    }

    /// The flag of a mailbox: not 0 while a process waits.
    #[track_caller]
    pub fn flag(&self, mailbox: u64) -> u32 {
        number(&self.flags, mailbox * 4)
    }

    /// Announces a wait for a change of a mailbox.
    #[track_caller]
    pub fn set_flag(&self, mailbox: u64) {
        self.flags.write_all_at(&1u32.to_ne_bytes(), mailbox * 4).expect("written");
    }

    /// Whether the segment was removed or replaced.
    #[track_caller]
    pub fn is_retired(&self) -> bool {
        number(&self.segment, RETIRED_AT) == 1
    }
}

fn open(path: &Path) -> File {
    File::open(path).expect("opened")
}

fn number(file: &File, at: u64) -> u32 {
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, at).expect("read");
    u32::from_ne_bytes(bytes)
}
