//! The Unix-domain socket of a server: a file that outlives a killed one, and must not be taken from a living one.

use std::fs::{self, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long another start may take with the same directory, and how often to look.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_AGAIN: Duration = Duration::from_millis(10);

/// A bound socket file.
#[derive(Debug)]
pub struct UnixSocket {
    path: PathBuf,
    inode: u64,
}

/// Why a path cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum UnixSocketError {
    /// Somebody serves there.
    #[error("somebody listens on {} already", .0.display())]
    InUse(PathBuf),
    /// It is a file of another kind.
    #[error("{} is not a socket; dipc does not replace it", .0.display())]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("{path}: {1}", path = .0.display())]
    Io(PathBuf, io::Error),
}

impl UnixSocket {
    /// Listens on `path`, for this user only. A leftover of a dead server is replaced.
    pub fn bind(path: &Path) -> Result<(Self, UnixListener), UnixSocketError> {
        let failed = |error| UnixSocketError::Io(path.to_owned(), error);
        // Until the end of this function: two servers that find the same leftover must not each replace the other's new socket.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = fs::File::open(parent).map_err(failed)?;
        lock_soon(&directory).map_err(failed)?;
        remove_if_dead(path)?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        let prepared = || {
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok(fs::symlink_metadata(path)?.ino())
        };
        let inode = prepared().map_err(failed)?;
        Ok((UnixSocket { path: path.to_owned(), inode }, listener))
    }

    /// Removes the file, unless it is somebody else's by now.
    pub fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks a directory, unless somebody else does not let go of it.
fn lock_soon(directory: &fs::File) -> io::Result<()> {
    let patience = Instant::now() + LOCK_WAIT;
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() > patience => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "its directory is locked by another process",
                ));
            }
            Err(TryLockError::WouldBlock) => sleep(LOCK_AGAIN),
        }
    }
}

/// Removes a socket file that nobody listens on. It is well if there is no file at all.
pub fn remove_if_dead(path: &Path) -> Result<(), UnixSocketError> {
    let failed = |error| UnixSocketError::Io(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(UnixSocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(UnixSocketError::InUse(path.to_owned())),
        Err(error) => Err(failed(error)),
    }
}
