//! Child processes: starts a command, finds its descendants, and describes how the command has ended.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Once};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::{self, set_child_subreaper};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpid, getppid};
use signal_hook::consts::{SIGCHLD, SIGINT};
use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;

use crate::failure::Failure;
use crate::output::Output;

/// The exit codes of shells for a program that cannot be executed, and for one that does not exist.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// The result of starting a command.
pub(crate) enum Started {
    Running(Child),
    /// The command could not be started. The exit code says why.
    Failed(u8),
}

/// Builds a process from a command line.
pub(crate) fn command(words: &[OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// The standard input of a command with this content: a file in memory. Unlike a pipe, it needs no writer
/// beside the command, which may not read it at all.
pub(crate) fn input(data: &[u8]) -> Result<File, Failure> {
    let file = || {
        let mut file = File::from(memfd_create("message", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(data)?;
        file.rewind()?;
        Ok(file)
    };
    file().map_err(|error: io::Error| Failure::local("the command's input", error))
}

/// Makes the kernel kill the command when this process dies. The command starts with the signal mask
/// `blocked`, whatever the mask of this process is.
#[allow(unsafe_code, reason = "pre_exec has no safe interface")]
pub(crate) fn set_pdeathsig(command: &mut Command, blocked: SigSet) {
    let parent = getpid();
    let before_exec = move || {
        blocked.thread_set_mask()?;
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // If the parent has died before prctl, the kernel sends no signal.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from(ErrorKind::BrokenPipe)) }
    };
    // SAFETY: `before_exec` only makes three system calls, and neither allocates nor locks. Source: prctl(2),
    // signal-safety(7).
    unsafe { command.pre_exec(before_exec) };
}

pub(crate) fn start(command: &mut Command, out: &Output) -> Started {
    restore_sigchld();
    command.spawn().map_or_else(
        |error| {
            out.print_note(&format!("cannot run {:?}: {error}", command.get_program()));
            Started::Failed(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN })
        },
        Started::Running,
    )
}

/// Installs a handler of SIGCHLD. This process may have inherited SIGCHLD as ignored. Without a handler, the
/// kernel would then discard the exit codes of children.
fn restore_sigchld() {
    static RESTORED: Once = Once::new();
    // Fails only for signals without handlers, such as SIGKILL.
    RESTORED.call_once(|| drop(flag::register(SIGCHLD, Arc::default())));
}

/// The descendants of this process. While this value exists, this process is their subreaper: a descendant
/// whose parent has ended becomes a child of this process.
pub(crate) struct ProcessTree {
    /// Descendants that existed before the command: of an earlier command, or of the program that executed
    /// this program.
    preexisting: Vec<Pid>,
}

impl ProcessTree {
    pub(crate) fn new() -> Self {
        // Fails before Linux 3.4. Without a subreaper, descendants whose parent has ended are not found.
        let _ = set_child_subreaper(true);
        ProcessTree { preexisting: descendants(&[]) }
    }

    /// Reaps ended children, except `command`: until it is reaped, its process id is not reused.
    pub(crate) fn reap(&self, command: Pid) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::All, flags)
            && let Some(ended) = status.pid().filter(|pid| *pid != command)
        {
            let _ = waitpid(ended, Some(WaitPidFlag::WNOHANG));
        }
    }

    /// The living descendants, parents before their children.
    pub(crate) fn members(&self) -> Vec<Pid> {
        descendants(&self.preexisting)
    }
}

impl Drop for ProcessTree {
    fn drop(&mut self) {
        // Reaps the adopted children that have ended since the last call of `reap`.
        let ended = || waitpid(None, Some(WaitPidFlag::WNOHANG));
        while ended().is_ok_and(|status| status != WaitStatus::StillAlive) {}
        let _ = set_child_subreaper(false);
    }
}

/// The living descendants of this process, without those in `except` and their descendants.
fn descendants(except: &[Pid]) -> Vec<Pid> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let known = numbers.filter(|pid| !except.contains(&Pid::from_raw(*pid)));
    let living: Vec<_> = known.filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let mut found = vec![getpid().as_raw()];
    let mut seen = 0;
    while let Some(&member) = found.get(seen) {
        found.extend(living.iter().filter(|(_, parent)| *parent == member).map(|(pid, _)| *pid));
        seen += 1;
    }
    found.into_iter().skip(1).map(Pid::from_raw).collect()
}

/// The parent of a process. None: the process has ended. Source: proc_pid_stat(5).
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain any bytes, and may be truncated within a character.
    let stat = String::from_utf8_lossy(&stat);
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    fields.next()?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

/// How a command has ended.
pub(crate) struct Exit {
    /// As in a shell: the exit code of the command, or 128 plus the number of the signal that ended it.
    pub code: u8,
    /// The signal that ended the command. None: the command has exited.
    pub signal: Option<i32>,
}

impl Exit {
    /// The end by a signal.
    pub(crate) fn by(signal: Signal) -> Self {
        let number = signal as i32;
        Exit { code: u8::try_from(128 + number).unwrap_or(u8::MAX), signal: Some(number) }
    }

    /// Ends this process by SIGINT if SIGINT ended the command. A shell stops its script only if the program
    /// that it waits for was ended by SIGINT.
    pub(crate) fn reraise_interrupt(&self) {
        if self.signal == Some(SIGINT) {
            self.reraise();
        }
    }

    /// Ends this process by the signal that ended the command.
    pub(crate) fn reraise(&self) {
        if let Some(signal) = self.signal {
            // Fails only for signals without handlers, such as SIGKILL.
            let _ = emulate_default_handler(signal);
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.signal.map(Signal::try_from) {
            Some(Ok(signal)) => write!(f, "the command was ended by {signal}"),
            _ => write!(f, "the command exited with {}", self.code),
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        let signal = status.signal();
        let code = status.code().or_else(|| Some(128 + signal?)).and_then(|code| code.try_into().ok());
        Exit { code: code.unwrap_or(255), signal }
    }
}
