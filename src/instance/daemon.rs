//! Going to the background, and telling the truth about how it went.
//!
//! The parent waits on a pipe until the server says that clients can connect, or why they cannot. It returns that as its
//! own exit code.
#![allow(unsafe_code, reason = "forks")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::ExitCode;

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};

/// Whom to tell that the server is ready.
#[derive(Debug)]
pub enum Notifier {
    /// The parent, at the other end of a pipe; and what is to take the place of the terminal.
    Parent(File, File),
    /// Whoever looks at our stdout and stderr.
    Terminal,
}

/// On which side of the fork we are.
#[derive(Debug)]
pub enum Side {
    /// In the server.
    Server(Notifier),
    /// In the parent, after the server has told how it went.
    Parent(ExitCode),
}

/// Goes to the background. Everything so far has happened in one thread, which this asserts: no other would survive.
pub fn detach() -> io::Result<Side> {
    assert_one_thread();
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let (reader, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: there is one thread, so the child finds everything in order.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop(writer);
            // There may be nobody to wait for: a caller can have its children's children reaped by the kernel.
            let _ = waitpid(child, None);
            Ok(Side::Parent(read_status(reader)))
        }
        ForkResult::Child => {
            drop(reader);
            setsid()?;
            // Once more, so that the server leads no session and never gets a terminal.
            // SAFETY: as above.
            match unsafe { fork() }? {
                // SAFETY: nothing of this process in between is worth cleaning up.
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
    /// Clients can connect; `line` tells where. Lets go of the terminal.
    pub fn ready(&mut self, line: &str) -> io::Result<()> {
        match self {
            Notifier::Parent(pipe, null) => {
                dup2_stdin(&null)?;
                dup2_stdout(&null)?;
                dup2_stderr(&null)?;
                pipe.write_all(&[0])?;
                pipe.write_all(line.as_bytes())
            }
            Notifier::Terminal => {
                // Nobody may be reading; that is no reason not to serve.
                let _ = writeln!(io::stdout(), "{line}");
                if let Err(error) = notify() {
                    log::warn!("cannot tell the service manager: {error}");
                }
                Ok(())
            }
        }
    }

    /// They never will, and why.
    pub fn failed(self, code: u8, reason: &str) -> ExitCode {
        match self {
            Notifier::Parent(mut pipe, _) => {
                let told = pipe.write_all(&[code]).and_then(|()| pipe.write_all(reason.as_bytes()));
                if told.is_err() {
                    eprintln!("dipc: {reason}");
                }
            }
            Notifier::Terminal => eprintln!("dipc: {reason}"),
        }
        ExitCode::from(code)
    }
}

/// A file that may not grow any further is an error like any other, and not the end.
pub fn ignore_file_size_signal() {
    // SAFETY: ignoring a signal runs no code of ours.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
}

/// Waits for what the server says, and says it.
fn read_status(reader: OwnedFd) -> ExitCode {
    let mut words = Vec::new();
    match File::from(reader).read_to_end(&mut words).map(|_| words.split_first()) {
        Ok(Some((0, line))) => {
            let _ = writeln!(io::stdout(), "{}", String::from_utf8_lossy(line));
            ExitCode::SUCCESS
        }
        Ok(Some((code, reason))) => {
            eprintln!("dipc: {}", String::from_utf8_lossy(reason));
            ExitCode::from(*code)
        }
        Ok(None) | Err(_) => {
            eprintln!("dipc: the server died before it was ready");
            ExitCode::FAILURE
        }
    }
}

/// Tells a service manager, if it has asked for that.
/// Source: sd_notify(3).
fn notify() -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let bytes = path.as_encoded_bytes();
    let address = match bytes.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(drop)
}

fn assert_one_thread() {
    if let Ok(threads) = std::fs::read_dir("/proc/self/task") {
        assert_eq!(threads.count(), 1, "threads do not survive a fork");
    }
}
