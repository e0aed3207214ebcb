//! A command that is run on somebody's behalf.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Once};

use nix::sys::prctl::{self, set_child_subreaper};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpid, getppid};
use signal_hook::consts::{SIGCHLD, SIGINT};
use signal_hook::flag;
use signal_hook::low_level::emulate_default_handler;

use crate::output::Output;

/// The exit codes of shells for a command that cannot be run, and for one that does not exist.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// What a command became.
pub enum Started {
    Running(Child),
    /// It does not run; the exit code that says why.
    Failed(u8),
}

/// The command line as a process to be.
pub fn command(words: &[OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// The kernel kills it when we end without having seen to that, and so are killed ourselves. Of signals it has `blocked`
/// blocked, whatever we have.
#[allow(unsafe_code, reason = "what is done between fork and exec has no safe interface")]
pub fn set_pdeathsig(command: &mut Command, blocked: SigSet) {
    let parent = getpid();
    let before_exec = move || {
        blocked.thread_set_mask()?;
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // If we are gone already there will be no signal.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from(ErrorKind::BrokenPipe)) }
    };
    // SAFETY: it makes three system calls, and none allocates or takes a lock. Source: prctl(2), signal-safety(7).
    unsafe { command.pre_exec(before_exec) };
}

pub fn start(command: &mut Command, out: &Output) -> Started {
    restore_sigchld();
    command.spawn().map_or_else(
        |error| {
            out.print_note(&format!("cannot run {:?}: {error}", command.get_program()));
            Started::Failed(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN })
        },
        Started::Running,
    )
}

/// Who starts us may have us ignore the end of children: then there is no signal, and their exit codes are lost. A handler,
/// whatever it does, ends that.
fn restore_sigchld() {
    static RESTORED: Once = Once::new();
    // It fails for signals that cannot be handled, and this can.
    RESTORED.call_once(|| drop(flag::register(SIGCHLD, Arc::default())));
}

/// Those that we start, those that they start, and so on: while this lives they are ours, also when those in between have
/// ended.
pub struct ProcessTree {
    /// Those that were there before: of an earlier command, or of who has become us.
    preexisting: Vec<Pid>,
}

impl ProcessTree {
    pub fn new() -> Self {
        // No kernel that we know refuses it; without it those are missed whose parents have ended.
        let _ = set_child_subreaper(true);
        ProcessTree { preexisting: descendants(&[]) }
    }

    /// Waits for those that have become our children and have ended; not for `command`, whose number stays its own.
    pub fn reap(&self, command: Pid) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::All, flags)
            && let Some(ended) = status.pid().filter(|pid| *pid != command)
        {
            let _ = waitpid(ended, Some(WaitPidFlag::WNOHANG));
        }
    }

    /// All who live, the eldest first.
    pub fn members(&self) -> Vec<Pid> {
        descendants(&self.preexisting)
    }
}

impl Drop for ProcessTree {
    fn drop(&mut self) {
        // Those that have become our children and have ended are waited for by nobody else.
        let ended = || waitpid(None, Some(WaitPidFlag::WNOHANG));
        while ended().is_ok_and(|status| status != WaitStatus::StillAlive) {}
        let _ = set_child_subreaper(false);
    }
}

/// Our children who live, and theirs, and so on, without these and those that are only theirs.
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

/// The parent of a process; None: it has ended. Source: proc_pid_stat(5).
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything, and be cut within a character.
    let stat = String::from_utf8_lossy(&stat);
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    fields.next()?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

/// How a command has ended.
pub struct Exit {
    /// As a shell has it: of a command that a signal ended, 128 more than its number.
    pub code: u8,
    /// Which signal.
    pub signal: Option<i32>,
}

impl Exit {
    /// Ends us as Ctrl-C has ended the command, if it has: a script that waits for us stops then, as it would have without
    /// us, and does not go on with its next line.
    pub fn reraise_sigint(&self) {
        if self.signal == Some(SIGINT) {
            // It fails for signals that nobody may handle.
            let _ = emulate_default_handler(SIGINT);
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
