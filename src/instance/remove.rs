//! `dipcrm`: removes an instance, whatever state it is in.
//!
//! The process that holds the lock of the instance knows that no server runs, and removes everything. A
//! running server is asked to stop through its control socket, and killed if it does not stop. Its pid comes
//! from that socket, never from a file.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{MsgFlags, getsockopt, send};

use super::directory::{Directory, DirectoryError};
use super::unix_socket::remove_if_dead;
use crate::options::RemoveOptions;
use crate::reactor::{DRAIN, STOP};

/// How long a server may take to stop before it is killed: its own drain time and half of that in addition.
const STOP_TIMEOUT: Duration = DRAIN.saturating_add(Duration::from_millis(2500));

/// How long a killed process may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause before another try with a server that is starting or stopping.
const RETRY: Duration = Duration::from_millis(10);

enum Outcome {
    Removed,
    NotFound,
}

/// Stops and removes the instance of a port.
pub fn remove(options: &RemoveOptions) -> ExitCode {
    let dir = options.dir.as_deref();
    match Directory::find(dir, options.port)
        .and_then(|found| found.map_or(Ok(Outcome::NotFound), |directory| stop_and_remove(&directory)))
    {
        Ok(Outcome::Removed) => ExitCode::SUCCESS,
        Ok(Outcome::NotFound) => {
            eprintln!("dipcrm: there is no dipc on port {}", options.port);
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("dipcrm: {error}");
            ExitCode::from(3)
        }
    }
}

fn stop_and_remove(directory: &Directory) -> Result<Outcome, DirectoryError> {
    let deadline = Instant::now() + STOP_TIMEOUT + KILL_TIMEOUT;
    loop {
        match directory.lock() {
            Ok(Some(_lock)) => return remove_files(directory),
            Ok(None) => return Ok(Outcome::NotFound),
            Err(error @ DirectoryError::InUse { .. }) => {
                if Instant::now() > deadline {
                    return Err(error);
                }
                stop_server(directory)
                    .map_err(|error| DirectoryError::Io { path: directory.path().into(), error })?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Removes all files. The caller holds the lock, so no server is running.
fn remove_files(directory: &Directory) -> Result<Outcome, DirectoryError> {
    if let Some(path) = directory.socket_path()
        && let Err(error) = remove_if_dead(&path)
    {
        eprintln!("dipcrm: {error}");
    }
    Ok(if directory.remove()? { Outcome::Removed } else { Outcome::NotFound })
}

/// Asks the server to stop, and waits until it has ended. Kills it after a timeout.
fn stop_server(directory: &Directory) -> io::Result<()> {
    let control = match directory.connect_control() {
        Ok(control) => control,
        // It does not listen yet, or no longer. The caller tries the lock again.
        Err(Errno::ENOENT | Errno::ECONNREFUSED) => {
            sleep(RETRY);
            return Ok(());
        }
        Err(errno) => return Err(errno.into()),
    };
    let server = match Process::open(getsockopt(&control.as_fd(), PeerCredentials)?.pid()) {
        // It has just ended. The caller tries the lock again.
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {
            sleep(RETRY);
            return Ok(());
        }
        opened => opened?,
    };
    match send(control.as_raw_fd(), STOP, MsgFlags::MSG_NOSIGNAL) {
        // It is stopping.
        Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => {}
        Err(errno) => return Err(errno.into()),
    }
    if !server.ends_within(STOP_TIMEOUT)? {
        eprintln!("dipcrm: process {} does not stop; killing it", server.pid);
        server.kill()?;
        server.ends_within(KILL_TIMEOUT)?;
    }
    Ok(())
}

/// A process, identified by a pidfd: its pid cannot be reused for another process meanwhile.
struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

#[allow(unsafe_code, reason = "nix has no safe interface for pidfds")]
impl Process {
    fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: takes no pointers. Source: pidfd_open(2).
        let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(Errno::result(fd)?).map_err(io::Error::other)?;
        // SAFETY: the descriptor is new and has no other owner.
        Ok(Process { pid, pidfd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    fn kill(&self) -> io::Result<()> {
        let (fd, signal) = (self.pidfd.as_raw_fd(), Signal::SIGKILL as i32);
        let no_info = std::ptr::null::<nix::libc::siginfo_t>();
        // SAFETY: a null siginfo is allowed. Source: pidfd_send_signal(2).
        let sent = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) };
        match Errno::result(sent) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Process {
    fn ends_within(&self, time: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + time;
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(remaining).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
