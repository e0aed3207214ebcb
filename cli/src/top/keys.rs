//! The keys of `top`: `q` quits. The terminal passes on each key at once and does not show it. It is restored
//! at the end, also after a signal.

use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::read;

use crate::child::Exit;
use crate::failure::Failure;
use crate::signals::Signals;

/// The keys, while they are read.
pub(super) struct Keys(Option<(Signals, Termios)>);

impl Keys {
    /// `is_terminal`: whether keys are read at all.
    pub(super) fn new(is_terminal: bool) -> Result<Self, Failure> {
        let failed = |error: Errno| Failure::local("terminal", error);
        if !is_terminal {
            return Ok(Keys(None));
        }
        let (signals, saved) = (Signals::new()?, tcgetattr(io::stdin()).map_err(failed)?);
        let mut settings = saved.clone();
        settings.local_flags -= LocalFlags::ICANON | LocalFlags::ECHO;
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &settings).map_err(failed)?;
        Ok(Keys(Some((signals, saved))))
    }

    /// Waits for this time. Returns true early if the user quits. SIGINT, SIGTERM, SIGHUP and SIGQUIT end
    /// this process after the terminal is restored.
    pub(super) fn wait(&mut self, time: Duration) -> Result<bool, Failure> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some((signals, _)) = &mut self.0 else {
                thread::sleep(left);
                return Ok(false);
            };
            while signals.next()?.is_some() {}
            if let Some(signal) = signals.ending() {
                self.restore();
                Exit::by(signal).reraise();
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
            let stdin = io::stdin();
            let mut sources = [stdin.as_fd(), signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut sources, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(Failure::local("poll", error)),
            }
            if sources[0].any() == Some(true) {
                let mut key = [0];
                // The end of the input also quits `top`.
                let read = read(&stdin, &mut key).map_err(|error| Failure::local("terminal", error))?;
                if read == 0 || key == *b"q" {
                    return Ok(true);
                }
            }
        }
    }

    /// Restores the terminal, and the effect of signals.
    fn restore(&mut self) {
        if let Some((_, saved)) = self.0.take() {
            // Fails if the terminal is gone.
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &saved);
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.restore();
    }
}
