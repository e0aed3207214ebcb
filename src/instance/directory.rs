//! The directory of one instance, `/dev/shm/dipc-UID/PORT`, and the files in it.
//!
//! `lock` is held as long as the server lives, `segment` is the memory of the mailboxes, `control.sock` is how dipcrm
//! asks, `pid` is for people, `socket` names the Unix-domain socket if there is one. Everything is reached through the
//! directory's descriptor, and nothing that somebody else has put there is followed or trusted.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{Uid, UnlinkatFlags, geteuid, unlinkat};

use crate::mailboxes::{Geometry, Segment, SegmentError};

const LOCK: &str = "lock";
const SEGMENT: &str = "segment";
const SEGMENT_IN_THE_MAKING: &str = "segment.new";
const CONTROL: &str = "control.sock";
const PID: &str = "pid";
const SOCKET: &str = "socket";

/// All that is ever in the directory. The lock comes last: while it is there, nobody else begins.
const NAMES: [&str; 6] = [SEGMENT, SEGMENT_IN_THE_MAKING, CONTROL, PID, SOCKET, LOCK];

/// How often to begin again when the directory is removed under one's hands.
const TRIES: usize = 1000;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The system refuses.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It belongs to somebody else, or others can write to it.
    #[error("{path} {reason}; dipc does not use it", path = .path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A server lives in it.
    #[error("a dipc runs in {path}", path = .path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
}

/// The directory of an instance, open.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    base: PathBuf,
    /// The base is the usual one, made by dipc, and goes when it is empty.
    base_is_ours: bool,
}

/// The lock of an instance. Child processes share it, and it ends with the last of them: nothing unlocks it, not even
/// the parent that returns after the server has gone to the background.
#[derive(Debug)]
pub struct InstanceLock(#[expect(dead_code, reason = "held, not used")] File);

impl Directory {
    /// Makes the directory of `port` if need be, and locks it.
    pub fn claim(base: Option<&Path>, port: u16) -> Result<(Self, InstanceLock), DirectoryError> {
        let (base, ours) = base_of(base);
        for _ in 0..TRIES {
            make(&base)?;
            match Directory::open_in(&base, ours, port, true) {
                Err(DirectoryError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
                Ok(directory) => match directory.lock()? {
                    Some(lock) => return Ok((directory, lock)),
                    None => continue,
                },
            }
        }
        Err(DirectoryError::Io { path: base, error: Errno::EBUSY.into() })
    }

    /// Opens the directory of `port`; `None` when there is none.
    pub fn find(base: Option<&Path>, port: u16) -> Result<Option<Self>, DirectoryError> {
        let (base, ours) = base_of(base);
        match Directory::open_in(&base, ours, port, false) {
            Err(DirectoryError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the instance. `None` when the directory was removed meanwhile.
    pub fn lock(&self) -> Result<Option<InstanceLock>, DirectoryError> {
        let file = match self.open_file(LOCK, OFlag::O_CREAT | OFlag::O_RDWR) {
            Err(DirectoryError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            result => result?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DirectoryError::InUse { path: self.path.clone() }),
            Err(TryLockError::Error(error)) => {
                return Err(DirectoryError::Io { path: self.path.join(LOCK), error });
            }
        }
        // Between opening and locking, its last holder may have removed it: then this is the lock of nothing.
        let held = fstat(&file).map_err(|errno| self.error(LOCK, errno))?;
        match fstatat(&self.fd, LOCK, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(named) if named.st_ino == held.st_ino => Ok(Some(InstanceLock(file))),
            _ => Ok(None),
        }
    }

    /// The segment: the one that is there, when it is of this geometry, or a new one.
    pub fn segment(&self, geometry: Geometry, fresh: bool) -> Result<Segment, OpenError> {
        match self.open_file(SEGMENT, OFlag::O_RDWR) {
            Ok(file) if !fresh => Ok(Segment::open(&file, geometry)?),
            Err(DirectoryError::Io { error, .. }) if error.kind() != io::ErrorKind::NotFound => {
                Err(DirectoryError::Io { path: self.path.join(SEGMENT), error }.into())
            }
            Err(error @ DirectoryError::NotOurs { .. }) if !fresh => Err(error.into()),
            // Beside the old one, if there is one: that goes when the new one is whole.
            _ => self.make_segment(geometry).inspect_err(|_| {
                let _ = self.unlink(SEGMENT_IN_THE_MAKING);
            }),
        }
    }

    fn make_segment(&self, geometry: Geometry) -> Result<Segment, OpenError> {
        self.unlink(SEGMENT_IN_THE_MAKING)?;
        let file = self.open_file(SEGMENT_IN_THE_MAKING, OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR)?;
        let segment = Segment::create(&file, geometry, geteuid().as_raw())?;
        renameat(&self.fd, SEGMENT_IN_THE_MAKING, &self.fd, SEGMENT)
            .map_err(|errno| self.error(SEGMENT, errno))?;
        Ok(segment)
    }

    /// Whether the segment's memory is memory by definition.
    pub fn is_on_tmpfs(&self) -> bool {
        nix::sys::statfs::fstatfs(&self.fd)
            .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
    }

    /// Listens on the control socket. Only after the last fork: the listener's pid is what callers see.
    pub fn open_control(&self) -> Result<OwnedFd, DirectoryError> {
        self.unlink(CONTROL)?;
        let opened = || {
            let fd = control_socket(SockFlag::SOCK_NONBLOCK)?;
            bind(fd.as_raw_fd(), &self.control_address()?)?;
            listen(&fd, Backlog::new(8)?)?;
            Ok(fd)
        };
        opened().map_err(|errno| self.error(CONTROL, errno))
    }

    /// Calls the server that lives here.
    pub fn call_control(&self) -> Result<OwnedFd, Errno> {
        let fd = control_socket(SockFlag::empty())?;
        connect(fd.as_raw_fd(), &self.control_address()?)?;
        Ok(fd)
    }

    /// Through the descriptor: a path of any length, and no link on the way.
    fn control_address(&self) -> Result<UnixAddr, Errno> {
        UnixAddr::new(format!("/proc/self/fd/{}/{CONTROL}", self.fd.as_raw_fd()).as_str())
    }

    /// Writes the pid, for people.
    pub fn write_pid(&self) -> Result<(), DirectoryError> {
        self.write_file(PID, format!("{}\n", std::process::id()).as_bytes())
    }

    /// Writes down where the Unix-domain socket is, so that dipcrm finds it after a kill.
    pub fn write_socket_path(&self, path: &Path) -> Result<(), DirectoryError> {
        self.write_file(SOCKET, path.as_os_str().as_bytes())
    }

    /// Where the Unix-domain socket is, or was.
    pub fn socket_path(&self) -> Option<PathBuf> {
        let mut bytes = Vec::new();
        self.open_file(SOCKET, OFlag::O_RDONLY).ok()?.read_to_end(&mut bytes).ok()?;
        Some(std::ffi::OsString::from_vec(bytes).into())
    }

    /// Removes what only a living server needs; the segment stays. Whoever calls holds the lock.
    pub fn release(&self) {
        for name in [CONTROL, PID, SOCKET] {
            let _ = self.unlink(name);
        }
    }

    /// Removes the directory again when nothing of value is in it. Whoever calls holds the lock.
    pub fn remove_unless_used(&self) {
        if !self.is_there(SEGMENT) {
            let _ = self.remove();
        }
    }

    fn is_there(&self, name: &str) -> bool {
        fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Removes everything; tells whether there was more than the lock. Whoever calls holds the lock.
    pub fn remove(&self) -> Result<bool, DirectoryError> {
        let mut found = false;
        for name in NAMES {
            found |= self.unlink(name)? && name != LOCK;
        }
        let parent =
            open(&self.base, directory_flags(), Mode::empty()).map_err(|errno| self.error("", errno))?;
        let name = self.path.file_name().unwrap_or_default();
        // Since the lock is gone, somebody else may move in, and perhaps out again between two looks.
        for is_last_try in [false, true] {
            match unlinkat(&parent, name, UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => break,
                Err(Errno::ENOTEMPTY) if self.is_there(LOCK) => return Ok(found),
                Err(Errno::ENOTEMPTY) if !is_last_try => {}
                Err(errno) => return Err(self.error("", errno)),
            }
        }
        if self.base_is_ours {
            // Goes when it is empty; other instances keep it.
            let _ = std::fs::remove_dir(&self.base);
        }
        Ok(found)
    }

    fn open_in(base: &Path, base_is_ours: bool, port: u16, create: bool) -> Result<Self, DirectoryError> {
        let parent = open_directory(None::<&OwnedFd>, base, base)?;
        verify(&parent, base, 0o022)?;
        let name = port.to_string();
        let path = base.join(&name);
        if create {
            match mkdirat(&parent, name.as_str(), Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(io_error(&path, errno)),
            }
        }
        let fd = open_directory(Some(&parent), name.as_str(), &path)?;
        verify(&fd, &path, 0o077)?;
        Ok(Directory { fd, path, base: base.to_owned(), base_is_ours })
    }

    /// Opens one of our files: a regular one, with one name, never through a link.
    fn open_file(&self, name: &str, flags: OFlag) -> Result<File, DirectoryError> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let fd = openat(&self.fd, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| self.error(name, errno))?;
        let found = fstat(&fd).map_err(|errno| self.error(name, errno))?;
        if !is(&found, SFlag::S_IFREG) || found.st_nlink > 1 {
            let reason = "is not a plain file of its own";
            return Err(DirectoryError::NotOurs { path: self.path.join(name), reason });
        }
        Ok(File::from(fd))
    }

    fn write_file(&self, name: &str, content: &[u8]) -> Result<(), DirectoryError> {
        self.unlink(name)?;
        let mut file = self.open_file(name, OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY)?;
        file.write_all(content).map_err(|error| DirectoryError::Io { path: self.path.join(name), error })
    }

    /// Removes a file; tells whether it was there.
    fn unlink(&self, name: &str) -> Result<bool, DirectoryError> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(self.error(name, errno)),
        }
    }

    fn error(&self, name: &str, errno: Errno) -> DirectoryError {
        io_error(&self.path.join(name), errno)
    }
}

/// Why there is no segment to serve.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is in the way.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The segment is.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// The directory that instances are in, and whether dipc may remove it.
fn base_of(given: Option<&Path>) -> (PathBuf, bool) {
    match given {
        Some(base) => (base.to_owned(), false),
        None => (format!("/dev/shm/dipc-{}", Uid::effective()).into(), true),
    }
}

fn make(base: &Path) -> Result<(), DirectoryError> {
    match nix::unistd::mkdir(base, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(io_error(base, errno)),
    }
}

fn directory_flags() -> OFlag {
    OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY
}

fn open_directory<P: ?Sized + NixPath>(
    parent: Option<&OwnedFd>,
    name: &P,
    path: &Path,
) -> Result<OwnedFd, DirectoryError> {
    let opened = match parent {
        Some(parent) => openat(parent, name, directory_flags(), Mode::empty()),
        None => open(name, directory_flags(), Mode::empty()),
    };
    opened.map_err(|errno| io_error(path, errno))
}

/// Checks by descriptor that a directory is ours, and that nobody who has one of the `forbidden` rights meddles.
fn verify(fd: &OwnedFd, path: &Path, forbidden: u32) -> Result<(), DirectoryError> {
    let found = fstat(fd).map_err(|errno| io_error(path, errno))?;
    let not_ours = |reason| Err(DirectoryError::NotOurs { path: path.to_owned(), reason });
    if found.st_uid != geteuid().as_raw() {
        return not_ours("belongs to another user");
    }
    if found.st_mode & forbidden != 0 {
        return not_ours("is open to other users");
    }
    Ok(())
}

fn is(found: &FileStat, kind: SFlag) -> bool {
    found.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

fn control_socket(flags: SockFlag) -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | flags, None)
}

fn io_error(path: &Path, errno: Errno) -> DirectoryError {
    DirectoryError::Io { path: path.to_owned(), error: errno.into() }
}
