//! `dipcrm`: removes an instance, whatever state it is in.
//!
//! If dipcrm gets the locks of the instance, no server runs, and dipcrm removes everything. If not, dipcrm
//! asks the running server to stop through its control socket. A server that does not answer gets a signal. A
//! server that does not stop is killed. With `--keep` dipcrm only stops the server.
//!
//! **The law**: only a process that is proved to be the server is signalled, and exit code 0 means that no
//! server is left.

use std::io;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::geteuid;

use super::control_socket::{receive, wait_for_input};
use super::directory::{Directory, DirectoryError, SEGMENT};
use super::process::{Peer, Process};
use super::tcp_table::listening_on;
use super::terminal::{print, print_error};
use super::unix_socket::remove_if_dead;
use crate::mailboxes::{Geometry, Retired};
use crate::options::RemoveOptions;
use crate::reactor::{DRAIN, STOP, STOPPING};

/// Printed if files were removed and no segment was among them.
const NO_DATA: &str = "deleted the files of the instance; there were no mailboxes";

/// How long a server may take to answer before it gets a signal.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2500);

/// How long a server may take to stop before it is killed: one and a half times its drain time.
const STOP_TIMEOUT: Duration = Duration::from_millis(DRAIN.as_millis() as u64 * 3 / 2);

/// How long a killed process may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may take to find that its directory is gone, and to create the directory again.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause before another try with a server that is starting or stopping.
const RETRY: Duration = Duration::from_millis(10);

enum Outcome {
    /// The files were removed. The text says what they contained.
    Removed(String),
    /// The server was stopped, and its data is kept. The text has the command that continues with it.
    Stopped(String),
    /// There is data to be kept, and no server.
    NotRunning,
    NotFound,
}

/// Why an instance is not removed, or a server may be left.
#[derive(Debug, thiserror::Error)]
enum RemoveError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("there is no dipc of this user on port {port}, but a process of user {user} listens on it")]
    OtherUser { port: u16, user: u32 },
    #[error(
        "there is no dipc in {path}, but a process of this user listens on port {port}: a server with \
         another --dir, or another program"
    )]
    Listener { port: u16, path: String },
    #[error("the server in {path} is in another pid namespace; it was asked to stop, and still runs")]
    OtherNamespace { path: String },
    #[error("cannot read which processes listen on port {port}: {error}")]
    Table { port: u16, error: io::Error },
    #[error("cannot stop the server in {path}: {error}")]
    Stop { path: String, error: io::Error },
}

/// Stops and removes the instance of a port.
pub fn remove(options: &RemoveOptions) -> ExitCode {
    match stop_and_remove(options) {
        Ok(Outcome::Removed(text) | Outcome::Stopped(text)) => {
            print(&format!("dipcrm: {text}"));
            ExitCode::SUCCESS
        }
        Ok(Outcome::NotRunning) => {
            print_error(&format!("dipcrm: no dipc runs on port {}; its data is kept", options.port));
            ExitCode::from(1)
        }
        Ok(Outcome::NotFound) => {
            print_error(&format!("dipcrm: there is no dipc on port {}", options.port));
            ExitCode::from(1)
        }
        Err(error) => {
            print_error(&format!("dipcrm: {error}"));
            ExitCode::from(3)
        }
    }
}

fn stop_and_remove(options: &RemoveOptions) -> Result<Outcome, RemoveError> {
    let stop_deadline = Instant::now() + ANSWER_TIMEOUT + STOP_TIMEOUT + KILL_TIMEOUT;
    let restore_deadline = Instant::now() + RESTORE_TIMEOUT;
    let mut has_stopped = false;
    let mut is_unidentified = false;
    loop {
        let directory = Directory::find(options.dir.as_deref(), options.port)?;
        let mut has_removed = false;
        if let Some(directory) = &directory {
            match remove_unless_served(directory, options.keep) {
                Ok(Found::Kept) if has_stopped => {
                    return Ok(Outcome::Stopped(continuation(directory, options)));
                }
                Ok(Found::Kept) => return Ok(Outcome::NotRunning),
                // The instance and its segment were not locked, and no process listens on the control socket:
                // the server has ended.
                Ok(Found::Segment(retired)) => return Ok(Outcome::Removed(deleted(directory, retired))),
                Ok(Found::Files) => has_removed = true,
                Ok(Found::Nothing) => {}
                Err(DirectoryError::InUse { .. }) if Instant::now() < stop_deadline => {
                    let outcome = stop_server(directory)?;
                    has_stopped |= outcome != StopOutcome::Retry;
                    is_unidentified = outcome == StopOutcome::Unidentified;
                    continue;
                }
                Err(DirectoryError::InUse { path }) if is_unidentified => {
                    return Err(RemoveError::OtherNamespace { path: path.display().to_string() });
                }
                Err(error) => return Err(error.into()),
            }
        }
        if has_stopped {
            return Ok(Outcome::Removed(NO_DATA.to_owned()));
        }
        // A server whose directory was removed still listens, and creates the directory again.
        let listening =
            listening_on(options.port).map_err(|error| RemoveError::Table { port: options.port, error })?;
        let users: Vec<u32> = listening.iter().map(|socket| socket.user).collect();
        match users[..] {
            [] if has_removed => return Ok(Outcome::Removed(NO_DATA.to_owned())),
            [] => return Ok(Outcome::NotFound),
            [user, ..] if !users.contains(&geteuid().as_raw()) => {
                return Err(RemoveError::OtherUser { port: options.port, user });
            }
            _ if Instant::now() < restore_deadline => sleep(RETRY),
            _ => {
                let path = Directory::path_of(options.dir.as_deref(), options.port).display().to_string();
                return Err(RemoveError::Listener { port: options.port, path });
            }
        }
    }
}

/// What [`remove_unless_served`] has found in a directory.
enum Found {
    /// No files, or another process has removed them.
    Nothing,
    /// Files without a segment. They were removed.
    Files,
    /// Files and a segment, which were removed. `None` if the segment is not one of this version.
    Segment(Option<Retired>),
    /// A segment, which is kept with the other files.
    Kept,
}

/// Removes all files, unless a server is running. With `keep` a segment and its files stay.
fn remove_unless_served(directory: &Directory, keep: bool) -> Result<Found, DirectoryError> {
    let Some(_lock) = directory.lock()? else { return Ok(Found::Nothing) };
    if directory.is_served()? {
        return Err(directory.in_use());
    }
    if keep && directory.exists(SEGMENT) {
        return Ok(Found::Kept);
    }
    if let Some(path) = directory.socket_path()
        && let Err(error) = remove_if_dead(&path)
    {
        print_error(&format!("dipcrm: {error}"));
    }
    let segment = directory.exists(SEGMENT).then(|| directory.retire_segment());
    Ok(match (directory.remove()?, segment) {
        (true, Some(retired)) => Found::Segment(retired),
        (true, None) => Found::Files,
        (false, _) => Found::Nothing,
    })
}

/// The text about a removed segment.
fn deleted(directory: &Directory, retired: Option<Retired>) -> String {
    let path = directory.path().display();
    let Some(Retired { geometry, messages }) = retired else {
        return format!("deleted {path}, with the data of another version of dipc");
    };
    let mailboxes = if geometry.mailboxes == 1 { "mailbox" } else { "mailboxes" };
    let noun = if messages == 1 { "message" } else { "messages" };
    let (count, size) = (geometry.mailboxes, geometry.capacity / 1024);
    format!("deleted {path}: {count} {mailboxes} of {size} kB with {messages} {noun}")
}

/// The text about a stopped server, with the command that starts a server with the same data.
fn continuation(directory: &Directory, options: &RemoveOptions) -> String {
    let path = directory.path().display();
    let Some(geometry) = directory.geometry() else { return format!("stopped; {path} is kept") };
    let Geometry { mailboxes, capacity, packet } = geometry;
    let (size, packet, port) = (capacity / 1024, packet / 1024, options.port);
    let dir = options.dir.as_ref().map(|dir| format!(" --dir {}", dir.display())).unwrap_or_default();
    format!("stopped; {path} is kept; to continue with it: dipc {mailboxes} {size} {port} {packet}{dir}")
}

/// The result of [`stop_server`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum StopOutcome {
    /// No server has accepted the request, which has to be repeated.
    Retry,
    /// The server has ended, or was killed.
    Stopped,
    /// The server was asked, and its process cannot be identified here.
    Unidentified,
}

/// Asks the server to stop, and waits for its end. A server that does not answer gets a signal, and a server
/// that does not stop in time is killed.
fn stop_server(directory: &Directory) -> Result<StopOutcome, RemoveError> {
    let failed = |error| RemoveError::Stop { path: directory.path().display().to_string(), error };
    let control = match directory.connect_control() {
        Ok(control) => control,
        // The server does not listen yet, or no longer, or its backlog is full.
        Err(Errno::ENOENT | Errno::ECONNREFUSED | Errno::EAGAIN | Errno::EINTR) => {
            sleep(RETRY);
            return Ok(StopOutcome::Retry);
        }
        Err(errno) => return Err(failed(errno.into())),
    };
    let server = Peer::of(&control).map_err(failed)?;
    let is_asked = send(control.as_raw_fd(), STOP, MsgFlags::MSG_NOSIGNAL).is_ok();
    let is_answered = is_asked && wait_for_input(&control, Instant::now() + ANSWER_TIMEOUT);
    let is_stopping = is_answered && receive(&control).is_ok_and(|answer| answer == STOPPING);
    Ok(match server {
        Peer::Process(process) if is_stopping => {
            wait_or_kill(&process).map_err(failed)?;
            StopOutcome::Stopped
        }
        Peer::Process(process) if is_asked && !is_answered => {
            process.signal(Signal::SIGTERM).and_then(|()| wait_or_kill(&process)).map_err(failed)?;
            StopOutcome::Stopped
        }
        // The request could not be sent, the connection was closed, or the answer was another one.
        Peer::Process(_) | Peer::Gone => {
            sleep(RETRY);
            StopOutcome::Retry
        }
        // Only the lock shows when the server has ended.
        Peer::Unknown => {
            sleep(RETRY);
            StopOutcome::Unidentified
        }
    })
}

/// Waits for the end of a process that stops, and kills the process after [`STOP_TIMEOUT`].
fn wait_or_kill(server: &Process) -> io::Result<()> {
    if !server.wait_for_end(STOP_TIMEOUT) {
        print_error(&format!("dipcrm: process {} does not stop; killing it", server.pid));
        server.signal(Signal::SIGKILL)?;
        server.wait_for_end(KILL_TIMEOUT);
    }
    Ok(())
}
