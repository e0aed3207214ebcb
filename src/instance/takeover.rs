//! Takes over from the running server of an instance: the new server's part of a handover.
//!
//! The order is: fork, ask the running server, prepare the process, request the descriptors, map, threads,
//! acknowledge, wait for the commit, control socket. **The law**: until the running server has committed the
//! handover, this process accepts nothing and changes no file. [`reactor::handover`](crate::reactor) has the
//! messages. A takeover that fails leaves the running server as it was.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{MsgFlags, Shutdown, getsockopt, recv, send, shutdown};
use nix::unistd::geteuid;
use parking_lot::Mutex;

use super::control_socket::wait_for_input;
use super::daemon::{self, Acknowledgement, Notifier, Side};
use super::directory::{Directory, DirectoryError, PID};
use super::files::Files;
use super::handover::{Description, ReceiveError, Received, receive_descriptors};
use super::segment_file::SegmentFile;
use super::sockets::{AdoptError, Sockets};
use super::start::{self, StartError, describe};
use super::unix_socket::UnixSocket;
use super::warnings::recover;
use crate::mailboxes::{Segment, SegmentError};
use crate::options::ServerOptions;
use crate::protocol::Name;
use crate::reactor::{
    ACK, ACK_TIME, COMMIT, DRAIN_TIME, GO, QUIET_TIME, READY, RUNNING, Reactor, Refusal, STOPPING,
};

/// How long the control socket may be missing, for example because another takeover is just ending, and the
/// pause between two tries to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const CONNECT_RETRY: Duration = Duration::from_millis(10);

/// How long the running server may take for an answer, beside the time that its work is given.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2500);

/// Largest number of bytes of an answer.
const ANSWER_MAX: usize = 1024;

/// Why a server cannot take over.
#[derive(Debug, thiserror::Error)]
enum TakeoverError {
    #[error("no dipc runs on port {0}, so there is none to take over from; start it without --takeover")]
    NoServer(u16),
    #[error("{}", .0.reason)]
    Refused(Refusal),
    #[error(
        "the running server is of a version that cannot hand over; stop it with dipcrm --keep, and start \
         without --takeover"
    )]
    Unable,
    #[error("the running server does not answer")]
    NoAnswer,
    #[error("the running server has ended; start without --takeover")]
    Ended,
    #[error("the control socket belongs to a process of another user")]
    OtherUser,
    #[error("cannot talk to the running server: {0}")]
    Control(Errno),
    #[error(transparent)]
    Descriptors(ReceiveError),
    #[error(transparent)]
    Sockets(#[from] AdoptError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot move to the background: {0}")]
    Background(io::Error),
}

impl TakeoverError {
    fn exit_code(&self) -> u8 {
        match self {
            TakeoverError::Refused(Refusal { code, .. })
            | TakeoverError::Descriptors(ReceiveError::Refused(Refusal { code, .. })) => *code,
            TakeoverError::Unable | TakeoverError::Segment(SegmentError::Foreign(_)) => 4,
            TakeoverError::Start(error) => error.exit_code(),
            _ => 1,
        }
    }
}

/// A server that may run.
struct Successor {
    reactor: Reactor,
    files: Arc<Mutex<Files>>,
    /// The names of `--names`.
    names: Vec<(u32, Name)>,
    /// The line that reports it.
    line: String,
}

/// Takes over. Returns when the new server serves; with `--foreground`, when it has stopped.
pub(super) fn take_over(options: &ServerOptions) -> ExitCode {
    let names = match start::begin(options).and_then(|()| start::names_of(options)) {
        Ok(names) => names,
        Err(error) => return Notifier::Terminal.failed(error.exit_code(), &error.to_string()),
    };
    if options.foreground {
        return serve(options, names, Notifier::Terminal);
    }
    match daemon::fork_server(Acknowledgement::Unneeded) {
        Ok(Side::Server(notifier)) => serve(options, names, notifier),
        Ok(Side::Parent(Some(code))) => code,
        // The files are those of the running server.
        Ok(Side::Parent(None)) => Notifier::Terminal.failed(1, "the new server ended before it was ready"),
        Err(error) => Notifier::Terminal.failed(1, &TakeoverError::Background(error).to_string()),
    }
}

/// Forks for the last time, takes over, and runs the server to its end.
fn serve(options: &ServerOptions, names: Vec<(u32, Name)>, notifier: Notifier) -> ExitCode {
    let successor = notifier.leave_session().map_err(TakeoverError::Background);
    match successor.and_then(|()| acquire(options, names)) {
        Ok(Successor { reactor, files, line, .. }) => {
            announce(notifier, line);
            start::run(reactor, &files)
        }
        Err(error) => notifier.failed(error.exit_code(), &error.to_string()),
    }
}

/// Gets the instance from the running server.
fn acquire(options: &ServerOptions, names: Vec<(u32, Name)>) -> Result<Successor, TakeoverError> {
    let description = Description::of(options);
    let directory = Directory::find(options.dir.as_deref(), options.port)?
        .ok_or(TakeoverError::NoServer(options.port))?;
    let running = RunningServer::connect(&directory, options.port)?;
    running.greet(&description)?;
    let classic = options.classic.filter(|_| !options.bind().is_loopback());
    let max_clients = start::prepare_process(options, &directory, classic)?;
    let received = running.request_descriptors(&description)?;
    let mut successor = build(options, directory, &description, received, max_clients, names)?;
    running.acknowledge()?;
    begin(&mut successor);
    Ok(successor)
}

/// The connection to the running server.
struct RunningServer(OwnedFd);

impl RunningServer {
    fn connect(directory: &Directory, port: u16) -> Result<Self, TakeoverError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let connection = loop {
            match directory.connect_control() {
                Ok(connection) => break connection,
                Err(Errno::ENOENT | Errno::ECONNREFUSED | Errno::EAGAIN | Errno::EINTR)
                    if Instant::now() < deadline && directory.exists(PID) =>
                {
                    sleep(CONNECT_RETRY);
                }
                Err(Errno::ENOENT | Errno::ECONNREFUSED) => return Err(TakeoverError::NoServer(port)),
                Err(Errno::EAGAIN) => return Err(TakeoverError::NoAnswer),
                Err(errno) => return Err(TakeoverError::Control(errno)),
            }
        };
        let peer = getsockopt(&connection, PeerCredentials).map_err(TakeoverError::Control)?;
        match peer.uid() == geteuid().as_raw() {
            true => Ok(RunningServer(connection)),
            false => Err(TakeoverError::OtherUser),
        }
    }

    /// Asks whether the running server can hand over to a server of this description.
    fn greet(&self, description: &Description) -> Result<(), TakeoverError> {
        self.send(&description.hello())?;
        match &*self.receive(ANSWER_TIMEOUT)? {
            READY => Ok(()),
            // The answers of a server that does not know the message.
            RUNNING | STOPPING => Err(TakeoverError::Unable),
            answer => Err(unexpected(answer)),
        }
    }

    /// Requests the descriptors. From here on the running server does not accept.
    fn request_descriptors(&self, description: &Description) -> Result<Received, TakeoverError> {
        self.send(GO)?;
        self.wait(DRAIN_TIME + QUIET_TIME + ANSWER_TIMEOUT)?;
        receive_descriptors(&self.0, description).map_err(TakeoverError::Descriptors)
    }

    /// Acknowledges the descriptors. Returns when the running server has committed the handover.
    fn acknowledge(&self) -> Result<(), TakeoverError> {
        // If the running server has cancelled the handover, its message says why.
        let sent = self.send(ACK);
        if self.wait(ACK_TIME + ANSWER_TIMEOUT).is_err() {
            // From here on the running server cannot send the commit. It may have sent it just before.
            let _ = shutdown(self.0.as_raw_fd(), Shutdown::Both);
        }
        match &*self.read()? {
            COMMIT => Ok(()),
            answer => Err(sent.err().filter(|_| answer.is_empty()).unwrap_or_else(|| unexpected(answer))),
        }
    }

    fn send(&self, message: &[u8]) -> Result<(), TakeoverError> {
        match send(self.0.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Err(TakeoverError::Ended),
            Err(errno) => Err(TakeoverError::Control(errno)),
        }
    }

    fn receive(&self, timeout: Duration) -> Result<Vec<u8>, TakeoverError> {
        self.wait(timeout)?;
        self.read()
    }

    fn wait(&self, timeout: Duration) -> Result<(), TakeoverError> {
        match wait_for_input(&self.0, Instant::now() + timeout) {
            true => Ok(()),
            false => Err(TakeoverError::NoAnswer),
        }
    }

    /// Reads a message, which is empty at the end of the connection.
    fn read(&self) -> Result<Vec<u8>, TakeoverError> {
        let mut message = [0; ANSWER_MAX];
        match recv(self.0.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT) {
            Ok(len) => Ok(message[..len].to_vec()),
            Err(Errno::ECONNRESET) => Err(TakeoverError::Ended),
            Err(errno) => Err(TakeoverError::Control(errno)),
        }
    }
}

/// The error for an answer that ends the takeover.
fn unexpected(answer: &[u8]) -> TakeoverError {
    match Refusal::decode(answer) {
        Some(refusal) => TakeoverError::Refused(refusal),
        None if answer.is_empty() => TakeoverError::Ended,
        None => TakeoverError::Descriptors(ReceiveError::Unexpected("an unknown answer")),
    }
}

/// Does every step that can fail, with the descriptors of the running server. Changes nothing.
fn build(
    options: &ServerOptions,
    directory: Directory,
    description: &Description,
    received: Received,
    max_clients: usize,
    names: Vec<(u32, Name)>,
) -> Result<Successor, TakeoverError> {
    let Received { lock, segment, sockets, inode } = received;
    let lock = directory.adopt_lock(File::from(lock))?;
    let file = SegmentFile::adopt(File::from(segment), &directory)?;
    let mut segment = Segment::attach(file.file(), options.geometry())?;
    segment.set_waiters(directory.open_waiters(options.mailboxes)?);
    let (sockets, unix) = Sockets::adopt(description, options.port, sockets)?;
    let socket = options.unix.as_deref().map(|path| UnixSocket::adopt(path, inode));
    let mut addresses = sockets.addresses();
    addresses.extend(options.unix.as_deref().map(|path| path.display().to_string()));
    let line = describe(options, options.port, &addresses.join(" and "));
    let files = Arc::new(Mutex::new(Files::new(directory, lock, file, socket)));
    let reactor = start::new_reactor(&files, options, (sockets, unix), segment, None, max_clients)?;
    Ok(Successor { reactor, files, names, line })
}

/// Begins to use the instance. Nothing that fails here ends the server, because there is no other one.
fn begin(successor: &mut Successor) {
    let Successor { reactor, files, names, line } = successor;
    reactor.mailboxes().segment().begin_epoch();
    recover(reactor.mailboxes().segment());
    reactor.mailboxes().set_names(mem::take(names));
    let opened = files.lock().open_control().map_err(io::Error::other);
    if let Err(error) = opened.and_then(|control| reactor.set_control(control)) {
        // The server checks its files, and tries again.
        log::error!("cannot listen on the control socket: {error}");
    }
    if !super::log::is_stderr() {
        log::info!("{line}");
    }
}

/// Reports that the server serves, on a thread of its own: the reader of the report may be slow.
fn announce(mut notifier: Notifier, line: String) {
    let announced = std::thread::Builder::new().name("announce".into()).spawn(move || {
        if let Err(error) = notifier.announce(&line) {
            log::warn!("cannot report the takeover: {error}");
        }
    });
    if let Err(error) = announced {
        log::warn!("cannot report the takeover: {error}");
    }
}
