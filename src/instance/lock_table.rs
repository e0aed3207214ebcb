//! The kernel's table of file locks. Reading it takes no lock, so it does not disturb a start.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use nix::sys::stat::makedev;

/// The kind of a lock of flock(2) in the table.
const FLOCK: &str = "FLOCK";

/// The mark of a line whose process waits for a lock.
const WAITING: &str = "->";

/// Whether a process of this pid namespace has locked a file with flock(2). `identity` is the device and the
/// inode of the file. A lock can be missing in the answer if the table changes while it is read.
pub(super) fn is_locked(identity: (u64, u64)) -> io::Result<bool> {
    for line in BufReader::new(File::open("/proc/locks")?).lines() {
        if locked_file(&line?) == Some(identity) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The device and the inode of the file in a line of the table, if it is locked with flock(2). Source:
/// proc_locks(5).
fn locked_file(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_whitespace().skip(1).peekable();
    if fields.peek() == Some(&WAITING) || fields.next()? != FLOCK {
        return None;
    }
    // After three fields: kind of enforcement, read or write, pid.
    let mut parts = fields.nth(3)?.split(':');
    let (major, minor, inode) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |part| u64::from_str_radix(part, 16).ok();
    Some((makedev(number(major)?, number(minor)?), inode.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_lock_is_found() {
        let line = "2: FLOCK  ADVISORY  WRITE 31658 fe:1b:10535124 0 EOF";
        assert_eq!(locked_file(line), Some((makedev(0xfe, 0x1b), 10_535_124)));
    }

    #[test]
    fn other_locks_and_damaged_lines_have_no_file() {
        for line in [
            "1: POSIX  ADVISORY  WRITE 1 00:1b:7 0 EOF",
            "1: OFDLCK ADVISORY  WRITE -1 00:1b:7 0 EOF",
            "1: -> FLOCK  ADVISORY  WRITE 1 00:1b:7 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 1 00:1b 0 EOF",
            "1: FLOCK  ADVISORY  WRITE",
            "",
        ] {
            assert_eq!(locked_file(line), None, "{line}");
        }
    }
}
