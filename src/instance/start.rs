//! Starts a server that clients can connect to, as the options say. Every step that can fail is done and
//! reported here.
//!
//! The order is: bind, lock, listen, map, fork, control socket, threads, name of a new segment. Threads do
//! not survive a fork, and the process that opens the control socket must be the server, so both come after
//! the fork. The files of another instance are never changed. A start that fails removes all files that it
//! has created.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;
use mio::net::{TcpListener, UdpSocket, UnixListener};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::daemon::{self, Notifier, Side};
use super::descriptors::{self, close_inherited};
use super::directory::{CONTROL, Directory, DirectoryError};
use super::files::Files;
use super::segment_file::{OpenError, SegmentFile};
use super::terminal;
use super::unix_socket::{UnixSocket, UnixSocketError, remove_if_dead};
use crate::mailboxes::{Mailboxes, Recovered, Segment, SegmentError};
use crate::options::ServerOptions;
use crate::reactor::{Host, Listener, Reactor, Settings};

/// Connections that the kernel queues until they are accepted.
pub(super) const BACKLOG: i32 = 4096;

/// How long a start waits for an earlier server that is ending, and the pause between two tries.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(2);
const PREDECESSOR_RETRY: Duration = Duration::from_millis(10);

/// Pauses before further tries to listen.
const LISTEN_RETRIES: [Duration; 3] =
    [Duration::from_millis(2), Duration::from_millis(5), Duration::from_millis(11)];

/// Idle time after which the kernel sends a keep-alive probe to a client.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);

/// Time between two probes, and the number of unanswered probes that closes the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// How long the kernel resends data that a client does not acknowledge.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Most warnings that a start prints. The log has all of them.
const WARNINGS_SHOWN: usize = 10;

/// Descriptors that are reserved for everything except clients.
const RESERVED_DESCRIPTORS: u64 = 32;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("port {0} is in use")]
    PortInUse(u16),
    #[error(
        "port {port} is in use: your dipc (pid {pid}) runs in {path}; to stop it and delete all data: {removal}",
        path = .path.display()
    )]
    OwnServer { port: u16, pid: i32, path: PathBuf, removal: String },
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Unix(#[from] UnixSocketError),
    #[error("cannot get {size} bytes of shared memory in {path}: {error}", path = .path.display())]
    Memory { size: u64, path: PathBuf, error: io::Error },
    #[error(
        "{error} (in {path}); start over with --fresh, or remove it with: {removal}",
        path = .path.display()
    )]
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
            | StartError::OwnServer { .. }
            | StartError::Directory(DirectoryError::InUse { .. })
            | StartError::Unix(UnixSocketError::InUse(_)) => 3,
            StartError::Segment { .. } => 4,
            _ => 1,
        }
    }
}

/// The resources of a server that are acquired before it moves to the background.
struct Resources {
    files: Arc<Mutex<Files>>,
    listener: Socket,
    address: SocketAddr,
    classic: ClassicSockets,
    unix: Option<std::os::unix::net::UnixListener>,
    segment: Segment,
}

/// The sockets of `--classic`.
#[derive(Default)]
struct ClassicSockets {
    /// The address of the port, if there is one.
    address: Option<SocketAddr>,
    /// The listener, unless the port is PORT.
    listener: Option<Socket>,
    /// The UDP socket, if the address is loopback.
    udp: Option<std::net::UdpSocket>,
}

/// Starts a server. Returns when the server is ready; with `--foreground`, when the server has stopped.
pub fn start(options: &ServerOptions) -> ExitCode {
    // All files created from here on are private to this user.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    daemon::ignore_file_size_signal();
    let options = &match with_absolute_paths(options) {
        Ok(options) => options,
        Err(error) => return Notifier::Terminal.failed(1, &error.to_string()),
    };
    let resources = match prepare(options) {
        Ok(resources) => resources,
        Err(error) => return Notifier::Terminal.failed(error.exit_code(), &error.to_string()),
    };
    if options.foreground {
        return serve(resources, options, Notifier::Terminal);
    }
    match daemon::fork_server() {
        Ok(Side::Server(notifier)) => serve(resources, options, notifier),
        Ok(Side::Parent(Some(code))) => code,
        Ok(Side::Parent(None)) => {
            // The server may not have removed its files.
            resources.files.lock().discard();
            Notifier::Terminal.failed(1, "the server ended before it was ready")
        }
        Err(error) => {
            resources.files.lock().discard();
            Notifier::Terminal.failed(1, &format!("cannot move to the background: {error}"))
        }
    }
}

/// Starts the log, and acquires the port, the files and the memory. Waits for an earlier server that is
/// ending.
fn prepare(options: &ServerOptions) -> Result<Resources, StartError> {
    close_inherited().map_err(|error| StartError::Io("close inherited descriptors", error))?;
    super::log::start(options.log_file.as_deref(), options.foreground, options.log_level)
        .map_err(|error| StartError::Io("open the log file", error))?;
    let deadline = Instant::now() + PREDECESSOR_TIMEOUT;
    loop {
        match acquire(options) {
            Err(error) if Instant::now() < deadline && is_predecessor_ending(options, &error, deadline) => {
                std::thread::sleep(PREDECESSOR_RETRY);
            }
            result => return result.map_err(|error| with_own_server(options, error)),
        }
    }
}

/// The same error. If the port is in use and a server of this instance runs, names this server.
fn with_own_server(options: &ServerOptions, error: StartError) -> StartError {
    let StartError::PortInUse(port) = error else { return error };
    let Ok(Some(directory)) = Directory::find(options.dir.as_deref(), port) else { return error };
    match directory.server() {
        Some(pid) => {
            let path = directory.path().to_owned();
            StartError::OwnServer { port, pid, path, removal: removal(options, port) }
        }
        None => error,
    }
}

/// Whether a start failed because of an earlier server of this instance that is ending. Such a server still
/// has the lock, or has left its control socket, and does not answer that it runs.
fn is_predecessor_ending(options: &ServerOptions, error: &StartError, deadline: Instant) -> bool {
    let is_locked = match error {
        StartError::Directory(DirectoryError::InUse { .. }) => true,
        StartError::PortInUse(_) | StartError::Unix(UnixSocketError::InUse(_)) => false,
        _ => return false,
    };
    match Directory::find(options.dir.as_deref(), options.port) {
        Ok(Some(directory)) => (is_locked || directory.exists(CONTROL)) && !directory.is_running(deadline),
        Ok(None) => is_locked,
        Err(_) => false,
    }
}

fn acquire(options: &ServerOptions) -> Result<Resources, StartError> {
    let (listener, address) = bind(SocketAddr::new(options.bind, options.port))?;
    let classic = bind_classic(options, address)?;
    let (directory, lock) = Directory::claim(options.dir.as_deref(), address.port())?;
    match open(options, &directory, (&listener, address), &classic) {
        Ok((segment, file, unix)) => {
            let (socket, unix) = unix.unzip();
            let files = Files::new(directory, lock, file, socket).share();
            Ok(Resources { files, listener, address, classic, unix, segment })
        }
        Err(error) => {
            directory.discard(&lock);
            Err(error)
        }
    }
}

type Opened = (Segment, SegmentFile, Option<(UnixSocket, std::os::unix::net::UnixListener)>);

/// Listens on the port and the Unix-domain socket, and opens the segment.
fn open(
    options: &ServerOptions,
    directory: &Directory,
    (listener, address): (&Socket, SocketAddr),
    classic: &ClassicSockets,
) -> Result<Opened, StartError> {
    listen(listener).map_err(|error| listen_error(address, error))?;
    if let (Some(listener), Some(address)) = (&classic.listener, classic.address) {
        listen(listener).map_err(|error| listen_error(address, error))?;
    }
    // Before the segment, because a path in use fails immediately, and a large segment takes time.
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
    let written = opened.and_then(|opened| {
        remove_earlier_socket(options, directory);
        if let Some(path) = &options.unix {
            directory.write_socket_path(path)?;
        }
        Ok(opened)
    });
    match written {
        Ok((segment, file)) => Ok((segment, file, unix)),
        Err(error) => {
            if let Some((socket, _)) = unix {
                socket.remove();
            }
            Err(error)
        }
    }
}

/// Binds the classic port. `main` is the address of PORT.
fn bind_classic(options: &ServerOptions, main: SocketAddr) -> Result<ClassicSockets, StartError> {
    let Some(port) = options.classic else { return Ok(ClassicSockets::default()) };
    let (listener, address) = match port == options.port && port != 0 {
        true => (None, main),
        false => {
            let (listener, address) = bind(SocketAddr::new(options.bind, port))?;
            (Some(listener), address)
        }
    };
    let udp = match address.ip().is_loopback() {
        true => Some(bind_udp(address).map_err(|error| listen_error(address, error))?),
        // A packet of 3 bytes can ask for an answer of 65,507 bytes. From another machine its address may be
        // forged.
        false => {
            let text =
                format!("the classic port {} is TCP only, because --bind is not loopback", address.port());
            report(&[(Level::Warn, text)]);
            None
        }
    };
    Ok(ClassicSockets { address: Some(address), listener, udp })
}

fn bind_udp(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind(address: SocketAddr) -> Result<(Socket, SocketAddr), StartError> {
    let bound = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // Accepted connections inherit the options of the listener, without a system call for each.
        socket.set_tcp_nodelay(true)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME);
        let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        // Telnet sends some of its options as urgent data; the framer expects them in the stream.
        socket.set_out_of_band_inline(true)?;
        if address.ip().is_loopback() {
            // If the system's default is BBR, a timer paces every answer. Pacing has no use on loopback.
            // Every Linux has Reno. If it cannot be set, the default works, too.
            let _ = socket.set_tcp_congestion(b"reno");
        }
        socket.bind(&address.into())?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((socket, bound))
    };
    bound().map_err(|error| listen_error(address, error))
}

/// Listens. Two servers that begin to listen on one port at the same time can both fail, so both try again.
fn listen(listener: &Socket) -> io::Result<()> {
    for pause in LISTEN_RETRIES {
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

/// Forks for the last time, and runs the server to its end.
fn serve(resources: Resources, options: &ServerOptions, mut notifier: Notifier) -> ExitCode {
    let Resources { files, listener, address, classic, unix, segment } = resources;
    let classic_address = classic.address;
    let started = notifier
        .leave_session()
        .map_err(|error| StartError::Io("move to the background", error))
        .and_then(|()| reactor(&files, options, listener, classic, unix, segment))
        .and_then(|reactor| {
            files.lock().commit()?;
            let line = describe(address, classic_address, options);
            // The line is printed to stdout, too.
            if !super::log::is_stderr() {
                log::info!("{line}");
            }
            notifier
                .ready(&line)
                .map_err(|error| StartError::Io("report that the server is ready", error))?;
            Ok(reactor)
        });
    let reactor = match started {
        Ok(reactor) => reactor,
        Err(error) => {
            files.lock().discard();
            return notifier.failed(error.exit_code(), &error.to_string());
        }
    };
    drop(notifier);
    Files::keep();
    let result = reactor.run();
    if let Err(error) = &result {
        log::error!("{error}");
    }
    files.lock().release();
    super::log::flush();
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn reactor(
    files: &Arc<Mutex<Files>>,
    options: &ServerOptions,
    listener: Socket,
    classic: ClassicSockets,
    unix: Option<std::os::unix::net::UnixListener>,
    segment: Segment,
) -> Result<Reactor, StartError> {
    let max_clients = max_clients(options);
    // Before the first thread starts, because this takes longer afterwards.
    descriptors::reserve(max_clients, &listener);
    super::log::start_writer().map_err(|error| StartError::Io("start the log", error))?;
    recover(&segment, files.lock().directory());
    let settings = Settings {
        workers: workers(options),
        wait: options.wait,
        max_hold: options.max_hold,
        max_clients,
        client_memory: usize::try_from(options.client_memory()).unwrap_or(usize::MAX),
        quiet: Duration::from_millis(options.quiet_ms.into()),
    };
    let control = files.lock().open_control()?;
    let tcp = TcpListener::from_std(listener.into());
    let is_classic = classic.address.is_some() && classic.listener.is_none();
    let tcp = if is_classic { Listener::Classic(tcp) } else { Listener::Tcp(tcp) };
    let second = classic.listener.map(|socket| Listener::Classic(TcpListener::from_std(socket.into())));
    let udp = classic.udp.map(UdpSocket::from_std);
    let unix = unix.map(|listener| Listener::Unix(UnixListener::from_std(listener)));
    let listeners = [Some(tcp), second, unix].into_iter().flatten().collect();
    let files = Arc::clone(files);
    let host = Host {
        reopen_log: super::log::reopen,
        dropped_log_lines: super::log::dropped,
        check_files: Box::new(move || files.lock().check()),
    };
    Reactor::new(Mailboxes::new(segment), listeners, udp, control, settings, host)
        .map_err(|error| StartError::Io("start the server", error))
}

/// Recovers the mailboxes, and reports damaged ones.
fn recover(segment: &Segment, directory: &Directory) {
    let mut warnings = Vec::new();
    if !directory.is_on_tmpfs() {
        let path = directory.path().display();
        warnings.push((Level::Warn, format!("{path} is not on tmpfs: mailboxes will be written to a disk")));
    }
    for (mailbox, recovered) in segment.recover() {
        warnings.push(match recovered {
            Recovered::Whole => continue,
            Recovered::FellBack => {
                (Level::Warn, format!("mailbox {mailbox}: active record damaged, previous version restored"))
            }
            Recovered::Lost => {
                (Level::Error, format!("mailbox {mailbox}: both records damaged, all requests are refused"))
            }
        });
    }
    report(&warnings);
}

/// Logs conditions that the user of a start should know, and prints them, unless the log is printed itself.
fn report(warnings: &[(Level, String)]) {
    for (level, text) in warnings {
        log::log!(*level, "{text}");
    }
    if warnings.is_empty() || super::log::is_stderr() {
        return;
    }
    let shown = warnings.iter().take(WARNINGS_SHOWN);
    let mut lines: Vec<_> = shown.map(|(_, text)| format!("dipc: warning: {text}")).collect();
    if warnings.len() > WARNINGS_SHOWN {
        lines.push(format!("dipc: and {} more warnings", warnings.len() - WARNINGS_SHOWN));
    }
    terminal::print_error(&lines.join("\n"));
}

fn workers(options: &ServerOptions) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    options.workers.map_or_else(processors, usize::from)
}

/// The number of clients that the limit of descriptors allows, at most `--max-clients`.
fn max_clients(options: &ServerOptions) -> usize {
    let requested = u64::from(options.max_clients);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return requested as usize };
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    let max = requested.min(limit.saturating_sub(RESERVED_DESCRIPTORS)).max(1);
    if max < requested {
        let text = format!("serving at most {max} clients, not {requested}: the descriptor limit is {limit}");
        report(&[(Level::Warn, text)]);
    } else {
        log::info!("serving at most {max} clients");
    }
    max as usize
}

/// The line that reports a started server.
fn describe(address: SocketAddr, classic: Option<SocketAddr>, options: &ServerOptions) -> String {
    let ServerOptions { mailboxes, size_kb, .. } = options;
    let noun = if *mailboxes == 1 { "mailbox" } else { "mailboxes" };
    let unix = options.unix.as_deref().map(|path| format!(" and {}", path.display())).unwrap_or_default();
    let memory = options.geometry().segment_size().unwrap_or(0).div_ceil(1024);
    let classic = classic.filter(|classic| *classic != address);
    let classic = classic.map(|address| format!(" and {address} (classic)")).unwrap_or_default();
    let port = address.port();
    let pid = std::process::id();
    let client_memory = options.client_memory() / (1024 * 1024);
    format!(
        "dipc: {mailboxes} {noun} of {size_kb} kB on {address}{classic}{unix} (pid {pid}, {memory} kB of shared \
         memory, at most {client_memory} MB for clients); to stop and delete all data: {removal}",
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

/// Removes the socket that an earlier server has left at another path when it was killed.
fn remove_earlier_socket(options: &ServerOptions, directory: &Directory) {
    if let Some(path) = directory.socket_path().filter(|path| Some(path) != options.unix.as_ref())
        && let Err(error) = remove_if_dead(&path)
    {
        report(&[(Level::Warn, error.to_string())]);
    }
}

/// Makes all paths absolute, because the server changes its working directory to `/`.
fn with_absolute_paths(options: &ServerOptions) -> io::Result<ServerOptions> {
    let mut options = options.clone();
    for path in [&mut options.unix, &mut options.dir, &mut options.log_file].into_iter().flatten() {
        *path = std::path::absolute(&path)?;
    }
    Ok(options)
}
