//! Output to stdout and stderr. The program that reads them may have stopped reading.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a line waits for room in a pipe or on a terminal.
const PRINT_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints a line to stdout. Nothing is printed if the reader leaves no room within [`PRINT_TIMEOUT`].
pub(super) fn print(line: &str) {
    write(io::stdout(), line);
}

/// Prints a line to stderr. Nothing is printed if the reader leaves no room within [`PRINT_TIMEOUT`].
pub(super) fn print_error(line: &str) {
    write(io::stderr(), line);
}

fn write(mut stream: impl Write + AsFd, line: &str) {
    let timeout = PollTimeout::try_from(PRINT_TIMEOUT).unwrap_or(PollTimeout::ZERO);
    // A writable pipe takes a line without blocking. Writing to a closed pipe is an error, which is ignored.
    let is_writable = poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)], timeout) != Ok(0);
    if is_writable {
        let _ = stream.write_all(format!("{line}\n").as_bytes());
        let _ = stream.flush();
    }
}
