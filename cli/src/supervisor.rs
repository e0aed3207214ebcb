//! A running command: passes signals on to it, waits for its end, and terminates it.
//!
//! Signals go to the command and all its descendants. A second signal kills them. When this program is
//! killed, the kernel kills the command, but not the command's descendants.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpgid};

use crate::child::{self, Exit, ProcessTree, Started};
use crate::failure::Failure;
use crate::output::Output;
use crate::signals::Signals;

/// Time between SIGTERM and SIGKILL, and the maximum time in which killed processes end.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// Time between two attempts to kill all descendants: they may start more processes.
const KILL_INTERVAL: Duration = Duration::from_millis(20);

/// A running command, and the sources of events about it.
pub(crate) struct Supervisor<'a> {
    child: Child,
    /// Whether the command has a process group of its own.
    has_group: bool,
    tree: ProcessTree,
    signals: &'a mut Signals,
    out: &'a Output,
    /// Whether the user knows that the command may not be signalled.
    is_reported: bool,
}

/// What a command does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Running,
    Ended,
    /// A second signal has arrived, and the command may not be signalled. It is left alone.
    Abandoned(Signal),
}

impl<'a> Supervisor<'a> {
    /// Starts the command. Returns the exit code if that fails.
    pub(crate) fn start(
        command: &mut Command,
        signals: &'a mut Signals,
        out: &'a Output,
    ) -> Result<Self, u8> {
        // With a terminal the command stays in the foreground process group, so that it can ask for a
        // password. Without one it gets a process group of its own, which can be signalled as a whole.
        let has_group =
            !(io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal());
        if has_group {
            command.process_group(0);
        }
        child::set_pdeathsig(command, signals.before);
        let tree = ProcessTree::new();
        match child::start(command, out) {
            Started::Running(child) => {
                Ok(Supervisor { child, has_group, tree, signals, out, is_reported: false })
            }
            Started::Failed(code) => Err(code),
        }
    }

    /// The piped standard output of the command. None: it is no pipe, or was taken before.
    pub(crate) fn take_output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for the end of the command, and forwards signals meanwhile.
    pub(crate) fn wait_until_end(&mut self) -> Result<Progress, Failure> {
        loop {
            match self.progress()? {
                Progress::Running => self.wait_for_event(None, None)?,
                end => return Ok(end),
            };
        }
    }

    /// Forwards the signals that this process has received. Returns what the command does.
    pub(crate) fn progress(&mut self) -> Result<Progress, Failure> {
        while let Some(received) = self.signals.next()? {
            // Without a process group of its own, the command has received the signals of keys already.
            if self.has_group || !received.by_key {
                self.send_signal(received.signal);
            }
        }
        if let Some(second) = self.signals.second() {
            self.kill_all()?;
            if !self.has_ended()? {
                return Ok(Progress::Abandoned(second));
            }
        }
        Ok(if self.has_ended()? { Progress::Ended } else { Progress::Running })
    }

    /// Waits for a signal, for `other` to be readable, or for the deadline. Returns whether `other` is
    /// readable.
    pub(crate) fn wait_for_event(
        &self,
        other: Option<BorrowedFd>,
        deadline: Option<Instant>,
    ) -> Result<bool, Failure> {
        let sources = [Some(self.signals.as_fd()), other].into_iter().flatten();
        let mut sources: Vec<_> = sources.map(|source| PollFd::new(source, PollFlags::POLLIN)).collect();
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut sources, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Failure::local("poll", error)),
        }
        Ok(sources.get(1).is_some_and(|other| other.any().unwrap_or(true)))
    }

    /// Ends the command and its descendants: SIGTERM, then SIGKILL. A command that may not be signalled ends
    /// by itself, or is abandoned at the second signal.
    pub(crate) fn terminate(&mut self) -> Result<Progress, Failure> {
        self.send_signal(Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        let mut progress = self.progress()?;
        while progress == Progress::Running && Instant::now() < deadline {
            self.wait_for_event(None, Some(deadline))?;
            progress = self.progress()?;
        }
        if matches!(progress, Progress::Abandoned(_)) {
            return Ok(progress);
        }
        // Needed even if the command has ended: its descendants may be alive.
        self.kill_all()?;
        self.wait_until_end()
    }

    /// Describes the end of the command.
    pub(crate) fn exit(mut self, progress: Progress) -> Result<Exit, Failure> {
        match progress {
            Progress::Abandoned(signal) => Ok(Exit::by(signal)),
            _ => Ok(self.child.wait().map_err(|error| Failure::local("wait", error))?.into()),
        }
    }

    /// Kills the command and its descendants, and waits until they have ended, at most for [`GRACE`]. Does
    /// not wait for processes that may not be signalled.
    fn kill_all(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + GRACE;
        while self.send_signal(Signal::SIGKILL) > 0 && Instant::now() < deadline {
            self.wait_for_event(None, Some(Instant::now() + KILL_INTERVAL))?;
            while self.signals.next()?.is_some() {}
            self.has_ended()?;
        }
        Ok(())
    }

    /// Whether the command has ended. Reaps its descendants, but not the command itself: its process id is
    /// not reused, so no other process is signalled by mistake.
    fn has_ended(&self) -> Result<bool, Failure> {
        self.tree.reap(self.pid());
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let status = waitid(Id::Pid(self.pid()), flags).map_err(|error| Failure::local("wait", error))?;
        Ok(status != WaitStatus::StillAlive)
    }

    /// Sends a signal to the command and its descendants, once to each: programs may treat a second one
    /// differently. Returns the number of living processes that were signalled.
    fn send_signal(&mut self, signal: Signal) -> usize {
        let command = self.pid();
        let mut signalled = 0;
        for pid in self.tree.members() {
            let in_group = self.has_group && getpgid(Some(pid)) == Ok(command);
            // The processes of the group get the signal below, all at once. This only checks the permission.
            match kill(pid, if in_group { None } else { Some(signal) }) {
                Ok(()) => signalled += 1,
                Err(Errno::EPERM) => self.report(pid),
                // The process has ended.
                Err(_) => {}
            }
        }
        if self.has_group {
            // Fails if all processes of the group have ended, or may not be signalled.
            let _ = kill(Pid::from_raw(-command.as_raw()), signal);
        }
        signalled
    }

    /// Tells once that a process may not be signalled, because it belongs to another user.
    fn report(&mut self, pid: Pid) {
        if !self.is_reported {
            self.is_reported = true;
            self.out.print_note(&format!(
                "process {pid} of the command belongs to another user and cannot be signalled: it goes on \
                 until it ends by itself; a second signal ends dipc-cli only"
            ));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}
