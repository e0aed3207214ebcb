//! The signals of this program while it runs a command: they are read from a descriptor, and passed on.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::failure::Failure;

/// Signals that are forwarded to the command.
const FORWARDED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// Signals that ask this program to end.
const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Ending signals that arrive within this time after the first one are no second signal: timeout(1) and
/// shells send one to a process and one to its group.
const REPEATED: Duration = Duration::from_secs(1);

/// The forwarded signals and SIGCHLD, as a descriptor. While this value exists, these signals are blocked, so
/// that none of them ends this process or is lost.
pub(crate) struct Signals {
    fd: SignalFd,
    /// The signal mask before these signals were blocked.
    pub(crate) before: SigSet,
    /// The first ending signal, and when it arrived.
    first: Option<(Signal, Instant)>,
    second: Option<Signal>,
}

/// A signal that has arrived.
#[derive(Clone, Copy)]
pub(crate) struct Received {
    pub(crate) signal: Signal,
    /// Whether a key of the terminal has sent it. Then the terminal has sent it to the whole foreground
    /// group.
    pub(crate) by_key: bool,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let set: SigSet = FORWARDED.into_iter().chain([Signal::SIGCHLD]).collect();
        let blocked = || {
            let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
            Ok(Signals {
                fd,
                before: set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?,
                first: None,
                second: None,
            })
        };
        blocked().map_err(|error: nix::Error| Failure::local("signals", error))
    }

    /// The next signal that has arrived and that is forwarded.
    pub(crate) fn next(&mut self) -> Result<Option<Received>, Failure> {
        while let Some(info) = self.fd.read_signal().map_err(|error| Failure::local("signals", error))? {
            // The terminal sends SIGHUP only to the leader of its session, which may be this process.
            let by_key = info.ssi_code > 0 && info.ssi_signo != Signal::SIGHUP as u32;
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(signal) if FORWARDED.contains(&signal) => {
                    self.count(signal, by_key);
                    return Ok(Some(Received { signal, by_key }));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Runs a request that waits. Meanwhile the signals that ask this program to end have their usual effect,
    /// and the others have none.
    pub(crate) fn while_waiting<R>(&mut self, request: impl FnOnce() -> R) -> Result<R, Failure> {
        let ending: SigSet = ENDING.into_iter().filter(|signal| !self.before.contains(*signal)).collect();
        let failed = |error: nix::Error| Failure::local("signals", error);
        ending.thread_unblock().map_err(failed)?;
        let result = request();
        ending.thread_block().map_err(failed)?;
        while self.next()?.is_some() {}
        Ok(result)
    }

    /// Waits for this time, or until a signal asks this program to end. Returns that signal.
    pub(crate) fn wait_for_ending(&mut self, time: Duration) -> Result<Option<Signal>, Failure> {
        let deadline = Instant::now() + time;
        loop {
            while self.next()?.is_some() {}
            let left = deadline.saturating_duration_since(Instant::now());
            if self.first.is_some() || left.is_zero() {
                return Ok(self.ending());
            }
            // Rounded up, so that the last wait is not a busy one.
            let left = left + Duration::from_millis(1);
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(Failure::local("poll", error)),
            }
        }
    }

    /// The first signal that asks this program to end.
    pub(crate) fn ending(&self) -> Option<Signal> {
        self.first.map(|(signal, _)| signal)
    }

    /// The second signal that asks this program to end, at once. Keys do not count as second signals, since
    /// the command receives them itself and may use them, such as Ctrl-C.
    pub(crate) fn second(&self) -> Option<Signal> {
        self.second
    }

    fn count(&mut self, signal: Signal, by_key: bool) {
        match self.first {
            _ if !ENDING.contains(&signal) => {}
            None => self.first = Some((signal, Instant::now())),
            Some((_, at)) if !by_key && at.elapsed() >= REPEATED => self.second = Some(signal),
            Some(_) => {}
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Needed at the prompt, which continues after this command.
        let _ = self.before.thread_set_mask();
    }
}
