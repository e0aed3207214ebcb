//! The directory of one instance, `/dev/shm/dipc-UID/PORT`, and the files in it.
//!
//! `lock` is locked while the server runs. `segment` is the memory of the mailboxes. dipcrm connects to
//! `control.sock`. `waiters` has the flags of processes that wait for changes in the shared memory. `pid` is
//! for people. `socket` contains the path of the Unix-domain socket, if there is one. All files are opened
//! through the descriptor of the directory. Links and files of other users are refused.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, lstat, mkdirat};
use nix::unistd::{Uid, UnlinkatFlags, geteuid, unlinkat};

pub(super) const LOCK: &str = "lock";
pub(super) const SEGMENT: &str = "segment";
pub(super) const NEW_SEGMENT: &str = "segment.new";
pub(super) const CONTROL: &str = "control.sock";
pub(super) const PID: &str = "pid";
pub(super) const WAITERS: &str = "waiters";
const SOCKET: &str = "socket";

/// All files of the directory. The lock is removed last: until then no other server starts here.
const NAMES: [&str; 7] = [SEGMENT, NEW_SEGMENT, WAITERS, CONTROL, PID, SOCKET, LOCK];

/// Largest number of bytes of the path in `socket`.
const PATH_MAX: u64 = 4096;

/// Largest number of tries to claim a directory that other processes remove meanwhile.
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
    /// The file belongs to another user, or is of another kind.
    #[error("{path} {reason}; dipc does not use it", path = .path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The directory can be changed or read by other users.
    #[error("{path} is open to other users, so dipc does not use it; {cure}", path = .path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// What the user can do.
        cure: String,
    },
    /// A server runs in the directory.
    #[error("a dipc runs in {path}", path = .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
}

impl DirectoryError {
    /// A system call failed on this file.
    pub(super) fn io(path: &Path, errno: Errno) -> Self {
        DirectoryError::Io { path: path.to_owned(), error: errno.into() }
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, DirectoryError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }
}

/// The open directory of an instance.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    base: PathBuf,
    /// Whether the base is removed when it is empty. True for the default base, and for a base that this
    /// start has created.
    removes_base: bool,
}

/// The lock of an instance. Child processes inherit the lock, and the kernel releases it when the last of
/// them ends. The instance therefore remains locked when the parent exits after moving the server to the
/// background.
#[derive(Debug)]
pub(super) struct InstanceLock {
    file: File,
    /// Whether the file did not exist before.
    is_new: bool,
}

impl InstanceLock {
    /// The open file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Directory {
    /// Creates the directory of `port` if it does not exist, and locks it. If that fails, removes everything
    /// that it has created.
    pub(super) fn claim(base: Option<&Path>, port: u16) -> Result<(Self, InstanceLock), DirectoryError> {
        let (base, is_default) = base_of(base);
        Directory::claim_in(base, is_default, &port.to_string())
    }

    /// Creates and locks the directory again after it has lost its name.
    pub(super) fn claim_again(&self) -> Result<(Self, InstanceLock), DirectoryError> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        Directory::claim_in(self.base.clone(), self.removes_base, &name)
    }

    fn claim_in(
        base: PathBuf,
        removes_base: bool,
        name: &str,
    ) -> Result<(Self, InstanceLock), DirectoryError> {
        for _ in 0..CLAIM_TRIES {
            let is_new_base = create_base(&base)?;
            match Directory::open_in(&base, removes_base || is_new_base, name, true) {
                Err(error) if error.is_not_found() => continue,
                Err(error) => {
                    if is_new_base {
                        let _ = std::fs::remove_dir(&base);
                    }
                    return Err(error);
                }
                Ok(directory) => match directory.lock() {
                    Ok(None) => continue,
                    // A server whose lock file has lost its name still listens on the control socket.
                    Ok(Some(lock)) if directory.has_listener() => {
                        directory.discard(&lock);
                        return Err(directory.in_use());
                    }
                    Ok(Some(lock)) => return Ok((directory, lock)),
                    Err(error @ DirectoryError::InUse { .. }) => return Err(error),
                    Err(error) => {
                        // The lock file may exist without being locked.
                        if let Ok(Some(lock)) = directory.lock() {
                            directory.discard(&lock);
                        }
                        return Err(error);
                    }
                },
            }
        }
        Err(DirectoryError::Io { path: base, error: Errno::EBUSY.into() })
    }

    /// The lock of a running server, whose descriptor was received. The kernel releases it when neither
    /// server has the descriptor open.
    pub(super) fn adopt_lock(&self, file: File) -> Result<InstanceLock, DirectoryError> {
        self.check_adopted(LOCK, &file)?;
        Ok(InstanceLock { file, is_new: false })
    }

    /// Checks a file whose descriptor was received: it must be the file with this name. Locking it succeeds
    /// only with a descriptor of the lock's holder.
    pub(super) fn check_adopted(&self, name: &'static str, file: &File) -> Result<(), DirectoryError> {
        match self.is_named(name, file)? {
            true => self.lock_file(name, file),
            false => {
                let reason = "is not the file of the running server";
                Err(DirectoryError::NotOurs { path: self.path.join(name), reason })
            }
        }
    }

    /// Opens the directory of `port`. Returns `None` if it does not exist.
    pub(super) fn find(base: Option<&Path>, port: u16) -> Result<Option<Self>, DirectoryError> {
        let (base, is_default) = base_of(base);
        match Directory::open_in(&base, is_default, &port.to_string(), false) {
            Err(error) if error.is_not_found() => Ok(None),
            result => result.map(Some),
        }
    }

    /// The path of the directory of all instances.
    pub(super) fn base(given: Option<&Path>) -> PathBuf {
        base_of(given).0
    }

    /// Opens the directory of all instances. Returns `None` if it does not exist.
    pub(super) fn open_base(given: Option<&Path>) -> Result<Option<OwnedFd>, DirectoryError> {
        match open_verified(&Directory::base(given)) {
            Err(error) if error.is_not_found() => Ok(None),
            result => result.map(Some),
        }
    }

    /// The path of the directory of `port`.
    pub(super) fn path_of(base: Option<&Path>, port: u16) -> PathBuf {
        Directory::base(base).join(port.to_string())
    }

    /// The path of the directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the instance. Returns `None` if the directory was removed meanwhile.
    pub(super) fn lock(&self) -> Result<Option<InstanceLock>, DirectoryError> {
        let create = |flags| self.open_file(LOCK, OFlag::O_CREAT | OFlag::O_RDWR | flags);
        let (file, is_new) = match create(OFlag::O_EXCL) {
            Err(DirectoryError::Io { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {
                (create(OFlag::empty()), false)
            }
            created => (created, true),
        };
        let file = match file {
            Err(error) if error.is_not_found() => return Ok(None),
            file => file?,
        };
        self.lock_file(LOCK, &file)?;
        // The last holder may have removed the file after it was opened here. Then the lock protects nothing.
        let lock = InstanceLock { file, is_new };
        Ok(self.is_named(LOCK, &lock.file)?.then_some(lock))
    }

    pub(super) fn lock_file(&self, name: &str, file: &File) -> Result<(), DirectoryError> {
        match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(self.in_use()),
            Err(TryLockError::Error(error)) => Err(DirectoryError::Io { path: self.path.join(name), error }),
        }
    }

    pub(super) fn in_use(&self) -> DirectoryError {
        DirectoryError::InUse { path: self.path.clone() }
    }

    /// Whether `name` still leads to this open file.
    pub(super) fn is_named(&self, name: &str, file: impl AsFd) -> Result<bool, DirectoryError> {
        let file = fstat(file).map_err(|errno| self.error(name, errno))?;
        match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(named) => Ok(identity(&named) == identity(&file)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(errno) => Err(self.error(name, errno)),
        }
    }

    /// Whether the path no longer leads to this directory.
    pub(super) fn has_lost_name(&self) -> bool {
        match (fstat(&self.fd), lstat(&self.path)) {
            (Ok(open), Ok(named)) => identity(&open) != identity(&named),
            (_, Err(Errno::ENOENT | Errno::ENOTDIR)) => true,
            _ => false,
        }
    }

    /// Whether `lock` no longer leads to the file that is locked.
    pub(super) fn has_lost_lock(&self, lock: &InstanceLock) -> bool {
        self.is_named(LOCK, &lock.file).is_ok_and(|is_named| !is_named)
    }

    /// Whether the directory is in memory, not on a disk.
    pub(super) fn is_on_tmpfs(&self) -> bool {
        nix::sys::statfs::fstatfs(&self.fd)
            .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
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
        self.open_file(SOCKET, OFlag::O_RDONLY).ok()?.take(PATH_MAX).read_to_end(&mut bytes).ok()?;
        Some(std::ffi::OsString::from_vec(bytes).into())
    }

    /// Removes the files that only a running server needs, but not the segment. The path of the Unix-domain
    /// socket is removed only if `is_removed`, that is, if the socket itself was removed. If not, dipcrm
    /// needs the path to find the socket. The caller holds the lock.
    pub(super) fn release(&self, is_removed: bool) {
        let names = [CONTROL, PID, SOCKET];
        for name in names.into_iter().filter(|&name| name != SOCKET || is_removed) {
            let _ = self.unlink(name);
        }
    }

    /// Removes the files that a failed start has created. Removes all files if there is no earlier segment,
    /// else only a new segment and a new lock file. The caller holds the lock.
    pub(super) fn discard(&self, lock: &InstanceLock) {
        let _ = self.unlink(NEW_SEGMENT);
        if !self.exists(SEGMENT) && !self.has_listener() {
            let _ = self.remove();
        } else if lock.is_new {
            let _ = self.unlink(LOCK);
        }
    }

    /// The descriptor, for paths below /proc/self/fd.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.fd
    }

    /// The device and the inode that `name` leads to.
    pub(super) fn identity(&self, name: &str) -> Result<(u64, u64), Errno> {
        fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(|found| identity(&found))
    }

    pub(super) fn exists(&self, name: &str) -> bool {
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
        if self.removes_base {
            // Fails if other instances are in it.
            let _ = std::fs::remove_dir(&self.base);
        }
        Ok(found)
    }

    fn open_in(base: &Path, removes_base: bool, name: &str, create: bool) -> Result<Self, DirectoryError> {
        let parent = open_verified(base)?;
        let path = base.join(name);
        let is_new = create
            && match mkdirat(&parent, name, Mode::S_IRWXU) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(errno) => return Err(DirectoryError::io(&path, errno)),
            };
        let opened =
            open_directory(Some(&parent), name, &path).and_then(|fd| verify(&fd, &path, 0o077).map(|()| fd));
        if opened.is_err() && is_new {
            // Fails if another start has created files in it.
            let _ = unlinkat(&parent, name, UnlinkatFlags::RemoveDir);
        }
        Ok(Directory { fd: opened?, path, base: base.to_owned(), removes_base })
    }

    /// Opens a file of the directory. It must be a regular file with a single name; links are not followed.
    pub(super) fn open_file(&self, name: &str, flags: OFlag) -> Result<File, DirectoryError> {
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
        let written =
            self.open_file(name, OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY).and_then(|mut file| {
                file.write_all(content)
                    .map_err(|error| DirectoryError::Io { path: self.path.join(name), error })
            });
        written.inspect_err(|_| drop(self.unlink(name)))
    }

    /// Removes a file. Returns whether it existed.
    pub(super) fn unlink(&self, name: &str) -> Result<bool, DirectoryError> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(self.error(name, errno)),
        }
    }

    pub(super) fn error(&self, name: &str, errno: Errno) -> DirectoryError {
        DirectoryError::io(&self.path.join(name), errno)
    }
}

/// The directory of all instances, and whether it is the default one.
fn base_of(given: Option<&Path>) -> (PathBuf, bool) {
    match given {
        Some(base) => (base.to_owned(), false),
        None => (format!("/dev/shm/dipc-{}", Uid::effective()).into(), true),
    }
}

/// Creates the directory of all instances. Returns whether it did not exist.
fn create_base(base: &Path) -> Result<bool, DirectoryError> {
    match nix::unistd::mkdir(base, Mode::S_IRWXU) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(errno) => Err(DirectoryError::io(base, errno)),
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
    opened.map_err(|errno| DirectoryError::io(path, errno))
}

/// Opens the directory of all instances, which other users must not be able to change.
fn open_verified(base: &Path) -> Result<OwnedFd, DirectoryError> {
    let fd = open_directory(None::<&OwnedFd>, base, base)?;
    verify(&fd, base, 0o022).map(|()| fd)
}

/// Checks an open directory: it must belong to this user, and have none of the `forbidden` permissions.
fn verify(fd: &OwnedFd, path: &Path, forbidden: u32) -> Result<(), DirectoryError> {
    let found = fstat(fd).map_err(|errno| DirectoryError::io(path, errno))?;
    if found.st_uid != geteuid().as_raw() {
        let reason = "belongs to another user";
        return Err(DirectoryError::NotOurs { path: path.to_owned(), reason });
    }
    if found.st_mode & forbidden != 0 {
        // A directory like /tmp has to stay open to other users.
        let cure = match found.st_mode & Mode::S_ISVTX.bits() {
            0 => format!("to close it: chmod 700 {}", path.display()),
            _ => format!("to use a new directory in it: --dir {}", path.join("dipc").display()),
        };
        return Err(DirectoryError::Open { path: path.to_owned(), cure });
    }
    Ok(())
}

fn is_of_kind(found: &FileStat, kind: SFlag) -> bool {
    found.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

fn identity(found: &FileStat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}
