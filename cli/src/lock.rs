//! A command that runs while a lock is held.
//!
//! **The law**: the command does not outlive the lock by more than [`GRACE`]. The lease is renewed every third of it, and
//! an answer that takes as long counts as none: so the command is told to end before others can be in, unless this program
//! was stopped itself, or `--max-hold` is over. It ends with all that it has started. When this program is killed, so is the
//! command; but nobody is left then to end what that has started.

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

/// How long a command may take to end that is told so.
const GRACE: Duration = Duration::from_secs(5);

/// The lease when none is given.
const TTL: Duration = Duration::from_secs(30);

/// The signals that the command gets when they are sent to us.
const FORWARDED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// Locks, waiting for that if need be.
pub fn acquire<'a>(client: &'a mut Client, locking: &Locking) -> Result<LockGuard<'a>, Failure> {
    let Locking { mailboxes, shared, ttl, wait } = locking;
    let ttl = Some(ttl.unwrap_or(TTL));
    Ok(client.lock_with(&mailboxes.numbers, &LockOptions { shared: *shared, ttl, wait: wait.wait })?)
}

/// Runs the command and unlocks; how the command has ended. The connection's timeout is a third of the lease then.
pub fn run(mut lock: LockGuard, locking: &Locking, words: &[OsString], out: &Output) -> Result<Exit, Failure> {
    let third = locking.ttl.unwrap_or(TTL) / 3;
    // Who was stopped meanwhile may have got the lock and its loss in one piece: what has been received, poll does not see.
    events(&mut lock, out)?;
    let signals = Signals::new()?;
    let mut command = child::command(words);
    let boxes = lock.mailboxes().iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    command.env("DIPC_BOX", &boxes).env("DIPC_GRANT", lock.fencing_token().to_string());
    // Where there is a terminal the command belongs to it as we do, and can ask there for a password. Elsewhere it gets a
    // group of its own, which can be told at once.
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
        out.print_note(&format!("the lock of mailbox {boxes} is lost, the command has to end"));
        supervisor.terminate()?;
    }
    let status = supervisor.child.wait().map_err(|error| Failure::local("wait", error))?;
    // The lock may have been lost at the very end, too.
    lost.map_or_else(|| lock.unlock(), Err)?;
    Ok(Exit::from(status))
}

/// A command that runs, and what tells about it.
struct Supervisor {
    child: Child,
    has_group: bool,
    tree: ProcessTree,
    signals: Signals,
}

impl Supervisor {
    /// Renews the lease until the command has ended, or the lock: then why.
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
            if self.forward_signals()? {
                return Ok(None);
            }
            let is_readable = self.wait(Some(lock), renewal)?;
            let alive = match (is_readable, Instant::now() >= renewal) {
                (_, true) => lock.ping().and_then(|()| events(lock, out)),
                (true, false) => events(lock, out),
                (false, false) => Ok(()),
            };
            if let Err(error) = alive {
                return Ok(Some(error));
            }
            if Instant::now() >= renewal {
                renewal = Instant::now() + third;
            }
        }
    }

    /// Tells the command to end, and sees to it.
    fn terminate(&self) -> Result<(), Failure> {
        self.send_signal(Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while !self.forward_signals()? && Instant::now() < deadline {
            self.wait(None, deadline)?;
        }
        // Also when it has ended: what it has started may still be there, and start others while it is told.
        self.send_signal(Signal::SIGKILL);
        let deadline = Instant::now() + GRACE;
        while !self.tree.members().is_empty() && Instant::now() < deadline {
            self.send_signal(Signal::SIGKILL);
        }
        Ok(())
    }

    /// Passes on what was sent to us; whether the command has ended. It is not waited for yet, so that its number stays
    /// its own, and nobody else is told to end.
    fn forward_signals(&self) -> Result<bool, Failure> {
        while let Some(info) =
            self.signals.fd.read_signal().map_err(|error| Failure::local("signals", error))?
        {
            // Keys at a terminal are signals for its whole group: the command has had them already. That it has hung up is told
            // to who leads its session, and perhaps to nobody else.
            let from_terminal = info.ssi_code > 0 && info.ssi_signo != Signal::SIGHUP as u32;
            match Signal::try_from(info.ssi_signo as i32) {
                Ok(signal) if FORWARDED.contains(&signal) && (self.has_group || !from_terminal) => {
                    self.send_signal(signal)
                }
                _ => {}
            }
        }
        self.tree.reap(self.pid());
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let status = waitid(Id::Pid(self.pid()), flags).map_err(|error| Failure::local("wait", error))?;
        Ok(status != WaitStatus::StillAlive)
    }

    /// Waits for a signal, for the server, or for the time; whether the server has said something.
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

    /// Sends a signal to the command and all that it has started; once to each, for two may mean something else.
    fn send_signal(&self, signal: Signal) {
        let command = self.pid();
        // One that has ended needs no signal.
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

/// The signals that we pass on, and those of children, as something to read. They are blocked for that as long as this
/// lives: none of them ends us, and none is lost.
struct Signals {
    fd: SignalFd,
    /// What was blocked before.
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
        // At the prompt other commands follow.
        let _ = self.before.thread_set_mask();
    }
}

/// What the server has told; an error when the lock is lost.
fn events(lock: &mut LockGuard, out: &Output) -> Result<(), Error> {
    while let Some(event) = lock.event(Some(Duration::ZERO))? {
        match event {
            Event::LockLost { fencing_token, .. } if fencing_token == lock.fencing_token() => break,
            // At the prompt there may be others.
            Event::LockLost { mailbox, .. } => out.print_note(&format!("the lock of {mailbox} is lost")),
            Event::Message { .. } => {}
        }
    }
    match lock.is_lost() {
        true => Err(Error::Refused { code: Code::Lease, text: "the lock has run out".to_owned(), max: None }),
        false => Ok(()),
    }
}
