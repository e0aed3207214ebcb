//! A command that is run on somebody's behalf.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Once};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};
use signal_hook::consts::SIGCHLD;
use signal_hook::flag;

use crate::output::Output;

/// The exit codes of shells for a command that cannot be run, and for one that does not exist.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// What a command became.
pub enum Started {
    Running(Child),
    /// It does not run; the exit code that says why.
    Not(u8),
}

/// The command line as a process to be.
pub fn command(words: &[OsString]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// The kernel kills it when we end without having seen to that, and so are killed ourselves.
#[allow(unsafe_code, reason = "what is done between fork and exec has no safe interface")]
pub fn kill_with_us(command: &mut Command) {
    let us = getpid();
    let promise = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // If we are gone already there will be no signal.
        if getppid() == us { Ok(()) } else { Err(io::Error::from(ErrorKind::BrokenPipe)) }
    };
    // SAFETY: it makes two system calls, and neither allocates nor takes a lock. Source: prctl(2), signal-safety(7).
    unsafe { command.pre_exec(promise) };
}

pub fn start(command: &mut Command, out: &Output) -> Started {
    heed_children();
    command.spawn().map_or_else(
        |error| {
            out.note(&format!("cannot run {:?}: {error}", command.get_program()));
            Started::Not(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN })
        },
        Started::Running,
    )
}

/// Who starts us may have us ignore the end of children: then there is no signal, and their exit codes are lost. A handler,
/// whatever it does, ends that.
fn heed_children() {
    static HEEDED: Once = Once::new();
    // It fails for signals that cannot be handled, and this can.
    HEEDED.call_once(|| drop(flag::register(SIGCHLD, Arc::default())));
}

/// As a shell has it: of a command that a signal ended, 128 more than its number.
pub fn exit_code(status: ExitStatus) -> u8 {
    status
        .code()
        .or_else(|| Some(128 + status.signal()?))
        .and_then(|code| code.try_into().ok())
        .unwrap_or(255)
}
