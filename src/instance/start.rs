//! Starts a server that clients can connect to, as the options say. Every step that can fail is done and
//! reported here.
//!
//! The order is: bind, lock, listen, map, fork, control socket, threads, name of a new segment. Threads do
//! not survive a fork, and the process that opens the control socket must be the server, so both come after
//! the fork. The files of another instance are never changed. A start that fails removes all files that it
//! has created.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;
use mio::net::UnixListener;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use parking_lot::Mutex;

use super::daemon::{self, Acknowledgement, Notifier, Side};
use super::descriptors::{self, close_inherited};
use super::directory::{CONTROL, Directory, DirectoryError};
use super::files::Files;
use super::names_file::NamesError;
use super::segment_file::{Existing, OpenError, SegmentFile};
use super::sockets::{ListenError, Sockets};
use super::takeover::take_over;
use super::unix_socket::{UnixSocket, UnixSocketError, remove_if_dead};
use super::warnings::{of_directory, of_options, recover, report};
use crate::mailboxes::{Mailboxes, Segment, SegmentError};
use crate::options::ServerOptions;
use crate::protocol::Name;
use crate::reactor::{End, Host, Listener, Reactor, Settings, Successor};

/// How long a start waits for an earlier server that is ending, and the pause between two tries.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(2);
const PREDECESSOR_RETRY: Duration = Duration::from_millis(10);

/// Descriptors that are reserved for everything except clients.
const RESERVED_DESCRIPTORS: u64 = 32;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(
        "port {port} is in use: your dipc (pid {pid}) runs in {path}; to stop it and delete all \
         data: {removal}",
        path = .path.display()
    )]
    OwnServer { port: u16, pid: i32, path: PathBuf, removal: String },
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Unix(#[from] UnixSocketError),
    #[error("cannot get {size} bytes of shared memory in {path}: {error}", path = .path.display())]
    Memory { size: u64, path: PathBuf, error: io::Error },
    #[error(
        "{error} (in {path}); {cure}start over with --fresh, or remove it with: {removal}",
        path = .path.display(),
        cure = cure_of(error)
    )]
    Segment { error: SegmentError, path: PathBuf, removal: String },
    #[error("{0}")]
    TooLarge(SegmentError),
    #[error(transparent)]
    Names(#[from] NamesError),
    #[error("cannot {0}: {1}")]
    Io(&'static str, io::Error),
}

/// How the data of a segment that cannot be used may be kept.
fn cure_of(error: &SegmentError) -> &'static str {
    match error {
        SegmentError::OtherGeometry(_) => "take it over with --resize, ",
        SegmentError::Foreign(_) => {
            "to keep its messages, start that version, save them with dipc-cli dump and load them here with \
             dipc-cli restore; else "
        }
        _ => "",
    }
}

impl StartError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            StartError::TooLarge(_) | StartError::Names(NamesError::Line { .. }) => 2,
            StartError::Listen(ListenError::PortInUse(_))
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
    sockets: Sockets,
    unix: Option<std::os::unix::net::UnixListener>,
    segment: Segment,
    /// The names of `--names`.
    names: Vec<(u32, Name)>,
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
    if options.takeover {
        return take_over(options);
    }
    let resources = match prepare(options) {
        Ok(resources) => resources,
        Err(error) => return Notifier::Terminal.failed(error.exit_code(), &error.to_string()),
    };
    if options.foreground {
        return serve(resources, options, Notifier::Terminal);
    }
    match daemon::fork_server(Acknowledgement::Needed) {
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

/// Closes inherited descriptors, and starts the log.
pub(super) fn begin(options: &ServerOptions) -> Result<(), StartError> {
    close_inherited().map_err(|error| StartError::Io("close inherited descriptors", error))?;
    super::log::start(options.log_file.as_deref(), options.foreground, options.log_level)
        .map_err(|error| StartError::Io("open the log file", error))
}

/// The names of `--names`.
pub(super) fn names_of(options: &ServerOptions) -> Result<Vec<(u32, Name)>, StartError> {
    Ok(match &options.names {
        Some(path) => super::names_file::read(path, options.mailboxes)?,
        None => Vec::new(),
    })
}

/// Starts the log, and acquires the port, the files and the memory. Waits for an earlier server that is
/// ending.
fn prepare(options: &ServerOptions) -> Result<Resources, StartError> {
    begin(options)?;
    let names = names_of(options)?;
    let deadline = Instant::now() + PREDECESSOR_TIMEOUT;
    loop {
        match acquire(options, &names) {
            Err(error) if Instant::now() < deadline && is_predecessor_ending(options, &error, deadline) => {
                std::thread::sleep(PREDECESSOR_RETRY);
            }
            result => return result.map_err(|error| with_own_server(options, error)),
        }
    }
}

/// The same error. If the port is in use and a server of this instance runs, names this server.
fn with_own_server(options: &ServerOptions, error: StartError) -> StartError {
    let StartError::Listen(ListenError::PortInUse(port)) = error else { return error };
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
        StartError::Listen(ListenError::PortInUse(_)) | StartError::Unix(UnixSocketError::InUse(_)) => false,
        _ => return false,
    };
    match Directory::find(options.dir.as_deref(), options.port) {
        Ok(Some(directory)) => (is_locked || directory.exists(CONTROL)) && !directory.is_running(deadline),
        Ok(None) => is_locked,
        Err(_) => false,
    }
}

fn acquire(options: &ServerOptions, names: &[(u32, Name)]) -> Result<Resources, StartError> {
    let sockets = Sockets::bind(options)?;
    let (directory, lock) = Directory::claim(options.dir.as_deref(), sockets.port())?;
    match open(options, &directory, &sockets) {
        Ok((segment, file, unix)) => {
            let (socket, unix) = unix.unzip();
            let files = Files::new(directory, lock, file, socket).share();
            Ok(Resources { files, sockets, unix, segment, names: names.to_vec() })
        }
        Err(error) => {
            directory.discard(&lock);
            Err(error)
        }
    }
}

type Opened = (Segment, SegmentFile, Option<(UnixSocket, std::os::unix::net::UnixListener)>);

/// Listens on the ports and the Unix-domain socket, and opens the segment.
fn open(options: &ServerOptions, directory: &Directory, sockets: &Sockets) -> Result<Opened, StartError> {
    sockets.listen()?;
    // Before the segment, because a path in use fails immediately, and a large segment takes time.
    let unix = options.unix.as_deref().map(UnixSocket::bind).transpose()?;
    let path = directory.path().to_owned();
    let size = options.geometry().segment_size().unwrap_or(u64::MAX);
    let existing = match () {
        () if options.fresh => Existing::Replace,
        () if options.resize => Existing::Resize,
        () => Existing::Continue,
    };
    let opened = directory.segment(options.geometry(), existing).map_err(|error| match error {
        OpenError::Directory(error) => StartError::Directory(error),
        OpenError::Segment(SegmentError::Io(error)) => StartError::Memory { size, path, error },
        OpenError::Segment(error @ SegmentError::TooLarge) => StartError::TooLarge(error),
        OpenError::Segment(error) => {
            StartError::Segment { error, path, removal: removal(options, sockets.port()) }
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

/// Forks for the last time, and runs the server to its end.
fn serve(resources: Resources, options: &ServerOptions, mut notifier: Notifier) -> ExitCode {
    let Resources { files, sockets, unix, segment, names } = resources;
    let (port, mut addresses) = (sockets.port(), sockets.addresses());
    addresses.extend(options.unix.as_deref().map(|path| path.display().to_string()));
    let started = notifier
        .leave_session()
        .map_err(|error| StartError::Io("move to the background", error))
        .and_then(|()| reactor(&files, options, sockets, unix, segment, names))
        .and_then(|reactor| {
            files.lock().commit()?;
            let line = describe(options, port, &addresses.join(" and "));
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
    run(reactor, &files)
}

/// Runs a server to its end, and removes the files that only a running server needs. After a handover these
/// are the files of another server.
pub(super) fn run(reactor: Reactor, files: &Mutex<Files>) -> ExitCode {
    let result = reactor.run();
    if let Err(error) = &result {
        log::error!("{error}");
    }
    if !matches!(result, Ok(End::HandedOver)) {
        files.lock().release();
    }
    super::log::flush();
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn reactor(
    files: &Arc<Mutex<Files>>,
    options: &ServerOptions,
    sockets: Sockets,
    unix: Option<std::os::unix::net::UnixListener>,
    segment: Segment,
    names: Vec<(u32, Name)>,
) -> Result<Reactor, StartError> {
    let max_clients = prepare_process(options, files.lock().directory(), sockets.classic_without_udp())?;
    recover(&segment);
    let control = files.lock().open_control()?;
    let reactor = new_reactor(files, options, (sockets, unix), segment, Some(control), max_clients)?;
    reactor.mailboxes().set_names(names);
    Ok(reactor)
}

/// Prepares the process for a server: its limits, its log and its warnings. Returns the number of clients.
pub(super) fn prepare_process(
    options: &ServerOptions,
    directory: &Directory,
    classic_without_udp: Option<u16>,
) -> Result<usize, StartError> {
    let max_clients = max_clients(options);
    // Before the first thread starts, because this takes longer afterwards.
    descriptors::reserve(max_clients, directory.descriptor());
    super::log::start_writer().map_err(|error| StartError::Io("start the log", error))?;
    let warnings = of_options(options, classic_without_udp).into_iter().chain(of_directory(directory));
    report(&warnings.collect::<Vec<_>>());
    Ok(max_clients)
}

/// The reactor of a server, which accepts and changes nothing before it runs.
pub(super) fn new_reactor(
    files: &Arc<Mutex<Files>>,
    options: &ServerOptions,
    (sockets, unix): (Sockets, Option<std::os::unix::net::UnixListener>),
    segment: Segment,
    control: Option<OwnedFd>,
    max_clients: usize,
) -> Result<Reactor, StartError> {
    let settings = Settings {
        workers: workers(options),
        wait: options.wait,
        max_hold: options.max_hold(),
        max_clients,
        client_memory: usize::try_from(options.client_memory()).unwrap_or(usize::MAX),
        quiet: Duration::from_millis(options.quiet_ms.into()),
        spin: Duration::from_micros(options.spin.into()),
        inline_budget: options.inline_kb as usize * 1024,
    };
    let description = sockets.description(options);
    let (mut listeners, udp) = sockets.into_listeners();
    listeners.extend(unix.map(|listener| Listener::Unix(UnixListener::from_std(listener))));
    let [checked, examined, sent] = [(); 3].map(|()| Arc::clone(files));
    let successor = Successor {
        examine: Box::new(move |hello| {
            description.examine(hello)?;
            examined.lock().check_complete()
        }),
        send: Box::new(move |peer, sockets| sent.lock().send(peer, sockets)),
    };
    let host = Host {
        reopen_log: super::log::reopen,
        dropped_log_lines: super::log::dropped,
        check_files: Box::new(move || checked.lock().check()),
        successor,
    };
    Reactor::new(Mailboxes::new(segment), listeners, udp, control, settings, host)
        .map_err(|error| StartError::Io("start the server", error))
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

/// The line that reports a started server. `port` names its instance.
pub(super) fn describe(options: &ServerOptions, port: u16, addresses: &str) -> String {
    let ServerOptions { mailboxes, size_kb, .. } = options;
    let noun = if *mailboxes == 1 { "mailbox" } else { "mailboxes" };
    let memory = options.geometry().segment_size().unwrap_or(0).div_ceil(1024);
    let pid = std::process::id();
    let client_memory = options.client_memory() / (1024 * 1024);
    format!(
        "dipc: {mailboxes} {noun} of {size_kb} kB on {addresses} (pid {pid}, {memory} kB of shared memory, \
         at most {client_memory} MB for clients); to stop and keep all data: {stop}; to delete it: {removal}",
        stop = removal(options, port).replacen("dipcrm", "dipcrm --keep", 1),
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
