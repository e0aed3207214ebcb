//! The Unix-domain socket of a server. Its file is left if the server is killed. The file of a running server
//! is never replaced.

use std::fs::{self, Permissions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use socket2::{Domain, SockAddr, Socket, Type};

use super::sockets::BACKLOG;

/// Longest wait for another process that has locked the directory of the socket.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause between two tries to lock the directory.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// A bound socket file.
#[derive(Debug)]
pub(super) struct UnixSocket {
    path: PathBuf,
    inode: u64,
}

/// Why a server cannot listen on a path.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnixSocketError {
    /// Another server listens on the path.
    #[error("another server listens on {}", .0.display())]
    InUse(PathBuf),
    /// The path is a file that is not a socket.
    #[error("{} is not a socket; dipc does not replace it", .0.display())]
    NotASocket(PathBuf),
    /// A system call failed.
    #[error("{path}: {1}", path = .0.display())]
    Io(PathBuf, io::Error),
}

impl UnixSocket {
    /// Listens on `path`, for this user only. Replaces the socket of a server that no longer runs.
    pub(super) fn bind(path: &Path) -> Result<(Self, UnixListener), UnixSocketError> {
        let failed = |error| UnixSocketError::Io(path.to_owned(), error);
        // The directory is locked until this function returns: if two servers find the same old socket, one
        // must not replace the new socket of the other.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = open_directory(parent).map_err(failed)?;
        lock_with_timeout(&directory).map_err(failed)?;
        remove_if_dead(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
        socket.bind(&SockAddr::unix(path).map_err(failed)?).map_err(failed)?;
        let prepared = || {
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
            socket.set_nonblocking(true)?;
            socket.listen(BACKLOG)?;
            Ok(fs::symlink_metadata(path)?.ino())
        };
        match prepared() {
            Ok(inode) => Ok((UnixSocket { path: path.to_owned(), inode }, OwnedFd::from(socket).into())),
            Err(error) => {
                // The directory is still locked, so the file is the one that was bound here.
                let _ = fs::remove_file(path);
                Err(failed(error))
            }
        }
    }

    /// The socket file of a running server, which this server takes over.
    pub(super) fn adopt(path: &Path, inode: u64) -> Self {
        UnixSocket { path: path.to_owned(), inode }
    }

    /// The inode of the file.
    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, unless another server has replaced it. Returns whether the path no longer leads to
    /// this socket.
    pub(super) fn remove(&self) -> bool {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if found.ino() == self.inode => fs::remove_file(&self.path).is_ok(),
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// Opens a directory. Any other kind of file is an error. Without this check, opening a FIFO would block.
fn open_directory(path: &Path) -> io::Result<fs::File> {
    fs::File::options().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(path)
}

/// Locks a directory. Fails if another process keeps the directory locked.
fn lock_with_timeout(directory: &fs::File) -> io::Result<()> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "its directory is locked by another process",
                ));
            }
            Err(TryLockError::WouldBlock) => sleep(LOCK_RETRY),
        }
    }
}

/// Removes a socket file that no server listens on. Succeeds if there is no file.
pub(super) fn remove_if_dead(path: &Path) -> Result<(), UnixSocketError> {
    let failed = |error| UnixSocketError::Io(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(UnixSocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // The backlog is full: the server does not accept connections now, but it listens.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(UnixSocketError::InUse(path.to_owned()))
        }
        Ok(()) => Err(UnixSocketError::InUse(path.to_owned())),
        Err(error) => Err(failed(error)),
    }
}

/// Connects to a socket, without waiting for a place in its backlog.
fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}
