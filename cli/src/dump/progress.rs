//! One line of progress, if stderr is a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Time between two updates.
const PERIOD: Duration = Duration::from_millis(200);

pub(crate) struct Progress {
    is_shown: bool,
    has_line: bool,
    last: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Progress { is_shown: io::stderr().is_terminal(), has_line: false, last: Instant::now() }
    }

    /// Shows this line in place of the last one, if that is old enough.
    pub(crate) fn show(&mut self, line: impl Display) {
        if self.is_shown && self.last.elapsed() >= PERIOD {
            (self.last, self.has_line) = (Instant::now(), true);
            // Errors of stderr are ignored: the line is only a convenience.
            let _ = write!(io::stderr(), "\r{line}\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_line {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}
