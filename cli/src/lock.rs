//! A command that runs while a lock is held.
//!
//! **Invariant**: the command does not outlive the lock by more than [`GRACE`]. The lease is renewed after
//! every third of its duration, and an answer that takes longer than a third counts as missing. So the
//! command gets SIGTERM before another client can acquire the lock, with two exceptions: this program was
//! stopped for too long (SIGSTOP), or the server's `--max-hold` is over.
//!
//! Signals go to the command and all its descendants. When this program is killed, the kernel kills the
//! command, but not the command's descendants.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::time::{Duration, Instant};

use dipc::client::{Client, Code, Error, Event, LockGuard, LockOptions};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpgid};

use crate::child::{self, Exit, ProcessTree, Started};
use crate::failure::Failure;
use crate::options::Locking;
use crate::output::Output;

/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// The lease of a lock without `--ttl`.
const TTL: Duration = Duration::from_secs(30);

/// Signals that are forwarded to the command.
const FORWARDED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// Acquires the lock, and waits for it if necessary.
pub(crate) fn acquire<'a>(client: &'a mut Client, locking: &Locking) -> Result<LockGuard<'a>, Failure> {
    let Locking { mailboxes, shared, ttl, wait } = locking;
    let ttl = Some(ttl.unwrap_or(TTL));
    Ok(client.lock_with(&mailboxes.numbers, &LockOptions { shared: *shared, ttl, wait: wait.wait })?)
}

/// Runs the command, then unlocks. Sets the connection's timeout to a third of the lease. Returns how the
/// command ended.
pub(crate) fn run(
    mut lock: LockGuard,
    locking: &Locking,
    words: &[OsString],
    out: &Output,
) -> Result<Exit, Failure> {
    let third = locking.ttl.unwrap_or(TTL) / 3;
    // After a SIGSTOP, the lock and its loss may have been received in one read. Such an event is in the
    // client's buffer already, where poll does not see it.
    events(&mut lock, out)?;
    let signals = Signals::new()?;
    let mut command = child::command(words);
    let boxes = lock.mailboxes().iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    command.env("DIPC_BOX", &boxes).env("DIPC_GRANT", lock.fencing_token().to_string());
    // With a terminal the command stays in the foreground process group, so that it can ask for a password.
    // Without one it gets a process group of its own, which can be signalled as a whole.
    let has_group = !(io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal());
    if has_group {
        command.process_group(0);
    }
    child::set_pdeathsig(&mut command, signals.before);
    let tree = ProcessTree::new();
    let child = match child::start(&mut command, out) {
        Started::Running(child) => child,
        Started::Failed(code) => return Ok(Exit { code, signal: None }),
    };
    let mut supervisor = Supervisor { child, has_group, tree, signals };
    let lost = supervisor.renew_until_exit(&mut lock, third, out)?;
    if lost.is_some() {
        out.print_note(&format!("the lock of mailbox {boxes} is lost: the command is terminated"));
        supervisor.terminate()?;
    }
    let status = supervisor.child.wait().map_err(|error| Failure::local("wait", error))?;
    // The lock may have expired just before the command ended: then unlocking fails.
    lost.map_or_else(|| lock.unlock(), Err)?;
    Ok(Exit::from(status))
}

/// A running command, and the sources of events about it.
struct Supervisor {
    child: Child,
    /// Whether the command has a process group of its own.
    has_group: bool,
    tree: ProcessTree,
    signals: Signals,
}

impl Supervisor {
    /// Renews the lease until the command has ended, or the lock is lost. Returns why the lock was lost.
    fn renew_until_exit(
        &self,
        lock: &mut LockGuard,
        third: Duration,
        out: &Output,
    ) -> Result<Option<Error>, Failure> {
        if let Err(error) = lock.set_timeout(Some(third)) {
            return Ok(Some(error));
        }
        let mut renewal = Instant::now() + third;
        loop {
            self.forward_signals()?;
            if self.has_ended()? {
                return Ok(None);
            }
            let is_readable = self.wait(Some(lock), renewal)?;
            let result = match (is_readable, Instant::now() >= renewal) {
                (_, true) => lock.ping().and_then(|()| events(lock, out)),
                (true, false) => events(lock, out),
                (false, false) => Ok(()),
            };
            if let Err(error) = result {
                return Ok(Some(error));
            }
            if Instant::now() >= renewal {
                renewal = Instant::now() + third;
            }
        }
    }

    /// Ends the command and its descendants: SIGTERM, then SIGKILL.
    fn terminate(&self) -> Result<(), Failure> {
        self.send_signal(Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while !self.has_ended()? && Instant::now() < deadline {
            self.wait(None, deadline)?;
            self.forward_signals()?;
        }
        // Needed even if the command has ended: its descendants may be alive, and may start more processes.
        self.send_signal(Signal::SIGKILL);
        let deadline = Instant::now() + GRACE;
        while !self.tree.members().is_empty() && Instant::now() < deadline {
            self.send_signal(Signal::SIGKILL);
        }
        Ok(())
    }

    /// Forwards the signals that this process has received.
    fn forward_signals(&self) -> Result<(), Failure> {
        while let Some(info) =
            self.signals.fd.read_signal().map_err(|error| Failure::local("signals", error))?
        {
            // The terminal sends the signals of its keys to the whole foreground group, so the command has
            // received them already. The terminal sends SIGHUP only to the leader of its session, which may
            // be this process.
            let from_terminal = info.ssi_code > 0 && info.ssi_signo != Signal::SIGHUP as u32;
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(signal) if FORWARDED.contains(&signal) && (self.has_group || !from_terminal) => {
                    self.send_signal(signal)
                }
                _ => {}
            }
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

    /// Waits for a signal, for data from the server, or for the deadline. Returns whether there is data.
    fn wait(&self, lock: Option<&LockGuard>, deadline: Instant) -> Result<bool, Failure> {
        let signals = PollFd::new(self.signals.fd.as_fd(), PollFlags::POLLIN);
        let server = lock.map(|lock| PollFd::new(lock.as_fd(), PollFlags::POLLIN));
        let mut sources: Vec<_> = [Some(signals), server].into_iter().flatten().collect();
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut sources, left) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(Failure::local("poll", error)),
        }
        Ok(sources.get(1).is_some_and(|server| server.any().unwrap_or(true)))
    }

    /// Sends a signal to the command and its descendants, once to each: programs may treat a second one
    /// differently.
    fn send_signal(&self, signal: Signal) {
        let command = self.pid();
        // Fails if the command has ended.
        let _ = kill(if self.has_group { Pid::from_raw(-command.as_raw()) } else { command }, signal);
        for pid in self.tree.members() {
            let is_signalled = pid == command || self.has_group && getpgid(Some(pid)) == Ok(command);
            if !is_signalled {
                let _ = kill(pid, signal);
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

/// The forwarded signals and SIGCHLD, as a descriptor. While this value exists, these signals are blocked, so
/// that none of them ends this process or is lost.
struct Signals {
    fd: SignalFd,
    /// The signal mask before these signals were blocked.
    before: SigSet,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let set: SigSet = FORWARDED.into_iter().chain([Signal::SIGCHLD]).collect();
        let blocked = || {
            let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
            Ok(Signals { fd, before: set.thread_swap_mask(SigmaskHow::SIG_BLOCK)? })
        };
        blocked().map_err(|error: nix::Error| Failure::local("signals", error))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Needed at the prompt, which continues after this command.
        let _ = self.before.thread_set_mask();
    }
}

/// Reads the server's events. Fails when the lock is lost.
fn events(lock: &mut LockGuard, out: &Output) -> Result<(), Error> {
    while let Some(event) = lock.event(Some(Duration::ZERO))? {
        match event {
            Event::LockLost { fencing_token, .. } if fencing_token == lock.fencing_token() => break,
            // The prompt may hold other locks.
            Event::LockLost { mailbox, .. } => out.print_lock_lost(mailbox),
            Event::Message { .. } => {}
        }
    }
    match lock.is_lost() {
        true => {
            Err(Error::Refused { code: Code::Lease, text: "the lease has expired".to_owned(), max: None })
        }
        false => Ok(()),
    }
}
