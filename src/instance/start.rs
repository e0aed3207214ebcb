//! From the command line to a server that clients can connect to. Whatever can fail, fails here, and says why.
//!
//! The order is: bind, lock, listen, map, fork, control socket, threads. Nothing that dies in a fork is made before it,
//! and nothing is touched that belongs to another instance.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use mio::net::{TcpListener, UnixListener};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::daemon::{self, Notifier, Side};
use super::directory::{Directory, DirectoryError, InstanceLock, OpenError};
use super::unix_socket::{UnixSocket, UnixSocketError, remove_if_dead};
use crate::mailboxes::{Mailboxes, Recovered, Segment, SegmentError};
use crate::options::ServerOptions;
use crate::reactor::{Listener, Reactor, Settings};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// How long to wait before another try to listen.
const LISTEN_PAUSES: [Duration; 3] =
    [Duration::from_millis(2), Duration::from_millis(5), Duration::from_millis(11)];

/// Silence after which the kernel asks whether a client is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Silence between two such questions, and how many stay unanswered until it is not.
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;

/// How long the kernel keeps sending to a client that acknowledges nothing.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Descriptors for everything but clients.
const OWN_DESCRIPTORS: u64 = 32;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("port {0} is in use")]
    PortInUse(u16),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Unix(#[from] UnixSocketError),
    #[error("cannot get {size} bytes of shared memory in {path}: {error}", path = .path.display())]
    Memory { size: u64, path: PathBuf, error: io::Error },
    #[error("{error} (in {path}); start over with --fresh, or remove it with: {removal}", path = .path.display())]
    Segment { error: SegmentError, path: PathBuf, removal: String },
    #[error("{0}")]
    TooLarge(SegmentError),
    #[error("cannot {0}: {1}")]
    Io(&'static str, io::Error),
}

impl StartError {
    fn exit_code(&self) -> u8 {
        match self {
            StartError::TooLarge(_) => 2,
            StartError::PortInUse(_)
            | StartError::Directory(DirectoryError::InUse { .. })
            | StartError::Unix(UnixSocketError::InUse(_)) => 3,
            StartError::Segment { .. } => 4,
            _ => 1,
        }
    }
}

/// What a server is made of before it goes to the background.
struct Parts {
    directory: Directory,
    lock: InstanceLock,
    listener: Socket,
    address: SocketAddr,
    unix: Option<(UnixSocket, std::os::unix::net::UnixListener)>,
    segment: Segment,
}

/// Starts a server; returns when it is ready, or with `--foreground` when it has stopped.
pub fn start(options: &ServerOptions) -> ExitCode {
    // Whatever is made from here on is ours alone.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    daemon::ignore_file_size_signal();
    let foreground = options.foreground || std::env::var_os("NOTIFY_SOCKET").is_some();
    let options = match with_absolute_paths(options) {
        Ok(options) => options,
        Err(error) => return Notifier::Terminal.failed(1, &error.to_string()),
    };
    let parts = match prepare(&options, foreground) {
        Ok(parts) => parts,
        Err(error) => return Notifier::Terminal.failed(error.exit_code(), &error.to_string()),
    };
    let readiness = match foreground {
        true => Notifier::Terminal,
        false => match daemon::detach() {
            Ok(Side::Parent(code)) => return code,
            Ok(Side::Server(readiness)) => readiness,
            Err(error) => {
                let code = Notifier::Terminal.failed(1, &format!("cannot go to the background: {error}"));
                parts.discard();
                return code;
            }
        },
    };
    serve(parts, &options, readiness)
}

impl Parts {
    /// Leaves nothing behind that was not there before.
    fn discard(self) {
        leave(&self.directory, self.unix.as_ref().map(|(socket, _)| socket), self.segment.epoch() == 1);
    }
}

/// Everything that two servers could quarrel about, and everything that needs memory.
fn prepare(options: &ServerOptions, foreground: bool) -> Result<Parts, StartError> {
    super::log::start(options.log_file.as_deref(), foreground, options.log_level)
        .map_err(|error| StartError::Io("open the log file", error))?;
    let (listener, address) = bind(options)?;
    let (directory, lock) = Directory::claim(options.dir.as_deref(), address.port())?;
    let made = make(options, &directory, &listener, address);
    match made {
        Ok((segment, unix)) => Ok(Parts { directory, lock, listener, address, unix, segment }),
        Err(error) => {
            directory.remove_unless_used();
            Err(error)
        }
    }
}

type Made = (Segment, Option<(UnixSocket, std::os::unix::net::UnixListener)>);

fn make(
    options: &ServerOptions,
    directory: &Directory,
    listener: &Socket,
    address: SocketAddr,
) -> Result<Made, StartError> {
    listen(listener).map_err(|error| listen_error(address, error))?;
    // Before the segment: a path in use is known at once, a million mailboxes take their time.
    let unix = options.unix.as_deref().map(UnixSocket::bind).transpose()?;
    let path = directory.path().to_owned();
    let size = options.geometry().segment_size().unwrap_or(u64::MAX);
    let opened = directory.segment(options.geometry(), options.fresh).map_err(|error| match error {
        OpenError::Directory(error) => StartError::Directory(error),
        OpenError::Segment(SegmentError::Io(error)) => StartError::Memory { size, path, error },
        OpenError::Segment(error @ SegmentError::TooLarge) => StartError::TooLarge(error),
        OpenError::Segment(error) => {
            StartError::Segment { error, path, removal: removal(options, address.port()) }
        }
    });
    let written = opened.and_then(|segment| {
        remove_earlier_socket(options, directory);
        if let Some(path) = &options.unix {
            directory.write_socket_path(path)?;
        }
        Ok(segment)
    });
    match written {
        Ok(segment) => Ok((segment, unix)),
        Err(error) => {
            if let Some((socket, _)) = unix {
                socket.remove();
            }
            Err(error)
        }
    }
}

fn bind(options: &ServerOptions) -> Result<(Socket, SocketAddr), StartError> {
    let address = SocketAddr::new(options.bind, options.port);
    let bound = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // What is set on the listener holds for every connection, without a system call each.
        socket.set_tcp_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
        socket.set_tcp_keepalive(&keepalive.with_interval(KEEPALIVE_AGAIN).with_retries(KEEPALIVE_TRIES))?;
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        // Telnet marks some of its options urgent; they are bytes like the others.
        socket.set_out_of_band_inline(true)?;
        if address.ip().is_loopback() {
            // Where BBR is the system's choice, each answer would be paced by a timer, and here is no network to spare. Every
            // Linux has Reno; without it everything works, too.
            let _ = socket.set_tcp_congestion(b"reno");
        }
        socket.bind(&address.into())?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((socket, bound))
    };
    bound().map_err(|error| listen_error(address, error))
}

/// Two that begin to listen at one moment can each see the other first: then both try again.
fn listen(listener: &Socket) -> io::Result<()> {
    for pause in LISTEN_PAUSES {
        match listener.listen(BACKLOG) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(pause),
            result => return result,
        }
    }
    listener.listen(BACKLOG)
}

fn listen_error(address: SocketAddr, error: io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse(address.port()),
        _ => StartError::Listen(address, error),
    }
}

/// The server's own life, from the last fork to the end.
fn serve(parts: Parts, options: &ServerOptions, mut readiness: Notifier) -> ExitCode {
    let line = describe(&parts, options);
    let Parts { directory, lock, listener, unix, segment, .. } = parts;
    let (socket, unix_listener) = unix.unzip();
    let is_new = segment.epoch() == 1;
    let started = reactor(&directory, options, listener, unix_listener, segment).and_then(|reactor| {
        log::info!("{line}");
        readiness.ready(&line).map_err(|error| StartError::Io("tell that the server is ready", error))?;
        Ok(reactor)
    });
    let reactor = match started {
        Ok(reactor) => reactor,
        Err(error) => {
            leave(&directory, socket.as_ref(), is_new);
            return readiness.failed(error.exit_code(), &error.to_string());
        }
    };
    // The parent waits until this side of the pipe is closed.
    drop(readiness);
    let ended = reactor.run();
    leave(&directory, socket.as_ref(), false);
    drop(lock);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Removes what only a living server needs, and the mailboxes too when nobody has ever used them.
fn leave(directory: &Directory, socket: Option<&UnixSocket>, unused: bool) {
    if let Some(socket) = socket {
        socket.remove();
    }
    directory.release();
    if unused {
        let _ = directory.remove();
    }
}

fn reactor(
    directory: &Directory,
    options: &ServerOptions,
    listener: Socket,
    unix: Option<std::os::unix::net::UnixListener>,
    segment: Segment,
) -> Result<Reactor, StartError> {
    report(&segment, directory);
    let settings = Settings {
        workers: workers(options),
        wait: options.wait,
        max_hold: options.max_hold,
        max_clients: max_clients(options),
        quiet: Duration::from_millis(options.quiet_ms.into()),
    };
    let control = directory.open_control()?;
    directory.write_pid()?;
    let tcp = Listener::Tcp(TcpListener::from_std(listener.into()));
    let unix = unix.map(|listener| Listener::Unix(UnixListener::from_std(listener)));
    let doors = [Some(tcp), unix].into_iter().flatten().collect();
    Reactor::new(Mailboxes::new(segment), doors, control, settings, super::log::reopen)
        .map_err(|error| StartError::Io("start the server", error))
}

/// Says in the log what was found.
fn report(segment: &Segment, directory: &Directory) {
    if !directory.is_on_tmpfs() {
        log::warn!("{} is not on tmpfs: mailboxes will be written to a disk", directory.path().display());
    }
    for (mailbox, found) in segment.recover() {
        match found {
            Recovered::Whole => {}
            Recovered::FellBack => {
                log::warn!("mailbox {mailbox} was damaged; it has its content before that")
            }
            Recovered::Lost => log::error!("mailbox {mailbox} is damaged and refuses every request"),
        }
    }
}

fn workers(options: &ServerOptions) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    options.workers.map_or_else(processors, usize::from)
}

/// How many clients there are descriptors for.
fn max_clients(options: &ServerOptions) -> usize {
    let wanted = u64::from(options.max_clients);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted as usize };
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    let granted = wanted.min(limit.saturating_sub(OWN_DESCRIPTORS)).max(1);
    if granted < wanted {
        log::warn!("serving at most {granted} clients: the descriptor limit is {limit}");
    } else {
        log::info!("serving at most {granted} clients");
    }
    granted as usize
}

fn describe(parts: &Parts, options: &ServerOptions) -> String {
    let ServerOptions { mailboxes, size_kb, .. } = options;
    let what = if *mailboxes == 1 { "mailbox" } else { "mailboxes" };
    let unix = options.unix.as_deref().map(|path| format!(" and {}", path.display())).unwrap_or_default();
    let memory = options.geometry().segment_size().unwrap_or(0).div_ceil(1024);
    let (address, port) = (parts.address, parts.address.port());
    let pid = std::process::id();
    format!(
        "dipc: {mailboxes} {what} of {size_kb} kB on {address}{unix} (pid {pid}, {memory} kB of shared memory); \
         to stop: {removal}",
        removal = removal(options, port)
    )
}

/// The command that removes this instance.
fn removal(options: &ServerOptions, port: u16) -> String {
    match &options.dir {
        Some(dir) => format!("dipcrm {port} --dir {}", dir.display()),
        None => format!("dipcrm {port}"),
    }
}

/// An earlier server that was killed may have left its socket at another path.
fn remove_earlier_socket(options: &ServerOptions, directory: &Directory) {
    if let Some(path) = directory.socket_path().filter(|path| Some(path) != options.unix.as_ref())
        && let Err(error) = remove_if_dead(&path)
    {
        log::warn!("{error}");
    }
}

/// The server works in `/`; what the user named relative to where the user is, stays there.
fn with_absolute_paths(options: &ServerOptions) -> io::Result<ServerOptions> {
    let mut options = options.clone();
    for path in [&mut options.unix, &mut options.dir, &mut options.log_file].into_iter().flatten() {
        *path = std::path::absolute(&path)?;
    }
    Ok(options)
}
