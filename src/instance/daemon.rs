//! Moves the server to the background, and reports whether it has started.
//!
//! The parent waits on a pipe until the server reports that clients can connect, or why it failed. The parent
//! then exits with the server's code.
#![allow(unsafe_code, reason = "forks")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};

use super::{log, terminal};

/// How long a message waits for room in the socket of the service manager.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(1);

/// Where to report whether the server has started.
#[derive(Debug)]
pub(super) enum Notifier {
    /// To the parent, through a pipe. The second file is `/dev/null`, which replaces the terminal.
    Parent(File, File),
    /// To stdout and stderr.
    Terminal,
}

/// The process in which [`detach`] returns.
#[derive(Debug)]
pub(super) enum Side {
    /// The server.
    Server(Notifier),
    /// The parent, with the exit code that the server has reported.
    Parent(ExitCode),
}

/// Forks the server to the background. Asserts that the process has one thread, because no other survives a
/// fork.
pub(super) fn detach() -> io::Result<Side> {
    assert_one_thread();
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let (reader, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: there is one thread, so no other thread holds a lock or is in a critical section.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop(writer);
            // May fail: the kernel reaps the child itself if the caller of dipc ignores SIGCHLD.
            let _ = waitpid(child, None);
            Ok(Side::Parent(read_status(reader)))
        }
        ForkResult::Child => {
            drop(reader);
            setsid()?;
            // The second fork: the server does not lead its session, so it never gets a controlling terminal.
            // SAFETY: as above.
            match unsafe { fork() }? {
                // SAFETY: ends the intermediate process without running destructors or exit handlers.
                ForkResult::Parent { .. } => unsafe { nix::libc::_exit(0) },
                ForkResult::Child => {
                    chdir("/")?;
                    Ok(Side::Server(Notifier::Parent(File::from(writer), null)))
                }
            }
        }
    }
}

impl Notifier {
    /// Reports that clients can connect, with the text `line`. Detaches from the terminal.
    pub(super) fn ready(&mut self, line: &str) -> io::Result<()> {
        match self {
            Notifier::Parent(pipe, null) => {
                dup2_stdin(&null)?;
                dup2_stdout(&null)?;
                if !log::redirect_stderr()? {
                    dup2_stderr(&null)?;
                }
                pipe.write_all(&[0])?;
                pipe.write_all(line.as_bytes())
            }
            Notifier::Terminal => {
                // The server runs even if stdout is closed.
                terminal::print(line);
                if let Err(error) = notify_service_manager() {
                    ::log::warn!("cannot notify the service manager: {error}");
                }
                Ok(())
            }
        }
    }

    /// Reports that the server has failed to start, and why.
    pub(super) fn failed(self, code: u8, reason: &str) -> ExitCode {
        log::record_failure(reason);
        match self {
            Notifier::Parent(mut pipe, _) => {
                let reported = pipe.write_all(&[code]).and_then(|()| pipe.write_all(reason.as_bytes()));
                if reported.is_err() {
                    terminal::print_error(&format!("dipc: {reason}"));
                }
            }
            Notifier::Terminal => terminal::print_error(&format!("dipc: {reason}")),
        }
        ExitCode::from(code)
    }
}

/// Ignores SIGXFSZ: reaching the limit of file sizes is an error of the system call, and does not end the
/// process.
pub(super) fn ignore_file_size_signal() {
    // SAFETY: ignoring a signal installs no handler.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
}

/// Waits for the report of the server, prints it, and returns its exit code.
fn read_status(reader: OwnedFd) -> ExitCode {
    let mut bytes = Vec::new();
    match File::from(reader).read_to_end(&mut bytes).map(|_| bytes.split_first()) {
        Ok(Some((0, line))) => {
            terminal::print(&String::from_utf8_lossy(line));
            ExitCode::SUCCESS
        }
        Ok(Some((code, reason))) => {
            terminal::print_error(&format!("dipc: {}", String::from_utf8_lossy(reason)));
            ExitCode::from(*code)
        }
        Ok(None) | Err(_) => {
            terminal::print_error("dipc: the server ended before it was ready");
            ExitCode::FAILURE
        }
    }
}

/// Notifies a service manager that has set `NOTIFY_SOCKET`. Source: sd_notify(3).
fn notify_service_manager() -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return Ok(()) };
    let bytes = path.as_encoded_bytes();
    let address = match bytes.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(NOTIFY_TIMEOUT))?;
    socket.send_to_addr(b"READY=1", &address).map(drop)
}

fn assert_one_thread() {
    if let Ok(threads) = std::fs::read_dir("/proc/self/task") {
        assert_eq!(threads.count(), 1, "threads do not survive a fork");
    }
}
