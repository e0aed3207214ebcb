//! A progress bar, if stderr is a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Time between two updates.
pub(super) const PERIOD: Duration = Duration::from_millis(200);

/// Width of the bar, in characters.
const WIDTH: usize = 30;

pub(super) struct Progress {
    is_shown: bool,
    label: String,
    last: (Instant, u64),
}

impl Progress {
    pub(super) fn new() -> Self {
        Progress { is_shown: io::stderr().is_terminal(), label: String::new(), last: (Instant::now(), 0) }
    }

    pub(super) fn begin(&mut self, label: String) {
        (self.label, self.last) = (label, (Instant::now(), 0));
    }

    /// Updates the bar. `done`: from 0 to 1.
    pub(super) fn show(&mut self, done: f64, requests: u64, now: Instant) {
        let (since, before) = self.last;
        if !self.is_shown || now - since < PERIOD {
            return;
        }
        let rate = requests.saturating_sub(before) as f64 / (now - since).as_secs_f64();
        let bar = "#".repeat((done.min(1.0) * WIDTH as f64) as usize);
        let line = format!("\r{:<9} [{bar:<WIDTH$}] {rate:>9.0}/s", self.label);
        self.last = (now, requests);
        // Errors of stderr are ignored: the bar is only a convenience.
        let _ = io::stderr().write_all(line.as_bytes());
    }

    /// Erases the bar.
    pub(super) fn clear(&self) {
        if self.is_shown {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }
}
