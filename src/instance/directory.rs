//! The directory of one instance, `/dev/shm/dipc-UID/PORT`, and the files in it.
//!
//! `lock` is locked while the server runs. `segment` is the memory of the mailboxes. dipcrm connects to
//! `control.sock`. `pid` is for people. `socket` contains the path of the Unix-domain socket, if there is
//! one. All files are opened through the descriptor of the directory. Links and files of other users are
//! refused.

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
const NEW_SEGMENT: &str = "segment.new";
const CONTROL: &str = "control.sock";
const PID: &str = "pid";
const SOCKET: &str = "socket";

/// All files of the directory. The lock is removed last: until then no other server starts here.
const NAMES: [&str; 6] = [SEGMENT, NEW_SEGMENT, CONTROL, PID, SOCKET, LOCK];

/// Most tries to claim a directory that other processes remove meanwhile.
const CLAIM_TRIES: usize = 1000;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    /// A system call failed.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// The file belongs to another user, is open to other users, or is of another kind.
    #[error("{path} {reason}; dipc does not use it", path = .path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A server runs in the directory.
    #[error("a dipc runs in {path}", path = .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
}

/// The open directory of an instance.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    base: PathBuf,
    /// Whether the base is the default one, which dipc creates, and removes when it is empty.
    is_default_base: bool,
}

/// The lock of an instance. Child processes inherit it, and the kernel releases it when the last of them
/// ends. So it remains locked when the parent exits after moving the server to the background.
#[derive(Debug)]
pub(super) struct InstanceLock(#[expect(dead_code, reason = "held, not used")] File);

impl Directory {
    /// Creates the directory of `port` if it does not exist, and locks it.
    pub(super) fn claim(base: Option<&Path>, port: u16) -> Result<(Self, InstanceLock), DirectoryError> {
        let (base, is_default) = base_of(base);
        for _ in 0..CLAIM_TRIES {
            create_base(&base)?;
            match Directory::open_in(&base, is_default, port, true) {
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

    /// Opens the directory of `port`; `None` if it does not exist.
    pub(super) fn find(base: Option<&Path>, port: u16) -> Result<Option<Self>, DirectoryError> {
        let (base, is_default) = base_of(base);
        match Directory::open_in(&base, is_default, port, false) {
            Err(DirectoryError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    /// The path of the directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the instance. Returns `None` if the directory was removed meanwhile.
    pub(super) fn lock(&self) -> Result<Option<InstanceLock>, DirectoryError> {
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
        // The last holder may have removed the file after it was opened here. Then the lock protects nothing.
        let locked = fstat(&file).map_err(|errno| self.error(LOCK, errno))?;
        match fstatat(&self.fd, LOCK, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(current) if current.st_ino == locked.st_ino => Ok(Some(InstanceLock(file))),
            _ => Ok(None),
        }
    }

    /// Opens the existing segment, which must have this geometry, or creates one. With `fresh` always creates
    /// one.
    pub(super) fn segment(&self, geometry: Geometry, fresh: bool) -> Result<Segment, OpenError> {
        match self.open_file(SEGMENT, OFlag::O_RDWR) {
            Ok(file) if !fresh => Ok(Segment::open(&file, geometry)?),
            Err(DirectoryError::Io { error, .. }) if error.kind() != io::ErrorKind::NotFound => {
                Err(DirectoryError::Io { path: self.path.join(SEGMENT), error }.into())
            }
            Err(error @ DirectoryError::NotOurs { .. }) if !fresh => Err(error.into()),
            // An existing segment is replaced only when the new one is complete.
            _ => self.create_segment(geometry).inspect_err(|_| {
                let _ = self.unlink(NEW_SEGMENT);
            }),
        }
    }

    fn create_segment(&self, geometry: Geometry) -> Result<Segment, OpenError> {
        self.unlink(NEW_SEGMENT)?;
        let file = self.open_file(NEW_SEGMENT, OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR)?;
        let segment = Segment::create(&file, geometry, geteuid().as_raw())?;
        renameat(&self.fd, NEW_SEGMENT, &self.fd, SEGMENT).map_err(|errno| self.error(SEGMENT, errno))?;
        Ok(segment)
    }

    /// Whether the directory is in memory, not on a disk.
    pub(super) fn is_on_tmpfs(&self) -> bool {
        nix::sys::statfs::fstatfs(&self.fd)
            .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
    }

    /// Listens on the control socket. To be called after the last fork, because dipcrm gets the pid of the
    /// process that listens.
    pub(super) fn open_control(&self) -> Result<OwnedFd, DirectoryError> {
        self.unlink(CONTROL)?;
        let opened = || {
            let fd = control_socket(SockFlag::SOCK_NONBLOCK)?;
            bind(fd.as_raw_fd(), &self.control_address()?)?;
            listen(&fd, Backlog::new(8)?)?;
            Ok(fd)
        };
        opened().map_err(|errno| self.error(CONTROL, errno))
    }

    /// Connects to the control socket of the server.
    pub(super) fn connect_control(&self) -> Result<OwnedFd, Errno> {
        let fd = control_socket(SockFlag::empty())?;
        connect(fd.as_raw_fd(), &self.control_address()?)?;
        Ok(fd)
    }

    /// The address of the control socket, through the descriptor of the directory. So the path may have any
    /// length, and no link is followed.
    fn control_address(&self) -> Result<UnixAddr, Errno> {
        UnixAddr::new(format!("/proc/self/fd/{}/{CONTROL}", self.fd.as_raw_fd()).as_str())
    }

    /// Writes the pid, for people.
    pub(super) fn write_pid(&self) -> Result<(), DirectoryError> {
        self.write_file(PID, format!("{}\n", std::process::id()).as_bytes())
    }

    /// Writes the path of the Unix-domain socket, so that dipcrm finds it after a kill.
    pub(super) fn write_socket_path(&self, path: &Path) -> Result<(), DirectoryError> {
        self.write_file(SOCKET, path.as_os_str().as_bytes())
    }

    /// The path of the Unix-domain socket of this or the last server.
    pub(super) fn socket_path(&self) -> Option<PathBuf> {
        let mut bytes = Vec::new();
        self.open_file(SOCKET, OFlag::O_RDONLY).ok()?.read_to_end(&mut bytes).ok()?;
        Some(std::ffi::OsString::from_vec(bytes).into())
    }

    /// Removes the files that only a running server needs, not the segment. The caller holds the lock.
    pub(super) fn release(&self) {
        for name in [CONTROL, PID, SOCKET] {
            let _ = self.unlink(name);
        }
    }

    /// Removes the directory if it has no segment. The caller holds the lock.
    pub(super) fn remove_unless_used(&self) {
        if !self.exists(SEGMENT) {
            let _ = self.remove();
        }
    }

    fn exists(&self, name: &str) -> bool {
        fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Removes everything. Returns whether there were files other than the lock. The caller holds the lock.
    pub(super) fn remove(&self) -> Result<bool, DirectoryError> {
        let mut found = false;
        for name in NAMES {
            found |= self.unlink(name)? && name != LOCK;
        }
        let parent =
            open(&self.base, directory_flags(), Mode::empty()).map_err(|errno| self.error("", errno))?;
        let name = self.path.file_name().unwrap_or_default();
        // The lock has been removed, so another server may start here, and even end again between the two
        // checks.
        for is_last_try in [false, true] {
            match unlinkat(&parent, name, UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => break,
                Err(Errno::ENOTEMPTY) if self.exists(LOCK) => return Ok(found),
                Err(Errno::ENOTEMPTY) if !is_last_try => {}
                Err(errno) => return Err(self.error("", errno)),
            }
        }
        if self.is_default_base {
            // Fails if other instances are in it.
            let _ = std::fs::remove_dir(&self.base);
        }
        Ok(found)
    }

    fn open_in(base: &Path, is_default_base: bool, port: u16, create: bool) -> Result<Self, DirectoryError> {
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
        Ok(Directory { fd, path, base: base.to_owned(), is_default_base })
    }

    /// Opens a file of the directory. It must be a regular file with a single name; links are not followed.
    fn open_file(&self, name: &str, flags: OFlag) -> Result<File, DirectoryError> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let fd = openat(&self.fd, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|errno| self.error(name, errno))?;
        let found = fstat(&fd).map_err(|errno| self.error(name, errno))?;
        if !is_of_kind(&found, SFlag::S_IFREG) || found.st_nlink > 1 {
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

    /// Removes a file. Returns whether it existed.
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

/// Why the segment cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// A file of the directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The contents of the segment cannot be used.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

/// The directory of all instances, and whether it is the default one.
fn base_of(given: Option<&Path>) -> (PathBuf, bool) {
    match given {
        Some(base) => (base.to_owned(), false),
        None => (format!("/dev/shm/dipc-{}", Uid::effective()).into(), true),
    }
}

fn create_base(base: &Path) -> Result<(), DirectoryError> {
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

/// Checks an open directory: it must belong to this user, and have none of the `forbidden` permissions.
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

fn is_of_kind(found: &FileStat, kind: SFlag) -> bool {
    found.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

fn control_socket(flags: SockFlag) -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | flags, None)
}

fn io_error(path: &Path, errno: Errno) -> DirectoryError {
    DirectoryError::Io { path: path.to_owned(), error: errno.into() }
}
