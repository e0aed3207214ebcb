//! Moves the server to the background, and reports whether it has started.
//!
//! The parent reads from a socket until the server reports that clients can connect, or why it failed. The
//! parent acknowledges a successful start, and exits with the code in the report. **The law**: without the
//! acknowledgement the server does not run, so a start that was reported as failed leaves no server. A server
//! that takes over needs no acknowledgement, because it is the only server when it reports.
#![allow(unsafe_code, reason = "forks")]

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

use super::{log, terminal};

/// How long the server waits for the parent's acknowledgement, and how often it tries to read the
/// acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
const ACK_TRIES: usize = 3;

/// How long a message waits for room in the socket of the service manager.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(1);

/// Where to report whether the server has started.
#[derive(Debug)]
pub(super) enum Notifier {
    /// To the parent, through a socket. The file is `/dev/null`, which replaces the terminal.
    Parent(UnixStream, File),
    /// To stdout and stderr.
    Terminal,
}

/// The process in which [`fork_server`] returns.
#[derive(Debug)]
pub(super) enum Side {
    /// The server.
    Server(Notifier),
    /// The parent, with the exit code that the server has reported. `None`: it ended without a report.
    Parent(Option<ExitCode>),
}

/// Whether a server waits for the acknowledgement of its parent before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acknowledgement {
    Needed,
    /// The server runs already: it has taken over.
    Unneeded,
}

/// Forks the server. Asserts that the process has one thread, because other threads do not survive a fork.
pub(super) fn fork_server(acknowledgement: Acknowledgement) -> io::Result<Side> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let (parent, server) = UnixStream::pair()?;
    match fork_process()? {
        ForkResult::Parent { child } => {
            drop(server);
            // May fail: the kernel reaps the child itself if the caller of dipc ignores SIGCHLD.
            let _ = waitpid(child, None);
            Ok(Side::Parent(read_status(parent, acknowledgement)))
        }
        ForkResult::Child => Ok(Side::Server(Notifier::Parent(server, null))),
    }
}

impl Notifier {
    /// Leaves the session of the caller, unless the server runs in the foreground. Returns in a child
    /// process.
    pub(super) fn leave_session(&self) -> io::Result<()> {
        let Notifier::Parent(..) = self else { return Ok(()) };
        setsid()?;
        // The second fork: the server does not lead its session, so it never gets a controlling terminal.
        match fork_process()? {
            // SAFETY: ends the intermediate process without running destructors or exit handlers.
            ForkResult::Parent { .. } => unsafe { nix::libc::_exit(0) },
            ForkResult::Child => Ok(chdir("/")?),
        }
    }

    /// Reports that clients can connect, with the text `line`. A server in the background first detaches from
    /// the terminal, and then waits for the acknowledgement of its parent.
    pub(super) fn ready(&mut self, line: &str) -> io::Result<()> {
        self.announce(line)?;
        match self {
            Notifier::Parent(parent, _) => wait_for_ack(parent),
            Notifier::Terminal => Ok(()),
        }
    }

    /// Reports that clients can connect, and waits for no acknowledgement.
    pub(super) fn announce(&mut self, line: &str) -> io::Result<()> {
        match self {
            Notifier::Parent(parent, null) => {
                dup2_stdin(&null)?;
                dup2_stdout(&null)?;
                if !log::redirect_stderr()? {
                    dup2_stderr(&null)?;
                }
                parent.set_read_timeout(Some(ACK_TIMEOUT))?;
                parent.write_all(&report(0, line))?;
                parent.shutdown(Shutdown::Write)
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
        let is_reported = match self {
            Notifier::Parent(mut parent, _) => parent.write_all(&report(code, reason)).is_ok(),
            Notifier::Terminal => false,
        };
        if !is_reported {
            terminal::print_error(&format!("dipc: {reason}"));
        }
        ExitCode::from(code)
    }
}

/// Ignores SIGXFSZ: reaching the limit of file sizes is then an error of the system call, and does not end
/// the process.
pub(super) fn ignore_file_size_signal() {
    // SAFETY: ignoring a signal installs no handler.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
}

fn fork_process() -> io::Result<ForkResult> {
    assert_one_thread();
    // SAFETY: there is one thread, so no other thread holds a lock or is in a critical section.
    Ok(unsafe { fork() }?)
}

fn report(code: u8, text: &str) -> Vec<u8> {
    [&[code], text.as_bytes()].concat()
}

/// Waits for the report of the server, and acknowledges a successful start. Prints the report, and returns
/// its exit code; `None` if there is no report.
fn read_status(mut server: UnixStream, acknowledgement: Acknowledgement) -> Option<ExitCode> {
    let mut bytes = Vec::new();
    server.read_to_end(&mut bytes).ok()?;
    let (code, text) = bytes.split_first()?;
    let text = String::from_utf8_lossy(text);
    if *code == 0 {
        if acknowledgement == Acknowledgement::Needed {
            server.write_all(&[0]).ok()?;
        }
        terminal::print(&text);
    } else {
        terminal::print_error(&format!("dipc: {text}"));
    }
    Some(ExitCode::from(*code))
}

fn wait_for_ack(parent: &mut UnixStream) -> io::Result<()> {
    let mut result = Ok(());
    for _ in 0..ACK_TRIES {
        match parent.read_exact(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(io::Error::new(ErrorKind::BrokenPipe, "the process that started it has ended"));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
            // After another error the server tries again, because the parent may have sent the
            // acknowledgement already.
            read => result = read,
        }
        if result.is_ok() {
            break;
        }
    }
    result
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
    // The directory has a link for each thread, and two of its own.
    if let Ok(threads) = std::fs::metadata("/proc/self/task") {
        assert_eq!(threads.nlink(), 3, "threads do not survive a fork");
    }
}
