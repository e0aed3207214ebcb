//! The table of descriptors, and those that the process was started with.
//!
//! A server outlives the process that started it. If the server kept an inherited pipe open, the reader of
//! the pipe would never see its end. If the server kept an inherited lock open, the lock would never be
//! released. The server therefore closes every inherited descriptor that it does not need.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, RawFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::close;

/// The first descriptor after stdin, stdout and stderr, and the first one that a service manager passes.
/// Source: sd_listen_fds(3).
const FIRST: RawFd = 3;

/// Closes all descriptors from 3 on, except those that a service manager passes to this process. To be called
/// before the process opens any.
pub(super) fn close_inherited() -> io::Result<()> {
    let passed = passed_by_service_manager();
    let mut inherited = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        inherited.extend(number.filter(|fd| *fd >= FIRST && !passed.contains(fd)));
    }
    for fd in inherited {
        // Fails for the descriptor of the listing, which is closed by now.
        let _ = close(fd);
    }
    Ok(())
}

/// Lets the system make its table of this process' descriptors large enough for `count` of them. It grows
/// with the highest descriptor and never shrinks. Growing the table of a process with several threads takes
/// milliseconds, during which the thread that accepts a connection does nothing else. `open` is any open
/// descriptor.
pub(super) fn reserve(count: usize, open: impl AsFd) {
    let Ok(highest) = RawFd::try_from(count) else { return };
    // If this fails, the table grows later.
    if let Ok(descriptor) = fcntl(open, FcntlArg::F_DUPFD_CLOEXEC(highest)) {
        let _ = close(descriptor);
    }
}

/// The descriptors in `LISTEN_FDS`, if `LISTEN_PID` is this process.
fn passed_by_service_manager() -> Range<RawFd> {
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let count = match number("LISTEN_PID") {
        Some(pid) if pid == std::process::id() => number("LISTEN_FDS").unwrap_or(0),
        _ => 0,
    };
    FIRST..FIRST.saturating_add_unsigned(count)
}
